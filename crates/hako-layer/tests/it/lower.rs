//! Layers that need to see the ones below.

use std::fs::File;
use std::os::fd::AsFd;

use hako_layer::{Error, Format, Options, XattrPrefix, inherit};
use hako_tar::Kind;

use crate::archive::{
    OVERLAY, apply, apply_with, device, dir, file, link, owned, symlink, tar, with_xattr,
};
use crate::tree::{self, names};

#[test]
fn implicit_parents_take_the_topmost_lower_directory() {
    let temp = tempfile::tempdir().unwrap();
    let [one, two, three] = ["1", "2", "3"].map(|name| temp.path().join(name));
    apply(
        &one,
        &[
            owned(dir("./", 0), 9, 9, 0o711),
            owned(dir("a", 0), 1, 1, 0o700),
            owned(dir("a/b", 0), 1, 1, 0o701),
        ],
        OVERLAY,
    )
    .unwrap();
    apply(
        &two,
        &[with_xattr(owned(dir("a", 0), 2, 2, 0o3750), "user.k", b"v")],
        OVERLAY,
    )
    .unwrap();
    let mut applied = apply(&three, &[file("a/b/c/f", "")], OVERLAY).unwrap();
    assert_eq!(
        applied.implicit,
        [&b"a"[..], b"a/b", b"a/b/c"].map(<[u8]>::to_vec)
    );
    let files = [&two, &one, &three].map(|path| File::open(path).unwrap());
    let lower = [files[0].as_fd(), files[1].as_fd()];
    inherit(&mut applied, files[2].as_fd(), &lower, XattrPrefix::Trusted).unwrap();
    assert!(applied.implicit.is_empty());
    let (found, below) = (tree::read(&three), tree::read(&two));
    assert_eq!(found["./a"], below["./a"]);
    assert_eq!((found["./a/b"].mode, found["./a/b"].owner), (0o701, (1, 1)));
    assert_eq!(
        (found["./a/b/c"].mode, found["./a/b/c"].owner),
        (0o755, (0, 0))
    );
    // The root of the second layer has no entry: it is as good as missing.
    assert_eq!(found["."].mode, 0o755);
}

#[test]
fn what_a_lower_layer_hides_is_not_inherited() {
    for hide in [
        vec![file(".wh.a", "")],
        vec![file("a", "")],
        vec![file("a/.wh..wh..opq", "")],
        vec![file("a/.wh.b", "")],
    ] {
        let temp = tempfile::tempdir().unwrap();
        let [one, two, three] = ["1", "2", "3"].map(|name| temp.path().join(name));
        apply(&one, &[owned(dir("a/b", 0), 1, 1, 0o700)], OVERLAY).unwrap();
        apply(&two, &hide, OVERLAY).unwrap();
        let files = [&two, &one].map(|path| File::open(path).unwrap());
        let lower = files.each_ref().map(AsFd::as_fd);
        let options = Options {
            lower: Some(&lower),
            ..Options::new(OVERLAY)
        };
        apply_with(&three, &tar(&[file("a/b/f", "")]), &options).unwrap();
        assert_eq!(tree::read(&three)["./a/b"].mode, 0o755, "{hide:?}");
    }
}

#[test]
fn hard_links_to_lower_files_take_them_up() {
    let temp = tempfile::tempdir().unwrap();
    let [one, two] = ["1", "2"].map(|name| temp.path().join(name));
    let members = [
        owned(dir("usr", 0), 1, 1, 0o751),
        owned(
            with_xattr(file("usr/f", "contents"), "user.k", b"v"),
            5,
            6,
            0o4711,
        ),
        symlink("usr/l", "f"),
        owned(device("usr/p", Kind::Fifo, 0, 0), 7, 8, 0o620),
        symlink("bin", "usr"),
    ];
    apply(&one, &members, OVERLAY).unwrap();
    let layer = [
        link("f", "usr/f"),
        link("l", "bin/l"),
        link("p", "bin/p"),
        link("f2", "f"),
        link("f3", "bin/f"),
    ];
    let alone = apply(&two, &layer, OVERLAY).unwrap_err();
    assert!(matches!(alone, Error::NeedsLower { .. }), "{alone}");
    std::fs::remove_dir_all(&two).unwrap();
    let root = File::open(&one).unwrap();
    let options = Options {
        lower: Some(&[root.as_fd()]),
        ..Options::new(OVERLAY)
    };
    apply_with(&two, &tar(&layer), &options).unwrap();
    let (found, below) = (tree::read(&two), tree::read(&one));
    assert_eq!(names(&two), ["f", "f2", "f3", "l", "p"]);
    for (name, links) in [("f", 3), ("l", 1), ("p", 1)] {
        let mut up = found[&format!("./{name}")].clone();
        assert_eq!(up.same.take().is_some(), links > 1);
        assert_eq!(up, below[&format!("./usr/{name}")]);
    }
    for name in ["./f2", "./f3"] {
        assert_eq!(found[name].same.as_deref(), Some("./f"));
    }
}

