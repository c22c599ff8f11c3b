//! Attempts to leave the root, by the numbers of the project's list of
//! attacks. Each is made in both formats, next to a directory of victims.

use std::path::{Path, PathBuf};

use hako_layer::{Error, Format, Limits, Options};
use hako_tar::{Entry, Kind};

use crate::archive::{
    Member, OVERLAY, apply, apply_with, device, dir, file, link, owned, symlink, tar, with_xattr,
};
use crate::tree::{self, Tree, names};

/// A root with something beside it that must not change.
struct Arena {
    temp: tempfile::TempDir,
    before: Tree,
}

impl Arena {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir_all(outside.join("dir")).unwrap();
        std::fs::create_dir(temp.path().join("root")).unwrap();
        for name in ["passwd", "dir/passwd"] {
            std::fs::write(outside.join(name), "root:x:0:0").unwrap();
        }
        let before = tree::read(&outside);
        Self { temp, before }
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    fn target(&self) -> String {
        self.outside().to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn check(&self) {
        tree::assert_same(&tree::read(&self.outside()), &self.before);
        let mut there: Vec<_> = std::fs::read_dir(self.temp.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        there.sort();
        assert_eq!(there, ["outside", "root"]);
    }
}

/// Applies the members in both formats and hands the results over.
#[track_caller]
fn both(
    members: impl Fn(&Arena) -> Vec<Member>,
    look: impl Fn(&Path, Result<hako_layer::Applied, Error>),
) {
    for format in [Format::Plain, OVERLAY] {
        let arena = Arena::new();
        let result = apply(&arena.root(), &members(&arena), format);
        arena.check();
        look(&arena.root(), result);
    }
}

#[test]
fn attack_01_names_that_climb_are_refused() {
    for name in [
        "../evil",
        "a/../../evil",
        "/../evil",
        "./../outside/passwd",
        "..",
    ] {
        for member in [
            file(name, "x"),
            dir(name, 0o777),
            symlink(name, "x"),
            device(name, Kind::Fifo, 0, 0),
        ] {
            both(
                |_| vec![member.clone()],
                |_, result| {
                    assert!(matches!(result, Err(Error::Escapes { .. })), "{name}");
                },
            );
        }
    }
}

#[test]
fn attack_01_absolute_names_are_taken_inside() {
    both(
        |arena| {
            vec![
                file(&format!("{}/passwd", arena.target()), "evil"),
                file("//etc//x", ""),
            ]
        },
        |root, result| {
            result.unwrap();
            assert!(root.join("etc/x").exists());
        },
    );
}

#[test]
fn attack_02_files_through_symlinks_land_inside() {
    both(
        |arena| {
            let target = arena.target();
            vec![
                symlink("abs", &target),
                file("abs/passwd", "evil"),
                file("abs/new/deep", "evil"),
                symlink("rel", "../outside"),
                file("rel/passwd", "evil"),
                symlink("far", "a/../../../../../../../../outside/./dir"),
                dir("a", 0o755),
                file("far/passwd", "evil"),
                symlink("chain1", "chain2"),
                symlink("chain2", "chain3/.."),
                symlink("chain3", &format!("{target}/dir")),
                file("chain1/passwd", "evil"),
                symlink("magic", "/proc/self/root"),
                file("magic/evil", "evil"),
            ]
        },
        |root, result| {
            result.unwrap();
            assert_eq!(std::fs::read(root.join("outside/passwd")).unwrap(), b"evil");
            assert_eq!(
                std::fs::read(root.join("outside/dir/passwd")).unwrap(),
                b"evil"
            );
            assert_eq!(
                std::fs::read(root.join("proc/self/root/evil")).unwrap(),
                b"evil"
            );
        },
    );
}

#[test]
fn attack_02_a_link_of_a_lower_layer_leads_nowhere_else() {
    let arena = Arena::new();
    apply(
        &arena.root(),
        &[
            symlink("etc", &arena.target()),
            symlink("f", &format!("{}/passwd", arena.target())),
        ],
        Format::Plain,
    )
    .unwrap();
    let upper = [
        file("etc/passwd", "evil"),
        file("f", "evil"),
        dir("etc/dir", 0o777),
        file("etc/.wh.passwd", ""),
    ];
    apply(&arena.root(), &upper, Format::Plain).unwrap();
    arena.check();
    assert_eq!(std::fs::read(arena.root().join("f")).unwrap(), b"evil");
}

#[test]
fn attack_02_the_last_component_is_never_followed() {
    both(
        |arena| {
            let target = arena.target();
            let passwd = format!("{target}/passwd");
            let mut members = Vec::new();
            for (name, member) in [
                ("a", file("a", "evil")),
                ("b", dir("b", 0o777)),
                ("c", symlink("c", "evil")),
                ("d", device("d", Kind::Fifo, 0, 0)),
                ("e", owned(file("e", "evil"), 1, 1, 0o6777)),
                (
                    "g",
                    with_xattr(owned(dir("g", 0), 1, 1, 0o777), "user.x", b"1"),
                ),
            ] {
                members.push(symlink(
                    name,
                    if name == "b" || name == "g" {
                        &target
                    } else {
                        &passwd
                    },
                ));
                members.push(member);
            }
            members
        },
        |root, result| {
            result.unwrap();
            assert!(root.join("b").symlink_metadata().unwrap().is_dir());
        },
    );
}

#[test]
fn attack_02_the_root_entry_cannot_become_a_link() {
    for name in ["", ".", "./", "/", "a/..", "./."] {
        for kind in [
            Kind::Symlink,
            Kind::File,
            Kind::Fifo,
            Kind::Char,
            Kind::HardLink,
        ] {
            both(
                |arena| {
                    let mut entry = Entry::new(kind, if name.is_empty() { "." } else { name });
                    entry.link = arena.target().into_bytes();
                    vec![(entry, Vec::new()), file("passwd", "evil")]
                },
                |_, result| assert!(matches!(result, Err(Error::Root)), "{name:?} {kind:?}"),
            );
        }
    }
}

#[test]
fn attack_02_directories_swapped_for_links_are_not_used_from_memory() {
    both(
        |arena| {
            vec![
                file("d/e/one", ""),
                symlink("d", &arena.target()),
                file("d/e/two", ""),
                file("d/passwd", "evil"),
                dir("x/y", 0o755),
                file("x/y/one", ""),
                symlink("s", "x"),
                symlink("s/y", &arena.target()),
                file("x/y/passwd", "evil"),
            ]
        },
        |root, result| {
            result.unwrap();
            assert!(root.join("x/y").symlink_metadata().unwrap().is_symlink());
        },
    );
}

#[test]
fn attack_02_loops_end() {
    both(
        |_| vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "")],
        |_, result| assert!(matches!(result, Err(Error::TooManyLinks { .. }))),
    );
    // Doubling: each link leads through the one before it twice.
    both(
        |_| {
            let mut members = vec![dir("d", 0o755), symlink("l0", "d")];
            for n in 1..40 {
                members.push(symlink(&format!("l{n}"), &format!("l{0}/../l{0}", n - 1)));
            }
            members.push(file("l39/x", ""));
            members
        },
        |_, result| assert!(matches!(result, Err(Error::TooManyLinks { .. }))),
    );
}

