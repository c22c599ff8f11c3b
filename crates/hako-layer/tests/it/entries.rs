//! Single entries: kinds, attributes, duplicates, parents.

use std::os::unix::fs::MetadataExt;

use hako_layer::{Devices, Error, Format, Ids, Limits, Notice, Options};
use hako_spec::runtime::IdMapping;
use hako_tar::{Entry, Kind, Time};

use crate::archive::{
    OVERLAY, apply, apply_with, device, dir, file, link, owned, symlink, tar, with_xattr,
};
use crate::tree::{self, names};

#[test]
fn every_kind_keeps_all_of_its_attributes() {
    // A capability set: cap_net_raw=ep, version 2 (linux/capability.h).
    let cap = [
        1u8, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let members = [
        owned(dir("./", 0o755), 0, 0, 0o711),
        owned(dir("d", 0o700), 7, 8, 0o3775),
        owned(
            with_xattr(file("d/f", "data"), "user.x", b"\0\xff"),
            9,
            10,
            0o6711,
        ),
        owned(
            with_xattr(file("d/cap", "x"), "security.capability", &cap),
            9,
            10,
            0o755,
        ),
        owned(symlink("d/l", "../no where"), 11, 12, 0o777),
        owned(device("d/p", Kind::Fifo, 0, 0), 13, 14, 0o622),
        owned(device("d/c", Kind::Char, 1, 3), 15, 16, 0o666),
        owned(
            device("d/b", Kind::Block, 259, 1_000),
            4_000_000_000,
            4_294_967_294,
            0o4660,
        ),
        owned(
            with_xattr(dir("empty", 0o755), "user.y", b"dir"),
            0,
            0,
            0o000,
        ),
    ];
    for format in [Format::Plain, OVERLAY] {
        let temp = tempfile::tempdir().unwrap();
        let applied = apply(temp.path(), &members, format).unwrap();
        assert_eq!((applied.entries, applied.bytes), (9, 5));
        assert!(applied.root_entry && applied.warnings.is_empty() && applied.implicit.is_empty());
        let found = tree::read(temp.path());
        assert_eq!(found.len(), members.len());
        for (entry, data) in &members {
            let path = String::from_utf8(entry.path.clone()).unwrap();
            let name = if path == "./" {
                ".".to_owned()
            } else {
                format!("./{path}")
            };
            let node = &found[&name];
            assert_eq!(node.mode, entry.mode, "{path}");
            assert_eq!(
                (u64::from(node.owner.0), u64::from(node.owner.1)),
                (entry.uid, entry.gid)
            );
            let mtime = (entry.mtime.secs, i64::from(entry.mtime.nanos));
            assert_eq!(node.mtime, mtime, "{path}");
            let expected = if entry.kind == Kind::Symlink {
                &entry.link
            } else {
                data
            };
            assert_eq!(&node.data, expected);
            assert_eq!(node.rdev, rustix::fs::makedev(entry.major, entry.minor));
            let xattrs: Vec<_> = node
                .xattrs
                .iter()
                .map(|(k, v)| (k.clone().into_bytes(), v.clone()))
                .collect();
            assert_eq!(xattrs, entry.xattrs, "{path}");
        }
    }
}

#[test]
fn hard_links_share_an_inode_also_to_symlinks_and_devices() {
    let temp = tempfile::tempdir().unwrap();
    let members = [
        file("a/f", "x"),
        symlink("a/l", "f"),
        device("a/p", Kind::Fifo, 0, 0),
        link("f", "a/f"),
        link("b/l", "/a/l"),
        link("p", "./a/../a/p"),
        link("a/f", "a/f"),
        link("f", "a/f"),
    ];
    apply(temp.path(), &members, OVERLAY).unwrap();
    let found = tree::read(temp.path());
    for (one, two, kind) in [
        ("./a/f", "./f", 'f'),
        ("./a/l", "./b/l", 'l'),
        ("./a/p", "./p", 'p'),
    ] {
        assert_eq!(
            (&found[one].same, found[one].kind),
            (&found[two].same, kind)
        );
        assert!(found[one].same.is_some());
    }
}

#[test]
fn hard_links_to_nothing_or_to_directories_are_refused() {
    for target in ["nothing", "d", "d/nothing", "."] {
        let temp = tempfile::tempdir().unwrap();
        let members = [dir("d", 0o755), link("l", target)];
        let error = apply(temp.path(), &members, Format::Plain).unwrap_err();
        assert!(
            matches!(error, Error::LinkTarget { .. }),
            "{target}: {error}"
        );
    }
}

#[test]
fn the_last_of_duplicate_entries_wins_whatever_their_kinds() {
    let kinds = || {
        vec![
            file("x", "file"),
            dir("x", 0o700),
            symlink("x", "/somewhere"),
            device("x", Kind::Fifo, 0, 0),
            device("x", Kind::Char, 5, 1),
        ]
    };
    for first in kinds() {
        for last in kinds() {
            let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut members = vec![first.clone()];
            if first.0.kind == Kind::Dir {
                members.push(file("x/below", "gone"));
            }
            members.push(last.clone());
            apply(a.path(), &members, Format::Plain).unwrap();
            let mut expected = vec![last.clone()];
            if (first.0.kind, last.0.kind) == (Kind::Dir, Kind::Dir) {
                expected.push(file("x/below", "gone"));
            }
            apply(b.path(), &expected, Format::Plain).unwrap();
            tree::assert_same(&tree::read(a.path()), &tree::read(b.path()));
        }
    }
}

#[test]
fn a_directory_over_a_directory_replaces_its_attributes_alone() {
    let temp = tempfile::tempdir().unwrap();
    let lower = [
        with_xattr(owned(dir("d", 0), 1, 2, 0o3777), "user.old", b"1"),
        file("d/f", "x"),
    ];
    apply(temp.path(), &lower, Format::Plain).unwrap();
    let upper = [with_xattr(
        owned(dir("d", 0), 3, 4, 0o750),
        "user.new",
        b"2",
    )];
    apply(temp.path(), &upper, Format::Plain).unwrap();
    let found = tree::read(temp.path());
    let node = &found["./d"];
    assert_eq!((node.mode, node.owner), (0o750, (3, 4)));
    assert_eq!(node.xattrs.keys().collect::<Vec<_>>(), ["user.new"]);
    assert_eq!(node.mtime, (1_500_000_000, 987_654_321));
    assert!(found.contains_key("./d/f"));
}

#[test]
fn parents_without_entries_are_made_and_their_times_do_not_move() {
    let temp = tempfile::tempdir().unwrap();
    let applied = apply(temp.path(), &[file("a/b/c", "x")], OVERLAY).unwrap();
    assert_eq!(applied.implicit, [b"a".to_vec(), b"a/b".to_vec()]);
    let found = tree::read(temp.path());
    for name in [".", "./a", "./a/b"] {
        assert_eq!(
            (found[name].mode, found[name].owner, found[name].mtime),
            (0o755, (0, 0), (0, 0))
        );
    }
    // In a plain tree, the lower layer's directories stay as they were.
    let temp = tempfile::tempdir().unwrap();
    apply(
        temp.path(),
        &[owned(dir("a", 0), 5, 6, 0o701), file("a/old", "")],
        Format::Plain,
    )
    .unwrap();
    let before = tree::read(temp.path());
    apply(
        temp.path(),
        &[file("a/new", ""), file("a/.wh.old", "")],
        Format::Plain,
    )
    .unwrap();
    let after = tree::read(temp.path());
    assert_eq!((&before["."], &before["./a"]), (&after["."], &after["./a"]));
    assert_eq!(names(temp.path()), ["a", "a/new"]);
}

#[test]
fn an_entry_after_its_contents_still_sets_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let members = [
        file("d/f", "x"),
        owned(dir("d", 0), 1, 2, 0o500),
        file("d/g", "y"),
    ];
    let applied = apply(temp.path(), &members, OVERLAY).unwrap();
    assert!(applied.implicit.is_empty());
    let node = &tree::read(temp.path())["./d"];
    assert_eq!(
        (node.mode, node.owner, node.mtime.0),
        (0o500, (1, 2), 1_500_000_000)
    );
}

