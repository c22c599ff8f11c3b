//! A layer of each kind of corner, shown by an image as `apply` unpacks it.

use hako_tar::{Kind, Time};

use crate::archive::{Member, device, dir, file, link, owned, symlink, with_xattr};
use crate::built::{compare, compare_tar};
use crate::tree::shell;

fn at(mut member: Member, secs: i64, nanos: u32) -> Member {
    member.0.mtime = Time { secs, nanos };
    member
}

#[test]
fn files_of_every_kind() {
    let long = "n".repeat(255);
    compare(&[
        owned(dir("./", 0), 1, 2, 0o1711),
        owned(file("f", "data"), 4_294_967_294, 4_294_967_293, 0o6755),
        at(file("empty", ""), -1, 999_999_999),
        at(file("old", "x"), -2_000_000_000, 1),
        at(dir("later", 0o700), 5_000_000_000, 123_456_789),
        file(&long, "long"),
        file(&format!("{long}x/y")[1..], "in a long one"),
        symlink("s", "f"),
        symlink("s511", &"t".repeat(511)),
        symlink("s512", &"t".repeat(512)),
        symlink("s1000", &"/t".repeat(500)),
        symlink("s4095", &"a/".repeat(2047)),
        owned(device("null", Kind::Char, 1, 3), 0, 5, 0o666),
        device("disk", Kind::Block, 259, 1_048_575),
        device("high", Kind::Char, 4095, 70_000),
        owned(device("pipe", Kind::Fifo, 0, 0), 7, 8, 0o622),
        file("deep/a/b/c/d/e/f/g/h", "implicit all the way"),
        file("with space\nand\\line", "odd"),
        file("\u{fc}", "unicode"),
    ]);
}

#[test]
fn hard_links_share_their_file() {
    let applied = compare(&[
        dir("d", 0o755),
        with_xattr(file("a", "one"), "user.k", b"v"),
        link("d/b", "a"),
        link("c", "d/b"),
        symlink("s", "a"),
        link("t", "s"),
        device("p", Kind::Fifo, 0, 0),
        link("q", "p"),
        link("a", "c"),
        file("gone", "1"),
        link("stays", "gone"),
        file("gone", "2"),
    ]);
    assert_eq!(applied.bytes, 5);
}

#[test]
fn xattrs_and_access_control_lists() {
    let capability = [&0x0200_0001u32.to_le_bytes()[..], &[0xff; 16]].concat();
    let acl = |mask: u8| {
        let entry =
            |tag: u8, perm: u8, id: u32| [&[tag, 0, perm, 0][..], &id.to_le_bytes()].concat();
        [
            &2u32.to_le_bytes()[..],
            &entry(1, 7, u32::MAX),
            &entry(2, 6, 1000),
            &entry(4, 5, 9),
            &entry(16, mask, u32::MAX),
            &entry(32, 0, u32::MAX),
        ]
        .concat()
    };
    let plain = [
        2u32.to_le_bytes().to_vec(),
        b"\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\x02\0\xff\xff\xff\xff"
            .to_vec(),
    ]
    .concat();
    let applied = compare(&[
        with_xattr(dir("./", 0o755), "user.root", b"1"),
        with_xattr(file("cap", "x"), "security.capability", &capability),
        with_xattr(
            with_xattr(file("two", ""), "user.empty", b""),
            "trusted.b",
            &[0; 2000],
        ),
        with_xattr(symlink("s", "x"), "trusted.s", b"on a symlink"),
        with_xattr(symlink("s2", "x"), "user.refused", b""),
        with_xattr(device("p", Kind::Fifo, 0, 0), "user.refused", b""),
        with_xattr(device("p2", Kind::Fifo, 0, 0), "security.x", b"1"),
        with_xattr(file("o", ""), "trusted.overlay.redirect", b"/x"),
        with_xattr(file("o2", ""), "user.overlay.opaque", b"y"),
        with_xattr(file("o3", ""), "security.selinux", b"l"),
        with_xattr(file("unknown", ""), "foreign.x", b"1"),
        with_xattr(
            owned(file("acl", ""), 0, 0, 0o4777),
            "system.posix_acl_access",
            &acl(4),
        ),
        with_xattr(file("plain", ""), "system.posix_acl_access", &plain),
        with_xattr(symlink("s3", "x"), "system.posix_acl_access", &acl(4)),
        with_xattr(file("fd", ""), "system.posix_acl_default", &acl(4)),
        with_xattr(dir("dd", 0o700), "system.posix_acl_default", &acl(7)),
        file("dd/child", ""),
        with_xattr(dir("again", 0o755), "user.first", b"1"),
        with_xattr(dir("again", 0o700), "user.second", b"2"),
    ]);
    assert_eq!(applied.warnings.len(), 4, "{:?}", applied.warnings);
}

