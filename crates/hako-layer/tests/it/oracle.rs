//! The same archives unpacked by GNU tar and by umoci.

use std::os::fd::AsFd;
use std::path::Path;

use hako_layer::{Format, Options};
use hako_tar::{Kind, codec};

use crate::archive::{
    Member, OVERLAY, apply_with, device, dir, file, link, owned, symlink, tar, with_xattr,
};
use crate::tree::{self, Tree, shell};

/// A tree with some of everything, made by the usual tools in `dir`.
fn make_tree(dir: &Path) {
    shell(
        r#"
        mkdir tree; cd tree; umask 0
        mkdir -m 0755 bin; mkdir -m 1777 tmp; mkdir -m 2750 group; mkdir -p deep/a/b/c; mkdir -m 0 closed
        printf 'binary' > bin/sh; chmod 4755 bin/sh; ln bin/sh bin/bash; ln bin/sh deep/a/b/c/sh
        ln -s ../bin/sh deep/link; ln -s /no/where deep/dangling; ln deep/link deep/link2
        mkfifo -m 0622 pipe; mknod -m 0660 disk b 8 17; mknod -m 0666 null c 1 3
        chown 1000:2000 group; chown 4000000:4294967294 tmp; chown -h 7:8 deep/link
        printf 'x' > 'name with spaces and ünïcode'; printf 'y' > "$(printf 'new\nline\ttab\\slash')"
        long=$(printf 'n%.0s' $(seq 200)); mkdir -p "$long/$long"; printf z > "$long/$long/$long"
        ln -s "$long/$long/$long/$long" longlink; ln "$long/$long/$long" "$long/hard"
        head -c 300000 /dev/urandom > big; : > empty
        truncate -s 1M sparse; printf data | dd of=sparse bs=1 seek=500000 conv=notrunc status=none
        setfattr -n user.one -v 1 bin/sh; setfattr -n user.empty bin; setfattr -n user.bin -v 0x00ff00 deep
        setfattr -n trusted.two -v 2 empty; setcap cap_net_raw+ep big
        touch -h -d '2001-02-03 04:05:06.123456789 UTC' deep/link empty big bin
        touch -d '1969-12-31 23:59:58.5 UTC' pipe
        "#,
        dir,
    );
}

/// Times in whole seconds, for the formats that have no others.
fn coarse(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        node.mtime.1 = 0;
    }
    tree
}

fn unpack(archive: &Path, root: &Path, format: Format) -> Tree {
    let file = std::fs::File::open(archive).unwrap();
    std::fs::create_dir(root).unwrap();
    let dir = std::fs::File::open(root).unwrap();
    let applied = hako_layer::apply(file, dir.as_fd(), &Options::new(format)).unwrap();
    assert!(
        applied.warnings.is_empty() && applied.stands_alone(),
        "{applied:?}"
    );
    tree::read(root)
}

#[test]
fn gnu_tar_and_we_unpack_alike_in_every_format() {
    let temp = tempfile::tempdir().unwrap();
    let work = temp.path();
    make_tree(work);
    let original = tree::read(&work.join("tree"));
    for (n, (create, exact)) in [
        ("--format=pax --xattrs --xattrs-include=*", true),
        ("--format=pax --xattrs --xattrs-include=* --sparse", true),
        ("--format=pax --xattrs --xattrs-include=* --sparse --sparse-version=0.0", true),
        ("--format=pax --xattrs --xattrs-include=* --sparse --sparse-version=0.1", true),
        ("--format=gnu --sparse", false),
        ("--format=oldgnu", false),
        ("--format=ustar --exclude=nnn* --exclude=longlink --exclude=tmp --exclude=pipe", false),
        ("--format=v7 --exclude=nnn* --exclude=longlink --exclude=tmp --exclude=pipe --exclude=disk --exclude=null", false),
    ]
    .into_iter()
    .enumerate()
    {
        shell(
            &format!(
                "tar -C tree {create} -cf {n}.tar . 2>errors
                 mkdir gnu{n}; tar -C gnu{n} --xattrs --xattrs-include='*' --numeric-owner -xpf {n}.tar"
            ),
            work,
        );
        let archive = work.join(format!("{n}.tar"));
        let gnu = tree::read(&work.join(format!("gnu{n}")));
        for (format, name) in [(Format::Plain, "plain"), (OVERLAY, "overlay")] {
            let ours = unpack(&archive, &work.join(format!("{name}{n}")), format);
            tree::assert_same(&ours, &gnu);
            if exact {
                tree::assert_same(&ours, &original);
            } else {
                assert_eq!(coarse(ours).len(), gnu.len());
            }
        }
    }
}

