use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use hako_snapshot::{Error, MountOptions};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::fixture::{apart, dir, file, home, listing, mode, mounted, tar, unpack};

const RW: MountOptions<'_> = MountOptions {
    idmap: None,
    read_only: false,
    volatile: false,
};
const RO: MountOptions<'_> = MountOptions {
    idmap: None,
    read_only: true,
    volatile: false,
};

#[test]
fn whiteouts_hide_and_writes_stay_above() {
    let home = home();
    let base = tar(&[
        mode(dir("./"), 0o711),
        dir("etc/"),
        file("etc/gone", "1"),
        file("etc/stays", "2"),
        dir("opaque/"),
        file("opaque/hidden", "3"),
        dir("tree/"),
        file("tree/inner", "4"),
    ]);
    let top = tar(&[
        dir("etc/"),
        file("etc/.wh.gone", ""),
        dir("opaque/"),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/new", "5"),
        file(".wh.tree", ""),
    ]);
    let keys = unpack(&home.snapshots, &[base, top]);
    let snapshot = home.snapshots.prepare("c1", &keys).unwrap();
    assert!(matches!(
        home.snapshots.prepare("c1", &keys),
        Err(Error::Exists(_))
    ));
    mounted(&home.snapshots, &snapshot, &RW, |root| {
        let seen = listing(root);
        let names: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(names, ["/", "/etc", "/etc/stays", "/opaque", "/opaque/new"]);
        assert_eq!(
            root.metadata().unwrap().mode() & 0o7777,
            0o711,
            "the lower root's"
        );
        std::fs::write(root.join("etc/stays"), "changed").unwrap();
        std::fs::write(root.join("etc/gone"), "back").unwrap();
    });
    let lower = home.tree(&keys[0]).join("etc/stays");
    assert_eq!(std::fs::read_to_string(lower).unwrap(), "2");
    let usage = home.snapshots.usage("c1").unwrap();
    assert!(usage.inodes == 3 && usage.bytes >= 8192, "{usage:?}");
    // Once more, and read-only: what was written is there.
    let snapshot = home.snapshots.snapshot("c1").unwrap();
    for options in [RW, RO] {
        mounted(&home.snapshots, &snapshot, &options, |root| {
            assert_eq!(
                std::fs::read_to_string(root.join("etc/stays")).unwrap(),
                "changed"
            );
            assert_eq!(
                std::fs::read_to_string(root.join("etc/gone")).unwrap(),
                "back"
            );
            assert_eq!(
                std::fs::write(root.join("x"), "").is_ok(),
                !options.read_only
            );
            std::fs::remove_file(root.join("x")).is_ok()
        });
    }
    assert_eq!(home.snapshots.list().unwrap(), ["c1"]);
    assert!(home.snapshots.remove("c1").unwrap());
    assert!(!home.snapshots.remove("c1").unwrap());
    assert!(matches!(
        home.snapshots.snapshot("c1"),
        Err(Error::Unknown(_))
    ));
    assert!(matches!(home.snapshots.snapshot("../x"), Err(Error::Id(_))));
}

#[test]
fn from_no_layer_to_many() {
    let home = home();
    for count in [0usize, 1, 2, 128] {
        let tars: Vec<_> = (0..count)
            .map(|n| {
                tar(&[
                    dir("./"),
                    file(&format!("f{n}"), ""),
                    file("top", &n.to_string()),
                ])
            })
            .collect();
        let keys = unpack(&home.snapshots, &tars);
        let snapshot = home.snapshots.prepare(&format!("c{count}"), &keys).unwrap();
        for options in [RW, RO] {
            mounted(&home.snapshots, &snapshot, &options, |root| {
                let names = std::fs::read_dir(root).unwrap().count();
                assert_eq!(names, count + usize::from(count > 0), "{count} {options:?}");
                if count > 0 {
                    let top = std::fs::read_to_string(root.join("top")).unwrap();
                    assert_eq!(top, (count - 1).to_string());
                }
                assert_eq!(
                    std::fs::create_dir(root.join("new")).is_ok(),
                    !options.read_only
                );
                std::fs::remove_dir(root.join("new")).is_ok()
            });
        }
        if count == 128 {
            let start = std::time::Instant::now();
            for _ in 0..50 {
                drop(home.snapshots.mount(&snapshot, &RW).unwrap());
            }
            println!("mount of {count} layers: {:?}", start.elapsed() / 50);
        }
    }
}

#[test]
fn the_same_layer_twice_and_an_opaque_root() {
    let home = home();
    let a = tar(&[file("a", "a"), file("x", "a")]);
    let b = tar(&[file("b", "b"), file("x", "b")]);
    let opaque = tar(&[file(".wh..wh..opq", ""), file("c", "c")]);
    let twice = unpack(&home.snapshots, &[a.clone(), b.clone(), a.clone()]);
    let snapshot = home.snapshots.prepare("twice", &twice).unwrap();
    mounted(&home.snapshots, &snapshot, &RW, |root| {
        assert_eq!(std::fs::read_to_string(root.join("x")).unwrap(), "a");
        assert!(root.join("b").exists());
    });
    assert_eq!((snapshot.layers.len(), snapshot.image.len()), (2, 3));
    let hidden = unpack(&home.snapshots, &[a, opaque, b]);
    let snapshot = home.snapshots.prepare("hidden", &hidden).unwrap();
    mounted(&home.snapshots, &snapshot, &RW, |root| {
        let mut names: Vec<_> = std::fs::read_dir(root)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["b", "c", "x"]);
    });
}

