//! "Linux Process": capabilities.

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde_json::{Value, json};

use super::support::{alone, field, runs};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::{self, Trial};

const SECTION: &str = "config.md#linux-process";
const SETS: [&str; 5] = [
    "bounding",
    "effective",
    "inheritable",
    "permitted",
    "ambient",
];

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "capabilities.bounding",
        SECTION,
        "The program's bounding set is as configured, no more and no less.",
        |bench| {
            set(
                bench,
                0,
                &[("bounding", &[0, 3, 29])],
                "CapBnd",
                &[0, 3, 29],
            )?;
            set(
                bench,
                1000,
                &[("bounding", &[0, 3, 29])],
                "CapBnd",
                &[0, 3, 29],
            )
        },
    ),
    Check::must(
        "capabilities.permitted",
        SECTION,
        "The program's permitted set is as configured, as far as execve keeps it for root.",
        |bench| {
            let sets: &[(&str, &[u32])] = &[
                ("bounding", &[0, 3, 5]),
                ("permitted", &[0, 3, 5]),
                ("effective", &[0, 3, 5]),
            ];
            set(bench, 0, sets, "CapPrm", &[0, 3, 5])
        },
    ),
    Check::must(
        "capabilities.effective",
        SECTION,
        "The program's effective set is as configured, as far as execve keeps it for root.",
        |bench| {
            let sets: &[(&str, &[u32])] = &[
                ("bounding", &[0, 3, 5]),
                ("permitted", &[0, 3, 5]),
                ("effective", &[0, 3, 5]),
            ];
            set(bench, 0, sets, "CapEff", &[0, 3, 5])
        },
    ),
    Check::must(
        "capabilities.inheritable",
        SECTION,
        "The program's inheritable set is as configured.",
        |bench| {
            let sets: &[(&str, &[u32])] = &[
                ("bounding", &[0, 3, 5]),
                ("permitted", &[0, 3, 5]),
                ("inheritable", &[3, 5]),
            ];
            set(bench, 1000, sets, "CapInh", &[3, 5])
        },
    ),
    Check::must(
        "capabilities.ambient",
        SECTION,
        "The program's ambient set is as configured, and a user who is not root can use what is in it.",
        |bench| {
            let all: &[u32] = &[0, 3, 5];
            let sets: Vec<(&str, &[u32])> = SETS[..4]
                .iter()
                .map(|name| (*name, all))
                .chain([("ambient", &[3, 5][..])])
                .collect();
            for name in ["CapAmb", "CapPrm", "CapEff"] {
                set(bench, 1000, &sets, name, &[3, 5])?;
            }
            Ok(())
        },
    ),
    Check::must(
        "capabilities.none",
        SECTION,
        "With empty sets the program has no capability.",
        |bench| {
            for name in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
                set(bench, 0, &[], name, &[])?;
            }
            Ok(())
        },
    ),
    Check::must(
        "capabilities.unknown",
        SECTION,
        "A capability that the kernel does not have is no failure.",
        |bench| taken(bench, "CAP_HAKO"),
    )
    .should(),
    Check::must(
        "capabilities.unknown-warning",
        SECTION,
        "A capability that the kernel does not have is logged as a warning.",
        |bench| warned(bench, "CAP_HAKO"),
    ),
    Check::must(
        "capabilities.not-granted",
        SECTION,
        "A capability that the runtime itself lacks is no failure.",
        |bench| alone(|| lacking(|| taken(bench, "CAP_SYS_TIME"))),
    )
    .should(),
    Check::must(
        "capabilities.not-granted-warning",
        SECTION,
        "A capability that the runtime itself lacks is logged as a warning.",
        |bench| alone(|| lacking(|| warned(bench, "CAP_SYS_TIME"))),
    ),
];

/// The names of the capabilities that are used here.
fn name(number: u32) -> &'static str {
    match number {
        0 => "CAP_CHOWN",
        3 => "CAP_FOWNER",
        5 => "CAP_KILL",
        _ => "CAP_AUDIT_WRITE",
    }
}

/// Runs a user's program with sets of capabilities, and looks at one of them.
fn set(bench: &Bench, uid: u32, sets: &[(&str, &[u32])], line: &str, wanted: &[u32]) -> Verdict {
    let mut all = json!({});
    for kind in SETS {
        all[kind] = json!([]);
    }
    for (kind, numbers) in sets {
        all[*kind] = numbers.iter().map(|n| Value::from(name(*n))).collect();
    }
    let steps = [Step::Read("/proc/self/status".into())];
    let seen = runs(bench, &steps, |config| {
        config["process"]["capabilities"] = all;
        config["process"]["user"] = json!({ "uid": uid, "gid": uid });
    })?;
    let found = field(seen.text(0)?, line)?;
    let wanted: u64 = wanted.iter().map(|n| 1 << n).sum();
    demand(u64::from_str_radix(found, 16) == Ok(wanted), || {
        format!("{line} of uid {uid} is {found}, not {wanted:016x}")
    })
}

/// Makes the runtime, which this thread executes, one without CAP_SYS_TIME.
fn lacking(attempt: impl FnOnce() -> Verdict) -> Verdict {
    remove_capability_from_bounding_set(CapabilitySet::SYS_TIME)
        .map_err(Stop::broken("cannot give up a capability"))?;
    attempt()
}

/// With one more capability, which cannot be had.
fn with<'a>(bench: &'a Bench, name: &str) -> Result<Trial<'a>, Stop> {
    // Before it was an error.
    let trial = Trial::of(bench, "1.1.0", &[Step::Read("/proc/self/status".into())])?;
    Ok(trial.edit(|config| {
        for kind in ["bounding", "permitted", "effective"] {
            if let Some(set) = config["process"]["capabilities"][kind].as_array_mut() {
                set.push(json!(name));
            }
        }
    }))
}

/// The others are there.
fn taken(bench: &Bench, name: &str) -> Verdict {
    let trial = with(bench, name)?;
    let seen = trial.live()?;
    let found = field(seen.text(0)?, "CapEff")?;
    // CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE.
    demand(found == "0000000020000420", || format!("CapEff is {found}"))?;
    trial.passed()
}

/// The log or standard error tells of it, if need be at a runtime's most
/// talkative.
fn warned(bench: &Bench, name: &str) -> Verdict {
    let mut all = String::new();
    for more in [&[][..], &["--debug"]] {
        let trial = with(bench, name)?;
        trial.write()?;
        let bundle = trial::text(&trial.bundle());
        let log = trial.beside("log");
        let path = trial::text(&log);
        for verb in [
            &["create", "--bundle", &bundle, &trial.id][..],
            &["start", &trial.id],
        ] {
            let done = trial.call(&[&["--log", &path], more, verb].concat())?;
            trial::well(&done)?;
            all += &done.err;
        }
        all += &std::fs::read_to_string(&log).unwrap_or_default();
        trial.becomes("stopped")?;
        trial.passed()?;
        if all.to_uppercase().contains(name.trim_start_matches("CAP_")) {
            return Ok(());
        }
    }
    fails(format!(
        "neither the log nor standard error has {name}: {all}"
    ))
}
