//! What is refused is refused as by `apply`, and the same is said about it.

use std::fs::File;
use std::os::fd::AsFd;

use hako_layer::{Limits, Options};
use hako_tar::{Entry, Kind};

use crate::archive::{Member, OVERLAY, device, dir, file, link, owned, symlink, tar, with_xattr};
use crate::built::{data_file, layer_error};

fn limits() -> Limits {
    Limits {
        entries: 20,
        path: 100,
        depth: 10,
        bytes: 1000,
        file: 900,
    }
}

#[track_caller]
fn refused_alike(tar: &[u8]) {
    let temp = tempfile::tempdir().unwrap();
    let options = Options {
        limits: limits(),
        ..Options::new(OVERLAY)
    };
    let root = File::open(temp.path()).unwrap();
    let expected = hako_layer::apply(tar, root.as_fd(), &options).unwrap_err();
    let data = data_file(&temp.path().join("data"));
    let options = hako_erofs::Options {
        limits: limits(),
        ..hako_erofs::Options::default()
    };
    let Err(error) = hako_erofs::Index::new(tar, &data, &options) else {
        panic!("not refused, unlike: {expected:?}");
    };
    assert_eq!(format!("{:?}", layer_error(error)), format!("{expected:?}"));
}

#[test]
fn members_that_are_refused() {
    let plain = |kind, path: &str| (Entry::new(kind, path), Vec::new());
    let long = "n".repeat(256);
    let cases: &[&[Member]] = &[
        &[file("../x", "")],
        &[file("a/../../x", "")],
        &[file("./", "")],
        &[symlink("./", "x")],
        &[file("f", ""), file("f/x", "")],
        &[symlink("l", "l"), file("l/x", "")],
        &[symlink("a", "b"), symlink("b", "a"), file("a/x", "")],
        &[dir("d", 0o755), link("h", "d")],
        &[link("h", "..")],
        &[link("h", ".")],
        &[link("h", "missing")],
        &[link("h", "not/there")],
        &[dir("d", 0o755), file("d/f", ""), link("d", "d/f")],
        &[file(".wh.", "")],
        &[file(".wh..wh.x", "")],
        &[file(".wh.x/y", "")],
        &[dir(".wh.x", 0o755)],
        &[symlink("d/.wh..wh..opq", "x")],
        &[plain(Kind::Other(b'N'), "x")],
        &[device("c", Kind::Char, 4096, 0)],
        &[owned(file("f", ""), 4_294_967_295, 0, 0o644)],
        &[owned(dir("d", 0), 0, 1 << 32, 0o755)],
        &[file("big", &"x".repeat(901))],
        &[file("one", &"x".repeat(600)), file("two", &"x".repeat(600))],
        &[file("a/b/c/d/e/f/g/h/i/j/k", "")],
        &[file(&"n".repeat(101), "")],
        &[
            dir("a/b/c/d/e/f", 0o755),
            symlink("l", "a/b/c/d/e/f"),
            file("l/g/h/i/j/k", ""),
        ],
        &[
            file("1/2/3/4/5/6", ""),
            file("2/2/3/4/5/6", ""),
            file("3/2/3/4/5/6", ""),
            file("4/2/3/4/5/6", ""),
        ],
        &[symlink("empty", "")],
        &[with_xattr(file("f", ""), "user.", b"")],
        &[with_xattr(file("f", ""), "security.capability", b"x")],
        &[with_xattr(file("f", ""), "system.posix_acl_access", b"x")],
        &[with_xattr(
            file("f", ""),
            &format!("user.{}", "n".repeat(251)),
            b"",
        )],
        &[file("a/b", ""), link("h", "a/c")],
        &[
            file("a/b", ""),
            dir("a", 0o700),
            file("f", ""),
            file("f/x", ""),
        ],
    ];
    for members in cases {
        refused_alike(&tar(members));
    }
    for members in [
        vec![file(&long, "")],
        vec![file(&format!("{long}/x"), "")],
        vec![symlink("l", &long), file("l/x", "")],
        vec![symlink("l", &"t".repeat(4096))],
    ] {
        // The limits of this test come before; those of Linux are the same.
        let temp = tempfile::tempdir().unwrap();
        let root = File::open(temp.path()).unwrap();
        let tar = tar(&members);
        let options = Options::new(OVERLAY);
        let expected = hako_layer::apply(&tar[..], root.as_fd(), &options).unwrap_err();
        let data = data_file(&temp.path().join("data"));
        let Err(error) = hako_erofs::Index::new(&tar[..], &data, &hako_erofs::Options::default())
        else {
            panic!("not refused, unlike: {expected:?}");
        };
        let kind = |error: &hako_layer::Error| match error {
            hako_layer::Error::System { source, .. } => source.raw_os_error(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(&layer_error(error)), kind(&expected));
    }
}

#[test]
fn archives_that_are_broken() {
    let whole = tar(&[file("f", "data"), dir("d", 0o755)]);
    for len in [100, 512, 1538, 2500] {
        refused_alike(&whole[..len]);
    }
    refused_alike(&[1; 512]);
}

#[test]
fn owners_and_devices_as_the_caller_wants_them() {
    use hako_layer::{Devices, Ids};
    use hako_spec::runtime::IdMapping;

    let range = |host_id| {
        vec![IdMapping {
            container_id: 0,
            host_id,
            size: 1000,
            extra: Default::default(),
        }]
    };
    let members = [
        owned(file("f", ""), 5, 6, 0o644),
        owned(dir("d", 0), 999, 0, 0o755),
        file("i/implicit", ""),
        device("null", Kind::Char, 1, 3),
        device("disk", Kind::Block, 8, 0),
        file(".wh.w", ""),
    ];
    for ids in [
        Ids::Identity,
        Ids::Squash,
        Ids::Ranges {
            uids: range(100_000),
            gids: range(200_000),
        },
        Ids::Ranges {
            uids: range(0),
            gids: vec![],
        },
    ] {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        let options = Options {
            ids: ids.clone(),
            devices: Devices::Skip,
            ..Options::new(OVERLAY)
        };
        let expected = crate::archive::apply_with(&root, &tar(&members), &options);
        let (image, data) = (temp.path().join("image"), temp.path().join("data"));
        let options = hako_erofs::Options {
            ids,
            devices: Devices::Skip,
            ..hako_erofs::Options::default()
        };
        let index = hako_erofs::Index::new(&tar(&members)[..], &data_file(&data), &options);
        match (index, expected) {
            (Ok(index), Ok(expected)) => {
                let applied = index.write(File::create(&image).unwrap()).unwrap();
                assert_eq!(applied, expected);
                let built = crate::built::Built { image, data };
                crate::built::same_tree(&built, &root, temp.path());
            }
            (Err(error), Err(expected)) => {
                assert_eq!(format!("{:?}", layer_error(error)), format!("{expected:?}"));
            }
            (Ok(_), Err(expected)) => panic!("not refused, unlike: {expected:?}"),
            (Err(error), Ok(_)) => panic!("{error:?}"),
        }
    }
}
