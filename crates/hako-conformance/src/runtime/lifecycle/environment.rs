//! "Lifecycle", steps 1, 2 and 10: the environment and the program's time.

use std::fs;

use serde_json::json;

use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::push;
use crate::runtime::mountinfo;
use crate::runtime::trial::Trial;

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "lifecycle.environment",
        "runtime.md#lifecycle",
        "'create' makes the container's environment: its namespaces and mounts are there before 'start'.",
        environment,
    ),
    Check::must(
        "lifecycle.program-waits",
        "runtime.md#lifecycle",
        "'create' does not run the program.",
        program_waits,
    ),
    Check::must(
        "lifecycle.later-updates",
        "runtime.md#lifecycle",
        "Changes of config.json after 'create' do not affect the container.",
        later_updates,
    ),
    Check::must(
        "lifecycle.program",
        "runtime.md#lifecycle",
        "'start' runs the program that the configuration names.",
        program,
    ),
    Check::must(
        "lifecycle.exit",
        "runtime.md#lifecycle",
        "A container whose process exits by itself is stopped, whatever its status.",
        exit,
    ),
    Check::must(
        "errors.environment",
        "runtime.md#errors",
        "A 'create' that fails leaves everything as it was: no cgroup, no mount, the id free.",
        errors,
    ),
];

fn environment(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    trial.create()?;
    let pid = trial.pid()?;
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        // The process waits in its namespaces, but for the pid namespace that
        // its children would be in.
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        let (inside, outside) = (link(&pid.to_string()), link("self"));
        let apart = matches!((&inside, &outside), (Ok(a), Ok(b)) if a != b);
        demand(apart, || {
            format!("the {kind} namespace is {inside:?} inside and {outside:?} outside")
        })?;
    }
    let path = format!("/proc/{pid}/mountinfo");
    let mounts = fs::read_to_string(&path).map_err(Stop::broken(format!("cannot read {path}")))?;
    for place in ["/proc", "/dev", "/dev/pts", "/dev/shm", "/sys"] {
        let there = mountinfo::places(&mounts).any(|at| at == place);
        demand(there, || format!("nothing is mounted at {place}"))?;
    }
    trial.passed()
}

fn program_waits(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("ran".into()), Step::Wait])?;
    trial.create()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    if trial.seen()?.len() > 0 {
        return fails("the program has run before 'start'");
    }
    trial.start()?;
    trial.answers(1)?;
    trial.passed()
}

fn later_updates(bench: &Bench) -> Verdict {
    let mut trial = Trial::new(bench, &[Step::Say("first".into()), Step::Uname])?;
    trial.create()?;
    trial.steps(&[Step::Say("second".into()), Step::Uname]);
    trial.config["hostname"] = json!("changed");
    trial.write()?;
    trial.start()?;
    trial.becomes("stopped")?;
    let seen = trial.seen()?;
    let (word, name) = (seen.text(0)?, &seen.value(1)?["nodename"]);
    demand(word == "first" && name == "conformance", || {
        format!("the program said '{word}', with the host name {name}")
    })?;
    trial.passed()
}

fn program(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("it ran".into())])?;
    let seen = trial.live()?;
    demand(seen.text(0)? == "it ran", || seen.told())?;
    trial.passed()
}

fn exit(bench: &Bench) -> Verdict {
    for status in [0, 1, 255] {
        let trial = Trial::new(bench, &[Step::Exit(status)])?;
        trial.launch()?;
        trial.becomes("stopped")?;
        trial.delete()?;
        trial.passed()?;
    }
    Ok(())
}

fn errors(bench: &Bench) -> Verdict {
    let mut trial = Trial::new(bench, &[])?;
    let good = trial.config.clone();
    // The last mount cannot be made, after all the others.
    push(
        &mut trial.config["mounts"],
        json!({ "destination": "/tmp", "type": "hako-no-such-type", "source": "x" }),
    );
    trial.refused()?;
    let left = trial.cgroups();
    demand(left.is_empty(), || format!("cgroups stay: {left:?}"))?;
    let path = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(path).map_err(Stop::broken(format!("cannot read {path}")))?;
    let bundle = trial.bundle().to_string_lossy().into_owned();
    demand(!mounts.contains(&bundle), || {
        "mounts stay on the host".to_owned()
    })?;
    trial.config = good;
    trial.create()?;
    trial.passed()
}
