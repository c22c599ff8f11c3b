//! "Scope of a Container", "State" and "Query State".

use serde_json::{Value, json};

use crate::check::{Check, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::{self, Trial};

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "scope.operations",
        "runtime.md#scope-of-a-container",
        "Who created a container can use every operation on it.",
        operations,
    ),
    Check::must(
        "state.oci-version",
        "runtime.md#state",
        "The state has the version of the specification that it complies with, as SemVer 2.0.0.",
        oci_version,
    ),
    Check::must(
        "state.id",
        "runtime.md#state",
        "The state has the container's id.",
        |bench| each_state(bench, |trial, state| same(state, "id", &json!(trial.id))),
    ),
    Check::must(
        "state.bundle",
        "runtime.md#state",
        "The state has the absolute path of the bundle.",
        bundle,
    ),
    Check::must(
        "state.bundle-given-relative",
        "runtime.md#state",
        "The bundle's path in the state is absolute also when 'create' was given a relative one.",
        bundle_relative,
    ),
    Check::must(
        "state.created",
        "runtime.md#state",
        "Between create and start the status is 'created'.",
        |bench| each_status(bench, 0),
    ),
    Check::must(
        "state.running",
        "runtime.md#state",
        "While the program runs the status is 'running'.",
        |bench| each_status(bench, 1),
    ),
    Check::must(
        "state.stopped",
        "runtime.md#state",
        "When the process has exited the status is 'stopped'.",
        |bench| each_status(bench, 2),
    ),
    Check::must(
        "state.pid",
        "runtime.md#state",
        "A created or running container's state has the pid of its process.",
        pid,
    ),
    Check::must(
        "state.annotations",
        "runtime.md#state",
        "The state has the annotations of the configuration.",
        annotations,
    ),
    Check::must(
        "state.schema",
        "runtime.md#state",
        "The state adheres to the JSON schema: types of its properties, and no other status.",
        |bench| each_state(bench, |_, state| schema(state)),
    ),
    Check::must(
        "state.without-id",
        "runtime.md#query-state",
        "Asking for a state without an id is an error.",
        |bench| Trial::new(bench, &[])?.errs(&["state"]),
    ),
    Check::must(
        "state.unknown-id",
        "runtime.md#query-state",
        "Asking for the state of a container that does not exist is an error.",
        |bench| {
            let trial = Trial::new(bench, &[])?;
            trial.errs(&["state", &trial.id])
        },
    ),
];

fn operations(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Wait])?;
    trial.create()?;
    trial.state()?;
    trial.start()?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.delete()?;
    trial.passed()
}

