//! Owners shown mapped.

use std::os::unix::fs::MetadataExt as _;

use hako_snapshot::MountOptions;

use crate::fixture::{Item, UserNamespace, apart, dir, file, home, mounted, tar, unpack};

fn owned(mut item: Item, uid: u64) -> Item {
    (item.0.uid, item.0.gid) = (uid, uid + 1);
    item
}

#[test]
fn a_mapping_is_seen_and_what_is_stored_is_not_mapped() {
    let home = home();
    let namespace = UserNamespace::new();
    let base = tar(&[dir("./"), file("root", "1"), owned(file("user", "2"), 33)]);
    let keys = unpack(
        &home.snapshots,
        &[base, tar(&[dir("./"), file("top", "3")])],
    );
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    let mapped = MountOptions {
        idmap: Some(namespace.fd()),
        ..MountOptions::default()
    };
    mounted(&home.snapshots, &snapshot, &mapped, |root| {
        let owner = |name: &str| {
            let meta = root.join(name).symlink_metadata().unwrap();
            (meta.uid(), meta.gid())
        };
        assert_eq!(owner(""), (100_000, 100_000));
        assert_eq!(
            (owner("root"), owner("user")),
            ((100_000, 100_000), (100_033, 100_034))
        );
        // A file of an id of the namespace's, and a copy-up.
        std::fs::write(root.join("root"), "changed").unwrap();
        assert_eq!(owner("root"), (100_000, 100_000));
        std::os::unix::fs::chown(root.join("user"), Some(100_005), Some(100_006)).unwrap();
        assert_eq!(owner("user"), (100_005, 100_006));
    });
    let upper = home
        .snapshots
        .upper_path(&snapshot)
        .join("user")
        .metadata()
        .unwrap();
    assert_eq!((upper.uid(), upper.gid()), (100_005, 100_006));
    let lower = home.tree(&keys[0]).join("user").metadata().unwrap();
    assert_eq!((lower.uid(), lower.gid()), (33, 34));
    // The same layers, unmapped and read-only mapped.
    let other = home.snapshots.prepare("d", &keys).unwrap();
    mounted(&home.snapshots, &other, &MountOptions::default(), |root| {
        assert_eq!(root.join("user").metadata().unwrap().uid(), 33);
    });
    let read_only = MountOptions {
        read_only: true,
        ..mapped
    };
    mounted(&home.snapshots, &snapshot, &read_only, |root| {
        assert_eq!(root.join("user").metadata().unwrap().uid(), 100_005);
    });
    let empty = home.snapshots.prepare("e", &[]).unwrap();
    for options in [mapped, read_only] {
        mounted(&home.snapshots, &empty, &options, |root| {
            assert_eq!(root.metadata().unwrap().uid(), 100_000);
        });
    }
}

#[test]
fn a_process_of_the_namespace_writes_as_its_root() {
    let home = home();
    let namespace = UserNamespace::new();
    let keys = unpack(&home.snapshots, &[tar(&[dir("./"), file("root", "1")])]);
    let snapshot = home.snapshots.prepare("c", &keys).unwrap();
    let options = MountOptions {
        idmap: Some(namespace.fd()),
        ..MountOptions::default()
    };
    apart(|| {
        let target = tempfile::tempdir_in("/var/tmp").unwrap();
        home.snapshots
            .mount_at(&snapshot, &options, target.path())
            .unwrap();
        let status = std::process::Command::new("setpriv")
            .args([
                "--reuid=100000",
                "--regid=100000",
                "--clear-groups",
                "touch",
                "here",
            ])
            .current_dir(target.path())
            .status()
            .expect("this test needs setpriv of util-linux");
        assert!(status.success());
        rustix::mount::unmount(target.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
    let upper = home
        .snapshots
        .upper_path(&snapshot)
        .join("here")
        .metadata()
        .unwrap();
    assert_eq!((upper.uid(), upper.gid()), (100_000, 100_000));
}