#[test]
fn an_archives_own_overlay_marks_do_nothing() {
    let home = home();
    let base = tar(&[dir("./"), dir("secret/"), file("secret/key", "1")]);
    let mut evil = dir("d/");
    evil.0.xattrs = vec![
        (b"trusted.overlay.redirect".to_vec(), b"/secret".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
    ];
    let keys = unpack(&home.snapshots, &[base, tar(&[dir("./"), evil])]);
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    mounted(&home.snapshots, &snapshot, &RW, |root| {
        assert_eq!(std::fs::read_dir(root.join("d")).unwrap().count(), 0);
        assert!(root.join("secret/key").exists());
    });
}

/// Longer than the kernel takes the value of an option.
#[test]
fn a_store_far_down() {
    let home = tempfile::tempdir().unwrap();
    let far = home.path().join("x".repeat(120)).join("y".repeat(120));
    std::fs::create_dir_all(&far).unwrap();
    let store = hako_store::Store::open(&far).unwrap();
    let snapshots = crate::fixture::open(&store);
    let keys = unpack(&snapshots, &[tar(&[dir("./"), file("a", "far")])]);
    let snapshot = snapshots.prepare("c", &keys).unwrap();
    mounted(&snapshots, &snapshot, &RW, |root| {
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "far");
    });
    for key in keys {
        snapshots.withdraw(&key).unwrap();
    }
}

#[test]
fn a_detached_mount_that_nobody_attaches_is_gone() {
    let home = home();
    let keys = unpack(&home.snapshots, &[tar(&[dir("./"), file("a", "1")])]);
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    // Their numbers: the directories below other tests' mounts may get other
    // names meanwhile.
    let mounts = || -> Vec<String> {
        let text = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let first = |line: &str| line.split(' ').next().unwrap().to_owned();
        text.lines().map(first).collect()
    };
    apart(|| {
        let before = mounts();
        let mount = home.snapshots.mount(&snapshot, &RW).unwrap();
        let open = rustix::fs::OFlags::RDONLY;
        rustix::fs::openat(&mount, "a", open, Mode::empty()).unwrap();
        drop(mount);
        assert_eq!(mounts(), before);
    });
    let mount = home.snapshots.mount(&snapshot, &RW).unwrap();
    let nowhere = hako_snapshot::attach(mount, std::path::Path::new("/nonexistent"));
    assert!(nowhere.unwrap_err().to_string().contains("/nonexistent"));
}

#[test]
fn a_volatile_snapshot_is_for_one_life() {
    let home = home();
    let keys = unpack(&home.snapshots, &[tar(&[dir("./"), file("a", "1")])]);
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    let volatile = MountOptions {
        volatile: true,
        ..RW
    };
    mounted(&home.snapshots, &snapshot, &volatile, |root| {
        std::fs::write(root.join("b"), "2").unwrap();
    });
    assert!(matches!(
        home.snapshots.mount(&snapshot, &RW),
        Err(Error::Mount { .. })
    ));
    assert!(home.snapshots.remove("c").unwrap());
}

#[test]
fn whatever_a_container_wrote_can_be_removed() {
    let home = home();
    let keys = unpack(&home.snapshots, &[tar(&[dir("./")])]);
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    mounted(&home.snapshots, &snapshot, &RW, |root| {
        std::fs::create_dir(root.join("shut")).unwrap();
        std::fs::write(root.join("shut/x"), "").unwrap();
        std::fs::set_permissions(root.join("shut"), PermissionsExt::from_mode(0o000)).unwrap();
        mknodat(
            CWD,
            root.join("device"),
            FileType::CharacterDevice,
            Mode::RUSR,
            0x105,
        )
        .unwrap();
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    });
    assert!(home.snapshots.remove("c").unwrap());
    assert!(std::path::Path::new("/etc/passwd").exists());
    assert_eq!(crate::fixture::leftovers(&home.store), 0);
}

#[test]
fn layers_that_are_not_there_are_told() {
    let home = home();
    let keys = unpack(&home.snapshots, &[tar(&[dir("./")])]);
    assert!(home.snapshots.remove_layer(&keys[0]).unwrap());
    assert!(!home.snapshots.remove_layer(&keys[0]).unwrap());
    let error = home.snapshots.prepare("c", &keys).unwrap_err();
    assert!(matches!(error, Error::LayerUnknown(_)), "{error}");
    assert_eq!(crate::fixture::leftovers(&home.store), 0);
}

#[test]
fn a_deletion_of_nothing_is_no_name() {
    let home = home();
    let base = tar(&[dir("./"), file("a", "1")]);
    let top = tar(&[
        dir("./"),
        dir("only/"),
        file("only/.wh.nothing", ""),
        file("only/.wh.a", ""),
        file(".wh.a", ""),
    ]);
    let keys = unpack(&home.snapshots, &[base, top]);
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    mounted(&home.snapshots, &snapshot, &RW, |root| {
        let names: Vec<String> = listing(root).into_keys().collect();
        assert_eq!(names, ["/", "/only"]);
    });
}