#[test]
fn what_our_writer_makes_gnu_tar_unpacks_alike() {
    let temp = tempfile::tempdir().unwrap();
    let long = "n".repeat(150);
    let members = [
        owned(dir(".", 0o755), 0, 0, 0o755),
        owned(dir("d", 0), 4_000_000, 3_000_000_000, 0o3751),
        owned(
            with_xattr(file("d/f", "data"), "user.k", b"\0\n=v"),
            1,
            2,
            0o4711,
        ),
        file(&format!("d/{long}/{long}/{long}"), "long"),
        link(
            &format!("d/{long}-link"),
            &format!("d/{long}/{long}/{long}"),
        ),
        symlink("d/l", &format!("/{long}")),
        device("d/c", Kind::Char, 200, 100_000),
        file("d/ü", "unicode"),
        dir(&format!("d/{long}/{long}"), 0o700),
        dir(&format!("d/{long}"), 0o700),
    ];
    std::fs::write(temp.path().join("t.tar"), tar(&members)).unwrap();
    shell(
        "mkdir g; tar -C g --xattrs --xattrs-include='*' --numeric-owner -xpf t.tar",
        temp.path(),
    );
    let ours = unpack(
        &temp.path().join("t.tar"),
        &temp.path().join("o"),
        Format::Plain,
    );
    tree::assert_same(&ours, &tree::read(&temp.path().join("g")));
}

/// Makes an image of the layers with umoci's own tool around our blobs, and
/// unpacks it with umoci.
fn umoci(work: &Path, layers: &[Vec<Member>]) -> Tree {
    shell("umoci init --layout img; umoci new --image img:t", work);
    for (n, layer) in layers.iter().enumerate() {
        std::fs::write(work.join(format!("l{n}.tar")), tar(layer)).unwrap();
        shell(&format!("umoci raw add-layer --image img:t l{n}.tar"), work);
    }
    shell("umoci unpack --image img:t bundle", work);
    tree::read(&work.join("bundle/rootfs"))
}

#[test]
fn umoci_and_we_apply_stacks_alike() {
    let base = vec![
        owned(dir("./", 0), 0, 0, 0o755),
        owned(dir("etc", 0), 0, 0, 0o755),
        with_xattr(
            owned(file("etc/passwd", "root"), 0, 42, 0o640),
            "user.k",
            b"v",
        ),
        file("etc/old", "old"),
        owned(dir("usr", 0), 0, 0, 0o755),
        owned(dir("usr/lib", 0), 5, 6, 0o2755),
        owned(file("usr/lib/x.so", "so"), 0, 0, 0o755),
        symlink("lib", "usr/lib"),
        link("usr/x", "usr/lib/x.so"),
        dir("opt", 0o755),
        file("opt/one", "1"),
        dir("opt/two", 0o700),
        file("opt/two/three", "3"),
        device("null", Kind::Char, 1, 3),
        device("pipe", Kind::Fifo, 0, 0),
        owned(file("suid", "s"), 1, 1, 0o6755),
        dir("becomes-file", 0o755),
        file("becomes-file/x", ""),
        file("becomes-dir", ""),
    ];
    for upper in [
        vec![
            file("etc/.wh.old", ""),
            file("etc/new", "new"),
            owned(dir("etc", 0), 1, 1, 0o711),
        ],
        vec![
            dir("opt", 0o750),
            file("opt/.wh..wh..opq", ""),
            file("opt/four", "4"),
        ],
        vec![file("lib/y.so", "y"), file("lib/.wh.x.so", "")],
        vec![
            file("becomes-file", "now"),
            dir("becomes-dir", 0o700),
            file("becomes-dir/y", ""),
        ],
        vec![link("usr/y", "etc/passwd"), symlink("etc/old", "passwd")],
        vec![
            file(".wh.opt", ""),
            dir("opt", 0o700),
            file("opt/fresh", ""),
        ],
    ] {
        let temp = tempfile::tempdir().unwrap();
        let layers = [base.clone(), upper];
        let theirs = umoci(temp.path(), &layers);
        let root = temp.path().join("ours");
        for layer in &layers {
            apply_with(&root, &tar(layer), &Options::new(Format::Plain)).unwrap();
        }
        tree::assert_same(&tree::read(&root), &theirs);
    }
}

#[test]
fn layers_apply_straight_from_their_compressed_form() {
    let members = [dir("d", 0o755), file("d/f", &"text ".repeat(100_000))];
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("l.tar"), tar(&members)).unwrap();
    shell(
        "gzip -k l.tar; zstd -q l.tar; cp l.tar l.tar.none",
        temp.path(),
    );
    for name in ["l.tar.gz", "l.tar.zst", "l.tar.none"] {
        let bytes = std::fs::read(temp.path().join(name)).unwrap();
        let stream = codec::decoder(codec::detect(&bytes), bytes.as_slice()).unwrap();
        let root = temp.path().join(format!("{name}.d"));
        std::fs::create_dir(&root).unwrap();
        let dir = std::fs::File::open(&root).unwrap();
        hako_layer::apply(stream, dir.as_fd(), &Options::new(OVERLAY)).unwrap();
        assert_eq!(std::fs::read(root.join("d/f")).unwrap().len(), 500_000);
    }
}
