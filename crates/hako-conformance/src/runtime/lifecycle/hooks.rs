//! "Lifecycle", the steps that invoke hooks: when each kind is called.

use std::fs;
use std::path::PathBuf;

use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::push;
use crate::runtime::trial::{self, Trial};

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "hooks.prestart",
        "runtime.md#lifecycle",
        "The prestart hooks are invoked by 'create'.",
        |bench| invoked(bench, "prestart", Operation::Create),
    ),
    Check::must(
        "hooks.create-runtime",
        "runtime.md#lifecycle",
        "The createRuntime hooks are invoked by 'create'.",
        |bench| invoked(bench, "createRuntime", Operation::Create),
    ),
    Check::must(
        "hooks.create-container",
        "runtime.md#lifecycle",
        "The createContainer hooks are invoked by 'create'.",
        |bench| invoked(bench, "createContainer", Operation::Create),
    ),
    Check::must(
        "hooks.start-container",
        "runtime.md#lifecycle",
        "The startContainer hooks are invoked after 'start' was called.",
        |bench| invoked(bench, "startContainer", Operation::Exit),
    ),
    Check::must(
        "hooks.poststart",
        "runtime.md#lifecycle",
        "The poststart hooks are invoked by 'start'.",
        |bench| invoked(bench, "poststart", Operation::Start),
    ),
    Check::must(
        "hooks.poststop",
        "runtime.md#lifecycle",
        "The poststop hooks are invoked by 'delete'.",
        |bench| invoked(bench, "poststop", Operation::Delete),
    ),
    Check::must(
        "hooks.sequence",
        "runtime.md#lifecycle",
        "The kinds of hooks are invoked in the lifecycle's order: prestart, createRuntime, createContainer, startContainer, the program, poststart, poststop.",
        sequence,
    ),
];

/// What invokes hooks, in its order. 'start' may return before the container
/// has got as far as its own hooks, but its process does not end before.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Operation {
    Create,
    Start,
    Exit,
    Delete,
}

/// A trial's log outside, which hooks write to.
pub(super) fn log(trial: &Trial<'_>) -> PathBuf {
    trial.beside("log")
}

/// The log of a hook of this kind, as the hook names it and as it is outside.
pub(super) fn log_of(trial: &Trial<'_>, kind: &str) -> (String, PathBuf) {
    match kind {
        "startContainer" => ("/tmp/log".to_owned(), trial.rootfs().join("tmp/log")),
        _ => (trial::text(&log(trial)), log(trial)),
    }
}

fn invoked(bench: &Bench, kind: &str, during: Operation) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("ran".into())])?;
    let (inside, outside) = log_of(&trial, kind);
    let trial = trial.hook(kind, &[Step::Append(inside, kind.to_owned())]);
    let expect = |now: Operation| {
        if (now, during) == (Operation::Start, Operation::Exit) {
            return Ok(());
        }
        let calls = fs::read_to_string(&outside).unwrap_or_default();
        let wanted = usize::from(now >= during);
        demand(calls.lines().count() == wanted, || {
            format!(
                "after {now:?} the {kind} hook has been called {} times, not {wanted}",
                calls.lines().count()
            )
        })
    };
    trial.create()?;
    expect(Operation::Create)?;
    trial.start()?;
    expect(Operation::Start)?;
    trial.becomes("stopped")?;
    expect(Operation::Exit)?;
    trial.delete()?;
    expect(Operation::Delete)?;
    trial.passed()
}

/// All write into one file: a directory that is bound into the container.
fn sequence(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let shared = trial.beside("shared");
    fs::create_dir(&shared).map_err(crate::check::Stop::broken("cannot make a directory"))?;
    let outside = trial::text(&shared.join("log"));
    let inside = "/tmp/log".to_owned();
    let mut trial = trial.edit(|config| {
        let mount = serde_json::json!({
            "destination": "/tmp", "type": "none", "options": ["bind"], "source": shared,
        });
        push(&mut config["mounts"], mount);
    });
    // The program is quick, so poststart may well come after its end, but not
    // before its beginning.
    trial.steps(&[Step::Append(inside.clone(), "program".into()), Step::Wait]);
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    for kind in kinds {
        let log = match kind {
            "startContainer" => &inside,
            _ => &outside,
        };
        // What is executed before it has the time to write is not overtaken.
        let mut steps = vec![Step::Append(log.clone(), kind.to_owned())];
        if kind == "poststart" {
            steps.insert(0, Step::Sleep(200));
        }
        trial = trial.hook(kind, &steps);
    }
    trial.launch()?;
    trial.until("the program runs", || {
        let log = fs::read_to_string(&outside).unwrap_or_default();
        Ok(log.lines().any(|line| line == "program"))
    })?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.delete()?;
    let log = fs::read_to_string(&outside).unwrap_or_default();
    let seen: Vec<&str> = log.lines().collect();
    let wanted = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "program",
        "poststart",
        "poststop",
    ];
    demand(seen == wanted, || {
        format!("the order was {}", seen.join(", "))
    })?;
    trial.passed()
}
