//! The same image by every backend gives the same tree.

use std::process::Command;

use hako_snapshot::{Backend, MountOptions, Snapshotter};
use hako_store::Store;

use crate::fixture::{
    Item, arguments, dir, errand, file, home, link, listing, mode, mounted, tar, unpack,
};

fn image() -> Vec<Vec<u8>> {
    let setuid: Item = mode(file("bin/su", "su"), 0o4755);
    let symlink = (hako_tar::Entry::symlink("bin/link", "su"), Vec::new());
    vec![
        tar(&[
            mode(dir("./"), 0o750),
            dir("bin/"),
            setuid,
            symlink,
            mode(dir("tmp/"), 0o1777),
            file("tmp/a", "1"),
            dir("gone/"),
            file("gone/x", "1"),
            dir("opaque/"),
            file("opaque/x", "1"),
        ]),
        tar(&[
            file("tmp/b", "2"),
            link("tmp/linked", "bin/su"),
            file(".wh.gone", ""),
            file("opaque/.wh..wh..opq", ""),
            file("opaque/y", "2"),
        ]),
        tar(&[dir("gone/"), file("gone/again", "3")]),
    ]
}

#[test]
fn images_are_chosen_here_and_that_is_remembered() {
    let home = home();
    let snapshots = Snapshotter::open(&home.store, false).unwrap();
    let choice = snapshots.backend().unwrap();
    assert_eq!(choice.backend, Backend::Erofs, "{}", choice.reason);
    let memory = home.store.path("snapshots/backend.json");
    let text = std::fs::read_to_string(&memory)
        .unwrap()
        .replace("\"erofs\"", "\"plain\"");
    std::fs::write(&memory, &text).unwrap();
    let again = Snapshotter::open(&home.store, false).unwrap();
    assert_eq!(
        again.backend().unwrap().backend,
        Backend::Plain,
        "it was not tried again"
    );
    // Another kernel, or garbage: tried again.
    for text in [text.replace(&choice.kernel, "0.0.1"), "{".to_owned()] {
        std::fs::write(&memory, text).unwrap();
        let again = Snapshotter::open(&home.store, false).unwrap();
        assert_eq!(again.backend().unwrap().backend, Backend::Erofs);
    }
}

#[test]
fn plain_copies_give_the_same_tree() {
    let home = home();
    let overlay = {
        let keys = unpack(&home.snapshots, &image());
        let snapshot = home.snapshots.prepare("overlay", &keys).unwrap();
        mounted(
            &home.snapshots,
            &snapshot,
            &MountOptions::default(),
            listing,
        )
    };
    let plain = Snapshotter::open(&home.store, false)
        .unwrap()
        .with_backend(Backend::Plain);
    let keys = unpack(&plain, &image());
    assert!(keys.iter().all(|key| key.as_str().starts_with("plain-")));
    let snapshot = plain.prepare("plain", &keys).unwrap();
    mounted(&plain, &snapshot, &MountOptions::default(), |root| {
        assert_eq!(listing(root), overlay);
        std::fs::write(root.join("tmp/a"), "changed").unwrap();
    });
    let lower = plain.layer_path(&keys[2]).join("tmp/a");
    assert_eq!(
        std::fs::read_to_string(lower).unwrap(),
        "1",
        "the layer is untouched"
    );
    let read_only = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    mounted(&plain, &snapshot, &read_only, |root| {
        assert_eq!(
            std::fs::read_to_string(root.join("tmp/a")).unwrap(),
            "changed"
        );
        assert!(std::fs::write(root.join("tmp/a"), "").is_err());
    });
    assert!(overlay.contains_key("/gone/again") && !overlay.contains_key("/gone/x"));
    assert!(overlay["/tmp"].starts_with("41777 "), "{}", overlay["/tmp"]);
}

/// An unprivileged user in a user namespace with one id.
#[test]
fn a_user_namespace_mounts_overlays_of_its_own() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), everyone).unwrap();
    let binary = dir.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
        .args(["unshare", "--user", "--map-root-user", "--mount"])
        .arg(&binary);
    arguments(
        &mut command,
        "backends::errand_rootless",
        &dir.path().join("store"),
        "",
    );
    let status = command
        .status()
        .expect("this test needs setpriv and unshare of util-linux");
    assert!(status.success());
}

#[test]
fn errand_rootless() {
    let Some((root, _)) = errand() else { return };
    let store = Store::open(&root).unwrap();
    let snapshots = Snapshotter::open(&store, true).unwrap();
    let choice = snapshots.backend().unwrap();
    assert_eq!(choice.backend, Backend::OverlayUser, "{}", choice.reason);
    let mut tars = image();
    let mut owned = file("tmp/owned", "3");
    (owned.0.uid, owned.0.gid) = (33, 33);
    let mut device = (
        hako_tar::Entry::new(hako_tar::Kind::Char, "null"),
        Vec::new(),
    );
    (device.0.major, device.0.minor) = (1, 3);
    tars.push(tar(&[owned, device]));
    let keys = unpack(&snapshots, &tars);
    assert!(!snapshots.layer(&keys[3]).unwrap().warnings.is_empty());
    let snapshot = snapshots.prepare("c", &keys).unwrap();
    let target = root.join("../target");
    std::fs::create_dir(&target).unwrap();
    snapshots
        .mount_at(&snapshot, &MountOptions::default(), &target)
        .unwrap();
    let seen = listing(&target);
    assert!(
        seen.contains_key("/gone/again") && !seen.contains_key("/gone/x"),
        "{seen:?}"
    );
    assert!(seen.contains_key("/opaque/y") && !seen.contains_key("/opaque/x"));
    assert_eq!(seen["/tmp/owned"], "100644 0:0 3");
    assert!(!seen.contains_key("/null"));
    std::fs::write(target.join("tmp/a"), "changed").unwrap();
    std::fs::remove_dir_all(target.join("opaque")).unwrap();
    let file = std::fs::File::open("/proc/self/ns/user").unwrap();
    let mapped = MountOptions {
        idmap: Some(std::os::fd::AsFd::as_fd(&file)),
        ..MountOptions::default()
    };
    let error = snapshots.mount(&snapshot, &mapped).unwrap_err();
    assert!(
        matches!(error, hako_snapshot::Error::IdMap { .. }),
        "{error}"
    );
    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(snapshots.remove("c").unwrap());
}
