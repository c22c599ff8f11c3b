//! Random profiles: against a plain reading of them, and against libseccomp.

use hako_spec::runtime::{Arch, Seccomp, SeccompAction, SeccompArg, SeccompOp, SyscallRule};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::abi::Abi;
use crate::rules::verdict;
use crate::{Data, Error, Newer, Options, compile, compile_with, flags, interpret, oracle, table};

const NAMES: [&str; 16] = [
    "read",
    "write",
    "open",
    "openat",
    "close",
    "clone",
    "execve",
    "fork",
    "ioctl",
    "kill",
    "mount",
    "mseal",
    "personality",
    "prctl",
    "waitpid",
    "no_such_call",
];
const VALUES: [u64; 9] = [
    0,
    1,
    2,
    0x28,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0028,
    1 << 63,
    u64::MAX,
];

fn action() -> impl Strategy<Value = SeccompAction> {
    prop::sample::select(vec![
        SeccompAction::Allow,
        SeccompAction::Errno,
        SeccompAction::KillProcess,
        SeccompAction::Kill,
        SeccompAction::Trap,
        SeccompAction::Log,
        SeccompAction::Trace,
    ])
}

fn arg(limit: u32) -> impl Strategy<Value = SeccompArg> {
    let op = prop::sample::select(vec![
        SeccompOp::Equal,
        SeccompOp::NotEqual,
        SeccompOp::LessThan,
        SeccompOp::LessEqual,
        SeccompOp::GreaterEqual,
        SeccompOp::GreaterThan,
        SeccompOp::MaskedEqual,
    ]);
    let value = || prop::sample::select(VALUES.to_vec());
    (0..limit, value(), value(), op).prop_map(|(index, value, value_two, op)| SeccompArg {
        index,
        value,
        value_two,
        op,
        ..SeccompArg::default()
    })
}

fn rule() -> impl Strategy<Value = SyscallRule> {
    let names = prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..5);
    (
        names,
        action(),
        1..200_u32,
        prop::collection::vec(arg(4), 0..4),
    )
        .prop_map(|(names, action, errno, args)| SyscallRule {
            names: names.into_iter().map(str::to_owned).collect(),
            errno_ret: action.takes_errno().then_some(errno),
            action,
            args,
            ..SyscallRule::default()
        })
}

fn profile() -> impl Strategy<Value = Seccomp> {
    let arches = prop::sample::subsequence(vec![Arch::X86, Arch::X32, Arch::Mips], 0..=3);
    (action(), prop::collection::vec(rule(), 0..12), arches).prop_map(
        |(default_action, syscalls, architectures)| Seccomp {
            default_action,
            architectures,
            syscalls,
            ..Seccomp::default()
        },
    )
}

fn verdict_of(action: SeccompAction, errno: Option<u32>) -> u32 {
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => 0x8000_0000,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | errno.unwrap_or(1),
        SeccompAction::Trace => 0x7ff0_0000 | errno.unwrap_or(1),
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Notify => 0x7fc0_0000,
    }
}

fn holds(arg: &SeccompArg, data: &Data, wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (found, value) = (cut(data.args[arg.index as usize]), cut(arg.value));
    match arg.op {
        SeccompOp::Equal => found == value,
        SeccompOp::NotEqual => found != value,
        SeccompOp::LessThan => found < value,
        SeccompOp::LessEqual => found <= value,
        SeccompOp::GreaterEqual => found >= value,
        SeccompOp::GreaterThan => found > value,
        SeccompOp::MaskedEqual => found & value == cut(arg.value_two) & value,
    }
}

