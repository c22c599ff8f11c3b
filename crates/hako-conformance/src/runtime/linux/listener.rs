//! "Seccomp", `listenerPath`, and "The Container Process State".

use serde_json::{Value, json};

use super::syscalls::{filtered_by, profile};
use super::{does_not_run, link, same};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Answer;
use crate::runtime::Bench;
use crate::runtime::receiver::{Message, Receiver};
use crate::runtime::trial::Trial;

const SECTION: &str = "config-linux.md#seccomp";
const STATE: &str = "config-linux.md#the-container-process-state";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "seccomp.notify",
        SECTION,
        "SCMP_ACT_NOTIFY leaves the answer to who has the descriptor that listenerPath was sent.",
        |bench| told(bench, |_, _, _| Ok(())),
    ),
    Check::must(
        "seccomp.flag-wait-killable-recv",
        SECTION,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is taken.",
        wait_killable,
    ),
    Check::must(
        "seccomp.listener-once",
        SECTION,
        "One process state is sent over a connection, which is closed then.",
        |bench| {
            told(bench, |_, messages, _| {
                let bytes: Vec<u8> = messages.iter().flat_map(|it| it.bytes.clone()).collect();
                let all: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&bytes)
                    .into_iter()
                    .collect();
                match all {
                    Ok(all) => same("the number of states", all.len(), 1),
                    Err(error) => fails(format!("what was sent is no JSON: {error}")),
                }
            })
        },
    ),
    Check::must(
        "seccomp.listener-absent",
        SECTION,
        "That nobody listens is an error.",
        |bench| {
            let trial = noticed(bench, |_| ())?;
            let path = trial.beside("nobody").to_string_lossy().into_owned();
            let trial = trial.edit(|config| {
                config["linux"]["seccomp"]["listenerPath"] = json!(path);
            });
            does_not_run(trial)
        },
    ),
    Check::must(
        "seccomp.listener-ignored",
        SECTION,
        "Without SCMP_ACT_NOTIFY listenerPath is ignored.",
        |bench| {
            let mut profile = profile(
                "SCMP_ACT_ALLOW",
                &json!([{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO" }]),
            );
            profile["listenerPath"] = json!("/hako-nobody-listens");
            let trial = filtered_by(bench, "1.1.0", profile, &[[0; 6]])?;
            let seen = trial.live()?;
            demand(*seen.answer(1)? == Answer::Errno(1), || seen.told())?;
            trial.passed()
        },
    ),
    Check::must(
        "process-state.descriptors",
        STATE,
        "The descriptors come with the first message, as many as fds names, and one is seccompFd.",
        |bench| {
            told(bench, |_, messages, state| {
                same("fds", &state["fds"], &json!(["seccompFd"]))?;
                let counts: Vec<usize> = messages.iter().map(|it| it.fds.len()).collect();
                let right = counts.first() == Some(&1) && counts[1..].iter().all(|n| *n == 0);
                demand(right, || format!("descriptors in the messages: {counts:?}"))?;
                let fd = &messages[0].fds[0];
                let number = std::os::fd::AsRawFd::as_raw_fd(fd);
                let what = link(&format!("/proc/self/fd/{number}"))?;
                same("the descriptor", what.as_str(), "anon_inode:seccomp notify")
            })
        },
    ),
    Check::must(
        "process-state.oci-version",
        STATE,
        "The process state has the version of the specification that it complies with.",
        |bench| {
            told(bench, |_, _, state| {
                let version = state["ociVersion"].as_str().unwrap_or_default();
                demand(crate::runtime::bench::numbers(version).len() == 3, || {
                    format!("ociVersion is {}", state["ociVersion"])
                })
            })
        },
    ),
    Check::must(
        "process-state.pid",
        STATE,
        "The process state has the pid of the container's process, as the runtime sees it.",
        |bench| {
            told(bench, |trial, _, state| {
                same("pid", &state["pid"], &json!(trial.pid()?))
            })
        },
    ),
    Check::must(
        "process-state.metadata",
        STATE,
        "The process state has listenerMetadata as metadata.",
        |bench| {
            told(bench, |_, _, state| {
                same("metadata", &state["metadata"], &json!("hako=data"))
            })
        },
    ),
    Check::must(
        "process-state.state",
        STATE,
        "The process state has the container's state.",
        |bench| {
            told(bench, |trial, _, state| {
                let state = &state["state"];
                same("state.id", &state["id"], &json!(trial.id))?;
                let bundle = trial.bundle().to_string_lossy().into_owned();
                same("state.bundle", &state["bundle"], &json!(bundle))?;
                let status = state["status"].as_str().unwrap_or_default();
                demand(["creating", "created", "running"].contains(&status), || {
                    format!("state.status is {}", state["status"])
                })?;
                let version = &state["ociVersion"];
                demand(version.is_string(), || {
                    format!("state.ociVersion is {version}")
                })
            })
        },
    ),
];

/// A container whose getppid(2) is up to a listener.
fn noticed(bench: &Bench, change: fn(&mut Value)) -> Result<Trial<'_>, Stop> {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    if !actions.is_ok_and(|text| text.contains("user_notif")) {
        return Err(Stop::Skipped(
            "this kernel has no SECCOMP_RET_USER_NOTIF".into(),
        ));
    }
    let mut profile = profile(
        "SCMP_ACT_ALLOW",
        &json!([{ "names": ["getppid"], "action": "SCMP_ACT_NOTIFY" }]),
    );
    change(&mut profile);
    filtered_by(bench, "1.1.0", profile, &[[0; 6]])
}

/// Runs it, has what was sent looked at, and closes the descriptor, which makes
/// the call fail.
fn told(bench: &Bench, look: fn(&Trial<'_>, &[Message], &Value) -> Verdict) -> Verdict {
    run(noticed(bench, |_| ())?, look)
}

fn run(mut trial: Trial<'_>, look: fn(&Trial<'_>, &[Message], &Value) -> Verdict) -> Verdict {
    let socket = Receiver::new(&trial)?;
    let seccomp = &mut trial.config["linux"]["seccomp"];
    seccomp["listenerPath"] = json!(socket.path.to_string_lossy());
    seccomp["listenerMetadata"] = json!("hako=data");
    trial.launch()?;
    let messages = socket.wait(&trial)?;
    trial.answers(1)?;
    let bytes: Vec<u8> = messages.iter().flat_map(|it| it.bytes.clone()).collect();
    let state: Value = serde_json::Deserializer::from_slice(&bytes)
        .into_iter()
        .next()
        .and_then(Result::ok)
        .unwrap_or_default();
    look(&trial, &messages, &state)?;
    let count = trial.seen()?.len();
    same("the number of answers before the listener's", count, 1)?;
    drop(messages);
    let seen = trial.answers(2)?;
    let gone = rustix::io::Errno::NOSYS.raw_os_error();
    demand(*seen.answer(1)? == Answer::Errno(gone), || seen.told())?;
    if socket.next()?.is_some() {
        return fails("the runtime connects a second time");
    }
    trial.passed()
}

fn wait_killable(bench: &Bench) -> Verdict {
    if !hako_sys::seccomp::supports_flag(0x20) {
        return Err(Stop::Skipped("this kernel does not have the flag".into()));
    }
    let trial = noticed(bench, |profile| {
        profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    })?;
    run(trial, |_, _, _| Ok(()))
}
