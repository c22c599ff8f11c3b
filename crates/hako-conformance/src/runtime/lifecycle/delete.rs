//! "Delete".

use std::fs;

use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::{push, remove};
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "delete.without-id",
        "runtime.md#delete",
        "'delete' without an id is an error.",
        |bench| Trial::new(bench, &[])?.errs(&["delete"]),
    ),
    Check::must(
        "delete.unknown-id",
        "runtime.md#delete",
        "'delete' of a container that does not exist is an error.",
        |bench| {
            let trial = Trial::new(bench, &[])?;
            trial.errs(&["delete", &trial.id])
        },
    ),
    Check::must(
        "delete.created",
        "runtime.md#delete",
        "'delete' of a created container is an error and has no effect on it.",
        created,
    ),
    Check::must(
        "delete.running",
        "runtime.md#delete",
        "'delete' of a running container is an error and has no effect on it.",
        running,
    ),
    Check::must(
        "delete.resources",
        "runtime.md#delete",
        "'delete' removes what 'create' made: the container's state and its cgroups.",
        resources,
    ),
    Check::must(
        "delete.others",
        "runtime.md#delete",
        "'delete' does not remove what the container did not create: a namespace that it joined, its bundle, its sources of mounts.",
        others,
    ),
    Check::must(
        "delete.id-again",
        "runtime.md#delete",
        "After 'delete' the id can be used by another container.",
        id_again,
    )
    .may(),
];

fn created(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("ran".into())])?;
    trial.create()?;
    trial.errs(&["delete", &trial.id])?;
    trial.is("created")?;
    trial.start()?;
    trial.answers(1)?;
    trial.passed()
}

fn running(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Block, Step::Wait])?;
    trial.launch()?;
    trial.answers(1)?;
    trial.errs(&["delete", &trial.id])?;
    trial.is("running")?;
    trial.kill("TERM")?;
    trial.becomes("stopped")?;
    trial.passed()
}

fn resources(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Wait])?;
    trial.launch()?;
    let before = trial.cgroups();
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.delete()?;
    let after = trial.cgroups();
    demand(after.is_empty(), || {
        format!("of the cgroups {before:?} these stay: {after:?}")
    })?;
    trial.errs(&["state", &trial.id])?;
    let known = trial.call(&["list"])?;
    demand(!known.out.contains(&trial.id), || {
        format!("'list' still has it: {}", known.out)
    })?;
    trial.passed()
}

fn others(bench: &Bench) -> Verdict {
    // Somebody else's namespaces, pinned as file: those of a second container.
    let other = Trial::new(bench, &[Step::Block, Step::Wait])?;
    other.launch()?;
    other.answers(1)?;
    let pid = other.pid()?;
    let trial = Trial::new(bench, &[])?;
    let source = trial.beside("source");
    fs::create_dir(&source)
        .and_then(|()| fs::write(source.join("file"), "kept"))
        .map_err(Stop::broken("cannot make a directory"))?;
    let trial = trial.edit(|config| {
        let namespaces = &mut config["linux"]["namespaces"];
        for (n, kind) in [(1, "net"), (2, "ipc"), (3, "uts")] {
            namespaces[n]["path"] = format!("/proc/{pid}/ns/{kind}").into();
        }
        remove(config, "hostname");
        let mount = serde_json::json!({
            "destination": "/tmp", "type": "none", "options": ["bind"], "source": source,
        });
        push(&mut config["mounts"], mount);
    });
    trial.live()?;
    demand(trial.rootfs().join("tmp").is_dir(), || {
        "the bundle is gone".to_owned()
    })?;
    let kept = fs::read_to_string(source.join("file"));
    demand(kept.as_deref().is_ok_and(|text| text == "kept"), || {
        format!("the source of a mount is gone: {kept:?}")
    })?;
    other.is("running")?;
    let cgroups = other.cgroups();
    other.kill("TERM")?;
    other.becomes("stopped")?;
    demand(!cgroups.is_empty() || other.delete().is_ok(), || {
        "the other container has lost its cgroup".to_owned()
    })?;
    other.passed()?;
    trial.passed()
}

fn id_again(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("again".into())])?;
    trial.live()?;
    trial.live()?;
    let seen = trial.seen()?.len();
    demand(seen == 2, || {
        format!("the programs have reported {seen} times")
    })?;
    trial.passed()
}
