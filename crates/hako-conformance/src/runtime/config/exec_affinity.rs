//! "Linux Process": the processors of what is executed in a container, which is
//! told of with the verb `exec` that runc defined.

use serde_json::{Value, json};

use super::support::{field, own_field};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::{self, PROBE, Trial};

const SECTION: &str = "config.md#linux-process";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "exec-affinity.final",
        SECTION,
        "What is executed in the container runs on the processors of 'final'.",
        executed,
    ),
    Check::must(
        "exec-affinity.final-unset",
        SECTION,
        "Without 'final' the kernel alone decides after 'initial', which may stay.",
        final_unset,
    )
    .should(),
    Check::must(
        "exec-affinity.first-process",
        SECTION,
        "The container's first process runs where it would without execCPUAffinity.",
        first_process,
    ),
    Check::must(
        "exec-affinity.invalid",
        SECTION,
        "A list of processors that is none is an error.",
        invalid,
    ),
];

/// Two processors that the tester may use, as lists.
fn processors() -> Result<[String; 2], Stop> {
    let own = own_field("Cpus_allowed_list")?;
    let mut all = own.split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u32>().unwrap_or(0);
        number(first)..=number(last)
    });
    match (all.next(), all.next()) {
        (Some(one), Some(two)) => Ok([one.to_string(), two.to_string()]),
        _ => Err(Stop::Skipped(format!(
            "this takes two processors, here are: {own}"
        ))),
    }
}

fn affine<'a>(bench: &'a Bench, steps: &[Step], value: &Value) -> Result<Trial<'a>, Stop> {
    let trial = Trial::of(bench, "1.2.1", steps)?;
    Ok(trial.edit(|config| config["process"]["execCPUAffinity"] = value.clone()))
}

/// Executes the probe in a running container; gives its processors.
fn exec(bench: &Bench, value: &Value) -> Result<String, Stop> {
    let trial = affine(bench, &[Step::Block, Step::Wait], value)?;
    trial.launch()?;
    trial.answers(1)?;
    let steps = json!([Step::Read("/proc/self/status".into())]).to_string();
    let done = trial.call(&["exec", &trial.id, PROBE, &steps])?;
    trial::well(&done)?;
    let answer: Value = serde_json::from_str(&done.out).unwrap_or_default();
    let status = answer["value"].as_str().unwrap_or_default();
    let found = field(status, "Cpus_allowed_list")?.to_owned();
    trial.passed()?;
    Ok(found)
}

fn executed(bench: &Bench) -> Verdict {
    let [first, last] = processors()?;
    let asked = json!({ "initial": first, "final": last });
    let found = exec(bench, &asked)?;
    demand(found == last, || {
        format!("{asked} was asked for, it runs on {found}")
    })
}

fn final_unset(bench: &Bench) -> Verdict {
    let [first, _] = processors()?;
    let all = own_field("Cpus_allowed_list")?;
    for asked in [
        json!({ "initial": first }),
        json!({ "initial": first, "final": "" }),
    ] {
        let found = exec(bench, &asked)?;
        demand(found == first || found == all, || {
            format!("{asked} was asked for, it runs on {found}")
        })?;
    }
    Ok(())
}

fn first_process(bench: &Bench) -> Verdict {
    let [first, _] = processors()?;
    let steps = [Step::Read("/proc/self/status".into())];
    let with = affine(bench, &steps, &json!({ "initial": first, "final": first }))?;
    let seen = with.live()?;
    let found = field(seen.text(0)?, "Cpus_allowed_list")?;
    let own = own_field("Cpus_allowed_list")?;
    demand(found == own, || format!("it runs on {found}, not on {own}"))?;
    with.passed()
}

fn invalid(bench: &Bench) -> Verdict {
    for list in ["a", "1-", "3-1", "0;1"] {
        let trial = affine(bench, &[], &json!({ "initial": list }))?;
        trial
            .does_not_start()
            .map_err(|stop| super::valid::with(stop, list))?;
        trial.passed()?;
    }
    Ok(())
}