#[test]
fn files_below_a_setgid_directory_keep_their_group() {
    let temp = tempfile::tempdir().unwrap();
    let members = [
        owned(dir("d", 0), 0, 50, 0o2755),
        file("d/f", ""),
        dir("d/e", 0o755),
        symlink("d/l", "f"),
        file("d/e/g", ""),
    ];
    apply(temp.path(), &members, Format::Plain).unwrap();
    let found = tree::read(temp.path());
    for name in ["./d/f", "./d/e", "./d/l", "./d/e/g"] {
        assert_eq!(found[name].owner, (0, 0), "{name}");
    }
    assert_eq!((found["./d"].mode, found["./d/e"].mode), (0o2755, 0o755));
}

#[test]
fn default_acls_do_not_touch_what_is_unpacked_below() {
    // u::rwx g::--- o::---, and the default of the same (linux/posix_acl_xattr.h).
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm) in [(1u16, 7u16), (4, 0), (32, 0)] {
        acl.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
        acl.extend([0xff; 4]);
    }
    let temp = tempfile::tempdir().unwrap();
    let members = [
        with_xattr(dir("d", 0o755), "system.posix_acl_default", &acl),
        file("d/f", ""),
    ];
    apply(temp.path(), &members, Format::Plain).unwrap();
    let found = tree::read(temp.path());
    assert_eq!(found["./d/f"].mode, 0o644);
    assert_eq!(found["./d"].xattrs["system.posix_acl_default"], acl);
}

