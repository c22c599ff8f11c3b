//! `spec`: a config.json to start from.

use std::io::Write as _;

use hako_spec::runtime::{IdMapping, Namespace, NamespaceKind};
use serde_json::{Value, json};

use super::no_more;
use crate::cli::Args;
use crate::error::{Context, Result};

pub(super) fn run(args: &Args) -> Result<u8> {
    no_more(args, 0)?;
    let dir = args.path("bundle").unwrap_or_else(|| ".".into());
    // A file that is named may be replaced, as crun has it.
    let path = dir.join(args.get("file").unwrap_or("config.json"));
    let named = args.has("file");
    let mut config = template();
    if !on_version_two() {
        without_cgroup_namespace(&mut config);
    }
    if args.has("rootless-spec") {
        rootless(&mut config)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(!named)
        .create(named)
        .truncate(named)
        .open(&path)
        .context(|| path.display().to_string())?;
    file.write_all(format!("{config:#}\n").as_bytes())
        .context(|| path.display().to_string())?;
    Ok(0)
}

/// A shell as root with few capabilities and all namespaces but the user's.
fn template() -> Value {
    let caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| safe.iter().chain(more).copied().collect::<Vec<_>>();
    json!({
        "ociVersion": hako_spec::runtime::VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm"
            ],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "hako",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": with(&["mode=1777", "size=65536k"]) },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": with(&[]) },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": with(&["ro"]) },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": with(&["relatime", "ro"]) }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "cgroup" }, { "type": "mount" }
            ],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY
        }
    })
}

/// Whether the host has cgroup version 2 alone.
fn on_version_two() -> bool {
    hako_cgroup::Host::detect().is_ok_and(|host| host.mode() == Some(hako_cgroup::Mode::V2))
}

/// As runc: with version 1 a container sees where its cgroups are on the host.
fn without_cgroup_namespace(config: &mut Value) {
    let list = config.pointer_mut("/linux/namespaces");
    if let Some(list) = list.and_then(Value::as_array_mut) {
        list.retain(|namespace| namespace["type"] != "cgroup");
    }
}

/// Paths that tell of or reach into the host.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/proc/scsi",
];

/// Paths that change the host.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// For an unprivileged user: a user namespace with one id, the host's network,
/// no cgroup limits.
fn rootless(config: &mut Value) -> Result<()> {
    let map = |host| {
        serde_json::to_value([IdMapping {
            host_id: host,
            size: 1,
            ..IdMapping::default()
        }])
    };
    let uids = map(rustix::process::geteuid().as_raw())?;
    let gids = map(rustix::process::getegid().as_raw())?;
    if let Some(linux) = config.pointer_mut("/linux").and_then(Value::as_object_mut) {
        linux.remove("resources");
        linux.insert("uidMappings".into(), uids);
        linux.insert("gidMappings".into(), gids);
    }
    if let Some(list) = config
        .pointer_mut("/linux/namespaces")
        .and_then(Value::as_array_mut)
    {
        list.retain(|n| n.get("type") != Some(&json!("network")));
        list.push(serde_json::to_value(Namespace {
            kind: NamespaceKind::User,
            ..Namespace::default()
        })?);
    }
    if let Some(mounts) = config.pointer_mut("/mounts").and_then(Value::as_array_mut) {
        for mount in mounts.iter_mut() {
            let at = mount
                .get("destination")
                .and_then(Value::as_str)
                .unwrap_or_default();
            match at {
                "/sys" => {
                    *mount = json!({
                        "destination": "/sys", "type": "none", "source": "/sys",
                        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
                    });
                }
                "/dev/pts" => {
                    if let Some(o) = mount.pointer_mut("/options").and_then(Value::as_array_mut) {
                        o.retain(|o| o != "gid=5");
                    }
                }
                _ => {}
            }
        }
        mounts.retain(|m| m.get("type") != Some(&json!("cgroup")));
    }
    Ok(())
}
