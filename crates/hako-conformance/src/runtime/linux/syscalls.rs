//! "Seccomp": what becomes of a system call. The one that is tried is
//! getppid(2), whose arguments the kernel does not look at.

use serde_json::{Value, json};

use crate::check::{Check, Verdict, demand, fails};
use crate::probe::{Answer, Step};
use crate::runtime::Bench;
use crate::runtime::trial::{Trial, VERSION as BASE};

const SECTION: &str = "config-linux.md#seccomp";

/// What the program sees.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sees {
    /// The call's own result.
    Result,
    /// This error.
    Error(rustix::io::Errno),
    /// Nothing: it is ended.
    End,
}

macro_rules! actions {
    ($($name:literal $action:literal $since:expr, $sees:expr, $demand:literal)*) => {
        pub(super) const ACTIONS: &[Check] = &[$(
            Check::must(
                concat!("seccomp.action-", $name),
                SECTION,
                $demand,
                |bench| {
                    let rule = json!([{ "names": ["getppid"], "action": $action }]);
                    filtered(bench, $since, "SCMP_ACT_ALLOW", &rule, [0; 6], $sees)
                },
            ),
        )*];
    };
}

const PERM: Sees = Sees::Error(rustix::io::Errno::PERM);

actions! {
    "allow" "SCMP_ACT_ALLOW" BASE, Sees::Result, "SCMP_ACT_ALLOW lets a call pass."
    "errno" "SCMP_ACT_ERRNO" BASE, PERM, "SCMP_ACT_ERRNO makes a call fail with EPERM."
    "kill" "SCMP_ACT_KILL" BASE, Sees::End, "SCMP_ACT_KILL ends who calls."
    "kill-thread" "SCMP_ACT_KILL_THREAD" "1.1.0", Sees::End,
        "SCMP_ACT_KILL_THREAD ends who calls."
    "kill-process" "SCMP_ACT_KILL_PROCESS" "1.1.0", Sees::End,
        "SCMP_ACT_KILL_PROCESS ends who calls."
    "trap" "SCMP_ACT_TRAP" BASE, Sees::End, "SCMP_ACT_TRAP sends SIGSYS."
    "trace" "SCMP_ACT_TRACE" BASE, Sees::Error(rustix::io::Errno::NOSYS),
        "SCMP_ACT_TRACE makes a call fail with ENOSYS where there is no tracer."
    "log" "SCMP_ACT_LOG" BASE, Sees::Result, "SCMP_ACT_LOG lets a call pass."
}

/// A filter on the arguments: index, operator, values, and arguments that match
/// and that do not.
struct Comparison {
    arg: fn() -> Value,
    matching: &'static [[u64; 6]],
    other: &'static [[u64; 6]],
}

const HIGH: u64 = 0x1_0000_0000;

macro_rules! comparisons {
    ($($name:literal $arg:tt $matching:expr, $other:expr, $demand:literal)*) => {
        pub(super) const COMPARISONS: &[Check] = &[$(
            Check::must(
                concat!("seccomp.", $name),
                SECTION,
                $demand,
                |bench| compared(bench, &Comparison {
                    arg: || json!($arg),
                    matching: &$matching,
                    other: &$other,
                }),
            ),
        )*];
    };
}

