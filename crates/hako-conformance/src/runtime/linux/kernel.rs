//! "IntelRdt", "Memory policy", "Sysctl", "Mount Label" and "Personality".

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{BASE, does_not_run, faulty, read, remove, same};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const POLICY: &str = "config-linux.md#memory-policy";
const SYSCTL: &str = "config-linux.md#sysctl";
const PERSONALITY: &str = "config-linux.md#personality";

pub(super) const RDT: &[Check] = &[
    Check::must(
        "intel-rdt.no-resctrl",
        "config-linux.md#intelrdt",
        "intelRdt where no resctrl file system is mounted is an error.",
        |bench| {
            let mounts = read("/proc/self/mountinfo")?;
            if mounts.contains(" - resctrl ") {
                return Err(Stop::Skipped(
                    "a resctrl file system is mounted here".into(),
                ));
            }
            let trial = Trial::new(bench, &[])?
                .edit(|config| config["linux"]["intelRdt"] = json!({ "closID": "hako" }));
            does_not_run(trial)
        },
    ),
    Check::must(
        "intel-rdt.class",
        "config-linux.md#intelrdt",
        "The container's process is in the class of closID.",
        |bench| {
            let root = resctrl()?;
            let trial = Trial::new(bench, &[Step::Wait])?
                .edit(|config| config["linux"]["intelRdt"] = json!({ "closID": "/" }));
            trial.launch()?;
            in_group(&root, trial.pid()?)
        },
    ),
    Check::must(
        "intel-rdt.own-class",
        "config-linux.md#intelrdt",
        "Without closID the class has the container's name, and goes with it.",
        |bench| {
            let root = resctrl()?;
            let trial = Trial::new(bench, &[Step::Wait])?
                .edit(|config| config["linux"]["intelRdt"] = json!({}));
            trial.launch()?;
            let group = root.join(&trial.id);
            in_group(&group, trial.pid()?)?;
            trial.kill("KILL")?;
            trial.becomes("stopped")?;
            trial.delete()?;
            demand(!group.exists(), || format!("{} is left", group.display()))
        },
    ),
    Check::must(
        "intel-rdt.monitoring",
        "config-linux.md#intelrdt",
        "enableMonitoring makes a monitoring group of the container's name, which goes with it.",
        |bench| {
            let root = resctrl()?;
            if !root.join("mon_groups").is_dir() {
                return Err(Stop::Skipped(
                    "this machine has no monitoring groups".into(),
                ));
            }
            let trial = Trial::of(bench, "1.3.0", &[Step::Wait])?.edit(|config| {
                config["linux"]["intelRdt"] = json!({ "closID": "/", "enableMonitoring": true });
            });
            trial.launch()?;
            let group = root.join("mon_groups").join(&trial.id);
            in_group(&group, trial.pid()?)?;
            trial.kill("KILL")?;
            trial.becomes("stopped")?;
            trial.delete()?;
            demand(!group.exists(), || format!("{} is left", group.display()))
        },
    ),
];

/// Where resctrl is mounted.
fn resctrl() -> Result<PathBuf, Stop> {
    let mounts = read("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.contains(" - resctrl "));
    let point = line.and_then(|line| line.split(' ').nth(4));
    point
        .map(PathBuf::from)
        .ok_or_else(|| Stop::Skipped("no resctrl file system is mounted here".into()))
}

fn in_group(group: &Path, pid: i32) -> Verdict {
    let tasks = read(group.join("tasks"))?;
    let pid = pid.to_string();
    demand(tasks.lines().any(|line| line == pid), || {
        format!("process {pid} is not in {}", group.display())
    })
}

macro_rules! policies {
    ($($name:literal $policy:tt $seen:literal)*) => {
        pub(super) const POLICIES: &[Check] = &[$(
            Check::must(
                concat!("memory-policy.", $name),
                POLICY,
                concat!("The container's memory policy is set: ", $seen, "."),
                |bench| policy(bench, json!($policy), $seen),
            ),
        )*];
    };
}

policies! {
    "default" { "mode": "MPOL_DEFAULT" } "default"
    "bind" { "mode": "MPOL_BIND", "nodes": "0" } "bind:0"
    "interleave" { "mode": "MPOL_INTERLEAVE", "nodes": "0" } "interleave:0"
    "weighted-interleave" { "mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0" }
        "weighted interleave:0"
    "preferred" { "mode": "MPOL_PREFERRED", "nodes": "0" } "prefer:0"
    "preferred-many" { "mode": "MPOL_PREFERRED_MANY", "nodes": "0" } "prefer (many):0"
    "local" { "mode": "MPOL_LOCAL" } "local"
    "static-nodes" { "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }
        "bind=static:0"
    "relative-nodes" { "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"] }
        "bind=relative:0"
    "numa-balancing" { "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"] }
        "bind=balancing:0"
}

