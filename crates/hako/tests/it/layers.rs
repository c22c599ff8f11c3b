//! The ways in which root file systems are made of layers, and how layers reach
//! the disk.

use std::path::PathBuf;

use crate::support::{World, image, until};

/// The layers' directories.
fn layers(world: &World) -> Vec<PathBuf> {
    let dir = world.path("root/snapshots/layers");
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What is mounted below the world's root.
fn mounts(world: &World) -> usize {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = world.path("root");
    let root = root.to_str().unwrap();
    text.lines().filter(|line| line.contains(root)).count()
}

#[test]
fn every_kind_shows_the_same() {
    let script =
        "test ! -e /new && echo new > /new && rm /etc/passwd && mkdir /bin/sub; ls /bin /etc";
    let image = image();
    let mut seen = Vec::new();
    for kind in ["erofs", "overlay", "plain"] {
        let world = World::new();
        let flags = ["--snapshotter", kind];
        let info = world.ok(&[&flags[..], &["info", "--format", "{{.Driver}}"]].concat());
        assert_eq!(info, kind);
        let run = ["run", "--rm", "--network", "none", "--pull", "missing"];
        let call = [&flags[..], &run, &[&*image, "sh", "-c", script]].concat();
        let first = world.ok(&call);
        assert_eq!(
            world.ok(&call),
            first,
            "{kind}: the first container left something"
        );
        // Sizes of directories are the file systems' own business.
        let names = "cd /; find bin -xdev ! -type d -exec ls -ln {} +";
        let call = [&flags[..], &run, &[&*image, "sh", "-c", names]].concat();
        seen.push(world.ok(&call));
        let images = layers(&world)
            .iter()
            .filter(|layer| layer.join("image.erofs").exists())
            .count();
        assert_eq!(images > 0, kind == "erofs");
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn images_are_mounted_once_and_until_they_are_not_used() {
    let world = World::with_image();
    assert_eq!(mounts(&world), 0);
    let run = ["run", "--network", "none", "--name"];
    let name = |name, rest: &[&'static str]| [&run[..], &[name, "localhost/bb"], rest].concat();
    let detached = name("one", &["sleep", "1000"]);
    world.ok(&[&["run", "-d"], &detached[1..]].concat());
    let mounted = mounts(&world);
    assert_eq!(mounted, layers(&world).len());
    world.ok(&name("two", &["true"]));
    assert_eq!(mounts(&world), mounted);
    world.ok(&["system", "prune", "-f"]);
    assert_eq!(mounts(&world), mounted, "one uses them");
    world.ok(&["rm", "-f", "one"]);
    world.ok(&["system", "prune", "-f"]);
    assert_eq!(mounts(&world), 0);
    world.ok(&name("three", &["true"]));
    world.ok(&["rm", "three"]);
    world.ok(&["rmi", "localhost/bb", "localhost/layout:bb"]);
    world.ok(&["system", "prune", "-a", "-f"]);
    assert_eq!((mounts(&world), layers(&world).len()), (0, 0));
}

#[test]
fn directories_and_images_in_one_store() {
    let world = World::new();
    let run = ["run", "--rm", "--network", "none"];
    world.ok(&["--snapshotter", "overlay", "pull", "-q", &image()]);
    let directories = layers(&world);
    assert!(directories.iter().all(|dir| dir.join("fs/bin").exists()));
    let call = [&run[..], &["localhost/layout:bb", "echo", "both"]].concat();
    assert_eq!(world.ok(&call), "both");
    assert_eq!(layers(&world), directories);
}

#[test]
fn layers_reach_the_disk_and_those_that_did_not_are_brought_again() {
    let world = World::with_image();
    let marks = || -> Vec<PathBuf> {
        let marks = layers(&world).into_iter().map(|dir| dir.join("unsynced"));
        marks
            .filter(|mark| mark.symlink_metadata().is_ok())
            .collect()
    };
    until(|| marks().is_empty());
    // As it were after a power loss before that.
    let lost = layers(&world).remove(0);
    std::os::unix::fs::symlink("another-boot", lost.join("unsynced")).unwrap();
    std::fs::write(lost.join("data"), "").unwrap();
    let call = [
        "run",
        "--rm",
        "--network",
        "none",
        &image(),
        "echo",
        "again",
    ];
    assert_eq!(world.ok(&call), "again");
    until(|| marks().is_empty());
    assert!(lost.join("data").metadata().unwrap().len() > 0);
}