/// What the profile's text means, read rule by rule.
fn reading(profile: &Seccomp, data: &Data, newer: Newer) -> u32 {
    let default = verdict_of(profile.default_action, profile.default_errno_ret);
    let listed = |arch| profile.architectures.contains(&arch);
    let abi = match data.arch {
        0xc000_003e if data.nr == u32::MAX => return default,
        0xc000_003e if data.nr >= 0x4000_0000 && listed(Arch::X32) => Abi::X32,
        0xc000_003e if data.nr < 0x4000_0000 => Abi::X86_64,
        0x4000_0003 if data.nr == u32::MAX && listed(Arch::X86) => return default,
        0x4000_0003 if listed(Arch::X86) => Abi::X86,
        _ => return verdict::KILL_PROCESS,
    };
    let number = |name: &String| table::find(name).and_then(|row| row.number(abi));
    let mut matched = None;
    let mut highest = None;
    for rule in &profile.syscalls {
        highest = highest.max(rule.names.iter().filter_map(number).max());
        let verdict = verdict_of(rule.action, rule.errno_ret);
        if verdict == default || !rule.names.iter().any(|name| number(name) == Some(data.nr)) {
            continue;
        }
        if rule.args.is_empty() {
            return verdict;
        }
        let twice =
            (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
        let mut tests = rule
            .args
            .iter()
            .map(|arg| holds(arg, data, abi == Abi::X86_64));
        // A lone test that always holds is no test.
        if rule
            .args
            .iter()
            .all(|arg| arg.op == SeccompOp::MaskedEqual && arg.value == 0)
            && !twice
        {
            return verdict;
        }
        if if twice {
            tests.any(|holds| holds)
        } else {
            tests.all(|holds| holds)
        } {
            matched = matched.or(Some(verdict));
        }
    }
    let permissive = [
        SeccompAction::Allow,
        SeccompAction::Log,
        SeccompAction::Trace,
    ]
    .contains(&profile.default_action);
    if newer == Newer::NoSys && !permissive && highest.is_some_and(|highest| data.nr > highest) {
        return 0x0005_0000 | 38;
    }
    matched.unwrap_or(default)
}

fn data() -> impl Strategy<Value = Data> {
    let arch = prop::sample::select(vec![0xc000_003e, 0xc000_003e, 0x4000_0003, 0xc000_00b7]);
    let x32 = prop::sample::select(vec![0, 0, 0x4000_0000]);
    let named = prop::sample::select(NAMES.to_vec()).prop_map(|name| {
        table::find(name)
            .and_then(|row| row.number(Abi::X86_64))
            .unwrap_or(u32::MAX)
    });
    let nr = prop_oneof![4 => named, 2 => 0..500_u32, 1 => any::<u32>()];
    let args = prop::array::uniform6(prop::sample::select(VALUES.to_vec()));
    (arch, x32, nr, args).prop_map(|(arch, x32, nr, args)| Data {
        nr: if arch == 0xc000_003e { nr | x32 } else { nr },
        arch,
        instruction_pointer: 0,
        args,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn program_means_what_the_profile_says(
        profile in profile(),
        calls in prop::collection::vec(data(), 100),
        nosys in any::<bool>(),
    ) {
        let newer = if nosys { Newer::NoSys } else { Newer::DefaultAction };
        let program = compile_with(&profile, Arch::X86_64, Options { newer }).unwrap();
        for data in &calls {
            let found = interpret(&program.instructions, data).unwrap();
            let expected = reading(&profile, data, newer);
            prop_assert_eq!(found, expected, "{:x} instead of {:x}: {:x?}", found, expected, data);
        }
    }

    #[test]
    fn any_program_ends(words in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0..70_u32), 0..200)) {
        let program: Vec<crate::Instruction> = words
            .into_iter()
            .map(|(code, jt, jf, k)| crate::Instruction { code: code.into(), jt, jf, k })
            .collect();
        let _ = interpret(&program, &Data::default());
    }
}

/// One test per call, where libseccomp's own merging of tests does not matter.
#[test]
fn single_tests_equal_libseccomp() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut compared = 0;
    for _ in 0..25 {
        let tests = prop::collection::vec(prop::collection::vec(arg(6), 0..4), NAMES.len() - 1);
        let strategy = (action(), action(), tests);
        let (default_action, action, tests) = strategy.new_tree(&mut runner).unwrap().current();
        let syscalls = NAMES.iter().zip(tests).map(|(name, mut args)| {
            args.sort_by_key(|arg| arg.index);
            args.dedup_by_key(|arg| arg.index);
            SyscallRule {
                names: vec![(*name).to_owned()],
                action,
                args,
                ..SyscallRule::default()
            }
        });
        let profile = Seccomp {
            default_action,
            architectures: vec![Arch::X86_64, Arch::X86, Arch::X32],
            syscalls: syscalls.collect(),
            ..Seccomp::default()
        };
        compared += oracle::compare_with_libseccomp(&profile, &[Abi::X86_64, Abi::X86, Abi::X32]);
    }
    assert!(compared > 1_000_000);
}