#[test]
fn times_before_the_epoch_and_far_ahead_are_kept() {
    for (secs, nanos) in [(-1, 999_999_999), (-1_000_000_000, 0), (7_000_000_000, 1)] {
        let temp = tempfile::tempdir().unwrap();
        let (mut entry, data) = file("f", "x");
        entry.mtime = Time { secs, nanos };
        apply(temp.path(), &[(entry, data)], Format::Plain).unwrap();
        assert_eq!(
            tree::read(temp.path())["./f"].mtime,
            (secs, i64::from(nanos))
        );
    }
}

#[test]
fn ids_are_mapped_and_those_outside_are_refused() {
    let range = |container_id, host_id, size| IdMapping {
        container_id,
        host_id,
        size,
        ..IdMapping::default()
    };
    let mut options = Options::new(Format::Plain);
    options.ids = Ids::Ranges {
        uids: vec![range(0, 100_000, 1000), range(5000, 7, 1)],
        gids: vec![range(0, 200_000, 1000)],
    };
    let temp = tempfile::tempdir().unwrap();
    let members = [
        owned(file("a/f", ""), 5000, 999, 0o4755),
        owned(dir("d", 0), 12, 13, 0o755),
    ];
    apply_with(temp.path(), &tar(&members), &options).unwrap();
    let found = tree::read(temp.path());
    assert_eq!(
        (found["./a/f"].owner, found["./a/f"].mode),
        ((7, 200_999), 0o4755)
    );
    assert_eq!(found["./d"].owner, (100_012, 200_013));
    assert_eq!(
        (found["./a"].owner, found["."].owner),
        ((100_000, 200_000), (100_000, 200_000))
    );
    for (uid, gid) in [(1000, 0), (0, 1000), (u64::from(u32::MAX), 0), (1 << 40, 0)] {
        let temp = tempfile::tempdir().unwrap();
        let layer = tar(&[owned(file("f", ""), uid, gid, 0o644)]);
        let error = apply_with(temp.path(), &layer, &options).unwrap_err();
        assert!(matches!(error, Error::Id { .. }), "{error}");
    }
}