#[test]
fn xattrs_that_many_files_share() {
    let mut members = Vec::new();
    for n in 0..300 {
        let mut member = with_xattr(file(&format!("f{n}"), ""), "user.same", &[7; 100]);
        member = with_xattr(member, "trusted.also", b"the same everywhere");
        members.push(with_xattr(member, "user.own", n.to_string().as_bytes()));
    }
    compare(&members);
}

/// More shared ones than an inode has room for. Ext4's limit is lower.
#[test]
fn three_hundred_xattrs_on_two_files() {
    let many = |path: &str| {
        let names = 0..300;
        names.fold(file(path, ""), |member, n| {
            with_xattr(member, &format!("user.{n}"), b"value")
        })
    };
    let temp = tempfile::tempdir().unwrap();
    let tar = crate::archive::tar(&[many("a"), many("b")]);
    let (built, _) = crate::built::build(temp.path(), "many", &tar, None).unwrap();
    let (image, data) = built.open();
    let target = temp.path().join("mounted");
    let mounted = crate::mounts::isolated(|| {
        crate::mounts::erofs(&built.image, &built.data, &target);
        crate::tree::read(&target)
    });
    assert_eq!(mounted["./b"].xattrs.len(), 300);
    crate::tree::assert_same(&mounted, &crate::built::read(&image, &data));
}

#[test]
fn whiteouts_and_opaque_directories() {
    let applied = compare(&[
        file(".wh.gone", ""),
        dir("d", 0o755),
        file("d/.wh.x", ""),
        file("d/y", ""),
        file("d/.wh.y", ""),
        file("o/.wh..wh..opq", ""),
        file("o/new", ""),
        dir("e", 0o700),
        file(".wh.e", ""),
        file("i/j/k", ""),
        file("i/.wh.j", ""),
        device("zero", Kind::Char, 0, 0),
        file("was", "something"),
        device("was", Kind::Char, 0, 0),
        link(".wh.aufs", "f"),
        file(".wh..wh.plnk/1", ""),
        file("f", ""),
        file("f/.wh.below", ""),
        file(".wh.w", ""),
        file("w/is/a/directory/now", ""),
    ]);
    assert!(!applied.deleted.is_empty() && !applied.implicit.is_empty());
    let applied = compare(&[file(".wh..wh..opq", ""), file("a/b", "")]);
    assert!(applied.opaque_root && applied.implicit.is_empty());
}

#[test]
fn later_entries_win() {
    compare(&[
        file("f", "first"),
        file("f", "second"),
        with_xattr(dir("d", 0o700), "user.gone", b""),
        file("d/kept", ""),
        owned(dir("d", 0), 3, 4, 0o2770),
        dir("x", 0o755),
        file("x/y/z", ""),
        file("x", "a file"),
        file("v", ""),
        dir("v", 0o755),
        file("v/in", ""),
        symlink("l", "d"),
        dir("l", 0o711),
        file("p/q", ""),
        dir("p", 0o700),
        dir("t/u", 0o700),
        symlink("t", "v"),
        file("t/through", ""),
        dir("./", 0o750),
        dir("./", 0o555),
    ]);
}