#[test]
fn hard_links_to_what_no_layer_has_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let [one, two] = ["1", "2"].map(|name| temp.path().join(name));
    apply(&one, &[file("a", ""), dir("d", 0o755)], OVERLAY).unwrap();
    let root = File::open(&one).unwrap();
    let options = Options {
        lower: Some(&[root.as_fd()]),
        ..Options::new(OVERLAY)
    };
    for members in [
        vec![link("x", "b")],
        vec![link("x", "d")],
        vec![file(".wh.a", ""), link("x", "a")],
    ] {
        let error = apply_with(&two, &tar(&members), &options).unwrap_err();
        assert!(matches!(error, Error::LinkTarget { .. }), "{error}");
        std::fs::remove_dir_all(&two).unwrap();
    }
}

#[test]
fn lower_symlinks_are_followed_as_in_a_plain_tree() {
    let temp = tempfile::tempdir().unwrap();
    let [one, two] = ["1", "2"].map(|name| temp.path().join(name));
    // The merged /usr of today's distributions, and a layer that ignores it.
    apply(
        &one,
        &[
            dir("usr/lib", 0o755),
            symlink("lib", "usr/lib"),
            symlink("deep", "/lib/../lib"),
        ],
        OVERLAY,
    )
    .unwrap();
    let layer = tar(&[file("lib/x.so", ""), file("deep/y.so", "")]);
    let mut applied = apply_with(&two, &layer, &Options::new(OVERLAY)).unwrap();
    let files = [&one, &two].map(|path| File::open(path).unwrap());
    let error = inherit(
        &mut applied,
        files[1].as_fd(),
        &[files[0].as_fd()],
        XattrPrefix::Trusted,
    )
    .unwrap_err();
    assert!(matches!(error, Error::NeedsLower { .. }), "{error}");
    std::fs::remove_dir_all(&two).unwrap();
    let options = Options {
        lower: Some(&[files[0].as_fd()]),
        ..Options::new(OVERLAY)
    };
    apply_with(&two, &layer, &options).unwrap();
    assert_eq!(
        names(&two),
        ["usr", "usr/lib", "usr/lib/x.so", "usr/lib/y.so"]
    );
    let plain = temp.path().join("plain");
    apply(
        &plain,
        &[
            dir("usr/lib", 0o755),
            symlink("lib", "usr/lib"),
            symlink("deep", "/lib/../lib"),
        ],
        Format::Plain,
    )
    .unwrap();
    apply_with(&plain, &layer, &Options::new(Format::Plain)).unwrap();
    assert!(plain.join("usr/lib/y.so").exists());
}

/// File systems give the number of a removed inode to the next one.
#[test]
fn a_copy_that_was_replaced_is_not_linked_any_more() {
    let temp = tempfile::tempdir().unwrap();
    let [low, high] = ["low", "high"].map(|name| temp.path().join(name));
    apply(&low, &[file("f", "from below")], OVERLAY).unwrap();
    let lower = File::open(&low).unwrap();
    let lower = [lower.as_fd()];
    let options = Options {
        lower: Some(&lower),
        ..Options::new(OVERLAY)
    };
    let members = [
        link("a", "f"),
        file("a", "something else"),
        link("b", "f"),
        link("c", "f"),
        dir("d", 0o755),
        link("d/e", "f"),
    ];
    apply_with(&high, &tar(&members), &options).unwrap();
    let found = tree::read(&high);
    assert_eq!(found["./a"].data, b"something else");
    assert_eq!(found["./a"].same, None);
    for name in ["./b", "./c", "./d/e"] {
        assert_eq!(found[name].data, b"from below");
        assert_eq!(found[name].same.as_deref(), Some("./b"));
    }
}