#[test]
fn limits_are_kept() {
    let many: Vec<_> = (0..20).map(|n| file(&format!("f{n}"), "12345")).collect();
    for (limits, what) in [
        (
            Limits {
                entries: 19,
                ..Limits::default()
            },
            "entries",
        ),
        (
            Limits {
                bytes: 99,
                ..Limits::default()
            },
            "data",
        ),
        (
            Limits {
                file: 4,
                ..Limits::default()
            },
            "size",
        ),
        (
            Limits {
                path: 1,
                ..Limits::default()
            },
            "path",
        ),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let options = Options {
            limits,
            ..Options::new(OVERLAY)
        };
        let error = apply_with(temp.path(), &tar(&many), &options).unwrap_err();
        assert!(
            matches!(error, Error::Limit { .. }) && error.to_string().contains(what),
            "{error}"
        );
    }
}

#[test]
fn labels_are_left_out_and_unknown_types_refused() {
    let temp = tempfile::tempdir().unwrap();
    let members = [
        (Entry::new(Kind::Other(b'V'), "label"), vec![]),
        file("f", ""),
    ];
    let applied = apply(temp.path(), &members, OVERLAY).unwrap();
    assert_eq!(applied.warnings[0].notice, Notice::Label);
    assert_eq!(names(temp.path()), ["f"]);
    let members = [(Entry::new(Kind::Other(b'D'), "dump"), vec![])];
    let temp = tempfile::tempdir().unwrap();
    let error = apply(temp.path(), &members, OVERLAY).unwrap_err();
    assert_eq!(error.to_string(), "\"dump\" is of the unknown type 'D'");
}

#[test]
fn skipped_devices_hide_what_is_below() {
    let options = Options {
        devices: Devices::Skip,
        ..Options::new(Format::Plain)
    };
    let temp = tempfile::tempdir().unwrap();
    apply(temp.path(), &[file("dev/null", "a file")], Format::Plain).unwrap();
    let members = [
        device("dev/null", Kind::Char, 1, 3),
        device("dev/fifo", Kind::Fifo, 0, 0),
    ];
    let applied = apply_with(temp.path(), &tar(&members), &options).unwrap();
    assert_eq!(
        applied.warnings[0].to_string(),
        "device node left out: \"dev/null\""
    );
    assert_eq!(names(temp.path()), ["dev", "dev/fifo"]);
}

#[test]
fn what_lies_behind_the_archive_is_read_but_not_looked_at() {
    let mut layer = tar(&[file("f", "x")]);
    layer.extend(vec![b'z'; 3_000_000]);
    let temp = tempfile::tempdir().unwrap();
    let mut left = layer.as_slice();
    let root = std::fs::File::open(temp.path()).unwrap();
    hako_layer::apply(
        &mut left,
        std::os::fd::AsFd::as_fd(&root),
        &Options::new(OVERLAY),
    )
    .unwrap();
    assert!(left.is_empty());
}

#[test]
fn an_overlay_layer_starts_empty() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("x"), "").unwrap();
    let error = apply(temp.path(), &[file("f", "")], OVERLAY).unwrap_err();
    assert!(matches!(error, Error::NotEmpty));
}

#[test]
fn sparse_files_keep_their_holes() {
    let temp = tempfile::tempdir().unwrap();
    tree::shell(
        "truncate -s 300M s; printf abc | dd of=s bs=1 seek=100M conv=notrunc 2>/dev/null",
        temp.path(),
    );
    for format in [
        "gnu",
        "oldgnu",
        "pax --sparse-version=0.0",
        "pax --sparse-version=0.1",
        "pax --sparse-version=1.0",
    ] {
        tree::shell(
            &format!("tar --sparse --format={format} -cf s.tar s; rm -rf out"),
            temp.path(),
        );
        let out = temp.path().join("out");
        let layer = std::fs::read(temp.path().join("s.tar")).unwrap();
        apply_with(&out, &layer, &Options::new(OVERLAY)).unwrap();
        let meta = std::fs::metadata(out.join("s")).unwrap();
        assert_eq!(meta.len(), 300 << 20);
        assert!(meta.blocks() < 64, "{format}: {} blocks", meta.blocks());
        tree::shell("cmp s out/s", temp.path());
    }
}
