//! "Create".

use serde_json::{Value, json};

use crate::check::{Check, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::push;
use crate::runtime::trial::{self, Trial};

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "create.without-id",
        "runtime.md#create",
        "'create' without an id is an error.",
        without_id,
    ),
    Check::must(
        "create.without-bundle",
        "runtime.md#create",
        "'create' with a path where no bundle is is an error.",
        without_bundle,
    ),
    Check::must(
        "create.id-in-use",
        "runtime.md#create",
        "'create' with the id of a container that exists is an error, and makes no container.",
        id_in_use,
    ),
    Check::must(
        "create.invalid-id",
        "runtime.md#create",
        "'create' with an id that is not valid is an error.",
        invalid_id,
    ),
    Check::must(
        "create.new-container",
        "runtime.md#create",
        "'create' makes a new container.",
        |bench| {
            let trial = Trial::new(bench, &[])?;
            trial.create()?;
            trial.is("created")?;
            trial.passed()
        },
    ),
    Check::must(
        "create.properties",
        "runtime.md#create",
        "'create' applies all properties but 'process'.",
        properties,
    ),
    Check::must(
        "create.cannot-apply.sysctl",
        "runtime.md#create",
        "A property that cannot be applied is an error, and no container is made: a sysctl.",
        |bench| {
            refused(bench, |config| {
                config["linux"]["sysctl"] = json!({ "net.hako_no_such_sysctl": "1" });
            })
        },
    ),
    Check::must(
        "create.cannot-apply.mount",
        "runtime.md#create",
        "A property that cannot be applied is an error, and no container is made: a mount's source.",
        |bench| {
            refused(bench, |config| {
                let mount = json!({
                    "destination": "/tmp", "type": "none", "options": ["bind"],
                    "source": "/hako-no-such-directory",
                });
                push(&mut config["mounts"], mount);
            })
        },
    ),
    Check::must(
        "create.cannot-apply.namespace",
        "runtime.md#create",
        "A property that cannot be applied is an error, and no container is made: a namespace's path.",
        |bench| {
            refused(bench, |config| {
                config["linux"]["namespaces"][1]["path"] = json!("/hako-no-such-namespace");
            })
        },
    ),
    Check::must(
        "create.cannot-apply.root",
        "runtime.md#create",
        "A property that cannot be applied is an error, and no container is made: the root.",
        |bench| {
            refused(bench, |config| {
                config["root"]["path"] = json!("no-such-root");
            })
        },
    ),
    Check::must(
        "create.cannot-apply.rlimit",
        "runtime.md#create",
        "A property that cannot be applied is an error: an unknown resource limit.",
        rlimit,
    ),
];

fn without_id(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    trial.write()?;
    let bundle = trial::text(&trial.bundle());
    trial.errs(&["create", "--bundle", &bundle])?;
    trial.passed()
}

fn without_bundle(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    // Its working directory is no bundle, either.
    trial.errs(&["create", &trial.id])?;
    let nothing = trial::text(&trial.beside("nothing"));
    trial.errs(&["create", "--bundle", &nothing, &trial.id])?;
    trial.errs(&["state", &trial.id])?;
    trial.passed()
}

fn id_in_use(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Say("the first".into()), Step::Wait])?;
    trial.create()?;
    let pid = trial.pid()?;
    let again = trial.try_create()?;
    trial.erred(&again)?;
    trial.is("created")?;
    let now = trial.pid()?;
    demand(pid == now, || {
        format!("the container's pid was {pid} and is {now} after a second 'create' failed")
    })?;
    trial.start()?;
    trial.answers(1)?;
    trial.erred(&trial.try_create()?)?;
    trial.is("running")?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.erred(&trial.try_create()?)?;
    trial.is("stopped")?;
    trial.passed()
}

fn invalid_id(bench: &Bench) -> Verdict {
    // What else is valid is up to the runtime.
    for id in ["", ".", "..", "../outside"] {
        let mut trial = Trial::new(bench, &[])?;
        id.clone_into(&mut trial.id);
        let done = trial.try_create()?;
        if done.is_ok() {
            return fails(format!("'create' with the id '{id}' succeeds"));
        }
        trial.erred(&done)?;
        trial.passed()?;
    }
    Ok(())
}

/// What is not of the process is in force before `start`: looked at from outside.
fn properties(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| {
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77" });
        config["linux"]["maskedPaths"] = json!(["/proc/keys"]);
    });
    trial.create()?;
    let pid = trial.pid()?;
    let inside = |path: &str| {
        let netns = format!("--net=/proc/{pid}/ns/net");
        let mount = format!("--mount=/proc/{pid}/ns/mnt");
        let mut command = std::process::Command::new("nsenter");
        command.args([netns, mount, format!("--root=/proc/{pid}/root")]);
        command.args([trial::PROBE, &json!([Step::Read(path.into())]).to_string()]);
        trial.finish(&mut command)
    };
    let ttl = inside("/proc/sys/net/ipv4/ip_default_ttl")?;
    demand(ttl.out.contains("77"), || {
        format!("the sysctl is not applied: {}{}", ttl.out, ttl.err)
    })?;
    let masked = inside("/proc/keys")?;
    demand(masked.out.trim() == r#"{"value":""}"#, || {
        format!("the masked path reads as {}{}", masked.out, masked.err)
    })?;
    trial.passed()
}

fn refused(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(change);
    trial.refused()?;
    let left = trial.cgroups();
    demand(left.is_empty(), || format!("cgroups stay: {left:?}"))?;
    trial.passed()
}

/// A part of `process`, so `start` may be the one that fails.
fn rlimit(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| {
        config["process"]["rlimits"] =
            json!([{ "type": "RLIMIT_NO_SUCH", "soft": 1024, "hard": 1024 }]);
    });
    trial.does_not_start()?;
    trial.passed()
}
