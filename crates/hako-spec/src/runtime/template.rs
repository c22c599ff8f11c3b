//! A `config.json` to start from: what `hako-runtime spec` writes, and what
//! `hako bundle generate` changes.

use super::{
    Capabilities, Config, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process,
    Resources, Rlimit, Root,
};

/// What the process of the template is allowed.
const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// Paths that tell of or reach into the host, as Docker hides them.
pub const MASKED: &[&str] = &[
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
pub const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// File systems of the template: where, type, source and options.
const MOUNTS: [(&str, &str, &str, &str); 7] = [
    ("/proc", "proc", "proc", ""),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        "nosuid strictatime mode=755 size=65536k",
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        "nosuid noexec nodev mode=1777 size=65536k",
    ),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        "nosuid noexec nodev relatime ro",
    ),
];

/// Namespaces of the template, all but the user's.
const NAMESPACES: [NamespaceKind; 6] = [
    NamespaceKind::Pid,
    NamespaceKind::Network,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Cgroup,
    NamespaceKind::Mount,
];

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn mount((destination, kind, source, options): (&str, &str, &str, &str)) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(source.into()),
        options: options.split_whitespace().map(str::to_owned).collect(),
        ..Mount::default()
    }
}

impl Config {
    /// A shell as root on a terminal, with few capabilities, a read-only root
    /// and all namespaces but the user's.
    #[must_use]
    pub fn template() -> Self {
        let namespace = |kind| Namespace {
            kind,
            ..Namespace::default()
        };
        Config {
            oci_version: super::VERSION.into(),
            process: Some(Process {
                terminal: true,
                args: list(&["sh"]),
                env: list(&[
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "TERM=xterm",
                ]),
                cwd: "/".into(),
                capabilities: Some(Capabilities {
                    bounding: list(&CAPABILITIES),
                    effective: list(&CAPABILITIES),
                    permitted: list(&CAPABILITIES),
                    ..Capabilities::default()
                }),
                rlimits: vec![Rlimit {
                    kind: "RLIMIT_NOFILE".into(),
                    hard: 1024,
                    soft: 1024,
                    ..Rlimit::default()
                }],
                no_new_privileges: true,
                ..Process::default()
            }),
            root: Some(Root {
                path: "rootfs".into(),
                readonly: true,
                ..Root::default()
            }),
            hostname: Some("hako".into()),
            mounts: MOUNTS.into_iter().map(mount).collect(),
            linux: Some(Linux {
                resources: Some(Resources {
                    devices: vec![DeviceRule {
                        allow: false,
                        access: Some("rwm".into()),
                        ..DeviceRule::default()
                    }],
                    ..Resources::default()
                }),
                namespaces: NAMESPACES.into_iter().map(namespace).collect(),
                masked_paths: list(MASKED),
                readonly_paths: list(READ_ONLY),
                ..Linux::default()
            }),
            ..Config::default()
        }
    }

    /// Makes it a configuration that an unprivileged user with these ids can
    /// run: a user namespace with one id, the host's network, no limits.
    pub fn make_rootless(&mut self, uid: u32, gid: u32) {
        let map = |host_id| {
            vec![IdMapping {
                host_id,
                size: 1,
                ..IdMapping::default()
            }]
        };
        let linux = self.linux.get_or_insert_default();
        linux.resources = None;
        linux.uid_mappings = map(uid);
        linux.gid_mappings = map(gid);
        let stays = |kind| kind != NamespaceKind::Network && kind != NamespaceKind::User;
        linux.namespaces.retain(|it| stays(it.kind));
        linux.namespaces.push(Namespace {
            kind: NamespaceKind::User,
            ..Namespace::default()
        });
        // A cgroup file system would be the host's; sysfs belongs to the network
        // namespace; group 5 has no id inside.
        self.mounts
            .retain(|mount| mount.kind.as_deref() != Some("cgroup"));
        for it in &mut self.mounts {
            match it.destination.as_str() {
                "/sys" => *it = mount(("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")),
                "/dev/pts" => it.options.retain(|option| option != "gid=5"),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::{Purpose, config};
    use super::*;

    #[test]
    fn it_is_valid_and_can_be_run_by_a_user() {
        let mut template = Config::template();
        assert_eq!(config(&template, Purpose::Start), []);
        template.make_rootless(1000, 100);
        // Twice is once.
        let once = template.clone();
        template.make_rootless(1000, 100);
        assert_eq!(template, once);
        assert_eq!(config(&template, Purpose::Start), []);
        let linux = template.linux.unwrap();
        assert_eq!(linux.uid_mappings[0].host_id, 1000);
        assert_eq!(linux.gid_mappings[0].host_id, 100);
        assert!(linux.namespace(NamespaceKind::User).is_some());
        assert!(linux.namespace(NamespaceKind::Network).is_none());
    }
}