fn parse(json: &str) -> Seccomp {
    serde_json::from_str(json).unwrap()
}

fn refused(json: &str) -> String {
    compile(&parse(json), Arch::X86_64).unwrap_err().to_string()
}

#[test]
fn what_the_specification_forbids() {
    let with = |rule: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rule}]}}"#);
    assert_eq!(
        refused(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#),
        "seccomp: SCMP_ACT_NOTIFY cannot be the default action"
    );
    assert_eq!(
        refused(r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#),
        "seccomp: rule for default: its action takes no errnoRet"
    );
    assert_eq!(
        refused(&with(
            r#"{"names":["kill"],"action":"SCMP_ACT_KILL","errnoRet":1}"#
        )),
        "seccomp: rule for kill: its action takes no errnoRet"
    );
    assert_eq!(
        refused(&with(
            r#"{"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}"#
        )),
        "seccomp: rule for kill: errnoRet 4096 is out of range"
    );
    assert_eq!(
        refused(&with(r#"{"names":[],"action":"SCMP_ACT_ALLOW"}"#)),
        "seccomp: a syscalls entry has no names"
    );
    assert_eq!(
        refused(&with(
            r#"{"names":["kill"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#
        )),
        "seccomp: rule for kill: argument index 6 is not below 6"
    );
    let error = compile(&parse(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), Arch::Sheb).unwrap_err();
    assert!(matches!(error, Error::Native));
}

#[test]
fn flags_listener_and_unknown_names() {
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW",
            "flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG",
                     "SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls":[{"names":["mount","no_such_call"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    );
    let program = compile(&profile, Arch::X86_64).unwrap();
    assert!(program.has_notify);
    assert_eq!(program.unknown, ["no_such_call"]);
    let wanted = flags::LOG | flags::SPEC_ALLOW | flags::NEW_LISTENER | flags::WAIT_KILLABLE_RECV;
    assert_eq!(program.flags, wanted);
    let mount = crate::number("mount", Arch::X86_64).unwrap();
    assert_eq!(program.verdict(mount, [0; 6]).unwrap(), verdict::NOTIFY);
    assert!(!program.allows(mount, [0; 6]) && program.allows(0, [0; 6]));

    let mut quiet = profile;
    quiet.syscalls.clear();
    let program = compile(&quiet, Arch::X86_64).unwrap();
    assert!(!program.has_notify);
    assert_eq!(program.flags, flags::TSYNC | flags::LOG | flags::SPEC_ALLOW);
    assert!(program.instructions.len() < 10);
    // Not to speak of flags is another thing than to have none.
    for (asked, wanted) in [(None, flags::SPEC_ALLOW), (Some(Vec::new()), 0)] {
        quiet.flags = asked;
        assert_eq!(compile(&quiet, Arch::X86_64).unwrap().flags, wanted);
    }
}

#[test]
fn long_programs_jump_far_or_are_refused() {
    // Every rule of a call is a test of its own: 4 instructions each.
    let many = |count: u64| {
        let arg = |value| SeccompArg {
            value,
            op: SeccompOp::Equal,
            ..SeccompArg::default()
        };
        let rule = |name: &str, value| SyscallRule {
            names: vec![name.to_owned()],
            action: SeccompAction::Errno,
            args: vec![arg(value)],
            ..SyscallRule::default()
        };
        Seccomp {
            default_action: SeccompAction::Allow,
            syscalls: (0..count)
                .flat_map(|value| ["read", "ioctl", "mseal"].map(|name| rule(name, value * 7)))
                .collect(),
            ..Seccomp::default()
        }
    };
    let profile = many(300);
    let program = compile(&profile, Arch::X86_64).unwrap();
    assert!(program.instructions.len() > 3000);
    for nr in [0, 1, 16, 462, 463] {
        for value in [0, 1, 7, 150 * 7, 299 * 7, 300 * 7] {
            let data = Data {
                nr,
                arch: 0xc000_003e,
                instruction_pointer: 0,
                args: [value; 6],
            };
            let expected = reading(&profile, &data, Newer::NoSys);
            assert_eq!(interpret(&program.instructions, &data).unwrap(), expected);
        }
    }
    assert!(matches!(
        compile(&many(2000), Arch::X86_64),
        Err(Error::TooLong { .. })
    ));
}

#[test]
fn multiplexed_calls_follow_the_direct_ones() {
    let profile = |default: &str, action: &str, args: &str| {
        parse(&format!(
            r#"{{"defaultAction":"{default}","architectures":["SCMP_ARCH_X86"],
                "syscalls":[{{"names":["socket","shmat"],"action":"{action}","args":[{args}]}}]}}"#
        ))
    };
    let family = r#"{"index":0,"value":40,"op":"SCMP_CMP_EQ"}"#;
    let verdict = |profile: &Seccomp, nr, first| {
        let program = compile(profile, Arch::X86_64).unwrap();
        let data = Data {
            nr,
            arch: 0x4000_0003,
            instruction_pointer: 0,
            args: [first, 0, 0, 0, 0, 0],
        };
        interpret(&program.instructions, &data).unwrap()
    };
    let allow = "SCMP_ACT_ALLOW";
    let errno = "SCMP_ACT_ERRNO";
    let (allowed, failed) = (verdict::ALLOW, verdict::ERRNO | 1);
    // Forbidden: the number in the first argument, and only that one.
    let forbid = profile(allow, errno, "");
    assert_eq!(
        [verdict(&forbid, 102, 1), verdict(&forbid, 102, 2)],
        [failed, allowed]
    );
    assert_eq!(
        [verdict(&forbid, 117, 21), verdict(&forbid, 117, 22)],
        [failed, allowed]
    );
    assert_eq!(verdict(&forbid, 359, 0), failed);
    // Forbidden for one family: all families by socketcall.
    let forbid = profile(allow, errno, family);
    assert_eq!(
        [verdict(&forbid, 359, 40), verdict(&forbid, 359, 41)],
        [failed, allowed]
    );
    assert_eq!(
        [verdict(&forbid, 102, 1), verdict(&forbid, 102, 3)],
        [failed, allowed]
    );
    // Allowed for one family: no family by socketcall.
    let permit = profile(errno, allow, family);
    assert_eq!(
        [verdict(&permit, 359, 40), verdict(&permit, 102, 1)],
        [allowed, failed]
    );
    let permit = profile(errno, allow, "");
    assert_eq!(
        [verdict(&permit, 102, 1), verdict(&permit, 102, 2)],
        [allowed, failed]
    );
}

#[test]
fn newer_calls() {
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_ARM"],
            "syscalls":[{"names":["read","write","set_tls","statx"],"action":"SCMP_ACT_ALLOW"}]}"#,
    );
    let program = compile(&profile, Arch::Aarch64).unwrap();
    let verdict = |arch: Abi, nr| {
        let data = Data {
            nr,
            arch: arch.audit(),
            ..Data::default()
        };
        interpret(&program.instructions, &data).unwrap()
    };
    let (failed, nosys) = (verdict::ERRNO | 1, verdict::ERRNO | 38);
    // statx is 291 and 397.
    assert_eq!(
        [290, 291, 292, 9999].map(|nr| verdict(Abi::Aarch64, nr)),
        [failed, verdict::ALLOW, nosys, nosys]
    );
    // The private calls of ARM do not make all numbers below them known.
    assert_eq!(
        [396, 397, 398].map(|nr| verdict(Abi::Arm, nr)),
        [failed, verdict::ALLOW, nosys]
    );
    assert_eq!(
        [0xf0004, 0xf0005, 0xf0006].map(|nr| verdict(Abi::Arm, nr)),
        [failed, verdict::ALLOW, nosys]
    );
    assert_eq!(verdict(Abi::Aarch64, u32::MAX), failed);
}
