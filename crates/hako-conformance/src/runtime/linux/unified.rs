//! "Unified".

use serde_json::json;

use super::hierarchy::{self, Want, agrees};
use super::{does_not_run, read};
use crate::check::{Check, Stop, Verdict};
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const SECTION: &str = "config-linux.md#unified";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "unified.file",
        SECTION,
        "A key's value is written to the file of that name, and its controller is enabled.",
        |bench| {
            let controller = "hugetlb";
            let here = hierarchy::of(controller)?;
            if !here.unified {
                return Err(Stop::Skipped(
                    "no controller that can be tried is in version 2 here".into(),
                ));
            }
            written(bench, "hugetlb.2MB.max", "6291456")
        },
    ),
    Check::must(
        "unified.memory",
        SECTION,
        "A limit of the memory is written to the file of that name.",
        |bench| match hierarchy::of("memory")?.unified {
            true => written(bench, "memory.high", "134217728"),
            false => Err(Stop::Skipped(
                "the memory controller is in version 1 here".into(),
            )),
        },
    ),
    Check::must(
        "unified.core-file",
        SECTION,
        "What a runtime need not know is written, too.",
        |bench| written(bench, "cgroup.max.descendants", "17"),
    ),
    Check::must(
        "unified.no-controller",
        SECTION,
        "A key of a controller that does not exist is an error.",
        |bench| refused(bench, "hako_no_such.max", "1"),
    ),
    Check::must(
        "unified.absent-controller",
        SECTION,
        "A key of a controller that is not in the hierarchy is an error.",
        |bench| match hierarchy::of("pids")?.unified {
            true => Err(Stop::Skipped(
                "all usual controllers are in version 2 here".into(),
            )),
            false => refused(bench, "pids.max", "100"),
        },
    ),
];

fn second() -> Result<hierarchy::Hierarchy, Stop> {
    let found = hierarchy::all().into_iter().find(|it| it.unified);
    found.ok_or_else(|| Stop::Skipped("no cgroup version 2 is mounted here".into()))
}

fn written(bench: &Bench, file: &'static str, value: &'static str) -> Verdict {
    let hierarchy = second()?;
    let trial = Trial::of(bench, "1.1.0", &[])?
        .edit(|config| config["linux"]["resources"]["unified"][file] = json!(value));
    trial.create()?;
    let text = read(hierarchy.place(trial.pid()?)?.join(file))?;
    agrees(file, &text, Want::Line(value))?;
    trial.passed()
}

fn refused(bench: &Bench, file: &str, value: &str) -> Verdict {
    let trial = Trial::of(bench, "1.1.0", &[])?
        .edit(|config| config["linux"]["resources"]["unified"][file] = json!(value));
    does_not_run(trial)
}
