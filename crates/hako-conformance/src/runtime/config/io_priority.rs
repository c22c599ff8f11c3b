//! "Linux Process": the priority of input and output.

use serde_json::{Value, json};

use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const SECTION: &str = "config.md#linux-process";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "io-priority.rt",
        SECTION,
        "The class IOPRIO_CLASS_RT is applied, with each priority.",
        |bench| applied(bench, "IOPRIO_CLASS_RT", 1, &[0, 7]),
    ),
    Check::must(
        "io-priority.be",
        SECTION,
        "The class IOPRIO_CLASS_BE is applied, with each priority.",
        |bench| applied(bench, "IOPRIO_CLASS_BE", 2, &[0, 1, 2, 3, 4, 5, 6, 7]),
    ),
    Check::must(
        "io-priority.idle",
        SECTION,
        "The class IOPRIO_CLASS_IDLE is applied.",
        |bench| applied(bench, "IOPRIO_CLASS_IDLE", 3, &[4]),
    ),
    Check::must(
        "io-priority.class-missing",
        SECTION,
        "An ioPriority without class is an error.",
        |bench| refused(bench, json!({ "priority": 4 })),
    ),
    Check::must(
        "io-priority.class-unknown",
        SECTION,
        "A class that is not in the list is an error.",
        |bench| {
            refused(
                bench,
                json!({ "class": "IOPRIO_CLASS_HAKO", "priority": 4 }),
            )
        },
    ),
    Check::must(
        "io-priority.out-of-range",
        SECTION,
        "A priority that is not between 0 and 7 is an error.",
        |bench| {
            for priority in [8, -1] {
                refused(
                    bench,
                    json!({ "class": "IOPRIO_CLASS_BE", "priority": priority }),
                )?;
            }
            Ok(())
        },
    ),
];

fn applied(bench: &Bench, class: &str, number: u32, priorities: &[u32]) -> Verdict {
    for priority in priorities {
        let trial = Trial::of(bench, "1.1.0", &[Step::IoPriority])?.edit(|config| {
            config["process"]["ioPriority"] = json!({ "class": class, "priority": priority });
        });
        let seen = trial.live()?;
        demand(*seen.value(0)? == json!([number, priority]), || {
            format!("{class} {priority} was asked for: {}", seen.told())
        })?;
        trial.passed()?;
    }
    Ok(())
}

fn refused(bench: &Bench, priority: Value) -> Verdict {
    let trial = Trial::of(bench, "1.1.0", &[])?;
    let trial = trial.edit(|config| config["process"]["ioPriority"] = priority);
    trial.does_not_start()?;
    trial.passed()
}
