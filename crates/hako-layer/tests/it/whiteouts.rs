//! Deletions, in both formats.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use hako_layer::{Error, Format, Notice};
use hako_tar::Kind;

use crate::archive::{Member, OVERLAY, apply, device, dir, file, link, symlink};
use crate::tree::names;

/// The names left after two layers in a plain directory.
fn plain(lower: &[Member], upper: &[Member]) -> Vec<String> {
    let temp = tempfile::tempdir().unwrap();
    apply(temp.path(), lower, Format::Plain).unwrap();
    apply(temp.path(), upper, Format::Plain).unwrap();
    names(temp.path())
}

fn is_whiteout(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok()
}

/// The example of layer.md.
#[test]
fn whiteouts_delete_what_lies_below() {
    let lower = [
        file("file1", ""),
        file("a/file2", ""),
        dir("b", 0o755),
        file("c/file3", ""),
        file("b/x/y", ""),
    ];
    let upper = [
        file(".wh.file1", ""),
        file("a/.wh.file2", ""),
        file(".wh.b", ""),
        file("file4", ""),
    ];
    assert_eq!(plain(&lower, &upper), ["a", "c", "c/file3", "file4"]);
    let temp = tempfile::tempdir().unwrap();
    let applied = apply(temp.path(), &upper, OVERLAY).unwrap();
    assert_eq!(applied.whiteouts, 3);
    assert_eq!(names(temp.path()), ["a", "a/file2", "b", "file1", "file4"]);
    for name in ["file1", "a/file2", "b"] {
        assert!(is_whiteout(&temp.path().join(name)));
    }
}

#[test]
fn opaque_markers_apply_first_whatever_their_place() {
    let lower = [file("a/b/c/bar", ""), file("a/x", ""), file("y", "")];
    let first = [
        dir("a", 0o755),
        file("a/.wh..wh..opq", ""),
        file("a/b/c/foo", ""),
    ];
    let last = [
        dir("a", 0o755),
        file("a/b/c/foo", ""),
        file("a/.wh..wh..opq", ""),
    ];
    for upper in [first, last] {
        assert_eq!(
            plain(&lower, &upper),
            ["a", "a/b", "a/b/c", "a/b/c/foo", "y"]
        );
        let temp = tempfile::tempdir().unwrap();
        apply(temp.path(), &upper, OVERLAY).unwrap();
        assert_eq!(names(temp.path()), ["a", "a/b", "a/b/c", "a/b/c/foo"]);
        assert!(is_opaque(&temp.path().join("a")) && !is_opaque(&temp.path().join("a/b")));
    }
}

#[test]
fn whiteouts_spare_this_layers_files_in_either_order() {
    let lower = [file("d/old", ""), file("f", "old")];
    for reverse in [false, true] {
        let mut upper = [
            file(".wh.d", ""),
            file("d/new", ""),
            file(".wh.f", ""),
            file("f", "new"),
        ];
        if reverse {
            upper.reverse();
        }
        assert_eq!(plain(&lower, &upper), ["d", "d/new", "f"], "{reverse}");
        let temp = tempfile::tempdir().unwrap();
        let applied = apply(temp.path(), &upper, OVERLAY).unwrap();
        assert_eq!(names(temp.path()), ["d", "d/new", "f"]);
        assert!(is_opaque(&temp.path().join("d")));
        // The lower directory is gone, so there is nothing to inherit.
        assert!(applied.implicit.is_empty());
        assert_eq!(std::fs::read(temp.path().join("f")).unwrap(), b"new");
    }
}

#[test]
fn a_file_that_becomes_a_directory_hides_the_lower_one() {
    let temp = tempfile::tempdir().unwrap();
    apply(temp.path(), &[file("d", ""), dir("d", 0o755)], OVERLAY).unwrap();
    assert!(is_opaque(&temp.path().join("d")));
    assert_eq!(
        plain(&[file("d/old", "")], &[file("d", ""), dir("d", 0o755)]),
        ["d"]
    );
}

#[test]
fn an_opaque_root_is_reported() {
    let lower = [file("a/b", ""), file("c", "")];
    let upper = [file("n", ""), file(".wh..wh..opq", "")];
    assert_eq!(plain(&lower, &upper), ["n"]);
    let temp = tempfile::tempdir().unwrap();
    assert!(apply(temp.path(), &upper, OVERLAY).unwrap().opaque_root);
    assert!(
        !apply(&temp.path().join("other"), &lower, OVERLAY)
            .unwrap()
            .opaque_root
    );
}

#[test]
fn whiteouts_of_what_is_not_there_are_harmless() {
    assert_eq!(
        plain(&[file("x", "")], &[file("a/.wh.b", ""), file(".wh.c", "")]),
        ["a", "x"]
    );
    // In a first layer, they have nothing to act on.
    let members = [
        file("a", ""),
        file(".wh.a", ""),
        file("d/f", ""),
        file("d/.wh..wh..opq", ""),
    ];
    let temp = tempfile::tempdir().unwrap();
    apply(temp.path(), &members, Format::Plain).unwrap();
    assert_eq!(names(temp.path()), ["a", "d", "d/f"]);
}

