//! The filter of system calls. Where the configuration has none, the options
//! start from the profile that `hako run` gives to containers, as those of
//! oci-runtime-tool start from its own.

use hako_spec::runtime::{
    Arch, Config, Seccomp, SeccompAction, SeccompArg, SeccompOp, SyscallRule,
};

use super::Act::{Each, One, When};
use super::{Entry, Wrong, words};

/// An option that gives calls an action.
macro_rules! calls {
    ($name:literal, $help:literal, $action:ident) => {
        Entry::new(
            $name,
            "CALL,…",
            $help,
            &["linux.seccomp.syscalls"],
            Each(|config, value| calls(config, value, SeccompAction::$action)),
        )
    };
}

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "linux-seccomp-remove-all",
        "",
        "Remove all rules",
        &["linux.seccomp.syscalls"],
        When(|config| of(config).syscalls.clear()),
    ),
    Entry::new(
        "linux-seccomp-default",
        "ACTION",
        "What happens to other calls: kill, trap, errno, trace, allow, …; rules of the same go",
        &["linux.seccomp.defaultAction"],
        One(|config, value| {
            let action = default(config, value)?;
            of(config).syscalls.retain(|it| it.action != action);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-seccomp-default-force",
        "ACTION",
        "The same, and rules of the same stay",
        &["linux.seccomp.defaultAction"],
        One(|config, value| default(config, value).map(|_| ())),
    ),
    Entry::new(
        "linux-seccomp-arch",
        "ARCH,…",
        "Add architectures: amd64, x86, arm64, …",
        &["linux.seccomp.architectures"],
        Each(|config, value| {
            for arch in value.split(',') {
                let arch = architecture(arch)?;
                words::put(&mut of(config).architectures, |it| *it, arch);
            }
            Ok(())
        }),
    ),
    calls!(
        "linux-seccomp-errno",
        "Calls that fail: NAME or NAME:INDEX:VALUE:VALUE2:OPERATOR",
        Errno
    ),
    calls!(
        "linux-seccomp-kill",
        "Calls that kill, in the same form",
        Kill
    ),
    calls!(
        "linux-seccomp-trace",
        "Calls that a tracer is asked about, in the same form",
        Trace
    ),
    calls!(
        "linux-seccomp-trap",
        "Calls that send SIGSYS, in the same form",
        Trap
    ),
    calls!(
        "linux-seccomp-allow",
        "Calls that are allowed, in the same form",
        Allow
    ),
    Entry::new(
        "linux-seccomp-remove",
        "CALL,…",
        "Remove calls from the rules",
        &["linux.seccomp.syscalls"],
        Each(|config, value| {
            for name in value.split(',') {
                forget(of(config), name, |_| true);
            }
            Ok(())
        }),
    ),
];

/// The filter alone, as `--linux-seccomp-only` prints it.
pub fn only(config: &mut Config) -> Seccomp {
    of(config).clone()
}

fn of(config: &mut Config) -> &mut Seccomp {
    let capabilities = config
        .process
        .as_ref()
        .and_then(|it| it.capabilities.as_ref());
    let bounding = capabilities
        .map(|it| it.bounding.clone())
        .unwrap_or_default();
    super::linux::of(config).seccomp.get_or_insert_with(|| {
        hako_seccomp::default_profile(&bounding, Arch::native().unwrap_or_default())
    })
}

fn default(config: &mut Config, text: &str) -> Result<SeccompAction, Wrong> {
    let action = words::named(text, "SCMP_ACT_", SeccompAction::ALL)?;
    let seccomp = of(config);
    seccomp.default_action = action;
    if !action.takes_errno() {
        seccomp.default_errno_ret = None;
    }
    Ok(action)
}

/// Architectures have Go's names, or libseccomp's.
fn architecture(text: &str) -> Result<Arch, Wrong> {
    let name = match text {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "loong64" => "loongarch64",
        other => other,
    };
    words::named(name, "SCMP_ARCH_", Arch::ALL)
}

/// Gives each call of a list an action: `NAME`, or with a condition
/// `NAME:INDEX:VALUE:VALUE2:OPERATOR`.
fn calls(config: &mut Config, text: &str, action: SeccompAction) -> Result<(), Wrong> {
    let seccomp = of(config);
    for call in text.split(',') {
        let (name, args) = match call.split_once(':') {
            None => (call, Vec::new()),
            Some(_) => {
                let [name, index, value, value_two, op] =
                    words::parts(call, "NAME:INDEX:VALUE:VALUE2:OPERATOR")?;
                let arg = SeccompArg {
                    index: words::decimal(index)?,
                    value: words::decimal(value)?,
                    value_two: words::decimal(value_two)?,
                    op: operator(op)?,
                    ..SeccompArg::default()
                };
                (name, vec![arg])
            }
        };
        if name.is_empty() {
            return Err("has an empty name".into());
        }
        let has = |rule: &SyscallRule| rule.names.iter().any(|it| it == name);
        let settled =
            |rule: &SyscallRule| rule.action == action && rule.args.is_empty() && has(rule);
        if !args.is_empty() && seccomp.syscalls.iter().any(settled) {
            // What happens to all of them happens to these.
            continue;
        }
        // A rule without conditions takes the place of all others for the call,
        // one with conditions of those with the same.
        forget(seccomp, name, |rule| args.is_empty() || rule.args == args);
        if action == seccomp.default_action && args.is_empty() {
            continue;
        }
        seccomp.syscalls.push(SyscallRule {
            names: vec![name.into()],
            action,
            args,
            ..SyscallRule::default()
        });
    }
    Ok(())
}

fn operator(text: &str) -> Result<SeccompOp, Wrong> {
    let name = match text {
        "ME" => "MASKED_EQ",
        other => other,
    };
    words::named(name, "SCMP_CMP_", SeccompOp::ALL)
}

/// Takes a call out of the rules that `which` is true for.
fn forget(seccomp: &mut Seccomp, name: &str, which: impl Fn(&SyscallRule) -> bool) {
    for rule in seccomp.syscalls.iter_mut().filter(|rule| which(rule)) {
        rule.names.retain(|it| it != name);
    }
    seccomp.syscalls.retain(|rule| !rule.names.is_empty());
}
