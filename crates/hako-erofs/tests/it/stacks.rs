//! Stacks of layers: an overlay of images shows what an overlay of directories
//! shows, whether the layers were made with a view of those below or alone.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hako_layer::{Applied, Error, Options};
use hako_tar::{Kind, Time};
use proptest::prelude::*;

use crate::archive::{
    Member, OVERLAY, apply, apply_with, device, dir, file, link, owned, symlink, tar, with_xattr,
};
use crate::built::{Built, PREFIX, build, build_with, layer_error, read, timeless};
use crate::corners::sparse;
use crate::mounts::{erofs, isolated, overlay};
use crate::tree::{self, Tree};

/// A stack of directories.
#[derive(Default)]
struct Dirs(Vec<PathBuf>);

impl Dirs {
    fn push(&mut self, work: &Path, n: usize, layer: &[u8], alone: bool) -> Result<Applied, Error> {
        let path = work.join(format!("layer{n}"));
        let files: Vec<_> = self
            .0
            .iter()
            .rev()
            .map(|p| File::open(p).unwrap())
            .collect();
        let lower: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let known = Options {
            lower: Some(&lower),
            ..Options::new(OVERLAY)
        };
        let mut result = if alone {
            apply_with(&path, layer, &Options::new(OVERLAY)).and_then(|mut applied| {
                let root = File::open(&path).unwrap();
                hako_layer::inherit(&mut applied, root.as_fd(), &lower, PREFIX)?;
                Ok(applied)
            })
        } else {
            apply_with(&path, layer, &known)
        };
        if alone && matches!(result, Err(Error::NeedsLower { .. })) {
            std::fs::remove_dir_all(&path).unwrap();
            result = apply_with(&path, layer, &known);
        }
        let applied = result?;
        if applied.opaque_root {
            self.0.clear();
        }
        self.0.push(path);
        Ok(applied)
    }
}

/// A stack of images.
#[derive(Default)]
struct Images(Vec<Built>);

impl Images {
    fn push(&mut self, work: &Path, n: usize, layer: &[u8], alone: bool) -> Result<Applied, Error> {
        let name = format!("layer{n}");
        let lower: Vec<_> = self.0.iter().rev().collect();
        let result = if alone {
            let first = build_alone(work, &name, layer, &lower);
            match first.map_err(layer_error) {
                Err(Error::NeedsLower { .. }) => {
                    build(work, &name, layer, Some(&lower)).map_err(layer_error)
                }
                other => other,
            }
        } else {
            build(work, &name, layer, Some(&lower)).map_err(layer_error)
        };
        let (built, applied) = result?;
        if applied.opaque_root {
            self.0.clear();
        }
        self.0.push(built);
        Ok(applied)
    }
}

/// Reads without the lower layers, which complete it then.
fn build_alone(
    work: &Path,
    name: &str,
    layer: &[u8],
    lower: &[&Built],
) -> Result<(Built, Applied), hako_erofs::Error> {
    build_with(work, name, layer, None, |index, _| {
        let open: Vec<_> = lower.iter().map(|l| l.open()).collect();
        let view: Vec<_> = open
            .iter()
            .map(|(image, data)| hako_erofs::Lower { image, data })
            .collect();
        index.inherit(&view)
    })
}

/// Sizes of what was copied up depend on the file system.
fn without_bytes(applied: Result<Applied, Error>) -> Result<Applied, String> {
    match applied {
        Ok(applied) => Ok(Applied {
            bytes: 0,
            ..applied
        }),
        Err(error) => Err(format!("{error:?}")),
    }
}