macro_rules! policy_faults {
    ($($name:literal $demand:literal |$policy:ident| $fault:expr;)*) => {
        pub(super) const POLICY_FAULTS: &[Check] = &[$(
            Check::must(
                concat!("memory-policy.", $name),
                POLICY,
                $demand,
                |bench| {
                    has_numa()?;
                    faulty(bench, "1.3.0", bound, |config| {
                        let $policy = &mut config["linux"]["memoryPolicy"];
                        $fault;
                    })
                },
            ),
        )*];
    };
}

policy_faults! {
    "no-mode" "A policy without a mode is an error." |it| remove(it, "mode");
    "unknown-mode" "A mode that does not exist is an error." |it| it["mode"] = json!("MPOL_HAKO");
    "unknown-flag" "A flag that does not exist is an error."
        |it| it["flags"] = json!(["MPOL_F_HAKO"]);
    "no-nodes" "MPOL_BIND without nodes is an error." |it| remove(it, "nodes");
    "nodes-of-default" "MPOL_DEFAULT with nodes is an error."
        |it| it["mode"] = json!("MPOL_DEFAULT");
    "bad-nodes" "Nodes that are no list of numbers are an error." |it| it["nodes"] = json!("0-");
}

fn bound(config: &mut Value) {
    config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
}

fn has_numa() -> Verdict {
    match fs::exists("/proc/self/numa_maps") {
        Ok(true) => Ok(()),
        _ => Err(Stop::Skipped(
            "this kernel has no NUMA memory policies".into(),
        )),
    }
}

/// Whether the kernel has weighted interleaving (Linux 6.9).
pub(in crate::runtime) fn weighs() -> bool {
    super::hierarchy::exists("/sys/kernel/mm/mempolicy/weighted_interleave".as_ref())
}

/// numa_maps has the policy of the process for each part of its memory.
fn policy(bench: &Bench, wanted: Value, shown: &str) -> Verdict {
    has_numa()?;
    if shown.starts_with("weighted") && !weighs() {
        return Err(Stop::Skipped(
            "this kernel has no weighted interleaving".into(),
        ));
    }
    let trial = Trial::of(bench, "1.3.0", &[Step::Read("/proc/self/numa_maps".into())])?
        .edit(|config| config["linux"]["memoryPolicy"] = wanted);
    let seen = trial.live()?;
    // ADDRESS POLICY DETAILS, and a policy may have spaces.
    let lines: Vec<&str> = seen
        .text(0)?
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, rest)| rest)
        .collect();
    let found = lines.iter().any(|rest| {
        rest.strip_prefix(shown)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    });
    demand(found, || {
        format!(
            "the policy is not '{shown}': {}",
            lines.first().unwrap_or(&"")
        )
    })?;
    trial.passed()
}

pub(super) const SYSCTLS: &[Check] = &[
    Check::must(
        "sysctl.network",
        SYSCTL,
        "A parameter of the network namespace is set.",
        |bench| {
            parameter(
                bench,
                "net.ipv4.ip_default_ttl",
                "net/ipv4/ip_default_ttl",
                "77",
            )
        },
    ),
    Check::must(
        "sysctl.ipc",
        SYSCTL,
        "A parameter of the ipc namespace is set.",
        |bench| parameter(bench, "kernel.msgmax", "kernel/msgmax", "7777"),
    ),
    Check::must(
        "sysctl.message-queues",
        SYSCTL,
        "A parameter of POSIX message queues is set.",
        |bench| parameter(bench, "fs.mqueue.msg_max", "fs/mqueue/msg_max", "7"),
    ),
    Check::must(
        "sysctl.several-words",
        SYSCTL,
        "A value of several numbers is set.",
        |bench| {
            parameter(
                bench,
                "net.ipv4.ping_group_range",
                "net/ipv4/ping_group_range",
                "3\t7",
            )
        },
    ),
    Check::must(
        "sysctl.bad-value",
        SYSCTL,
        "A value that the kernel refuses is an error.",
        |bench| {
            faulty(
                bench,
                BASE,
                |config| config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77" }),
                |config| config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "word" }),
            )
        },
    ),
];

