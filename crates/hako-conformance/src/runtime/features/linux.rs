//! features-linux.md.

use serde_json::{Value, json};

use super::{names, part};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::linux::{does_not_run, hierarchy, kernel, namespaces, syscalls};
use crate::runtime::receiver::Receiver;
use crate::runtime::trial::Trial;

const SECCOMP: &str = "features-linux.md#seccomp";
const POLICY: &str = "features-linux.md#memorypolicy";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "features.namespaces",
        "features-linux.md#namespaces",
        "The namespaces that are listed are recognized.",
        |bench| {
            each(bench, "/linux/namespaces", |bench, name| {
                let here = name == "mount" || name == "network" || {
                    let path = format!("/proc/self/ns/{name}");
                    hierarchy::exists(path.as_ref())
                };
                match here {
                    true => created(bench, |config| namespaces::add(config, name)),
                    false => Ok(()),
                }
            })
        },
    ),
    Check::must(
        "features.capabilities",
        "features-linux.md#capabilities",
        "The capabilities that are listed are recognized, and granted where the machine has them.",
        capabilities,
    ),
    Check::must(
        "features.cgroup",
        "features-linux.md#cgroup",
        "cgroup.v1 and cgroup.v2 tell whether containers can be limited in that version.",
        cgroup,
    ),
    Check::must(
        "features.seccomp",
        SECCOMP,
        "seccomp.enabled tells whether filters are supported.",
        seccomp,
    ),
    Check::must(
        "features.seccomp-actions",
        SECCOMP,
        "The actions that are listed are recognized.",
        |bench| each(bench, "/linux/seccomp/actions", action),
    ),
    Check::must(
        "features.seccomp-operators",
        SECCOMP,
        "The operators that are listed are recognized.",
        |bench| {
            each(bench, "/linux/seccomp/operators", |bench, name| {
                let arg = json!([{ "index": 0, "value": 7, "valueTwo": 3, "op": name }]);
                created(bench, |config| {
                    config["linux"]["seccomp"] = profile("SCMP_ACT_ERRNO", Some(arg));
                })
            })
        },
    ),
    Check::must(
        "features.seccomp-archs",
        SECCOMP,
        "The architectures that are listed are recognized.",
        |bench| each(bench, "/linux/seccomp/archs", architecture),
    ),
    Check::must(
        "features.seccomp-flags",
        SECCOMP,
        "The flags that are listed as supported are supported.",
        |bench| each(bench, "/linux/seccomp/supportedFlags", flag),
    ),
    Check::must(
        "features.seccomp-flags-known",
        SECCOMP,
        "The flags that are listed as supported are listed as known, too.",
        |bench| {
            let known = names(bench, "/linux/seccomp/knownFlags")?;
            let mut rest = names(bench, "/linux/seccomp/supportedFlags")?;
            rest.retain(|name| !known.contains(name));
            demand(rest.is_empty(), || format!("not known: {rest:?}"))
        },
    ),
    Check::must(
        "features.memory-policy-modes",
        POLICY,
        "The memory policies that are listed are recognized.",
        |bench| {
            each(bench, "/linux/memoryPolicy/modes", |bench, mode| {
                // The document does not speak of what the kernel has.
                if mode == "MPOL_WEIGHTED_INTERLEAVE" && !kernel::weighs() {
                    return Ok(());
                }
                policy(bench, |policy| {
                    policy["mode"] = json!(mode);
                    if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode)
                        && let Some(members) = policy.as_object_mut()
                    {
                        members.remove("nodes");
                    }
                })
            })
        },
    ),
    Check::must(
        "features.memory-policy-flags",
        POLICY,
        "The flags of memory policies that are listed are recognized.",
        |bench| {
            each(bench, "/linux/memoryPolicy/flags", |bench, flag| {
                policy(bench, |policy| policy["flags"] = json!([flag]))
            })
        },
    ),
];

/// Tries every name of a list; those that are refused are told.
fn each(bench: &Bench, pointer: &str, attempt: fn(&Bench, &str) -> Verdict) -> Verdict {
    let mut refused = Vec::new();
    for name in names(bench, pointer)? {
        match attempt(bench, &name) {
            Err(Stop::Fails(text)) => refused.push(format!("{name} ({text})")),
            other => other?,
        }
    }
    demand(refused.is_empty(), || refused.join("; "))
}

fn created(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| {
        if let Some(newest) = bench.features().map(|it| it["ociVersionMax"].clone()) {
            config["ociVersion"] = newest;
        }
        change(config);
    });
    trial.launch()?;
    trial.becomes("stopped")?;
    trial.passed()
}

