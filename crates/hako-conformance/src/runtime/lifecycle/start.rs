//! "Start".

use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::remove;
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "start.without-id",
        "runtime.md#start",
        "'start' without an id is an error.",
        |bench| Trial::new(bench, &[])?.errs(&["start"]),
    ),
    Check::must(
        "start.unknown-id",
        "runtime.md#start",
        "'start' of a container that does not exist is an error.",
        |bench| {
            let trial = Trial::new(bench, &[])?;
            trial.errs(&["start", &trial.id])
        },
    ),
    Check::must(
        "start.running",
        "runtime.md#start",
        "'start' of a running container is an error and has no effect on it.",
        running,
    ),
    Check::must(
        "start.stopped",
        "runtime.md#start",
        "'start' of a stopped container is an error and has no effect on it.",
        stopped,
    ),
    Check::must(
        "start.program",
        "runtime.md#start",
        "'start' runs the program with its arguments and environment.",
        program,
    ),
    Check::must(
        "start.without-process",
        "runtime.md#start",
        "'start' is an error when the configuration has no 'process'.",
        without_process,
    ),
    Check::must(
        "start.no-such-program",
        "runtime.md#start",
        "A program that is not there is an error of 'create' or 'start', and never runs.",
        no_such_program,
    ),
];

fn running(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("once".into()), Step::Wait])?;
    trial.launch()?;
    trial.answers(1)?;
    let pid = trial.pid()?;
    trial.errs(&["start", &trial.id])?;
    trial.is("running")?;
    let (now, seen) = (trial.pid()?, trial.seen()?.len());
    demand(pid == now && seen == 1, || {
        format!("its pid was {pid} and is {now}; its program has reported {seen} times")
    })?;
    trial.passed()
}

fn stopped(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("once".into())])?;
    trial.launch()?;
    trial.becomes("stopped")?;
    trial.errs(&["start", &trial.id])?;
    trial.is("stopped")?;
    let seen = trial.seen()?.len();
    demand(seen == 1, || {
        format!("its program has reported {seen} times")
    })?;
    trial.passed()
}

fn program(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Args, Step::Env])?.edit(|config| {
        if let Some(args) = config["process"]["args"].as_array_mut() {
            args.extend(["".into(), "two words".into(), "$HOME".into()]);
        }
        config["process"]["env"] = serde_json::json!(["PATH=/", "EMPTY=", "A=b=c"]);
    });
    let seen = trial.live()?;
    let args = seen.value(0)?;
    let good = args[2] == "" && args[3] == "two words" && args[4] == "$HOME" && args[5].is_null();
    demand(good, || format!("the arguments are {args}"))?;
    let env = seen.value(1)?;
    let has = |name: &str| {
        env.as_array()
            .is_some_and(|all| all.iter().any(|it| it == name))
    };
    demand(has("PATH=/") && has("EMPTY=") && has("A=b=c"), || {
        format!("the environment is {env}")
    })?;
    trial.passed()
}

fn without_process(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| remove(config, "process"));
    trial.does_not_start()?;
    trial.passed()
}

fn no_such_program(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| {
        config["process"]["args"] = serde_json::json!(["/no-such-program"]);
    });
    trial.does_not_start()?;
    // Whatever the runtime makes of it now, it does not run.
    let state = trial.call(&["state", &trial.id])?;
    demand(!state.out.contains("\"running\""), || {
        "the container is 'running' although its program is not there".to_owned()
    })?;
    trial.passed()
}
