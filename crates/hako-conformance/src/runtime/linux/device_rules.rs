//! "Allowed Device list".

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use serde_json::{Value, json};

use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const SECTION: &str = "config-linux.md#allowed-device-list";

/// What the program may do with the device: read, write, make its node. That
/// runtimes let every node be made, whatever the rules say, is not judged.
type May = [bool; 3];

const ALL: May = [true, true, true];
const NONE: May = [false, false, false];

macro_rules! rules {
    ($($name:literal $demand:literal $may:expr, |$node:ident| $rules:tt)*) => {
        pub(super) const CHECKS: &[Check] = &[$(
            Check::must(
                concat!("device-rules.", $name),
                SECTION,
                $demand,
                |bench| applied(bench, |$node| json!($rules), $may),
            ),
        )* MISSING];
    };
}

rules! {
    "denied" "A denied device cannot be opened." NONE, |_n| [
        { "allow": false, "access": "rwm" },
    ]
    "allowed" "A device that is allowed after all were denied can be used." ALL, |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "minor": n.1, "access": "rwm" },
    ]
    "order" "Entries are applied in their order: a later one counts." NONE, |n| [
        { "allow": true, "type": "c", "major": n.0, "minor": n.1, "access": "rwm" },
        { "allow": false, "access": "rwm" },
    ]
    "denied-again" "A device that was allowed can be denied again." NONE, |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "minor": n.1, "access": "rwm" },
        { "allow": false, "type": "c", "major": n.0, "minor": n.1, "access": "rwm" },
    ]
    "one-denied" "One device can be denied where all others are allowed." NONE, |n| [
        { "allow": true, "access": "rwm" },
        { "allow": false, "type": "c", "major": n.0, "minor": n.1, "access": "rwm" },
    ]
    "read" "The access r allows reading alone." [true, false, false], |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "minor": n.1, "access": "r" },
    ]
    "write" "The access w allows writing alone." [false, true, false], |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "minor": n.1, "access": "w" },
    ]
    "mknod" "The access m allows making the node, and no opening." [false, false, true], |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "minor": n.1, "access": "m" },
    ]
    "block" "A rule of type b does not concern a character device." NONE, |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "b", "major": n.0, "minor": n.1, "access": "rwm" },
    ]
    "any-type" "A rule of type a concerns all devices." ALL, |_n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "a", "access": "rwm" },
    ]
    "no-type" "A rule without a type concerns all devices." ALL, |_n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "access": "rwm" },
    ]
    "no-minor" "A rule without a minor number concerns all of the major number." ALL, |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "access": "rwm" },
    ]
    "no-major" "A rule without numbers concerns all devices of the type." ALL, |_n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "access": "rwm" },
    ]
    "other-minor" "A rule for another minor number does not concern the device." NONE, |n| [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": n.0, "minor": (n.1 + 1), "access": "rwm" },
    ]
}

const MISSING: Check = Check::must(
    "device-rules.without-allow",
    SECTION,
    "An entry without allow is an error.",
    |bench| {
        super::faulty(
            bench,
            super::BASE,
            |config| {
                config["linux"]["resources"]["devices"] =
                    json!([{ "allow": false, "access": "rwm" }]);
            },
            |config| super::remove(&mut config["linux"]["resources"]["devices"][0], "allow"),
        )
    },
);

/// A character device of this machine that can be opened, and that containers
/// are not given by default.
fn device() -> Result<(u32, u32), Stop> {
    let works = |path: &str| {
        let is_device = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device());
        is_device && OpenOptions::new().read(true).write(true).open(path).is_ok()
    };
    let candidates = [
        "/dev/loop-control",
        "/dev/fuse",
        "/dev/btrfs-control",
        "/dev/uhid",
    ];
    let Some(path) = candidates.iter().find(|path| works(path)) else {
        return Err(Stop::Skipped(format!(
            "none of {candidates:?} can be opened on this machine"
        )));
    };
    let meta = fs::metadata(path).map_err(Stop::broken(path))?;
    Ok((
        rustix::fs::major(meta.rdev()),
        rustix::fs::minor(meta.rdev()),
    ))
}

fn applied(bench: &Bench, rules: fn((u32, u32)) -> Value, may: May) -> Verdict {
    let (major, minor) = device()?;
    let path = "/etc/hako-device";
    let steps = [
        Step::Access(path.into(), "r".into()),
        Step::Access(path.into(), "w".into()),
        Step::Mknod("/etc/hako-new".into(), 'c', major, minor),
    ];
    let trial = Trial::new(bench, &steps)?.edit(|config| {
        let all = ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"];
        config["process"]["capabilities"] =
            json!({ "bounding": all, "effective": all, "permitted": all });
        config["linux"]["resources"]["devices"] = rules((major, minor));
    });
    // Not by the runtime, which may need leave to make it.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        trial.rootfs().join("etc/hako-device"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(major, minor),
    )
    .map_err(Stop::broken("cannot make a device"))?;
    let seen = trial.live()?;
    for (n, what) in ["reading", "writing", "making"].into_iter().enumerate() {
        let denied = Answer::Errno(rustix::io::Errno::PERM.raw_os_error());
        match (seen.answer(n)?, may[n]) {
            (Answer::Value(_), true) => {}
            (answer, false) if *answer == denied || n == 2 => {}
            (Answer::Errno(errno), true) => {
                let why = crate::runtime::seen::told(*errno);
                return fails(format!(
                    "{what} device {major}:{minor} is not allowed: {why}"
                ));
            }
            (answer, false) => {
                demand(false, || {
                    format!("{what} device {major}:{minor} is not denied: {answer:?}")
                })?;
            }
        }
    }
    trial.passed()
}
