use hako_snapshot::{Backend, Error, Stack};
use hako_store::check::Options as Check;
use hako_store::gc::Options as Gc;
use hako_store::{Hold, Owner};

use crate::fixture::{
    BACKEND, apart, digest, dir, file, home, leftovers, link, mode, stack, tar, unpack,
};

const CLEAN: Check = Check {
    deep: true,
    repair: false,
};

#[test]
fn a_wrong_diff_id_leaves_nothing() {
    let home = home();
    let layer = tar(&[dir("./"), file("a", "1")]);
    let wrong = Stack::new(vec![digest(b"something else")]);
    let error = home
        .snapshots
        .unpack(&wrong, 0, layer.as_slice())
        .unwrap_err();
    assert!(
        matches!(&error, Error::DiffId { actual, .. } if *actual == digest(&layer)),
        "{error}"
    );
    // Bytes behind the archive's end count.
    let mut longer = layer.clone();
    longer.extend_from_slice(&[0; 512]);
    assert!(
        home.snapshots
            .unpack(&stack(std::slice::from_ref(&layer)), 0, longer.as_slice())
            .is_err()
    );
    assert!(home.snapshots.layers().unwrap().is_empty());
    assert_eq!(leftovers(&home.store), 0);
    let found = home
        .snapshots
        .unpack(&stack(std::slice::from_ref(&longer)), 0, longer.as_slice())
        .unwrap();
    assert!(!found.present && found.layer.bytes == 1 && found.layer.entries == 2);
}

#[test]
fn a_broken_archive_leaves_nothing() {
    let home = home();
    let layer = tar(&[file("a", &"1".repeat(5000))]);
    let cut = &layer[..2000];
    let error = home
        .snapshots
        .unpack(&Stack::new(vec![digest(cut)]), 0, cut)
        .unwrap_err();
    assert!(matches!(error, Error::Apply { .. }), "{error}");
    let escape = tar(&[file("../../evil", "x")]);
    let error = home
        .snapshots
        .unpack(&stack(std::slice::from_ref(&escape)), 0, escape.as_slice());
    assert!(matches!(error, Err(Error::Apply { .. })));
    assert!(home.snapshots.layers().unwrap().is_empty());
    assert_eq!(leftovers(&home.store), 0);
}

#[test]
fn a_layer_is_unpacked_once() {
    struct Untouchable;
    impl std::io::Read for Untouchable {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it is there")
        }
    }
    let home = home();
    let base = tar(&[dir("./"), dir("etc/"), file("etc/a", "1")]);
    let keys = unpack(&home.snapshots, std::slice::from_ref(&base));
    let again = stack(std::slice::from_ref(&base));
    assert!(
        home.snapshots
            .unpack(&again, 0, Untouchable)
            .unwrap()
            .present
    );
    assert_eq!(again.keys().unwrap(), keys);
    assert_eq!(home.snapshots.has(&[digest(&base)]).unwrap().unwrap(), keys);
    assert!(
        home.snapshots
            .has(&[digest(&base), digest(b"x")])
            .unwrap()
            .is_none()
    );
    assert!(home.tree(&keys[0]).join("etc/a").exists());
}

#[test]
fn keys_tell_what_a_layer_depends_on() {
    let home = home();
    let base = tar(&[dir("./"), mode(dir("tmp/"), 0o1777), file("tmp/low", "1")]);
    let other_base = tar(&[dir("./"), mode(dir("tmp/"), 0o700)]);
    let whole = tar(&[dir("./"), dir("opt/"), file("opt/x", "1")]);
    let implicit = tar(&[file("tmp/x", "2")]);
    let linked = tar(&[dir("tmp/"), link("tmp/linked", "tmp/low")]);

    let one = unpack(
        &home.snapshots,
        &[base, whole.clone(), implicit.clone(), linked],
    );
    let two = unpack(&home.snapshots, &[other_base, whole, implicit]);
    assert_eq!(one[1], two[1], "what depends on nothing is shared");
    assert_ne!(one[2], two[2]);
    assert!(one[2].as_str().starts_with("chain-") && one[3].as_str().starts_with("chain-"));
    let mode = |key| {
        use std::os::unix::fs::PermissionsExt as _;
        let tmp = home.tree(key).join("tmp");
        tmp.metadata().unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode(&one[2]), mode(&two[2])), (0o1777, 0o700));
    let linked = home.tree(&one[3]).join("tmp/linked");
    assert_eq!(std::fs::read_to_string(linked).unwrap(), "1");
    assert_eq!(home.snapshots.layers().unwrap().len(), 6);
}

