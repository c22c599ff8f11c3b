//! A part of a real root file system.

use std::fs::File;
use std::os::fd::AsFd;

use hako_layer::Options;

use crate::archive::OVERLAY;
use crate::built::{build, same_tree};
use crate::tree::shell;

#[test]
fn programs_and_configuration_of_this_machine() {
    let temp = tempfile::tempdir().unwrap();
    let work = temp.path();
    shell(
        // Larger files are compared elsewhere.
        "cd /; find -L etc bin/. usr/sbin usr/share/zoneinfo usr/share/bash-completion var/lib/dpkg/info \
            -maxdepth 0 -print0 | xargs -0 -I{} find {} -xdev -size -30000 -print0 |
         tar --format=pax --xattrs --xattrs-include='*' --acls --null --no-recursion -T - -cf $OLDPWD/root.tar",
        work,
    );
    let tar = std::fs::read(work.join("root.tar")).unwrap();
    let dir = work.join("dir");
    std::fs::create_dir(&dir).unwrap();
    let root = File::open(&dir).unwrap();
    let expected = hako_layer::apply(&tar[..], root.as_fd(), &Options::new(OVERLAY)).unwrap();
    let (built, applied) = build(work, "layer", &tar, None).unwrap();
    assert_eq!(applied, expected);
    same_tree(&built, &dir, work);
    crate::fsck::check(&built);
}