fn parameter(bench: &Bench, name: &str, file: &str, value: &str) -> Verdict {
    let path = format!("/proc/sys/{file}");
    let Ok(here) = fs::read_to_string(&path) else {
        return Err(Stop::Skipped(format!("this kernel has no {name}")));
    };
    let trial = Trial::new(bench, &[Step::Read(path.clone())])?
        .edit(|config| config["linux"]["sysctl"] = json!({ name: value }));
    let seen = trial.live()?;
    same(name, seen.text(0)?.trim(), value)?;
    same(&format!("on the host, {name}"), read(&path)?, here)?;
    trial.passed()
}

pub(super) const LABEL: &[Check] = &[Check::must(
    "mount-label.mounts",
    "config-linux.md#mount-label",
    "The container's mounts have the SELinux context mountLabel.",
    |bench| {
        if !super::hierarchy::exists("/sys/fs/selinux/enforce".as_ref()) {
            return Err(Stop::Skipped(
                "SELinux is not enabled on this machine".into(),
            ));
        }
        let label = "system_u:object_r:container_file_t:s0:c715,c811";
        let trial = Trial::new(bench, &[Step::Read("/proc/self/mountinfo".into())])?
            .edit(|config| config["linux"]["mountLabel"] = json!(label));
        let seen = trial.live()?;
        let found = seen.text(0)?.contains(label);
        demand(found, || "no mount has the context".into())?;
        trial.passed()
    },
)];

pub(super) const PERSONALITIES: &[Check] = &[
    Check::must(
        "personality.linux",
        PERSONALITY,
        "The domain LINUX is the usual one.",
        |bench| {
            personality(bench, "LINUX", 0, |machine| {
                machine == std::env::consts::ARCH
            })
        },
    ),
    Check::must(
        "personality.linux32",
        PERSONALITY,
        "The domain LINUX32 has uname(2) tell of a 32-bit machine.",
        |bench| {
            personality(bench, "LINUX32", 8, |machine| {
                machine != std::env::consts::ARCH
            })
        },
    ),
    Check::must(
        "personality.unknown-domain",
        PERSONALITY,
        "A domain that does not exist is an error.",
        |bench| {
            faulty(bench, BASE, linux, |config| {
                config["linux"]["personality"]["domain"] = json!("HAKO");
            })
        },
    ),
    Check::must(
        "personality.no-domain",
        PERSONALITY,
        "A personality without a domain is an error.",
        |bench| {
            faulty(bench, BASE, linux, |config| {
                remove(&mut config["linux"]["personality"], "domain");
            })
        },
    ),
    Check::must(
        "personality.flags",
        PERSONALITY,
        "A flag is an error, as none is supported.",
        |bench| {
            faulty(bench, BASE, linux, |config| {
                config["linux"]["personality"]["flags"] = json!(["ADDR_NO_RANDOMIZE"]);
            })
        },
    ),
];

fn linux(config: &mut Value) {
    config["linux"]["personality"] = json!({ "domain": "LINUX" });
}

fn personality(bench: &Bench, domain: &str, bits: u32, right: fn(&str) -> bool) -> Verdict {
    let trial = Trial::new(bench, &[Step::Uname, Step::Wait])?
        .edit(|config| config["linux"]["personality"] = json!({ "domain": domain }));
    trial.launch()?;
    let seen = trial.answers(1)?;
    let machine = seen.value(0)?["machine"].as_str().unwrap_or_default();
    demand(right(machine), || format!("the machine is '{machine}'"))?;
    let text = read(format!("/proc/{}/personality", trial.pid()?))?;
    match u32::from_str_radix(text.trim(), 16) {
        Ok(found) => same("the personality's domain", found & 0xff, bits)?,
        Err(_) => return fails(format!("the personality is {text:?}")),
    }
    trial.passed()
}
