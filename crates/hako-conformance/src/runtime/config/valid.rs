//! "Extensibility" and "Valid values".

use serde_json::{Value, json};

use super::support::{invalid, runs, sheltered};
use crate::check::{Check, Stop, Verdict};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const EXTENSIBILITY: &str = "config.md#extensibility";
const VALID: &str = "config.md#valid-values";

/// A check that a property which nobody knows is ignored at one place, which is
/// given as JSON pointer.
macro_rules! unknown {
    ($name:literal, $where:literal, $pointer:literal) => {
        Check::must(
            concat!("extensibility.", $name),
            EXTENSIBILITY,
            concat!("An unknown property of ", $where, " is ignored."),
            |bench| unknown(bench, $pointer),
        )
    };
}

/// A check that a value of the wrong type or not in the list is an error.
macro_rules! value {
    ($name:literal, $what:literal, $pointer:literal, $($value:tt)+) => {
        Check::must(
            concat!("valid-values.", $name),
            VALID,
            concat!("It is an error when ", $what, "."),
            |bench| sheltered(|| wrong(bench, $pointer, &[$(json!($value)),+])),
        )
    };
}

pub(super) const CHECKS: &[Check] = &[
    unknown!("top", "the configuration", ""),
    unknown!("root", "the root", "/root"),
    unknown!("mount", "a mount", "/mounts/0"),
    unknown!("process", "the process", "/process"),
    unknown!("user", "the user", "/process/user"),
    unknown!("capabilities", "the capabilities", "/process/capabilities"),
    unknown!("rlimit", "a resource limit", "/process/rlimits/0"),
    unknown!("hooks", "the hooks", "/hooks"),
    unknown!("hook", "a hook", "/hooks/createRuntime/0"),
    unknown!("linux", "the Linux part", "/linux"),
    unknown!("namespace", "a namespace", "/linux/namespaces/0"),
    unknown!("resources", "the resources", "/linux/resources"),
    Check::must(
        "valid-values.not-json",
        VALID,
        "A config.json that is no JSON is an error.",
        |bench| {
            let all = ["", "{", "ociVersion: 1.0.2", "[]", "null", "\"text\""];
            all.into_iter().try_for_each(|text| document(bench, text))
        },
    ),
    value!("oci-version", "ociVersion is no string", "/ociVersion", 1 []),
    value!("root", "root is no object", "/root", "rootfs" []),
    value!(
        "root-path",
        "the path of the root is no string",
        "/root/path",
        1["rootfs"]
    ),
    value!("readonly", "readonly of the root is no boolean", "/root/readonly", "true" 1),
    value!(
        "hostname",
        "the hostname is no string",
        "/hostname",
        5["name"]
    ),
    value!("process", "the process is no object", "/process", [] "sh"),
    value!(
        "args",
        "args is no array of strings",
        "/process/args",
        "/hako-probe"[1]
    ),
    value!("env", "env is no array of strings", "/process/env", "A=b" [1] { "A": "b" }),
    value!("cwd", "cwd is no string", "/process/cwd", 1["/"]),
    value!("terminal", "terminal is no boolean", "/process/terminal", "yes" 2),
    value!("uid", "uid is no number of a user", "/process/user/uid", "root" 1.5 4_294_967_296_u64),
    value!("gid", "gid is no number of a group", "/process/user/gid", "root" 1.5 4_294_967_296_u64),
    value!(
        "additional-gids",
        "additionalGids is no array of numbers",
        "/process/user/additionalGids",
        5["audio"]
    ),
    value!("capabilities", "capabilities are no sets", "/process/capabilities", ["CAP_KILL"] "CAP_KILL"),
    value!("rlimits", "rlimits is no array of objects", "/process/rlimits", { "type": "RLIMIT_NOFILE" } ["RLIMIT_NOFILE"]),
    value!("rlimit-value", "a resource limit is no number that is not negative", "/process/rlimits",
        [{ "type": "RLIMIT_NOFILE", "soft": "1", "hard": 1024 }]
        [{ "type": "RLIMIT_NOFILE", "soft": -1, "hard": 1024 }]),
    value!("oom-score-adj", "oomScoreAdj is no integer", "/process/oomScoreAdj", "100" 100.5),
    value!("no-new-privileges", "noNewPrivileges is no boolean", "/process/noNewPrivileges", "true" 2),
    value!(
        "mounts",
        "mounts is no array of objects",
        "/mounts",
        {}["/tmp"]
    ),
    value!(
        "mount-options",
        "a mount's options are no array of strings",
        "/mounts/0/options",
        "ro"[1]
    ),
    value!("hooks", "hooks are no object of arrays", "/hooks", [] { "createRuntime": {} }),
    value!("linux", "the Linux part is no object", "/linux", [] "linux"),
    value!("namespaces", "namespaces is no array of objects", "/linux/namespaces", ["pid"] {}),
    value!("namespace-type", "a namespace's type is not in the list", "/linux/namespaces/0/type", "hako" "" 1),
];

/// A verdict with the value that it is about.
pub(super) fn with(stop: Stop, value: &str) -> Stop {
    match stop {
        Stop::Fails(text) => Stop::Fails(format!("with '{value}': {text}")),
        other => other,
    }
}

/// Everything that has a place is there.
fn full(config: &mut Value, bench: &Bench) {
    let probe = crate::runtime::trial::text(&bench.probe());
    let args = crate::runtime::trial::arguments(crate::probe::NAME, &[Step::Stdin]);
    let hook = json!({ "path": probe, "args": args });
    config["hooks"] = json!({ "createRuntime": [hook] });
    config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 512, "hard": 512 }]);
    config["linux"]["resources"] = json!({});
}

fn unknown(bench: &Bench, pointer: &str) -> Verdict {
    let seen = runs(bench, &[Step::Say("ran".into())], |config| {
        full(config, bench);
        if let Some(place) = config.pointer_mut(pointer) {
            place["hakoUnknown"] = json!({ "some": ["value", 1, null] });
            place["org.example.unknown"] = json!("value");
        }
    })?;
    seen.text(0).map(drop)
}

fn wrong(bench: &Bench, pointer: &str, values: &[Value]) -> Verdict {
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    for value in values {
        invalid(bench, |config| {
            if let Some(place) = config.pointer_mut(parent) {
                place[name] = value.clone();
            }
        })
        .map_err(|stop| with(stop, &value.to_string()))?;
    }
    Ok(())
}

fn document(bench: &Bench, text: &str) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    super::support::write_file(&trial.bundle().join("config.json"), text)?;
    let done = trial.create_as_it_is()?;
    trial.erred(&done).map_err(|stop| with(stop, text))?;
    trial.errs(&["state", &trial.id])?;
    trial.passed()
}
