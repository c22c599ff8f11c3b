//! The kernel's overlayfs as the judge: stacks of random layers, unpacked as
//! overlay layers and mounted, show what the same layers give when they are
//! applied one over the other to a plain directory.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hako_layer::{Error, Format, Options, XattrPrefix};
use hako_tar::{Kind, Time};
use proptest::prelude::*;

use crate::archive::{
    Member, OVERLAY, apply, apply_with, device, dir, file, link, owned, symlink, tar, with_xattr,
};
use crate::tree::{self, Tree};

/// What a mount of the layers shows, the lowest first.
pub(crate) fn merged(work: &Path, layers: &[PathBuf]) -> Tree {
    let copy = work.join("copy");
    std::fs::create_dir_all(work.join("mount")).unwrap();
    std::fs::create_dir_all(work.join("none")).unwrap();
    let mut dirs: Vec<_> = layers
        .iter()
        .rev()
        .map(|l| l.to_str().unwrap().to_owned())
        .collect();
    dirs.push(work.join("none").to_str().unwrap().to_owned());
    let script = format!(
        "unshare -m sh -euc 'mount -t overlay overlay -o ro,redirect_dir=off,metacopy=off,lowerdir={} mount; cp -a mount copy'",
        dirs.join(":")
    );
    tree::shell(&script, work);
    tree::read(&copy)
}

/// A stack on disk, as the snapshotter would unpack it.
#[derive(Default)]
struct Stack {
    layers: Vec<PathBuf>,
    pushed: usize,
}

impl Stack {
    /// Applies a further layer with its lower layers known, or, if `alone`,
    /// without, and lets it inherit then.
    fn push(&mut self, work: &Path, layer: &[u8], alone: bool) -> Result<(), Error> {
        let path = work.join(format!("layer{}", self.pushed));
        self.pushed += 1;
        let files: Vec<_> = self
            .layers
            .iter()
            .rev()
            .map(|p| File::open(p).unwrap())
            .collect();
        let lower: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let prefix = XattrPrefix::Trusted;
        let known = Options {
            lower: Some(&lower),
            ..Options::new(OVERLAY)
        };
        let mut hides = false;
        if alone {
            let first = apply_with(&path, layer, &Options::new(OVERLAY)).and_then(|mut applied| {
                hides = applied.opaque_root;
                let root = File::open(&path).unwrap();
                hako_layer::inherit(&mut applied, root.as_fd(), &lower, prefix)
            });
            if let Err(Error::NeedsLower { .. }) = first {
                std::fs::remove_dir_all(&path).unwrap();
                hides = apply_with(&path, layer, &known)?.opaque_root;
            } else {
                first?;
            }
        } else {
            hides = apply_with(&path, layer, &known)?.opaque_root;
        }
        if hides {
            // As told by `Applied::opaque_root`; the files stay for the lookup.
            self.layers.clear();
        }
        self.layers.push(path);
        Ok(())
    }
}

/// Hard links between layers are the one thing in which the two differ.
fn without_links(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        node.same = None;
    }
    tree
}

/// A stack in short, for the message of a failure.
fn describe(layers: &[Vec<Member>]) -> String {
    let member = |(entry, _): &Member| {
        let (path, link) = (entry.path.escape_ascii(), entry.link.escape_ascii());
        format!("{:?} {path} {link}\n", entry.kind)
    };
    layers
        .iter()
        .map(|l| format!("layer\n{}", l.iter().map(member).collect::<String>()))
        .collect()
}

#[track_caller]
fn compare(layers: &[Vec<Member>]) {
    println!("{}", describe(layers));
    let temp = tempfile::tempdir().unwrap();
    let plain_root = temp.path().join("plain");
    let mut plain = Ok(());
    for layer in layers {
        plain = plain.and_then(|()| apply(&plain_root, layer, Format::Plain).map(drop));
    }
    for alone in [false, true] {
        let work = temp.path().join(format!("work{alone}"));
        std::fs::create_dir(&work).unwrap();
        let mut stack = Stack::default();
        let mut result = Ok(());
        for layer in layers {
            result = result.and_then(|()| stack.push(&work, &tar(layer), alone));
        }
        assert_eq!(
            plain.is_ok(),
            result.is_ok(),
            "plain {plain:?}, overlay {result:?}"
        );
        if plain.is_ok() {
            let merged = without_links(merged(&work, &stack.layers));
            tree::assert_same(&without_links(tree::read(&plain_root)), &merged);
        }
    }
}