#[test]
fn one_layer_twice_in_one_image_does_not_wait_for_itself() {
    let home = home();
    let base = tar(&[dir("./"), dir("tmp/")]);
    let implicit = tar(&[file("tmp/x", "2")]);
    let tars = [base, implicit.clone(), implicit];
    let stack = stack(&tars);
    std::thread::scope(|scope| {
        for index in (0..3).rev() {
            let (stack, tars, snapshots) = (&stack, &tars, &home.snapshots);
            scope.spawn(move || {
                snapshots
                    .unpack(stack, index, tars[index].as_slice())
                    .unwrap()
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    assert_eq!(stack.keys().unwrap().len(), 3);
    assert_eq!(leftovers(&home.store), 0);
}

#[test]
fn a_layer_below_that_fails_wakes_those_above() {
    let home = home();
    let base = tar(&[dir("./")]);
    let implicit = tar(&[file("tmp/x", "2")]);
    let stack = Stack::new(vec![digest(&base), digest(&implicit)]);
    std::thread::scope(|scope| {
        let above = scope.spawn(|| home.snapshots.unpack(&stack, 1, implicit.as_slice()));
        let below = home.snapshots.unpack(&stack, 0, &b"not a tar"[..]);
        assert!(below.is_err());
        stack.abandon();
        assert!(matches!(
            above.join().unwrap(),
            Err(Error::Abandoned { .. })
        ));
    });
    assert_eq!(leftovers(&home.store), 0);
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    apart(|| {
        let dir = tempfile::tempdir().unwrap();
        mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            MountFlags::empty(),
            c"size=2m",
        )
        .unwrap();
        {
            let store = hako_store::Store::open(&dir.path().join("store")).unwrap();
            let snapshots = crate::fixture::open(&store);
            let layer = tar(&[file("small", "1"), file("usr/big", &"x".repeat(3 << 20))]);
            let error = snapshots.unpack(&stack(std::slice::from_ref(&layer)), 0, layer.as_slice());
            let mut error: &dyn std::error::Error = &error.unwrap_err();
            let mut text = error.to_string();
            while let Some(source) = error.source() {
                error = source;
                text = format!("{text}: {error}");
            }
            assert!(text.contains("/snapshots/tmp/unpack-sha256-"), "{text}");
            assert!(text.contains("No space left"), "{text}");
            if BACKEND == Backend::Overlay {
                assert!(text.contains("usr/big"), "{text}");
            }
            assert!(snapshots.layers().unwrap().is_empty());
            assert_eq!(leftovers(&store), 0);
            assert!(snapshots.check(CLEAN).unwrap().is_empty());
            unpack(&snapshots, &[tar(&[file("small", "1")])]);
        }
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn what_a_power_loss_made_worthless_is_unpacked_anew() {
    let home = home();
    let layer = tar(&[dir("./"), file("a", "1")]);
    let key = unpack(&home.snapshots, std::slice::from_ref(&layer)).remove(0);
    let mark = home.store.path(format!("snapshots/layers/{key}/unsynced"));
    std::fs::remove_file(&mark).unwrap();
    std::os::unix::fs::symlink("another-boot", &mark).unwrap();
    let lost = match BACKEND {
        Backend::Erofs => format!("snapshots/layers/{key}/data"),
        _ => format!("snapshots/layers/{key}/fs/a"),
    };
    std::fs::write(home.store.path(lost), "").unwrap();
    let ids = [digest(&layer)];
    assert!(home.snapshots.has(&ids).unwrap().is_none());
    assert_eq!(home.snapshots.check(CLEAN).unwrap().len(), 1);
    unpack(&home.snapshots, std::slice::from_ref(&layer));
    assert_eq!(std::fs::read(home.tree(&key).join("a")).unwrap(), b"1");
    home.snapshots.settle(std::slice::from_ref(&key)).unwrap();
    assert!(!mark.exists() && mark.symlink_metadata().is_err());
    assert!(home.snapshots.has(&ids).unwrap().is_some());
    home.snapshots.settle(&[key]).unwrap();
}

#[test]
fn collections_take_what_nobody_needs() {
    let home = home();
    let zero = std::time::Duration::ZERO;
    let now = Gc {
        grace: zero,
        resumable: zero,
        dry_run: false,
    };
    let make = |name: &str| tar(&[dir("./"), file(name, name)]);
    let (used, held, dead) = (make("used"), make("held"), make("dead"));
    for layer in [&used, &held, &dead] {
        unpack(&home.snapshots, std::slice::from_ref(layer));
    }
    let keys = home.snapshots.has(&[digest(&used)]).unwrap().unwrap();
    home.snapshots.prepare("c1", &keys).unwrap();
    let owner = Owner::Cli(0);
    let lease = home.store.leases().temporary(owner, "pull").unwrap();
    lease
        .hold(&[Hold::Layer(digest(&held).to_string())])
        .unwrap();
    assert!(
        home.store
            .gc(&Gc::default(), &[&home.snapshots])
            .unwrap()
            .others
            .is_empty()
    );
    let freed = home.store.gc(&now, &[&home.snapshots]).unwrap();
    assert_eq!(freed.others.len(), 1, "{freed:?}");
    assert!(home.snapshots.has(&[digest(&dead)]).unwrap().is_none());
    assert!(home.snapshots.has(&[digest(&held)]).unwrap().is_some());
    assert!(home.snapshots.has(&[digest(&used)]).unwrap().is_some());
    drop(lease);
    assert!(home.snapshots.remove("c1").unwrap());
    assert_eq!(
        home.store
            .gc(&now, &[&home.snapshots])
            .unwrap()
            .others
            .len(),
        2
    );
    assert!(home.snapshots.layers().unwrap().is_empty());
    assert_eq!(leftovers(&home.store), 0);
}

#[test]
fn images_that_were_damaged_are_told() {
    if BACKEND != Backend::Erofs {
        return;
    }
    let home = home();
    let layer = tar(&[dir("./"), file("a", &"1".repeat(5000))]);
    let key = unpack(&home.snapshots, &[layer]).remove(0);
    assert!(home.snapshots.check(CLEAN).unwrap().is_empty());
    let file = |name: &str| home.store.path(format!("snapshots/layers/{key}/{name}"));
    let told = || format!("{:?}", home.snapshots.check(CLEAN).unwrap());
    let data = std::fs::read(file("data")).unwrap();
    std::fs::write(file("data"), &data[..512]).unwrap();
    assert!(told().contains("is cut off"), "{}", told());
    std::fs::remove_file(file("data")).unwrap();
    assert!(told().contains("/data"), "{}", told());
    std::fs::write(file("data"), data).unwrap();
    std::fs::write(file("image.erofs"), "no image").unwrap();
    assert!(told().contains("image.erofs"), "{}", told());
}

#[test]
fn images_are_left_alone_where_they_are_of_no_use() {
    if BACKEND != Backend::Erofs {
        return;
    }
    let home = home();
    let layer = tar(&[dir("./"), file("a", "1")]);
    unpack(&home.snapshots, std::slice::from_ref(&layer));
    let other = hako_snapshot::Snapshotter::open(&home.store, false)
        .unwrap()
        .with_backend(Backend::Overlay);
    let ids = [digest(&layer)];
    assert!(other.has(&ids).unwrap().is_none());
    let repair = Check {
        repair: true,
        ..CLEAN
    };
    assert!(other.check(repair).unwrap().is_empty());
    assert!(home.snapshots.has(&ids).unwrap().is_some());
    // Until the layer is wanted as a directory.
    let keys = unpack(&other, &[layer]);
    assert!(other.layer_path(&keys[0]).join("a").exists());
    assert_eq!(home.snapshots.has(&ids).unwrap(), Some(keys));
}

#[test]
fn what_a_killed_unpacking_left_is_not_built_upon() {
    let home = home();
    let layer = tar(&[dir("./"), file("a", "1")]);
    let left = format!("snapshots/tmp/unpack-sha256-{}", digest(&layer).hex());
    std::fs::create_dir_all(home.store.path(&left).join("fs/etc")).unwrap();
    std::fs::write(home.store.path(&left).join("fs/etc/junk"), "").unwrap();
    let key = unpack(&home.snapshots, &[layer]).remove(0);
    let names = std::fs::read_dir(home.tree(&key)).unwrap();
    assert_eq!(
        names.map(|e| e.unwrap().file_name()).collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(leftovers(&home.store), 0);
}
