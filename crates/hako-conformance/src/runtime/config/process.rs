//! "Process", but for its terminal.

use serde_json::{Value, json};

use super::support::{invalid, make_dirs, runs};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::{self, Step};
use crate::runtime::Bench;
use crate::runtime::edit::remove;
use crate::runtime::trial::{PROBE, Trial, arguments};

const SECTION: &str = "config.md#process";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "process.cwd",
        SECTION,
        "The program's working directory is cwd.",
        cwd,
    ),
    Check::must(
        "process.cwd-missing",
        SECTION,
        "A process without cwd is an error.",
        |bench| invalid(bench, |config| remove(&mut config["process"], "cwd")),
    ),
    Check::must(
        "process.cwd-relative",
        SECTION,
        "A cwd that is not absolute is an error.",
        |bench| {
            for path in ["tmp", "./tmp", ""] {
                invalid(bench, |config| config["process"]["cwd"] = json!(path))?;
            }
            Ok(())
        },
    ),
    Check::must(
        "process.env",
        SECTION,
        "The program's environment is env, as it is written.",
        env,
    ),
    Check::must(
        "process.args",
        SECTION,
        "The program's arguments are args, as they are written.",
        args,
    ),
    Check::must(
        "process.args-path",
        SECTION,
        "A first entry of args without a slash is looked up in PATH, as execvp does.",
        |bench| {
            let path = json!(["PATH=/nowhere:/tmp:/programs"]);
            found(bench, "programs", probe::NAME, "/", &path)
        },
    ),
    Check::must(
        "process.args-relative",
        SECTION,
        "A first entry of args with a slash is a path from the working directory, as for execvp.",
        |bench| {
            let name = format!("place/{}", probe::NAME);
            found(bench, "a/place", &name, "/a", &json!(["PATH=/nowhere"]))
        },
    ),
    Check::must(
        "process.args-missing",
        SECTION,
        "A process without args is an error.",
        |bench| invalid(bench, |config| remove(&mut config["process"], "args")),
    ),
    Check::must(
        "process.args-empty",
        SECTION,
        "A process whose args has no entry is an error.",
        |bench| invalid(bench, |config| config["process"]["args"] = json!([])),
    ),
];

fn cwd(bench: &Bench) -> Verdict {
    for dir in ["/tmp", "/"] {
        let seen = runs(bench, &[Step::Cwd], |config| {
            config["process"]["cwd"] = json!(dir);
        })?;
        demand(seen.text(0)? == dir, || seen.told())?;
    }
    Ok(())
}

fn env(bench: &Bench) -> Verdict {
    // PATH and HOME are there, which runtimes may add where they are missing.
    let wanted = [
        "B=2",
        "PATH=/x:/y",
        "A=b=c",
        "EMPTY=",
        "HOME=/h",
        "SPACE= a b ",
    ];
    let seen = runs(bench, &[Step::Env], |config| {
        config["process"]["env"] = json!(wanted);
    })?;
    demand(*seen.value(0)? == json!(wanted), || seen.told())
}

fn args(bench: &Bench) -> Verdict {
    let more = [
        "",
        "two words",
        "$HOME",
        "*",
        "--help",
        "\"quoted\"",
        "nön-ascii",
    ];
    let trial = Trial::new(bench, &[Step::Args])?.edit(|config| {
        if let Some(args) = config["process"]["args"].as_array_mut() {
            args.extend(more.map(Value::from));
        }
    });
    let wanted = trial.config["process"]["args"].clone();
    let seen = trial.live()?;
    demand(*seen.value(0)? == wanted, || seen.told())?;
    trial.passed()
}

/// The probe, in a directory of the root, under a name that has to be found.
fn found(bench: &Bench, dir: &str, name: &str, cwd: &str, env: &Value) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    make_dirs(&trial, &[dir])?;
    let to = trial.rootfs().join(dir).join(probe::NAME);
    std::fs::rename(trial.rootfs().join(PROBE.trim_start_matches('/')), &to)
        .map_err(Stop::broken("cannot move the probe"))?;
    let trial = trial.edit(|config| {
        config["process"]["args"] = arguments(name, &[Step::Args]);
        config["process"]["cwd"] = json!(cwd);
        config["process"]["env"] = env.clone();
    });
    let seen = trial.live()?;
    demand(seen.value(0)?[0] == name, || seen.told())?;
    trial.passed()
}
