//! "Kill".

use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "kill.without-id",
        "runtime.md#kill",
        "'kill' without an id is an error.",
        |bench| Trial::new(bench, &[])?.errs(&["kill"]),
    ),
    Check::must(
        "kill.unknown-id",
        "runtime.md#kill",
        "'kill' of a container that does not exist is an error.",
        |bench| {
            let trial = Trial::new(bench, &[])?;
            trial.errs(&["kill", &trial.id, "KILL"])
        },
    ),
    Check::must(
        "kill.stopped",
        "runtime.md#kill",
        "'kill' of a stopped container is an error and has no effect on it.",
        stopped,
    ),
    Check::must(
        "kill.created",
        "runtime.md#kill",
        "'kill' sends the signal to the process of a created container.",
        created,
    ),
    Check::must(
        "kill.signal-by-name",
        "runtime.md#kill",
        "'kill' sends the signal that is named, with and without 'SIG'.",
        |bench| {
            signals(
                bench,
                &[("USR1", 10), ("SIGUSR2", 12), ("HUP", 1), ("SIGTERM", 15)],
            )
        },
    ),
    Check::must(
        "kill.signal-by-number",
        "runtime.md#kill",
        "'kill' sends the signal that has the number.",
        |bench| signals(bench, &[("10", 10), ("1", 1), ("28", 28), ("15", 15)]),
    ),
    Check::must(
        "kill.unknown-signal",
        "runtime.md#kill",
        "'kill' with a signal that there is none of is an error and sends nothing.",
        unknown_signal,
    ),
];

fn stopped(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    trial.launch()?;
    trial.becomes("stopped")?;
    for signal in ["TERM", "KILL"] {
        trial.errs(&["kill", &trial.id, signal])?;
    }
    trial.is("stopped")?;
    trial.delete()?;
    trial.passed()
}

fn created(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("ran".into())])?;
    trial.create()?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    demand(trial.seen()?.len() == 0, || {
        "the program has run, though nobody started it".to_owned()
    })?;
    trial.passed()
}

fn signals(bench: &Bench, all: &[(&str, i32)]) -> Verdict {
    let mut steps = vec![Step::Block];
    steps.extend(all.iter().map(|_| Step::Wait));
    let trial = Trial::new(bench, &steps)?;
    trial.launch()?;
    trial.answers(1)?;
    for (n, (name, number)) in all.iter().enumerate() {
        trial.kill(name)?;
        let seen = trial.answers(n + 2)?;
        let got = seen.value(n + 1)?;
        demand(got == number, || {
            format!("'kill ID {name}' sent signal {got}, not {number}")
        })?;
    }
    trial.becomes("stopped")?;
    trial.passed()
}

fn unknown_signal(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Block, Step::Wait])?;
    trial.launch()?;
    trial.answers(1)?;
    for signal in ["NOSUCH", "SIGNOSUCH", "99"] {
        trial.errs(&["kill", &trial.id, signal])?;
    }
    trial.is("running")?;
    demand(trial.seen()?.len() == 1, || "a signal arrived".to_owned())?;
    trial.passed()
}