const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn bounding(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

fn capabilities(bench: &Bench) -> Verdict {
    let listed = names(bench, "/linux/capabilities")?;
    let here = bounding(&crate::runtime::linux::read("/proc/self/status")?);
    // Who lacks one cannot give it.
    let wanted: Vec<String> = CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, _)| here & (1 << bit) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .filter(|name| listed.contains(name))
        .collect();
    let trial = Trial::new(bench, &[Step::Read("/proc/self/status".into())])?.edit(|config| {
        config["process"]["capabilities"] =
            json!({ "bounding": wanted, "effective": wanted, "permitted": wanted });
    });
    let seen = trial.live()?;
    let inside = bounding(seen.text(0)?);
    let lacking: Vec<&str> = CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, name)| {
            let wanted = wanted
                .iter()
                .any(|it| it.strip_prefix("CAP_") == Some(name));
            wanted && inside & (1 << bit) == 0
        })
        .map(|(_, name)| *name)
        .collect();
    demand(lacking.is_empty(), || format!("not granted: {lacking:?}"))?;
    trial.passed()
}

fn cgroup(bench: &Bench) -> Verdict {
    let hierarchy = hierarchy::of("pids")?;
    let name = if hierarchy.unified { "v2" } else { "v1" };
    let said = part(bench, &format!("/linux/cgroup/{name}"))?;
    let trial = Trial::new(bench, &[])?
        .edit(|config| config["linux"]["resources"]["pids"]["limit"] = json!(177));
    let limited = trial.create().is_ok()
        && crate::runtime::linux::read(hierarchy.place(trial.pid()?)?.join("pids.max"))?.trim()
            == "177";
    demand(*said == limited, || {
        format!("cgroup.{name} is {said}, and a limit is in force: {limited}")
    })?;
    trial.passed()
}

fn profile(action: &str, args: Option<Value>) -> Value {
    let mut rule = json!({ "names": ["getppid"], "action": action });
    if let Some(args) = args {
        rule["args"] = args;
    }
    syscalls::profile("SCMP_ACT_ALLOW", &json!([rule]))
}

fn seccomp(bench: &Bench) -> Verdict {
    let said = part(bench, "/linux/seccomp/enabled")?;
    let trial = Trial::new(bench, &[Step::Getppid([0; 6])])?
        .edit(|config| config["linux"]["seccomp"] = profile("SCMP_ACT_ERRNO", None));
    if *said == json!(false) {
        return does_not_run(trial);
    }
    let seen = trial.live()?;
    match seen.answer(0)? {
        crate::probe::Answer::Errno(1) => trial.passed(),
        answer => fails(format!("the filter is not in force: {answer:?}")),
    }
}

fn action(bench: &Bench, name: &str) -> Verdict {
    if name != "SCMP_ACT_NOTIFY" {
        return created(bench, |config| {
            config["linux"]["seccomp"] = profile(name, None);
        });
    }
    let mut trial = Trial::new(bench, &[])?;
    let socket = Receiver::new(&trial)?;
    let mut seccomp = profile(name, None);
    seccomp["listenerPath"] = json!(socket.path.to_string_lossy());
    trial.config["linux"]["seccomp"] = seccomp;
    trial.launch()?;
    socket.wait(&trial)?;
    trial.passed()
}

/// One filter is for machines of one byte order, so that the others cannot be
/// tried.
fn architecture(bench: &Bench, name: &str) -> Verdict {
    let little = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC64LE",
        "RISCV64",
        "LOONGARCH64",
        "SH",
    ];
    let short = name.strip_prefix("SCMP_ARCH_").unwrap_or(name);
    if little.contains(&short) != cfg!(target_endian = "little") {
        return Ok(());
    }
    created(bench, |config| {
        let mut seccomp = profile("SCMP_ACT_ERRNO", None);
        let mut all = syscalls::architectures();
        if let Some(list) = all.as_array_mut()
            && !list.iter().any(|it| it == name)
        {
            list.push(json!(name));
        }
        seccomp["architectures"] = all;
        config["linux"]["seccomp"] = seccomp;
    })
}

fn flag(bench: &Bench, name: &str) -> Verdict {
    let mut trial = Trial::new(bench, &[])?;
    // This one is for filters with a listener.
    let action = match name {
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => "SCMP_ACT_NOTIFY",
        _ => "SCMP_ACT_ERRNO",
    };
    let socket = Receiver::new(&trial)?;
    let mut seccomp = profile(action, None);
    seccomp["listenerPath"] = json!(socket.path.to_string_lossy());
    seccomp["flags"] = json!([name]);
    trial.config["linux"]["seccomp"] = seccomp;
    trial.launch()?;
    trial.becomes("stopped")?;
    trial.passed()
}

fn policy(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    if !hierarchy::exists("/proc/self/numa_maps".as_ref()) {
        return Err(Stop::Skipped(
            "this kernel has no NUMA memory policies".into(),
        ));
    }
    let mut policy = json!({ "mode": "MPOL_BIND", "nodes": "0" });
    change(&mut policy);
    created(bench, |config| config["linux"]["memoryPolicy"] = policy)
}
