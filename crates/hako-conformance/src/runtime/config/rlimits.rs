//! "POSIX process": resource limits.

use rustix::thread::{CapabilitySet, capabilities};
use serde_json::{Value, json};

use super::support::{invalid, runs};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::{self, Step};
use crate::runtime::Bench;
use crate::runtime::edit::remove;

const SECTION: &str = "config.md#posix-process";

/// A check of one limit with a soft and a hard value that nobody has by chance.
macro_rules! limit {
    ($name:literal, $type:literal, $soft:expr, $hard:expr) => {
        Check::must(
            concat!("rlimits.", $name),
            SECTION,
            concat!(
                "The program's ",
                $type,
                " is as configured, the soft limit and the hard one."
            ),
            |bench| limit(bench, $type, $soft, $hard),
        )
    };
}

pub(super) const CHECKS: &[Check] = &[
    limit!(
        "as",
        "RLIMIT_AS",
        (1 << 40) + (1 << 20),
        (1 << 41) + (1 << 20)
    ),
    limit!("core", "RLIMIT_CORE", 40960, 81920),
    limit!("cpu", "RLIMIT_CPU", 3601, 7203),
    limit!(
        "data",
        "RLIMIT_DATA",
        (1 << 40) + (1 << 20),
        (1 << 41) + (1 << 20)
    ),
    limit!("fsize", "RLIMIT_FSIZE", (1 << 40) + 4096, (1 << 41) + 4096),
    limit!("locks", "RLIMIT_LOCKS", 1021, 2039),
    limit!("memlock", "RLIMIT_MEMLOCK", 36864, 45056),
    limit!("msgqueue", "RLIMIT_MSGQUEUE", 409_600, 512_000),
    limit!("nice", "RLIMIT_NICE", 3, 7),
    limit!("nofile", "RLIMIT_NOFILE", 1021, 1777),
    limit!("nproc", "RLIMIT_NPROC", 8011, 9013),
    limit!("rss", "RLIMIT_RSS", (1 << 40) + 4096, (1 << 41) + 4096),
    limit!("rtprio", "RLIMIT_RTPRIO", 3, 7),
    limit!("rttime", "RLIMIT_RTTIME", 5_000_001, 6_000_003),
    limit!("sigpending", "RLIMIT_SIGPENDING", 1021, 2039),
    limit!("stack", "RLIMIT_STACK", 9 << 20, 65 << 20),
    Check::must(
        "rlimits.unknown-type",
        SECTION,
        "A type that the kernel does not have is an error.",
        |bench| {
            for name in ["RLIMIT_HAKO", "RLIMIT_", "", "HAKO"] {
                let entry = json!({ "type": name, "soft": 1024, "hard": 1024 });
                refused(bench, &[entry]).map_err(|stop| super::valid::with(stop, name))?;
            }
            Ok(())
        },
    ),
    Check::must(
        "rlimits.duplicate",
        SECTION,
        "Two entries of the same type are an error, even when they say the same.",
        |bench| {
            let entry = |soft: u64| json!({ "type": "RLIMIT_NOFILE", "soft": soft, "hard": 1024 });
            refused(bench, &[entry(512), entry(256)])?;
            refused(bench, &[entry(512), entry(512)])
        },
    ),
    Check::must(
        "rlimits.type-missing",
        SECTION,
        "An entry without type is an error.",
        |bench| lacks(bench, "type"),
    ),
    Check::must(
        "rlimits.soft-above-hard",
        SECTION,
        "A soft limit above the hard one, which cannot be set, is an error.",
        |bench| {
            let entry = json!({ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 512 });
            refused(bench, &[entry])
        },
    ),
];

fn limit(bench: &Bench, name: &str, soft: u64, hard: u64) -> Verdict {
    let (soft, hard) = possible(name, soft, hard)?;
    let seen = runs(bench, &[Step::Limits], |config| {
        config["process"]["rlimits"] = json!([{ "type": name, "soft": soft, "hard": hard }]);
    })?;
    let found = &seen.value(0)?[name];
    demand(*found == json!([soft, hard]), || {
        format!("{name} is {found}, not [{soft},{hard}]")
    })
}

/// The values, or others where these cannot be set here.
fn possible(name: &str, soft: u64, hard: u64) -> Result<(u64, u64), Stop> {
    let most = probe::limits()[name][1].as_u64().unwrap_or(u64::MAX);
    let own = capabilities(None).map_err(Stop::broken("cannot read capabilities"))?;
    if hard <= most || own.effective.contains(CapabilitySet::SYS_RESOURCE) {
        return Ok((soft, hard));
    }
    match most {
        0..4 => Err(Stop::Skipped(format!(
            "the hard limit {name} is {most} here and cannot be raised without CAP_SYS_RESOURCE"
        ))),
        _ => Ok((most / 2, most - 1)),
    }
}

fn refused(bench: &Bench, entries: &[Value]) -> Verdict {
    invalid(bench, |config| {
        config["process"]["rlimits"] = json!(entries);
    })
}

fn lacks(bench: &Bench, name: &str) -> Verdict {
    let mut entry = json!({ "type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024 });
    remove(&mut entry, name);
    refused(bench, &[entry])
}