/// umoci writes such layers: a directory became a file, and what it had is deleted
/// one by one.
#[test]
fn whiteouts_below_a_file_of_this_layer_are_harmless() {
    let lower = [file("d/a", ""), file("d/b/c", ""), file("e/x", "")];
    for reverse in [false, true] {
        let mut upper = [
            dir("./", 0o755),
            file("d", "a file now"),
            file("d/.wh.a", ""),
            file("d/b/.wh.c", ""),
            file("d/.wh..wh..opq", ""),
            symlink("e", "d"),
            file("e/.wh.x", ""),
        ];
        if reverse {
            upper[1..].reverse();
        }
        assert_eq!(plain(&lower, &upper), ["d", "e"], "{reverse}");
        let temp = tempfile::tempdir().unwrap();
        let applied = apply(temp.path(), &upper, OVERLAY).unwrap();
        assert_eq!(names(temp.path()), ["d", "e"], "{reverse}");
        assert_eq!(applied.whiteouts, 4);
        assert!(applied.implicit.is_empty() && applied.deleted.is_empty());
        assert_eq!(std::fs::read(temp.path().join("d")).unwrap(), b"a file now");
    }
    // Anything else below a file is still a mistake.
    let error = apply(
        tempfile::tempdir().unwrap().path(),
        &[file("d", ""), file("d/a", "")],
        OVERLAY,
    );
    assert!(matches!(error, Err(Error::NotADirectory { .. })));
}

#[test]
fn aufs_metadata_is_left_out() {
    let members = [
        file(".wh..wh.aufs", ""),
        dir(".wh..wh.orph", 0o700),
        dir(".wh..wh.plnk", 0o700),
        file(".wh..wh.plnk/1.2", "x"),
        file("f", ""),
        link(".wh.gone", ".wh..wh.aufs"),
    ];
    let temp = tempfile::tempdir().unwrap();
    let applied = apply(temp.path(), &members, OVERLAY).unwrap();
    assert_eq!(names(temp.path()), ["f", "gone"]);
    assert_eq!(
        (&applied.warnings[0].notice, applied.warnings[0].count),
        (&Notice::Aufs, 4)
    );
}

#[test]
fn attack_04_whiteout_abuse_is_refused() {
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh.",
        "a/.wh...",
        ".wh../x",
        ".wh.a/b",
        ".wh..wh.x",
        ".wh..wh..wh..opq",
    ] {
        for format in [Format::Plain, OVERLAY] {
            let temp = tempfile::tempdir().unwrap();
            let inner = temp.path().join("root");
            std::fs::write(temp.path().join("outside"), "").unwrap();
            let error = apply(&inner, &[file(name, "")], format).unwrap_err();
            assert!(matches!(error, Error::Name { .. }), "{name}: {error}");
            assert_eq!(
                names(temp.path())
                    .iter()
                    .filter(|n| !n.starts_with("root/"))
                    .count(),
                2
            );
        }
    }
    for member in [
        dir(".wh.a", 0o755),
        symlink(".wh..wh..opq", "x"),
        device(".wh.a", Kind::Fifo, 0, 0),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let error = apply(temp.path(), &[member], OVERLAY).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    }
    let temp = tempfile::tempdir().unwrap();
    let error = apply(temp.path(), &[file("a", ""), link("b", ".wh.a")], OVERLAY).unwrap_err();
    assert!(matches!(error, Error::LinkTarget { .. }), "{error}");
}

#[test]
fn attack_04_whiteouts_through_symlinks_stay_inside() {
    let temp = tempfile::tempdir().unwrap();
    let (root, outside) = (temp.path().join("root"), temp.path().join("outside"));
    std::fs::create_dir_all(outside.join("d")).unwrap();
    std::fs::write(outside.join("victim"), "").unwrap();
    std::fs::write(outside.join("d/victim"), "").unwrap();
    let target = outside.to_str().unwrap();
    let lower = [
        symlink("abs", target),
        symlink("up", "../../../../../../outside"),
        symlink("rel", "../outside"),
    ];
    for name in ["abs", "up", "rel"] {
        for upper in [
            vec![file(&format!("{name}/.wh.victim"), "")],
            vec![file(&format!("{name}/.wh..wh..opq"), "")],
            vec![file(&format!("{name}/d/.wh..wh..opq"), "")],
            vec![
                file(&format!("{name}/new"), ""),
                file(&format!("{name}/.wh..wh..opq"), ""),
            ],
            vec![file(&format!(".wh.{name}"), "")],
        ] {
            apply(&root, &lower, Format::Plain).unwrap();
            apply(&root, &upper, Format::Plain).unwrap();
        }
    }
    assert_eq!(names(&outside), ["d", "d/victim", "victim"]);
}

#[test]
fn attack_12_a_whiteout_device_in_the_archive_is_a_deletion_and_never_more() {
    let lower = [file("x", ""), file("y", "")];
    let upper = [
        device("x", Kind::Char, 0, 0),
        device("y", Kind::Char, 0, 0),
        file("y", "new"),
    ];
    assert_eq!(plain(&lower, &upper), ["y"]);
    let temp = tempfile::tempdir().unwrap();
    let applied = apply(temp.path(), &upper, OVERLAY).unwrap();
    assert_eq!(applied.warnings[0].notice, Notice::WhiteoutDevice);
    assert!(is_whiteout(&temp.path().join("x")));
    assert_eq!(std::fs::read(temp.path().join("y")).unwrap(), b"new");
    // A hard link cannot multiply a whiteout.
    let members = [file(".wh.x", ""), link("z", "x")];
    let temp = tempfile::tempdir().unwrap();
    let error = apply(temp.path(), &members, OVERLAY).unwrap_err();
    assert!(matches!(error, Error::NeedsLower { .. }), "{error}");
}