#[test]
fn parents_that_are_symlinks() {
    compare(&[
        dir("usr/lib", 0o755),
        symlink("lib", "usr/lib"),
        symlink("abs", "/usr/lib"),
        symlink("up", "../../../usr"),
        symlink("usr/self", "."),
        symlink("chain", "up/self/lib"),
        file("lib/a", "1"),
        file("abs/b", "2"),
        file("up/c", "3"),
        file("chain/d", "4"),
        file("usr/self/self/self/e", "5"),
        symlink("dangling", "made/on/the/way"),
        file("dangling/f", "6"),
        link("g", "chain/d"),
        file("lib/.wh.old", ""),
        file("abs/new/.wh..wh..opq", ""),
    ]);
}

#[test]
fn a_directory_of_ten_thousand_names() {
    let mut members = vec![dir("many", 0o755)];
    for n in 0..10_000u32 {
        let name = format!("many/{:x}", n.wrapping_mul(2_654_435_761));
        members.push(if n % 5 == 0 {
            dir(&name, 0o755)
        } else {
            file(&name, "")
        });
    }
    members.extend([
        file("many/-", ""),
        file("many/+", ""),
        file("many/...", ""),
        file("many/.a", ""),
    ]);
    compare(&members);
}

/// A sparse file as GNU tar writes it in version 0.1; our writer makes none.
pub(crate) fn sparse(path: &str, size: u64, segments: &[(u64, u64)]) -> Member {
    let stored: u64 = segments.iter().map(|(_, len)| len).sum();
    let mut member = file(path, "");
    member.1 = (0..stored).map(|n| (n % 251) as u8 + 1).collect();
    member.0.size = stored;
    let map: Vec<_> = segments
        .iter()
        .map(|(at, len)| format!("{at},{len}"))
        .collect();
    for (key, value) in [
        ("GNU.sparse.size", size.to_string()),
        ("GNU.sparse.numblocks", segments.len().to_string()),
        ("GNU.sparse.map", map.join(",")),
    ] {
        member.0.pax.push((key.into(), value.into_bytes()));
    }
    member
}

#[test]
fn sparse_files() {
    compare(&[
        sparse("aligned", 1 << 20, &[(4096, 8192), (65_536, 512)]),
        sparse(
            "not",
            1 << 20,
            &[(1, 1), (700, 300), (5000, 100_000), (1 << 19, 3)],
        ),
        sparse("hole", 5_000_000, &[]),
        sparse("end", 1_000_000, &[(999_000, 1000)]),
        sparse("full", 10_000, &[(0, 10_000)]),
        sparse("replaced", 10_000, &[(5, 100)]),
        file("replaced", "by this"),
        file("after", "all of them"),
    ]);
}

#[test]
fn archives_of_gnu_tar_in_every_format() {
    let temp = tempfile::tempdir().unwrap();
    shell(
        r#"
        mkdir tree; cd tree; umask 0
        mkdir -p a/b; printf text > a/b/f; ln a/b/f a/g; chmod 4755 a/g; ln -s b/f a/s
        mkfifo p; mknod -m 660 disk b 8 17; chown 1000:2000 a; : > empty
        truncate -s 1M sparse; printf data | dd of=sparse bs=1 seek=500000 conv=notrunc status=none
        long=$(printf 'n%.0s' $(seq 200)); mkdir -p "$long/$long"; printf z > "$long/$long/$long"
        setfattr -n user.one -v 1 a/b/f; setcap cap_net_raw+ep a/g; setfacl -m u:1:r a/b; setfacl -d -m g:2:rw a
        touch -h -d '2001-02-03 04:05:06.123456789 UTC' a/s empty a
        "#,
        temp.path(),
    );
    for format in [
        "--format=pax --xattrs --xattrs-include=* --acls",
        "--format=pax --xattrs --xattrs-include=* --sparse",
        "--format=pax --sparse --sparse-version=0.0",
        "--format=pax --sparse --sparse-version=0.1",
        "--format=gnu --sparse",
        "--format=oldgnu",
    ] {
        shell(&format!("tar -C tree {format} -cf t.tar ."), temp.path());
        compare_tar(&std::fs::read(temp.path().join("t.tar")).unwrap());
    }
}

#[test]
fn archives_without_their_end() {
    compare_tar(b"");
    compare(&[]);
    let mut tar = crate::archive::tar(&[file("f", "data that does not fill a block")]);
    tar.truncate(3 * 512 + 31);
    compare_tar(&tar);
}
