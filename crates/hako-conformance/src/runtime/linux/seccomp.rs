//! "Seccomp": profiles as a whole, and what is wrong with them.

use serde_json::{Value, json};

use super::syscalls::{default_action, filtered_by, profile};
use super::{faulty, push, remove};
use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Answer;
use crate::runtime::Bench;
use crate::runtime::trial::VERSION as BASE;

const SECTION: &str = "config-linux.md#seccomp";

macro_rules! faults {
    ($($name:literal $since:expr, $demand:literal |$seccomp:ident| $fault:expr;)*) => {
        pub(super) const FAULTS: &[Check] = &[$(
            Check::must(
                concat!("seccomp.", $name),
                SECTION,
                $demand,
                |bench| faulty(bench, $since, base, |config| {
                    let $seccomp = &mut config["linux"]["seccomp"];
                    $fault;
                }),
            ),
        )*];
    };
}

faults! {
    "no-default-action" BASE, "A profile without defaultAction is an error."
        |it| remove(it, "defaultAction");
    "unknown-default-action" BASE, "A default action that does not exist is an error."
        |it| it["defaultAction"] = json!("SCMP_ACT_HAKO");
    "unknown-action" BASE, "An action that does not exist is an error."
        |it| it["syscalls"][0]["action"] = json!("SCMP_ACT_HAKO");
    "unknown-operator" BASE, "An operator that does not exist is an error."
        |it| it["syscalls"][0]["args"][0]["op"] = json!("SCMP_CMP_HAKO");
    "unknown-architecture" BASE, "An architecture that does not exist is an error."
        |it| push(&mut it["architectures"], json!("SCMP_ARCH_HAKO"));
    "unknown-flag" BASE, "A flag that does not exist is an error."
        |it| it["flags"] = json!(["SECCOMP_FILTER_FLAG_HAKO"]);
    "no-names" BASE, "An entry without names is an error."
        |it| remove(&mut it["syscalls"][0], "names");
    "empty-names" BASE, "An entry with no name among its names is an error."
        |it| it["syscalls"][0]["names"] = json!([]);
    "no-action" BASE, "An entry without an action is an error."
        |it| remove(&mut it["syscalls"][0], "action");
    "no-index" BASE, "A condition without an index is an error."
        |it| remove(&mut it["syscalls"][0]["args"][0], "index");
    "no-value" BASE, "A condition without a value is an error."
        |it| remove(&mut it["syscalls"][0]["args"][0], "value");
    "no-operator" BASE, "A condition without an operator is an error."
        |it| remove(&mut it["syscalls"][0]["args"][0], "op");
    "errno-of-kill" "1.1.0", "An errnoRet with an action that has no error number is an error."
        |it| {
            it["syscalls"][0]["action"] = json!("SCMP_ACT_KILL");
            it["syscalls"][0]["errnoRet"] = json!(1);
        };
    "default-errno-of-allow" "1.1.0",
        "A defaultErrnoRet with a default action that has no error number is an error."
        |it| it["defaultErrnoRet"] = json!(1);
    "metadata-without-path" "1.1.0", "listenerMetadata without listenerPath is an error."
        |it| it["listenerMetadata"] = json!("data");
}

fn base(config: &mut Value) {
    let arg = json!([{ "index": 1, "value": 7, "op": "SCMP_CMP_EQ" }]);
    let rule = json!([{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "args": arg }]);
    config["linux"]["seccomp"] = profile("SCMP_ACT_ALLOW", &rule);
}

macro_rules! flags {
    ($($name:literal $flag:literal $bit:literal)*) => {
        &[$(Check::must(
            concat!("seccomp.flag-", $name),
            SECTION,
            concat!($flag, " is taken, and the filter is in force."),
            |bench| flagged(bench, $flag, $bit),
        ),)*]
    };
}

pub(super) const FLAGS: &[Check] = flags! {
    "tsync" "SECCOMP_FILTER_FLAG_TSYNC" 1
    "log" "SECCOMP_FILTER_FLAG_LOG" 2
    "spec-allow" "SECCOMP_FILTER_FLAG_SPEC_ALLOW" 4
};

macro_rules! architectures {
    ($($name:literal $arch:literal $machine:literal)*) => {
        &[$(Check::must(
            concat!("seccomp.arch-", $name),
            SECTION,
            concat!($arch, " is taken where the machine has it."),
            |bench| architecture(bench, $arch, $machine),
        ),)*]
    };
}

pub(super) const ARCHITECTURES: &[Check] = architectures! {
    "x86-64" "SCMP_ARCH_X86_64" "x86_64"
    "x86" "SCMP_ARCH_X86" "x86_64"
    "x32" "SCMP_ARCH_X32" "x86_64"
    "aarch64" "SCMP_ARCH_AARCH64" "aarch64"
    "arm" "SCMP_ARCH_ARM" "aarch64"
};

pub(super) const DEFAULTS: &[Check] = &[
    Check::must(
        "seccomp.default-action",
        SECTION,
        "What no entry concerns gets the default action, with EPERM.",
        |bench| default_action(bench, BASE, allow_list(), 1),
    ),
    Check::must(
        "seccomp.default-errno",
        SECTION,
        "defaultErrnoRet is the error of the default action.",
        |bench| {
            let mut profile = allow_list();
            profile["defaultErrnoRet"] = json!(38);
            default_action(bench, "1.1.0", profile, 38)
        },
    ),
];

/// Allows what programs need, but getppid.
fn allow_list() -> Value {
    let native = hako_spec::runtime::Arch::native().unwrap_or(hako_spec::runtime::Arch::X86_64);
    let known = hako_seccomp::default_profile(&["CAP_SYS_ADMIN"], native);
    let mut names: Vec<String> = known.syscalls.into_iter().flat_map(|it| it.names).collect();
    names.retain(|name| name != "getppid");
    names.sort();
    names.dedup();
    profile(
        "SCMP_ACT_ERRNO",
        &json!([{ "names": names, "action": "SCMP_ACT_ALLOW" }]),
    )
}

fn in_force(bench: &Bench, since: &str, profile: Value) -> Verdict {
    let trial = filtered_by(bench, since, profile, &[[0, 7, 0, 0, 0, 0]])?;
    let seen = trial.live()?;
    let answer = seen.answer(1)?;
    demand(*answer == Answer::Errno(1), || {
        format!("the filter is not in force: {answer:?}")
    })?;
    trial.passed()
}

fn sound() -> Value {
    let mut config = json!({ "linux": {} });
    base(&mut config);
    config["linux"]["seccomp"].take()
}

fn flagged(bench: &Bench, flag: &str, bit: u64) -> Verdict {
    if !hako_sys::seccomp::supports_flag(bit) {
        return Err(Stop::Skipped(format!("this kernel does not have {flag}")));
    }
    let mut profile = sound();
    profile["flags"] = json!([flag]);
    in_force(bench, BASE, profile)
}

fn architecture(bench: &Bench, arch: &str, machine: &str) -> Verdict {
    if std::env::consts::ARCH != machine {
        return Err(Stop::Skipped(format!("this machine is no {machine}")));
    }
    let mut profile = sound();
    if !profile["architectures"]
        .as_array()
        .is_some_and(|all| all.iter().any(|it| it == arch))
    {
        push(&mut profile["architectures"], json!(arch));
    }
    in_force(bench, BASE, profile)
}