#[track_caller]
fn compare(layers: &[Vec<Member>]) {
    let tars: Vec<_> = layers.iter().map(|layer| tar(layer)).collect();
    for alone in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let work = temp.path();
        let (mut dirs, mut images) = (Dirs::default(), Images::default());
        let mut fine = true;
        for (n, tar) in tars.iter().enumerate() {
            let expected = without_bytes(dirs.push(work, n, tar, alone));
            let applied = without_bytes(images.push(work, n, tar, alone));
            assert_eq!(applied, expected, "layer {n}, alone {alone}");
            fine = applied.is_ok();
            if !fine {
                break;
            }
        }
        if !fine {
            continue;
        }
        let read_all = || {
            let mut mounted = Vec::new();
            for (n, built) in images.0.iter().enumerate() {
                let target = work.join(format!("mount{n}"));
                erofs(&built.image, &built.data, &target);
                mounted.push(target);
            }
            overlay(&mounted, &work.join("images"));
            overlay(&dirs.0, &work.join("dirs"));
            let each: Vec<Tree> = mounted.iter().map(|path| tree::read(path)).collect();
            (
                tree::read(&work.join("images")),
                tree::read(&work.join("dirs")),
                each,
            )
        };
        let (shown, expected, each) = isolated(read_all);
        tree::assert_same(&shown, &expected);
        for ((mounted, dir), built) in each.iter().zip(&dirs.0).zip(&images.0) {
            tree::assert_same(mounted, &timeless(tree::read(dir)));
            let (image, data) = built.open();
            tree::assert_same(&read(&image, &data), mounted);
            crate::fsck::check(built);
        }
    }
}

#[test]
fn examples_look_alike() {
    let base = vec![
        owned(dir("d", 0), 1, 2, 0o1751),
        with_xattr(owned(dir("d/e", 0), 3, 4, 0o700), "user.x", b"1"),
        with_xattr(file("d/e/f", "content of f"), "trusted.y", b"2"),
        file("d/g", "g"),
        symlink("s", "d/e"),
        symlink("loop", "loop"),
        file("h", &"h".repeat(900)),
        device("p", Kind::Fifo, 0, 0),
        device("c", Kind::Char, 1, 3),
        sparse("sparse", 1 << 20, &[(5, 700), (1 << 18, 4096)]),
    ];
    for upper in [
        vec![file("d/e/new", "")],
        vec![file("d/.wh..wh..opq", ""), file("d/e/new", "")],
        vec![file("d/e/new", ""), file("d/.wh.e", "")],
        vec![file("d/e/new", ""), file(".wh.d", "")],
        vec![file("s/new", ""), file("s/.wh.f", "")],
        vec![link("d/h2", "h"), link("x/s2", "s"), link("d/e/f3", "s/f")],
        vec![
            link("a", "sparse"),
            link("b", "sparse"),
            link("c2", "c"),
            link("p2", "p"),
        ],
        vec![
            link("a", "h"),
            file("a", "again"),
            link("b", "h"),
            link("e", "h"),
        ],
        vec![link("h", "h"), link("d/g", "d/g")],
        vec![link("a", "missing")],
        vec![link("a", "d")],
        vec![link("a", "loop/x")],
        vec![file("loop/x", "")],
        vec![file(".wh.h", ""), link("a", "h")],
        vec![file("h/now/a/dir", "")],
        vec![file("d", "no longer a directory")],
        vec![file("d", ""), dir("d", 0o700), file("d/x", "")],
        vec![symlink("d", "other"), file("d/x", "")],
        vec![file(".wh..wh..opq", ""), file("d/e/x", "")],
        vec![device("d/e", Kind::Char, 0, 0)],
        vec![file(".wh.d", ""), file("s/x", "")],
        vec![file("s/x", ""), file(".wh.s", "")],
        vec![file("s/x", ""), dir("s", 0o755)],
        vec![
            file(".wh.nothing", ""),
            file("d/.wh.nothing", ""),
            file("n/.wh.nothing", ""),
        ],
    ] {
        compare(&[
            base.clone(),
            upper.clone(),
            vec![file("d/e/late", ""), link("z", "d/g")],
        ]);
        compare(&[base.clone(), upper]);
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
        1 => (path(), 0u64..2000, 1u64..2000).prop_map(|(p, at, len)| sparse(&p, 5000, &[(at, len)])),
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
            let plain = hako_layer::Format::Plain;
            if all
                .into_iter()
                .any(|layer| apply(&root, layer, plain).is_err())
            {
                good.pop();
            }
        }
        kept.push(good);
    }
    kept
}

/// Every case costs some mounts; `PROPTEST_CASES` asks for more of them.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|n| n.parse().ok()).unwrap_or(60),
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

    #[test]
    fn random_layers_fail_alike(layers in proptest::collection::vec(proptest::collection::vec(member(), 1..8), 1..4)) {
        compare(&layers);
    }
}