#[test]
fn attack_03_hard_links_cannot_reach_out() {
    for target in [
        "../outside/passwd",
        "a/../../outside/passwd",
        "/../outside/passwd",
    ] {
        both(
            |_| vec![link("l", target)],
            |_, result| {
                assert!(matches!(result, Err(Error::Escapes { .. })), "{target}");
            },
        );
    }
    for through in ["abs/passwd", "rel/passwd", "rel/dir/passwd"] {
        both(
            |arena| {
                vec![
                    symlink("abs", &arena.target()),
                    symlink("rel", "../outside"),
                    link("l", through),
                ]
            },
            |_, result| {
                assert!(matches!(
                    result,
                    Err(Error::LinkTarget { .. } | Error::NeedsLower { .. })
                ));
            },
        );
    }
    // To a symlink itself: that is linked, and what is then written replaces it.
    both(
        |arena| {
            let passwd = format!("{}/passwd", arena.target());
            vec![
                symlink("s", &passwd),
                link("l", "s"),
                file("l", "evil"),
                owned(file("s", "evil"), 1, 1, 0o4777),
            ]
        },
        |_, result| drop(result.unwrap()),
    );
}

#[test]
fn attack_06_bombs_of_entries_depth_and_size_are_refused() {
    let small = Limits {
        entries: 1000,
        bytes: 1 << 20,
        ..Limits::default()
    };
    let options = Options {
        limits: small,
        ..Options::new(OVERLAY)
    };
    let empty: Vec<_> = (0..1001).map(|_| file("same", "")).collect();
    let arena = Arena::new();
    let result = apply_with(&arena.root(), &tar(&empty), &options);
    assert!(matches!(result, Err(Error::Limit { limit: 1000, .. })));

    // A few names that ask for many directories.
    let arena = Arena::new();
    let wide: Vec<_> = (0..10)
        .map(|n| file(&format!("{n}/{}x", "d/".repeat(200)), ""))
        .collect();
    let result = apply_with(&arena.root(), &tar(&wide), &options);
    assert!(matches!(result, Err(Error::Limit { limit: 1000, .. })));

    let deep = "d/".repeat(600);
    both(
        |_| vec![file(&deep, "")],
        |_, result| {
            assert!(matches!(result, Err(Error::Limit { limit: 512, .. })));
        },
    );
    // The same by a symlink that multiplies.
    both(
        |_| {
            let mut members = vec![symlink("l", &"d/".repeat(300))];
            members.push(file("l/x", ""));
            members.push(symlink(
                &format!("{}m", "d/".repeat(300)),
                &"e/".repeat(300),
            ));
            members.push(file("l/m/y", ""));
            members
        },
        |_, result| assert!(matches!(result, Err(Error::Limit { .. }))),
    );

    // A sparse file of 8 EiB, in GNU tar's format.
    let arena = Arena::new();
    tree::shell(
        "truncate -s 1T s; tar --sparse --format=pax -cf s.tar s; rm s
         sed -i 's/GNU.sparse.realsize=1099511627776/GNU.sparse.realsize=9223372036854/' s.tar",
        &arena.root(),
    );
    let layer = std::fs::read(arena.root().join("s.tar")).unwrap();
    std::fs::remove_file(arena.root().join("s.tar")).unwrap();
    let limits = Limits {
        file: 1 << 40,
        ..Limits::default()
    };
    let result = apply_with(
        &arena.root(),
        &layer,
        &Options {
            limits,
            ..Options::new(OVERLAY)
        },
    );
    assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
}