#[test]
fn examples_look_alike() {
    let base = vec![
        owned(dir("d", 0), 1, 2, 0o1751),
        with_xattr(owned(dir("d/e", 0), 3, 4, 0o700), "user.x", b"1"),
        file("d/e/f", "f"),
        file("d/g", "g"),
        symlink("s", "d/e"),
        file("h", "h"),
    ];
    for upper in [
        vec![file("d/e/new", "")],
        vec![file("d/.wh..wh..opq", ""), file("d/e/new", "")],
        vec![file("d/e/new", ""), file("d/.wh.e", "")],
        vec![file("d/e/new", ""), file(".wh.d", "")],
        vec![file("s/new", ""), file("s/.wh.f", "")],
        vec![link("d/h2", "h"), link("x/s2", "s"), link("d/e/f3", "s/f")],
        vec![file("g", ""), file("h/now/a/dir", "")],
        vec![file("d", "no longer a directory")],
        vec![file("d", ""), dir("d", 0o700), file("d/x", "")],
        vec![symlink("d", "other"), file("d/x", "")],
        vec![file(".wh..wh..opq", ""), file("d/e/x", "")],
        vec![device("d/e", Kind::Char, 0, 0)],
        vec![file(".wh.d", ""), file("s/x", "")],
        vec![file("s/x", ""), file(".wh.s", "")],
    ] {
        compare(&[base.clone(), upper.clone(), vec![file("d/e/late", "")]]);
        compare(&[base.clone(), upper]);
    }
}

/// Stacks that once came out differently.
#[test]
fn findings_stay_fixed() {
    for layers in [
        vec![vec![file("a/.wh.a", "")]],
        vec![
            vec![symlink("a", "b")],
            vec![file("a/a", ""), dir("a", 0o755), file("a/a", "")],
        ],
        vec![
            vec![symlink("a", "b")],
            vec![dir("a/a", 0), file(".wh..wh..opq", "")],
        ],
        vec![
            vec![file("a/c/a", "")],
            vec![link("b", "a/c/a"), file(".wh.a", "")],
        ],
        vec![
            vec![symlink("c", "/a")],
            vec![symlink("c/a", "a"), link("a", "c")],
        ],
        vec![
            vec![dir("e", 0o700), file("e/p", "")],
            vec![link("y", "e/p"), file("e/q", "")],
        ],
    ] {
        compare(&layers);
    }
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..4)
        .prop_map(|parts| parts.join("/"))
}

fn member() -> impl Strategy<Value = Member> {
    let target = prop_oneof![
        path(),
        path().prop_map(|p| format!("/{p}")),
        path().prop_map(|p| format!("../{p}"))
    ];
    let mode = 0u32..0o10000;
    prop_oneof![
        4 => (path(), "[xyz]{0,3}", mode.clone()).prop_map(|(p, d, m)| owned(file(&p, &d), 1, 2, m)),
        4 => (path(), mode, 0i64..9).prop_map(|(p, m, t)| {
            let mut member = owned(dir(&p, 0), 3, 4, m);
            member.0.mtime = Time::from_secs(t);
            member
        }),
        2 => (path(), target).prop_map(|(p, t)| symlink(&p, &t)),
        2 => (path(), path()).prop_map(|(p, t)| link(&p, &t)),
        1 => path().prop_map(|p| device(&p, Kind::Fifo, 0, 0)),
        1 => path().prop_map(|p| device(&p, Kind::Char, 0, 0)),
        3 => path().prop_map(|p| match p.rsplit_once('/') {
            Some((parent, base)) => file(&format!("{parent}/.wh.{base}"), ""),
            None => file(&format!(".wh.{p}"), ""),
        }),
        1 => path().prop_map(|p| file(&format!("{p}/.wh..wh..opq"), "")),
        1 => Just(file(".wh..wh..opq", "")),
        1 => path().prop_map(|p| with_xattr(dir(&p, 0o755), "user.k", b"v")),
    ]
}

/// Drops what makes a layer fail for a reason that has nothing to do with the
/// ones below, so that most random stacks get to the comparison.
fn valid(layers: Vec<Vec<Member>>) -> Vec<Vec<Member>> {
    let temp = tempfile::tempdir().unwrap();
    let mut kept: Vec<Vec<Member>> = Vec::new();
    let mut step = 0;
    for layer in layers {
        let mut good: Vec<Member> = Vec::new();
        for member in layer {
            good.push(member);
            let root = temp.path().join(step.to_string());
            step += 1;
            let all = kept.iter().chain([&good]);
            if all
                .into_iter()
                .any(|layer| apply(&root, layer, Format::Plain).is_err())
            {
                good.pop();
            }
        }
        kept.push(good);
    }
    kept
}

/// Every case costs some processes; `PROPTEST_CASES` asks for more of them.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60);
    ProptestConfig {
        cases,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_stacks_look_alike(layers in proptest::collection::vec(proptest::collection::vec(member(), 1..8), 1..4)) {
        compare(&valid(layers));
    }
}