comparisons! {
    "op-ne" [{ "index": 0, "value": 5, "op": "SCMP_CMP_NE" }]
        [[4, 0, 0, 0, 0, 0], [5 + HIGH, 0, 0, 0, 0, 0]], [[5, 0, 0, 0, 0, 0]],
        "SCMP_CMP_NE matches an argument that is not the value."
    "op-lt" [{ "index": 0, "value": 5, "op": "SCMP_CMP_LT" }]
        [[4, 0, 0, 0, 0, 0]], [[5, 0, 0, 0, 0, 0], [HIGH, 0, 0, 0, 0, 0]],
        "SCMP_CMP_LT matches an argument below the value."
    "op-le" [{ "index": 0, "value": 5, "op": "SCMP_CMP_LE" }]
        [[4, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]], [[6, 0, 0, 0, 0, 0], [HIGH, 0, 0, 0, 0, 0]],
        "SCMP_CMP_LE matches an argument up to the value."
    "op-eq" [{ "index": 0, "value": 5, "op": "SCMP_CMP_EQ" }]
        [[5, 0, 0, 0, 0, 0]], [[4, 0, 0, 0, 0, 0], [5 + HIGH, 0, 0, 0, 0, 0]],
        "SCMP_CMP_EQ matches an argument that is the value."
    "op-ge" [{ "index": 0, "value": 5, "op": "SCMP_CMP_GE" }]
        [[5, 0, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0], [HIGH, 0, 0, 0, 0, 0]], [[4, 0, 0, 0, 0, 0]],
        "SCMP_CMP_GE matches an argument from the value on."
    "op-gt" [{ "index": 0, "value": 5, "op": "SCMP_CMP_GT" }]
        [[6, 0, 0, 0, 0, 0], [HIGH, 0, 0, 0, 0, 0]], [[5, 0, 0, 0, 0, 0]],
        "SCMP_CMP_GT matches an argument above the value."
    "op-masked-eq" [{ "index": 0, "value": 0xf0, "valueTwo": 0x50, "op": "SCMP_CMP_MASKED_EQ" }]
        [[0x50, 0, 0, 0, 0, 0], [0x5f + HIGH, 0, 0, 0, 0, 0]], [[0x60, 0, 0, 0, 0, 0]],
        "SCMP_CMP_MASKED_EQ matches an argument that, under the mask value, is valueTwo."
    "arg-value-64-bit" [{ "index": 0, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_EQ" }]
        [[0x1_0000_0005, 0, 0, 0, 0, 0]], [[5, 0, 0, 0, 0, 0], [HIGH, 0, 0, 0, 0, 0]],
        "All 64 bits of a value are compared."
    "arg-index" [{ "index": 5, "value": 7, "op": "SCMP_CMP_EQ" }]
        [[0, 0, 0, 0, 0, 7]], [[7, 7, 7, 7, 7, 0]],
        "The argument of index is compared."
    "args-all" [
            { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" },
            { "index": 1, "value": 2, "op": "SCMP_CMP_EQ" }
        ]
        [[1, 2, 0, 0, 0, 0]], [[1, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0]],
        "Conditions on several arguments all have to match."
}

macro_rules! numbers {
    ($($name:literal $since:expr, $demand:literal $rule:tt $sees:expr;)*) => {
        pub(super) const NUMBERS: &[Check] = &[$(
            Check::must(
                concat!("seccomp.", $name),
                SECTION,
                $demand,
                |bench| filtered(bench, $since, "SCMP_ACT_ALLOW", &json!($rule), [0; 6], $sees),
            ),
        )*];
    };
}

numbers! {
    "errno" "1.1.0", "errnoRet is the error of SCMP_ACT_ERRNO."
        [{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }]
        Sees::Error(rustix::io::Errno::NOSYS);
    "errno-other" "1.1.0", "Each entry has an error of its own."
        [
            { "names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 12 }
        ]
        Sees::Error(rustix::io::Errno::NOMEM);
    "names" BASE, "An entry concerns all calls of names."
        [{ "names": ["getpgrp", "getppid"], "action": "SCMP_ACT_ERRNO" }]
        PERM;
}

/// A profile that concerns what `rules` name.
pub(in crate::runtime) fn profile(default: &str, rules: &Value) -> Value {
    json!({
        "defaultAction": default,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

/// This machine's.
pub(in crate::runtime) fn architectures() -> Value {
    match std::env::consts::ARCH {
        "x86_64" => json!(["SCMP_ARCH_X86_64"]),
        "aarch64" => json!(["SCMP_ARCH_AARCH64"]),
        _ => json!([]),
    }
}

pub(super) fn filtered_by<'a>(
    bench: &'a Bench,
    since: &str,
    profile: Value,
    arguments: &[[u64; 6]],
) -> Result<Trial<'a>, crate::check::Stop> {
    let mut steps = vec![Step::Say("before".into())];
    steps.extend(arguments.iter().map(|it| Step::Getppid(*it)));
    Ok(Trial::of(bench, since, &steps)?.edit(|config| config["linux"]["seccomp"] = profile))
}

fn filtered(
    bench: &Bench,
    since: &str,
    default: &str,
    rules: &Value,
    arguments: [u64; 6],
    sees: Sees,
) -> Verdict {
    let trial = filtered_by(bench, since, profile(default, rules), &[arguments])?;
    let seen = trial.live()?;
    demand(seen.text(0)? == "before", || seen.told())?;
    if sees == Sees::End {
        demand(seen.len() == 1, || {
            format!("the program was not ended: {}", seen.told())
        })?;
        return trial.passed();
    }
    judge(seen.answer(1)?, sees)?;
    trial.passed()
}

fn judge(answer: &Answer, sees: Sees) -> Verdict {
    match (answer, sees) {
        (Answer::Value(_), Sees::Result) => Ok(()),
        (Answer::Errno(errno), Sees::Error(wanted)) if *errno == wanted.raw_os_error() => Ok(()),
        (Answer::Errno(errno), _) => fails(format!(
            "the call fails: {}",
            crate::runtime::seen::told(*errno)
        )),
        (Answer::Value(_), _) => fails("the call is allowed"),
    }
}

fn compared(bench: &Bench, it: &Comparison) -> Verdict {
    let rule = json!([{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "args": (it.arg)() }]);
    let all: Vec<[u64; 6]> = it.matching.iter().chain(it.other).copied().collect();
    let trial = filtered_by(bench, BASE, profile("SCMP_ACT_ALLOW", &rule), &all)?;
    let seen = trial.live()?;
    for (n, arguments) in all.iter().enumerate() {
        let sees = match it.matching.contains(arguments) {
            true => PERM,
            false => Sees::Result,
        };
        if let Err(crate::check::Stop::Fails(text)) = judge(seen.answer(n + 1)?, sees) {
            return fails(format!("with the arguments {arguments:?}: {text}"));
        }
    }
    trial.passed()
}

/// The default action, where nothing but `names` is allowed.
pub(super) fn default_action(bench: &Bench, since: &str, profile: Value, wanted: i32) -> Verdict {
    let trial = filtered_by(bench, since, profile, &[[0; 6]])?;
    let seen = trial.live()?;
    let answer = seen.answer(1)?;
    demand(*answer == Answer::Errno(wanted), || {
        format!("a call that no entry concerns: {answer:?}")
    })?;
    trial.passed()
}