#[test]
fn attack_12_overlay_and_selinux_xattrs_are_dropped() {
    for name in [
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "trusted.overlay.metacopy",
        "user.overlay.redirect",
        "user.overlay.whiteout",
        "trusted.overlay.overlay.opaque",
        "security.selinux",
    ] {
        both(
            |_| {
                let mut members = vec![with_xattr(dir("d", 0o755), name, b"/evil")];
                members.push(with_xattr(file("f", ""), name, b"y"));
                members.push(with_xattr(dir("./", 0o755), name, b"y"));
                members.push(with_xattr(file("g", ""), "trusted.mine", b"kept"));
                members
            },
            |root, result| {
                assert!(result.unwrap().warnings.is_empty());
                let found = tree::read(root);
                for path in [".", "./d", "./f"] {
                    assert!(found[path].xattrs.is_empty(), "{name}");
                }
                assert_eq!(found["./g"].xattrs["trusted.mine"], b"kept");
            },
        );
    }
}

/// 4096:0 would be cut to 0:0 by mknod(2), the mark of a deletion.
#[test]
fn attack_12_device_numbers_are_not_cut_off() {
    for (major, minor) in [(4096, 0), (0, 1 << 20), (1 << 20, 1)] {
        both(
            |_| vec![device("d", Kind::Char, major, minor)],
            |root, result| {
                assert!(matches!(result, Err(Error::Device { .. })));
                assert_eq!(tree::names(root), [""; 0]);
            },
        );
    }
}

#[test]
fn attack_12_a_new_directory_cannot_take_off_the_opaque_mark() {
    let temp = tempfile::tempdir().unwrap();
    let members = [file("d/.wh..wh..opq", ""), dir("d", 0o755), dir("d", 0o700)];
    apply(temp.path(), &members, OVERLAY).unwrap();
    assert_eq!(
        tree::read(temp.path())["./d"].xattrs["trusted.overlay.opaque"],
        b"y"
    );
}

#[test]
fn attack_13_a_new_root_has_a_known_mode() {
    for format in [Format::Plain, OVERLAY] {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        tree::shell("mkdir -m 0777 root && chown 5:6 root", temp.path());
        let applied = apply(&root, &[file("f", "")], format).unwrap();
        assert!(!applied.root_entry);
        let node = &tree::read(&root)["."];
        assert_eq!((node.mode, node.owner), (0o755, (0, 0)));
    }
}

#[test]
fn attack_05_a_tree_that_changes_meanwhile_is_not_left() {
    use std::io::Read;
    use std::sync::atomic::{AtomicBool, Ordering};

    let arena = Arena::new();
    let root = arena.root();
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink(arena.outside(), root.join("fake")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Someone exchanges "real" for a link out of the root, all the time.
            let dir = std::fs::File::open(&root).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(&dir, "real", &dir, "fake", flags);
            }
        });
        for _ in 0..300 {
            let members = [
                file("real/passwd", "evil"),
                dir("real/dir", 0o777),
                file("real/dir/passwd", "evil"),
                file("real/.wh.passwd", ""),
            ];
            let layer = tar(&members);
            // Errors are in order, an escape is not. Small reads let time pass.
            let _ = hako_layer::apply(
                (&layer[..]).take(layer.len() as u64),
                std::os::fd::AsFd::as_fd(&std::fs::File::open(&root).unwrap()),
                &Options::new(Format::Plain),
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    tree::assert_same(&tree::read(&arena.outside()), &arena.before);
}

#[test]
fn attack_19_names_that_are_no_text_are_kept_as_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let mut entry = Entry::file(b"\xff\xfe\n\x1b[31m".to_vec(), 0);
    entry.mode = 0o600;
    apply(
        temp.path(),
        &[(entry, Vec::new()), file("a\\b", "")],
        Format::Plain,
    )
    .unwrap();
    assert_eq!(names(temp.path()), ["\\xff\\xfe\\n\\x1b[31m", "a\\\\b"]);
}
