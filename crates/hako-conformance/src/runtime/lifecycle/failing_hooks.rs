//! "Lifecycle", what follows when a hook fails.

use std::fs;

use super::hooks::{log, log_of};
use crate::check::{Check, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "hooks.prestart-fails",
        "runtime.md#lifecycle",
        "When a prestart hook fails 'create' is an error and the container is destroyed.",
        |bench| create_fails(bench, "prestart"),
    ),
    Check::must(
        "hooks.create-runtime-fails",
        "runtime.md#lifecycle",
        "When a createRuntime hook fails 'create' is an error and the container is destroyed.",
        |bench| create_fails(bench, "createRuntime"),
    ),
    Check::must(
        "hooks.create-container-fails",
        "runtime.md#lifecycle",
        "When a createContainer hook fails 'create' is an error and the container is destroyed.",
        |bench| create_fails(bench, "createContainer"),
    ),
    Check::must(
        "hooks.start-container-fails",
        "runtime.md#lifecycle",
        "When a startContainer hook fails the program does not run and the container is stopped.",
        |bench| start_fails(bench, "startContainer"),
    ),
    Check::must(
        "hooks.poststart-fails",
        "runtime.md#lifecycle",
        "When a poststart hook fails the container is stopped.",
        |bench| start_fails(bench, "poststart"),
    ),
    Check::must(
        "hooks.poststop-fails",
        "runtime.md#lifecycle",
        "When a poststop hook fails the others are called and 'delete' goes on as if it had not.",
        poststop_fails,
    ),
    Check::must(
        "hooks.poststop-after-failure",
        "runtime.md#lifecycle",
        "A container that is destroyed because a hook failed has its poststop hooks invoked.",
        poststop_after_failure,
    ),
];

fn create_fails(bench: &Bench, kind: &str) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("ran".into())])?.hook(kind, &[Step::Exit(3)]);
    trial.refused()?;
    let left = trial.cgroups();
    demand(left.is_empty(), || format!("cgroups stay: {left:?}"))?;
    trial.passed()
}

fn start_fails(bench: &Bench, kind: &str) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("ran".into()), Step::Wait])?;
    let trial = trial.hook(kind, &[Step::Exit(3)]);
    trial.create()?;
    let pid = trial.pid()?;
    // "This specification does not mandate how, or even if, that error is
    // returned": what counts is what becomes of the container.
    trial.call(&["start", &trial.id])?;
    trial.until("the container's process ends", || {
        let state = trial.call(&["state", &trial.id])?;
        let gone = rustix::process::Pid::from_raw(pid)
            .is_none_or(|pid| rustix::process::test_kill_process(pid).is_err());
        Ok(gone && !state.out.contains("\"running\""))
    })?;
    if kind == "startContainer" && trial.seen()?.len() > 0 {
        return fails("the program has run");
    }
    trial.passed()
}

fn poststop_fails(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let (inside, outside) = log_of(&trial, "poststop");
    let trial = trial
        .hook("poststop", &[Step::Exit(3)])
        .hook("poststop", &[Step::Append(inside, "second".into())]);
    trial.live()?;
    let log = fs::read_to_string(outside).unwrap_or_default();
    demand(log == "second\n", || {
        "the hook after the one that failed was not called".to_owned()
    })?;
    trial.errs(&["state", &trial.id])?;
    trial.passed()
}

fn poststop_after_failure(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let (inside, _) = log_of(&trial, "poststop");
    let trial = trial
        .hook("createRuntime", &[Step::Exit(3)])
        .hook("poststop", &[Step::Append(inside, "poststop".into())]);
    trial.refused()?;
    let calls = fs::read_to_string(log(&trial)).unwrap_or_default();
    demand(calls == "poststop\n", || {
        format!(
            "the poststop hook was called {} times",
            calls.lines().count()
        )
    })?;
    trial.passed()
}
