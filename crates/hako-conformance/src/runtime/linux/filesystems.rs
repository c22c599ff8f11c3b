//! "Default Filesystems".

use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::mountinfo::Mounted;
use crate::runtime::trial::Trial;

macro_rules! filesystems {
    ($($name:literal $path:literal $kind:literal)*) => {
        pub(super) const CHECKS: &[Check] = &[$(
            Check::must(
                concat!("default-filesystems.", $name),
                "config-linux.md#default-filesystems",
                concat!("The usual configuration has a file system of type ", $kind, " at ", $path, "."),
                |bench| mounted(bench, $path, $kind),
            ).should(),
        )*];
    };
}

filesystems! {
    "proc" "/proc" "proc"
    "sys" "/sys" "sysfs"
    "dev-pts" "/dev/pts" "devpts"
    "dev-shm" "/dev/shm" "tmpfs"
}

fn mounted(bench: &Bench, path: &str, kind: &str) -> Verdict {
    let trial = Trial::new(bench, &[Step::Read("/proc/self/mountinfo".into())])?;
    let seen = trial.live()?;
    let mount = Mounted::at(seen.text(0)?, path)?;
    demand(mount.kind == kind, || {
        format!("at {path} is a file system of type {}", mount.kind)
    })?;
    trial.passed()
}
