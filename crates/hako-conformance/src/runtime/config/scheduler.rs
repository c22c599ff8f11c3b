//! "Linux Process": the scheduler.

use hako_sys::sched::{Attributes, set_attributes};
use rustix::process::{getpriority_process, setpriority_process};
use serde_json::{Value, json};

use super::support::alone;
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const SECTION: &str = "config.md#linux-process";

/// A check of a scheduler and of how the program finds itself.
macro_rules! scheduler {
    ($name:literal, $demand:literal, $asked:tt, $wanted:tt) => {
        Check::must($name, SECTION, $demand, |bench| {
            scheduler(bench, &json!($asked), &json!($wanted))
        })
    };
}

pub(super) const CHECKS: &[Check] = &[
    scheduler!(
        "scheduler.other",
        "The policy SCHED_OTHER is applied, with its nice value.",
        { "policy": "SCHED_OTHER", "nice": 3 },
        { "policy": 0, "nice": 3 }
    ),
    scheduler!(
        "scheduler.fifo",
        "The policy SCHED_FIFO is applied, with its priority.",
        { "policy": "SCHED_FIFO", "priority": 7 },
        { "policy": 1, "priority": 7 }
    ),
    scheduler!(
        "scheduler.rr",
        "The policy SCHED_RR is applied, with its priority.",
        { "policy": "SCHED_RR", "priority": 9 },
        { "policy": 2, "priority": 9 }
    ),
    scheduler!(
        "scheduler.batch",
        "The policy SCHED_BATCH is applied, with its nice value.",
        { "policy": "SCHED_BATCH", "nice": 5 },
        { "policy": 3, "nice": 5 }
    ),
    scheduler!(
        "scheduler.idle",
        "The policy SCHED_IDLE is applied.",
        { "policy": "SCHED_IDLE" },
        { "policy": 5 }
    ),
    scheduler!(
        "scheduler.deadline",
        "The policy SCHED_DEADLINE is applied, with runtime, deadline and period.",
        {
            "policy": "SCHED_DEADLINE",
            "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000,
        },
        { "policy": 6, "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000 }
    ),
    scheduler!(
        "scheduler.nice-negative",
        "The nice value may be negative.",
        { "policy": "SCHED_OTHER", "nice": -4 },
        { "policy": 0, "nice": -4 }
    ),
    Check::must(
        "scheduler.nice-unset",
        SECTION,
        "Without nice the program's nice value is 0, whatever the runtime's is.",
        nice_unset,
    ),
    scheduler!(
        "scheduler.reset-on-fork",
        "The flag SCHED_FLAG_RESET_ON_FORK is applied.",
        { "policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"] },
        { "policy": 3, "flags": 1 }
    ),
    scheduler!(
        "scheduler.reclaim",
        "The flag SCHED_FLAG_RECLAIM is applied.",
        {
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000,
        },
        { "policy": 6, "flags": 2 }
    ),
    scheduler!(
        "scheduler.overrun",
        "The flag SCHED_FLAG_DL_OVERRUN is applied.",
        {
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_DL_OVERRUN"],
            "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000,
        },
        { "policy": 6, "flags": 4 }
    ),
    scheduler!(
        "scheduler.keep-policy",
        "With the flag SCHED_FLAG_KEEP_POLICY the policy stays and the rest is applied.",
        { "policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_KEEP_POLICY"] },
        { "policy": 0, "nice": 5 }
    ),
    scheduler!(
        "scheduler.keep-params",
        "With the flag SCHED_FLAG_KEEP_PARAMS the nice value stays and other flags are applied.",
        {
            "policy": "SCHED_BATCH", "nice": 5,
            "flags": ["SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_RESET_ON_FORK"],
        },
        { "nice": null, "flags": 1 }
    ),
    Check::must(
        "scheduler.policy-missing",
        SECTION,
        "A scheduler without policy is an error.",
        |bench| refused(bench, json!({ "nice": 1 })),
    ),
    Check::must(
        "scheduler.policy-unknown",
        SECTION,
        "A policy that is not in the list is an error.",
        |bench| refused(bench, json!({ "policy": "SCHED_HAKO" })),
    ),
    Check::must(
        "scheduler.flag-unknown",
        SECTION,
        "A flag that is not in the list is an error.",
        |bench| {
            let flags = ["SCHED_FLAG_HAKO"];
            refused(bench, json!({ "policy": "SCHED_OTHER", "flags": flags }))
        },
    ),
    Check::must(
        "scheduler.not-applied",
        SECTION,
        "A scheduler that the kernel refuses is an error: a priority above 99.",
        |bench| refused(bench, json!({ "policy": "SCHED_FIFO", "priority": 100 })),
    ),
];

fn scheduler(bench: &Bench, asked: &Value, wanted: &Value) -> Verdict {
    alone(|| {
        // A thread of our own takes the priority that the runtime inherits.
        let trial = Trial::of(bench, "1.1.0", &[Step::Scheduler])?;
        possible(asked, wanted)?;
        let trial = trial.edit(|config| {
            config["process"]["scheduler"] = asked.clone();
            // Where groups have a share of real time, a new one has none.
            let shares = std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
            if shares && matches!(wanted["policy"].as_u64(), Some(1 | 2)) {
                let share = json!({ "realtimePeriod": 1_000_000, "realtimeRuntime": 10_000 });
                config["linux"]["resources"] = json!({ "cpu": share });
            }
        });
        let seen = trial.live()?;
        let found = seen.value(0)?;
        for (name, value) in wanted.as_object().into_iter().flatten() {
            // Null: as whoever calls the runtime has it.
            let own = || getpriority_process(None).map_or(Value::Null, |nice| json!(nice));
            let right = match value {
                Value::Null => found[name] == own(),
                value => found[name] == *value,
            };
            demand(right, || format!("the program has {found}"))?;
        }
        trial.passed()
    })
}

/// Whether the kernel lets a thread of ours have it.
fn possible(asked: &Value, wanted: &Value) -> Verdict {
    let policy = wanted["policy"]
        .as_u64()
        .and_then(|n| u32::try_from(n).ok());
    let Some(policy @ (1 | 2 | 6)) = policy else {
        return Ok(());
    };
    let number = |name: &str| asked[name].as_u64().unwrap_or(0);
    let wish = Attributes {
        policy,
        priority: u32::try_from(number("priority")).unwrap_or(0),
        runtime: number("runtime"),
        deadline: number("deadline"),
        period: number("period"),
        ..Attributes::default()
    };
    alone(|| match set_attributes(&wish) {
        Ok(()) => Ok(()),
        Err(error) => Err(Stop::Skipped(format!(
            "this kernel lets nobody here have {}: {error}",
            asked["policy"]
        ))),
    })
}

fn nice_unset(bench: &Bench) -> Verdict {
    alone(|| {
        let trial = Trial::of(bench, "1.1.0", &[Step::Scheduler])?;
        let own = getpriority_process(None).map_err(Stop::broken("cannot read the nice value"))?;
        setpriority_process(None, own + 3).map_err(Stop::broken("cannot be nicer"))?;
        let trial = trial.edit(|config| {
            config["process"]["scheduler"] = json!({ "policy": "SCHED_OTHER" });
        });
        let seen = trial.live()?;
        demand(seen.value(0)?["nice"] == 0, || seen.told())?;
        trial.passed()
    })
}

fn refused(bench: &Bench, scheduler: Value) -> Verdict {
    let trial = Trial::of(bench, "1.1.0", &[])?;
    let trial = trial.edit(|config| config["process"]["scheduler"] = scheduler);
    trial.does_not_start()?;
    trial.passed()
}
