//! "User namespace mappings" and "Offset for Time Namespace".

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use super::namespaces::{new_user, set};
use super::{faulty, read, remove};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::{Trial, VERSION as BASE};

const SECTION: &str = "config-linux.md#user-namespace-mappings";
const CLOCKS: &str = "config-linux.md#offset-for-time-namespace";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "mappings.uid",
        SECTION,
        "uidMappings are the user mappings of the container's user namespace.",
        |bench| mapped(bench, "uidMappings", "uid_map"),
    ),
    Check::must(
        "mappings.gid",
        SECTION,
        "gidMappings are the group mappings of the container's user namespace.",
        |bench| mapped(bench, "gidMappings", "gid_map"),
    ),
    Check::must(
        "mappings.without-container-id",
        SECTION,
        "A mapping without containerID is an error.",
        |bench| {
            faulty(bench, BASE, new_user, |config| {
                remove(&mut config["linux"]["uidMappings"][0], "containerID");
            })
        },
    ),
    Check::must(
        "mappings.without-host-id",
        SECTION,
        "A mapping without hostID is an error.",
        |bench| {
            faulty(bench, BASE, new_user, |config| {
                remove(&mut config["linux"]["uidMappings"][0], "hostID");
            })
        },
    ),
    Check::must(
        "mappings.without-size",
        SECTION,
        "A mapping without size is an error.",
        |bench| {
            faulty(bench, BASE, new_user, |config| {
                remove(&mut config["linux"]["uidMappings"][0], "size");
            })
        },
    ),
    Check::must(
        "mappings.ownership-stays",
        SECTION,
        "The ownership of the root file system's files is not changed for a mapping.",
        ownership,
    )
    .should(),
    Check::must(
        "time-offsets.monotonic",
        CLOCKS,
        "The offset of the monotonic clock is applied, in seconds.",
        |bench| {
            offset(
                bench,
                "monotonic",
                json!({ "secs": 5_000_000 }),
                5_000_000_000_000_000,
            )
        },
    ),
    Check::must(
        "time-offsets.boottime",
        CLOCKS,
        "The offset of the boot-time clock is applied, in seconds.",
        |bench| {
            offset(
                bench,
                "boottime",
                json!({ "secs": 6_000_000 }),
                6_000_000_000_000_000,
            )
        },
    ),
    Check::must(
        "time-offsets.nanosecs",
        CLOCKS,
        "The nanoseconds of an offset are applied.",
        nanoseconds,
    ),
    Check::must(
        "time-offsets.unknown-clock",
        CLOCKS,
        "An offset of a clock that has none is an error.",
        |bench| {
            has_time()?;
            faulty(
                bench,
                "1.1.0",
                |config| set(config, "time", None),
                |config| {
                    config["linux"]["timeOffsets"] = json!({ "hako-no-clock": { "secs": 1 } });
                },
            )
        },
    ),
];

fn mapped(bench: &Bench, field: &str, file: &str) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| {
        new_user(config);
        config["linux"][field] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 1000, "hostID": 201_000, "size": 64536 },
        ]);
    });
    trial.create()?;
    let text = read(format!("/proc/{}/{file}", trial.pid()?))?;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let wanted = [["0", "100000", "1000"], ["1000", "201000", "64536"]];
    demand(lines == wanted, || format!("{file} is {lines:?}"))?;
    trial.passed()
}

fn ownership(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Stat("/etc".into())])?.edit(new_user);
    let places = ["", "etc", "tmp", crate::probe::NAME].map(|name| trial.rootfs().join(name));
    let look = || -> Result<Vec<(u32, u32)>, Stop> {
        let owner = |path| {
            fs::symlink_metadata(path)
                .map(|meta| (meta.uid(), meta.gid()))
                .map_err(Stop::broken("cannot look at the root file system"))
        };
        places.iter().map(owner).collect()
    };
    let before = look()?;
    let seen = trial.live()?;
    seen.value(0)?;
    let after = look()?;
    demand(before == after, || {
        format!("owners were {before:?} and are {after:?}")
    })?;
    trial.passed()
}

fn has_time() -> Verdict {
    match fs::exists("/proc/self/ns/time") {
        Ok(true) => Ok(()),
        _ => Err(Stop::Skipped("this kernel has no time namespaces".into())),
    }
}

fn with_offset(config: &mut Value, clock: &str, offset: Value) {
    set(config, "time", None);
    config["linux"]["timeOffsets"][clock] = offset;
}

/// Looks at a clock inside and, soon before and after, outside.
fn offset(bench: &Bench, clock: &str, offset: Value, wanted: i64) -> Verdict {
    has_time()?;
    let now = || {
        let id = match clock {
            "monotonic" => rustix::time::ClockId::Monotonic,
            _ => rustix::time::ClockId::Boottime,
        };
        let time = rustix::time::clock_gettime(id);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    let trial = Trial::of(bench, "1.1.0", &[Step::Clocks])?
        .edit(|config| with_offset(config, clock, offset));
    let before = now();
    let seen = trial.live()?;
    let after = now();
    let inside = seen.value(0)?[clock].as_i64().unwrap_or_default() - wanted;
    demand((before..=after).contains(&inside), || {
        format!("the {clock} clock less its offset is {inside}, and outside {before} to {after}")
    })?;
    trial.passed()
}

fn nanoseconds(bench: &Bench) -> Verdict {
    has_time()?;
    let trial = Trial::of(bench, "1.1.0", &[])?.edit(|config| {
        with_offset(
            config,
            "monotonic",
            json!({ "secs": 7, "nanosecs": 123_456_789 }),
        );
    });
    trial.create()?;
    let text = read(format!("/proc/{}/timens_offsets", trial.pid()?))?;
    let found = text
        .lines()
        .any(|line| line.split_whitespace().collect::<Vec<_>>() == ["monotonic", "7", "123456789"]);
    match found {
        true => trial.passed(),
        false => fails(format!("the offsets are {text:?}")),
    }
}
