//! "Devices".

use std::fs;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};

use super::{does_not_run, faulty, push, remove};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::seen::Seen;
use crate::runtime::trial::{Trial, VERSION as BASE};

const SECTION: &str = "config-linux.md#devices";

macro_rules! without {
    ($($name:literal $field:literal)*) => {
        &[$(Check::must(
            concat!("devices.without-", $name),
            SECTION,
            concat!("A character device without ", $field, " is an error."),
            |bench| faulty(bench, BASE, zero, |config| {
                remove(&mut config["linux"]["devices"][0], $field);
            }),
        ),)*]
    };
}

pub(super) const REQUIRED: &[Check] = without! {
    "type" "type"
    "path" "path"
    "major" "major"
    "minor" "minor"
};

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "devices.character",
        SECTION,
        "A device of type c is available inside, with its numbers.",
        |bench| available(bench, "c", "c", Some((1, 7))),
    ),
    Check::must(
        "devices.unbuffered",
        SECTION,
        "A device of type u is available inside as a character device.",
        |bench| available(bench, "u", "c", Some((1, 7))),
    ),
    Check::must(
        "devices.block",
        SECTION,
        "A device of type b is available inside, with its numbers.",
        |bench| available(bench, "b", "b", Some((7, 0))),
    ),
    Check::must(
        "devices.fifo",
        SECTION,
        "A device of type p is available inside, without numbers.",
        |bench| available(bench, "p", "p", None),
    ),
    Check::must(
        "devices.unknown-type",
        SECTION,
        "A device of a type that does not exist is an error.",
        |bench| {
            faulty(bench, BASE, zero, |config| {
                config["linux"]["devices"][0]["type"] = json!("x");
            })
        },
    ),
    Check::must(
        "devices.usable",
        SECTION,
        "A listed device can be read.",
        usable,
    ),
    Check::must(
        "devices.nested",
        SECTION,
        "A device's directories are made.",
        |bench| one(bench, "/dev/hako/deep/zero", |_| Ok(())).map(drop),
    ),
    Check::must(
        "devices.outside-of-dev",
        SECTION,
        "A device's path may be outside of /dev.",
        |bench| one(bench, "/etc/hako-zero", |_| Ok(())).map(drop),
    ),
    Check::must(
        "devices.existing-file",
        SECTION,
        "A regular file at a device's path is an error.",
        |bench| {
            occupied(bench, |path| {
                fs::write(path, "a file").map_err(Stop::broken("cannot write a file"))
            })
        },
    ),
    Check::must(
        "devices.existing-directory",
        SECTION,
        "A directory at a device's path is an error.",
        |bench| {
            occupied(bench, |path| {
                fs::create_dir(path).map_err(Stop::broken("cannot make a directory"))
            })
        },
    ),
    Check::must(
        "devices.existing-link",
        SECTION,
        "A symbolic link to another file at a device's path is an error.",
        |bench| {
            occupied(bench, |path| {
                std::os::unix::fs::symlink("/etc", path).map_err(Stop::broken("cannot make a link"))
            })
        },
    ),
    Check::must(
        "devices.existing-other-device",
        SECTION,
        "A device with other numbers at a device's path is an error.",
        |bench| occupied(bench, |path| node(path, 3)),
    ),
    Check::must(
        "devices.existing-same-device",
        SECTION,
        "A device that is there already as it is wanted is available.",
        |bench| one(bench, "/etc/hako-zero", |path| node(path, 5)).map(drop),
    ),
    Check::must(
        "devices.file-mode",
        SECTION,
        "A device has the mode of fileMode.",
        |bench| attribute(bench, "fileMode", 0o640, "mode"),
    ),
    Check::must(
        "devices.uid",
        SECTION,
        "A device has the owner of uid.",
        |bench| attribute(bench, "uid", 1234, "uid"),
    ),
    Check::must(
        "devices.gid",
        SECTION,
        "A device has the group of gid.",
        |bench| attribute(bench, "gid", 2345, "gid"),
    ),
];

const PLACE: &str = "/dev/hako-device";

/// A device like /dev/zero.
fn zero(config: &mut Value) {
    let device = json!({ "type": "c", "path": PLACE, "major": 1, "minor": 5 });
    push(&mut config["linux"]["devices"], device);
    config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
}

fn available(bench: &Bench, kind: &str, letter: &str, numbers: Option<(u32, u32)>) -> Verdict {
    let trial = Trial::new(bench, &[Step::Stat(PLACE.into())])?.edit(|config| {
        let mut device = json!({ "type": kind, "path": PLACE });
        if let Some((major, minor)) = numbers {
            device["major"] = json!(major);
            device["minor"] = json!(minor);
        }
        push(&mut config["linux"]["devices"], device);
    });
    let seen = trial.live()?;
    let found = seen.value(0)?;
    let same =
        numbers.is_none_or(|(major, minor)| found["major"] == major && found["minor"] == minor);
    demand(found["kind"] == letter && same, || {
        format!("{PLACE} is {found}")
    })?;
    trial.passed()
}

/// A container with a device like /dev/zero at `path`, where `before` was.
fn one(
    bench: &Bench,
    path: &str,
    before: impl FnOnce(&std::path::Path) -> Verdict,
) -> Result<Seen, Stop> {
    let steps = [Step::Stat(path.into()), Step::Open(path.into())];
    let trial = Trial::new(bench, &steps)?.edit(|config| {
        zero(config);
        config["linux"]["devices"][0]["path"] = json!(path);
    });
    before(&trial.rootfs().join(path.trim_start_matches('/')))?;
    let seen = trial.live()?;
    let found = seen.value(0)?;
    let right = found["kind"] == "c" && found["major"] == 1 && found["minor"] == 5;
    demand(right, || format!("{path} is {found}"))?;
    trial.passed()?;
    Ok(seen)
}

fn usable(bench: &Bench) -> Verdict {
    one(bench, PLACE, |_| Ok(()))?.value(1).map(drop)
}

fn node(path: &std::path::Path, minor: u32) -> Verdict {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        mode,
        makedev(1, minor),
    )
    .map_err(Stop::broken("cannot make a device"))
}

fn occupied(bench: &Bench, before: impl FnOnce(&std::path::Path) -> Verdict) -> Verdict {
    one(bench, "/etc/hako-zero", |_| Ok(()))?;
    let trial = Trial::new(bench, &[])?.edit(|config| {
        zero(config);
        config["linux"]["devices"][0]["path"] = json!("/etc/hako-zero");
    });
    before(&trial.rootfs().join("etc/hako-zero"))?;
    does_not_run(trial)
}

fn attribute(bench: &Bench, field: &str, value: u32, seen_as: &str) -> Verdict {
    let trial = Trial::new(bench, &[Step::Stat(PLACE.into())])?.edit(|config| {
        zero(config);
        config["linux"]["devices"][0][field] = json!(value);
    });
    let seen = trial.live()?;
    let found = &seen.value(0)?[seen_as];
    demand(found == value, || {
        format!("{seen_as} is {found}, not {value}")
    })?;
    trial.passed()
}