/// Looks at the state of a created, a running and a stopped container.
fn each_state(bench: &Bench, look: impl Fn(&Trial<'_>, &Value) -> Verdict) -> Verdict {
    let trial = Trial::new(bench, &[Step::Wait])?;
    trial.create()?;
    look(&trial, &trial.state()?)?;
    trial.start()?;
    look(&trial, &trial.state()?)?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    look(&trial, &trial.state()?)?;
    trial.passed()
}

/// Demands the right status of the first `after` + 1 states.
fn each_status(bench: &Bench, after: usize) -> Verdict {
    let trial = Trial::new(bench, &[Step::Block, Step::Wait])?;
    trial.create()?;
    if after == 0 {
        trial.is("created")?;
        return trial.passed();
    }
    trial.start()?;
    trial.answers(1)?;
    if after == 1 {
        trial.is("running")?;
        return trial.passed();
    }
    trial.kill("TERM")?;
    trial.becomes("stopped")?;
    trial.passed()
}

fn same(state: &Value, name: &str, wanted: &Value) -> Verdict {
    demand(state[name] == *wanted, || {
        format!("the state's {name} is {}, not {wanted}", state[name])
    })
}

fn oci_version(bench: &Bench) -> Verdict {
    each_state(bench, |_, state| {
        let Some(version) = state["ociVersion"].as_str() else {
            return fails(format!("ociVersion is {}", state["ociVersion"]));
        };
        demand(is_semver(version), || {
            format!("ociVersion is '{version}', which is no SemVer 2.0.0")
        })
    })
}

/// SemVer 2.0.0, as far as digits, dots and letters go.
fn is_semver(text: &str) -> bool {
    let (rest, build) = text.split_once('+').unwrap_or((text, "0"));
    let (core, pre) = rest.split_once('-').unwrap_or((rest, "0"));
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let words = |text: &str| {
        text.split('.').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let core: Vec<&str> = core.split('.').collect();
    core.len() == 3 && core.into_iter().all(number) && words(pre) && words(build)
}

fn bundle(bench: &Bench) -> Verdict {
    each_state(bench, |trial, state| {
        same(state, "bundle", &json!(trial.bundle().to_string_lossy()))
    })
}

fn bundle_relative(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    trial.write()?;
    // The runtime is called in the trial's directory.
    trial::well(&trial.call(&["create", "--bundle", "bundle", &trial.id])?)?;
    let state = trial.state()?;
    same(&state, "bundle", &json!(trial.bundle().to_string_lossy()))?;
    trial.passed()
}

fn pid(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Link("/proc/self/ns/pid".into()), Step::Wait])?;
    trial.create()?;
    let created = trial.pid()?;
    trial.start()?;
    let inside = trial.answers(1)?.text(0)?.to_owned();
    let running = trial.pid()?;
    demand(created == running, || {
        format!("the pid is {created} when created and {running} when running")
    })?;
    let link = format!("/proc/{running}/ns/pid");
    let outside = std::fs::read_link(&link).map(|to| to.to_string_lossy().into_owned());
    demand(
        outside.as_ref().is_ok_and(|outside| *outside == inside),
        || format!("{link} is {outside:?}, the container's process has {inside}"),
    )?;
    trial.passed()
}

fn annotations(bench: &Bench) -> Verdict {
    let wanted = json!({ "org.example.key": "value", "org.example.empty": "" });
    let trial = Trial::new(bench, &[])?.edit(|config| config["annotations"] = wanted.clone());
    trial.create()?;
    let state = trial.state()?;
    for (name, value) in wanted.as_object().into_iter().flatten() {
        let found = &state["annotations"][name];
        demand(found == value, || {
            format!("annotation {name} is {found} in the state, not {value}")
        })?;
    }
    trial.passed()
}

/// state-schema.json.
fn schema(state: &Value) -> Verdict {
    for name in ["ociVersion", "id", "status", "bundle"] {
        demand(state[name].is_string(), || {
            format!("{name} is {}", state[name])
        })?;
    }
    let status = state["status"].as_str().unwrap_or_default();
    let known = ["creating", "created", "running", "stopped"];
    demand(known.contains(&status), || format!("status is '{status}'"))?;
    let pid = &state["pid"];
    demand(
        pid.is_null() || pid.as_i64().is_some_and(|pid| pid >= 0),
        || format!("pid is {pid}"),
    )?;
    match &state["annotations"] {
        Value::Null => Ok(()),
        Value::Object(map) if map.values().all(Value::is_string) => Ok(()),
        other => fails(format!("annotations are {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in [
            "1.0.0",
            "1.3.0-rc.1",
            "1.0.2-dev",
            "1.2.3+build.5",
            "0.1.0-a+b",
        ] {
            assert!(is_semver(good), "{good}");
        }
        for bad in [
            "",
            "1.0",
            "1.0.0.0",
            "01.0.0",
            "1.0.x",
            "v1.0.0",
            "1.0.0-",
            "1.0.0-a..b",
        ] {
            assert!(!is_semver(bad), "{bad}");
        }
    }

    #[test]
    fn states() {
        let good = json!({"ociVersion": "1.0.0", "id": "a", "status": "created", "bundle": "/b"});
        schema(&good).unwrap();
        for (name, value) in [
            ("status", json!("odd")),
            ("id", json!(1)),
            ("pid", json!("1")),
            ("annotations", json!({"a": 1})),
            ("annotations", json!([])),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            schema(&bad).unwrap_err();
        }
    }
}
