//! Without root's powers: as another user, and in a user namespace. The test
//! program calls itself for that, under setpriv and unshare, with one of its
//! tests as the child's main function.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hako_layer::{Devices, Format, Ids, Notice, Options, XattrPrefix};
use hako_tar::Kind;

use crate::archive::{Member, device, dir, file, link, owned, symlink, tar, with_xattr};
use crate::tree;

const USER: Format = Format::Overlay {
    xattr_prefix: XattrPrefix::User,
};

/// Two layers with all that an unprivileged user has trouble with.
fn layers() -> [Vec<Member>; 2] {
    [
        vec![
            owned(dir("./", 0), 0, 0, 0o555),
            owned(dir("closed", 0), 5, 6, 0o000),
            file("closed/f", "f"),
            owned(dir("readonly", 0), 0, 0, 0o555),
            file("readonly/f", "f"),
            file("readonly/old", "old"),
            dir("readonly/d", 0o500),
            file("readonly/d/x", "x"),
            owned(file("suid", "s"), 9, 9, 0o4755),
            symlink("link", "suid"),
            link("hard", "suid"),
            with_xattr(file("xattrs", ""), "user.k", b"v"),
            with_xattr(file("trusted", ""), "trusted.k", b"v"),
            device("null", Kind::Char, 1, 3),
            device("pipe", Kind::Fifo, 0, 0),
        ],
        vec![
            file("readonly/.wh.old", ""),
            file("readonly/new", ""),
            file("readonly/d/.wh..wh..opq", ""),
            file("closed/g", "g"),
            file(".wh.suid", ""),
        ],
    ]
}

const TREE: [&str; 14] = [
    ".",
    "./closed",
    "./closed/f",
    "./closed/g",
    "./hard",
    "./link",
    "./pipe",
    "./readonly",
    "./readonly/d",
    "./readonly/f",
    "./readonly/new",
    "./trusted",
    "./xattrs",
    "-",
];

/// Runs this program's test `child` in `dir` under `wrapper`.
#[track_caller]
fn run(wrapper: &str, child: &str, dir: &Path) {
    // In a place where other users can read it.
    let program = dir.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [dir, &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = format!(
        "{wrapper} env HAKO_LAYER_TEST_DIR=$PWD/work ./program --exact rootless::{child} --nocapture"
    );
    tree::shell(&script, dir);
}

/// The directory that the parent gives; nothing to do for the child if none.
fn work() -> Option<std::path::PathBuf> {
    std::env::var_os("HAKO_LAYER_TEST_DIR").map(Into::into)
}

#[test]
fn another_user_unpacks_with_all_ids_squashed() {
    let temp = tempfile::tempdir().unwrap();
    tree::shell("mkdir work; chown 1234:2345 work", temp.path());
    run(
        "setpriv --reuid 1234 --regid 2345 --clear-groups",
        "squash_child",
        temp.path(),
    );
    let found = tree::read(&temp.path().join("work/plain"));
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, &TREE[..13]);
    for (name, node) in &found {
        assert_eq!(node.owner, (1234, 2345), "{name}");
    }
    assert_eq!(found["."].mode, 0o555);
    assert_eq!(
        (found["./closed"].mode, found["./readonly"].mode),
        (0, 0o555)
    );
    assert_eq!(
        (found["./hard"].mode, found["./readonly/d"].mode),
        (0o4755, 0o500)
    );
    assert_eq!(found["./readonly"].mtime, (1_500_000_000, 987_654_321));
    assert_eq!(found["./xattrs"].xattrs["user.k"], b"v");
}

#[test]
fn squash_child() {
    let Some(work) = work() else { return };
    for format in [Format::Plain, USER] {
        let options = Options {
            ids: Ids::Squash,
            devices: Devices::Skip,
            ..Options::new(format)
        };
        for (n, layer) in layers().iter().enumerate() {
            let name = if format == USER {
                format!("user{n}")
            } else {
                "plain".to_owned()
            };
            let root = work.join(name);
            std::fs::create_dir_all(&root).unwrap();
            // Opened before: its mode becomes 0555.
            let file = File::open(&root).unwrap();
            let applied = hako_layer::apply(tar(layer).as_slice(), file.as_fd(), &options).unwrap();
            if n == 0 {
                let notices: Vec<_> = applied.warnings.iter().map(|w| &w.notice).collect();
                let xattr = Notice::Xattr {
                    name: b"trusted.k".to_vec(),
                };
                assert_eq!(notices, [&xattr, &Notice::Device]);
            }
        }
    }
}

#[test]
fn a_user_namespace_with_subordinate_ids_unpacks_and_mounts() {
    let temp = tempfile::tempdir().unwrap();
    tree::shell(
        "mkdir work; chown 100000:200000 work; chmod 755 .",
        temp.path(),
    );
    // What newuidmap does for a user with subordinate ids, root does by itself.
    let wrapper = r#"
        mkfifo made mapped
        cat > enter <<'END'
echo > made; read line < mapped
exec setpriv --reuid 0 --regid 0 --clear-groups "$@"
END
        in_namespace() {
            unshare --user --mount --keep-caps sh enter "$@" & child=$!
            read line < made
            echo 0 100000 1000 > /proc/$child/uid_map
            echo 0 200000 1000 > /proc/$child/gid_map
            echo > mapped; wait $child
        }
        in_namespace"#;
    run(wrapper, "namespace_child", temp.path());
    // The mount's copy, seen from outside, has the mapped owners.
    let found = tree::read(&temp.path().join("work/copy"));
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, &TREE[..13]);
    assert_eq!(found["./closed"].owner, (100_005, 200_006));
    assert_eq!(
        (found["./hard"].owner, found["./hard"].mode),
        ((100_009, 200_009), 0o4755)
    );
    assert_eq!(found["./readonly"].mode, 0o555);
}

#[test]
fn namespace_child() {
    let Some(work) = work() else { return };
    let mut paths = Vec::new();
    for (n, layer) in layers().iter().enumerate() {
        let root = work.join(format!("layer{n}"));
        std::fs::create_dir(&root).unwrap();
        let below: Vec<_> = paths.iter().rev().map(|p| File::open(p).unwrap()).collect();
        let lower: Vec<_> = below.iter().map(AsFd::as_fd).collect();
        let options = Options {
            devices: Devices::Skip,
            lower: Some(&lower),
            ..Options::new(USER)
        };
        let dir = File::open(&root).unwrap();
        hako_layer::apply(tar(layer).as_slice(), dir.as_fd(), &options).unwrap();
        paths.push(root);
    }
    tree::shell(
        "mkdir mount; mount -t overlay overlay -o ro,userxattr,lowerdir=layer1:layer0 mount; cp -a mount copy",
        &work,
    );
}
