//! A container's record to the runtime's `config.json`: the defaults that
//! Docker's users rely on, and what was asked for on top of them.

use std::path::Path;

use hako_spec::runtime::capability::NAMES as ALL_CAPABILITIES;
use hako_spec::runtime::template::{MASKED, READ_ONLY};
use hako_spec::runtime::{
    Arch, Capabilities, Config, ConsoleSize, Cpu, DeviceRule, Linux, Memory, Mount, Namespace,
    NamespaceKind, Pids, Process, Resources, Rlimit, Root, Seccomp, SeccompAction,
};

use crate::error::{At, Error, Result};
use crate::options::{Create, NetworkMode, Ulimit};
use crate::record::Record;
use crate::user::Found;

/// Capabilities that a container has unless it is told otherwise.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Largest number of open files that a container gets by default.
const NOFILE: u64 = 1 << 20;

/// What is known when the container starts.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The record.
    pub(crate) record: &'a Record,
    /// Its user, as its own passwd file has it.
    pub(crate) user: &'a Found,
    /// Where its root file system is mounted.
    pub(crate) rootfs: &'a Path,
    /// The directory with hosts, hostname and resolv.conf.
    pub(crate) files: &'a Path,
    /// Mounts of volumes.
    pub(crate) volumes: Vec<Mount>,
    /// How it is connected, decided.
    pub(crate) network: &'a NetworkMode,
    /// In a user namespace of an unprivileged user.
    pub(crate) rootless: bool,
    /// Group 5 (tty) exists in that user namespace.
    pub(crate) tty_group: bool,
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// The configuration.
pub(crate) fn config(start: &Start<'_>) -> Result<Config> {
    let options = &start.record.options;
    let mut mounts = default_mounts(start);
    for text in &options.tmpfs {
        mounts.push(tmpfs(text)?);
    }
    mounts.extend(start.volumes.iter().cloned());
    Ok(Config {
        oci_version: "1.0.2".to_owned(),
        process: Some(process(start)?),
        root: Some(Root {
            path: path(start.rootfs)?,
            readonly: options.read_only,
            ..Root::default()
        }),
        hostname: (*start.network != NetworkMode::Host || options.hostname.is_some())
            .then(|| hostname(start.record)),
        mounts,
        annotations: options.annotations.clone(),
        linux: Some(linux(start)?),
        ..Config::default()
    })
}

fn path(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid("path", &path.to_string_lossy(), "it is not UTF-8"))
}

/// The container's host name.
pub(crate) fn hostname(record: &Record) -> String {
    record
        .options
        .hostname
        .clone()
        .unwrap_or_else(|| record.id.get(..12).unwrap_or(&record.id).to_owned())
}

fn process(start: &Start<'_>) -> Result<Process> {
    let (record, options) = (start.record, &start.record.options);
    let mut env = record.env.clone();
    let has = |env: &[String], name: &str| {
        env.iter()
            .any(|e| e.split_once('=').is_some_and(|(n, _)| n == name))
    };
    if !has(&env, "PATH") {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    if !has(&env, "HOSTNAME") {
        env.push(format!("HOSTNAME={}", hostname(record)));
    }
    if options.tty && !has(&env, "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    if !has(&env, "HOME") {
        env.push(format!(
            "HOME={}",
            start.user.home.as_deref().unwrap_or("/")
        ));
    }
    Ok(Process {
        terminal: options.tty,
        console_size: options.console_size.map(|(rows, cols)| ConsoleSize {
            height: rows.into(),
            width: cols.into(),
            ..ConsoleSize::default()
        }),
        user: start.user.user.clone(),
        args: record.args.clone(),
        env,
        cwd: record.cwd.clone(),
        capabilities: Some(capabilities(options)?),
        rlimits: rlimits(&options.ulimits),
        no_new_privileges: options.no_new_privileges,
        ..Process::default()
    })
}

fn capabilities(options: &Create) -> Result<Capabilities> {
    let set = capability_names(options)?;
    Ok(Capabilities {
        bounding: set.clone(),
        effective: set.clone(),
        permitted: set,
        ..Capabilities::default()
    })
}

/// The container's capabilities: the default ones, less those dropped, and
/// those added; `ALL` stands for all.
pub(crate) fn capability_names(options: &Create) -> Result<Vec<String>> {
    if options.privileged {
        return Ok(strings(ALL_CAPABILITIES));
    }
    let name = |text: &str| -> Result<String> {
        let upper = text.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        match full == "CAP_ALL" || ALL_CAPABILITIES.contains(&full.as_str()) {
            true => Ok(full),
            false => Err(Error::invalid("capability", text, "no such capability")),
        }
    };
    let add = options
        .cap_add
        .iter()
        .map(|c| name(c))
        .collect::<Result<Vec<_>>>()?;
    let drop = options
        .cap_drop
        .iter()
        .map(|c| name(c))
        .collect::<Result<Vec<_>>>()?;
    let all = |list: &[String]| list.iter().any(|c| c == "CAP_ALL");
    let base: &[&str] = match (all(&add), all(&drop)) {
        (true, _) => ALL_CAPABILITIES,
        (false, true) => &[],
        (false, false) => DEFAULT_CAPABILITIES,
    };
    let mut set: Vec<String> = strings(base);
    set.retain(|c| !drop.contains(c));
    for cap in add.into_iter().filter(|c| c != "CAP_ALL") {
        if !set.contains(&cap) {
            set.push(cap);
        }
    }
    set.sort();
    Ok(set)
}

/// What was asked for, and of our own accord more open files: as many as
/// Docker gives, or as the host's hard limit allows.
fn rlimits(asked: &[Ulimit]) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = asked
        .iter()
        .map(|u| Rlimit {
            kind: u.kind.clone(),
            hard: u.hard,
            soft: u.soft,
            ..Rlimit::default()
        })
        .collect();
    if !asked.iter().any(|u| u.kind == "RLIMIT_NOFILE") {
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let limit = hard.unwrap_or(NOFILE).min(NOFILE);
        limits.push(Rlimit {
            kind: "RLIMIT_NOFILE".to_owned(),
            hard: limit,
            soft: limit,
            ..Rlimit::default()
        });
    }
    limits
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(kind.to_owned()),
        options: strings(options),
        ..Mount::default()
    }
}

fn default_mounts(start: &Start<'_>) -> Vec<Mount> {
    let options = &start.record.options;
    let shm = format!("size={}", options.shm_size.unwrap_or(64 << 20));
    let access = if options.privileged { "rw" } else { "ro" };
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    if start.tty_group {
        pts.push("gid=5");
    }
    let mut mounts = vec![
        mount("/proc", "proc", &safe),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", &pts),
        mount("/sys", "sysfs", &with(&[access])),
        mount("/sys/fs/cgroup", "cgroup", &with(&[access])),
        mount("/dev/mqueue", "mqueue", &safe),
    ];
    let mut shm_options = with(&["mode=1777"]);
    shm_options.push(&shm);
    mounts.push(Mount {
        source: Some("shm".to_owned()),
        ..mount("/dev/shm", "tmpfs", &shm_options)
    });
    for name in ["resolv.conf", "hostname", "hosts"] {
        mounts.push(bind(
            &start.files.join(name).to_string_lossy(),
            &format!("/etc/{name}"),
            &["bind", "rprivate"],
        ));
    }
    if start.rootless && *start.network == NetworkMode::Host {
        // A user namespace does not own the host's network namespace, and so
        // may not mount its sysfs.
        if let Some(sys) = mounts.iter_mut().find(|m| m.destination == "/sys") {
            *sys = bind(
                "/sys",
                "/sys",
                &["rbind", "nosuid", "noexec", "nodev", "ro"],
            );
        }
        mounts.retain(|m| m.destination != "/sys/fs/cgroup");
    }
    mounts
}

/// A bind mount.
pub(crate) fn bind(source: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(source.to_owned()),
        options: strings(options),
        ..Mount::default()
    }
}

/// `--tmpfs path[:options]`, with Docker's defaults.
fn tmpfs(text: &str) -> Result<Mount> {
    let (at, options) = text.split_once(':').unwrap_or((text, ""));
    if !at.starts_with('/') {
        return Err(Error::invalid("tmpfs", text, "it is not an absolute path"));
    }
    let mut m = mount(at, "tmpfs", &["nosuid", "nodev", "noexec"]);
    m.options.extend(
        options
            .split(',')
            .filter(|o| !o.is_empty())
            .map(str::to_owned),
    );
    Ok(m)
}

fn linux(start: &Start<'_>) -> Result<Linux> {
    let options = &start.record.options;
    let mut kinds = vec![
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
    ];
    if *start.network != NetworkMode::Host {
        kinds.push(NamespaceKind::Network);
    }
    let namespaces = kinds
        .into_iter()
        .map(|kind| Namespace {
            kind,
            ..Namespace::default()
        })
        .collect();
    let open = options.privileged;
    Ok(Linux {
        namespaces,
        cgroups_path: Some(cgroup_path(start.record)),
        resources: Some(resources(options)),
        seccomp: seccomp(options)?,
        masked_paths: if open { Vec::new() } else { strings(MASKED) },
        readonly_paths: if open { Vec::new() } else { strings(READ_ONLY) },
        ..Linux::default()
    })
}

/// The container's cgroup.
pub(crate) fn cgroup_path(record: &Record) -> String {
    let parent = record
        .options
        .cgroup_parent
        .as_deref()
        .unwrap_or_default()
        .trim_matches('/');
    match parent.is_empty() {
        true => format!("/hako-{}", record.id),
        false => format!("/{parent}/hako-{}", record.id),
    }
}

fn resources(options: &Create) -> Resources {
    let limits = &options.limits;
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let memory = limits.memory.map(|bytes| Memory {
        limit: Some(signed(bytes)),
        // As Docker: as much swap as memory.
        swap: Some(signed(bytes.saturating_mul(2))),
        ..Memory::default()
    });
    let mut cpu = None;
    if limits.milli_cpus.is_some() || limits.cpu_shares.is_some() {
        cpu = Some(Cpu {
            shares: limits.cpu_shares,
            period: limits.milli_cpus.map(|_| 100_000),
            quota: limits.milli_cpus.map(|m| signed(m.saturating_mul(100))),
            ..Cpu::default()
        });
    }
    Resources {
        devices: vec![DeviceRule {
            allow: options.privileged,
            access: Some("rwm".to_owned()),
            ..DeviceRule::default()
        }],
        memory,
        cpu,
        pids: limits.pids.map(|limit| Pids {
            limit: Some(limit),
            ..Pids::default()
        }),
        ..Resources::default()
    }
}

fn seccomp(options: &Create) -> Result<Option<Seccomp>> {
    if options.privileged {
        return Ok(None);
    }
    match options.seccomp.as_deref() {
        Some("unconfined") => Ok(None),
        None | Some("default") => {
            let Some(arch) = Arch::native() else {
                return Ok(None);
            };
            Ok(Some(hako_seccomp::default_profile(
                &capability_names(options)?,
                arch,
            )))
        }
        Some(file) => {
            let bytes = std::fs::read(file).at("read", file)?;
            let profile: Seccomp = serde_json::from_slice(&bytes)
                .map_err(|e| Error::invalid("seccomp profile", file, e.to_string()))?;
            if profile.default_action == SeccompAction::Notify {
                return Err(Error::invalid(
                    "seccomp profile",
                    file,
                    "its default action is NOTIFY",
                ));
            }
            Ok(Some(profile))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(add: &[&str], drop: &[&str]) -> Result<Vec<String>> {
        capability_names(&Create {
            cap_add: strings(add),
            cap_drop: strings(drop),
            ..Create::default()
        })
    }

    #[test]
    fn capability_sets() {
        assert_eq!(caps(&[], &[]).unwrap().len(), 14);
        assert_eq!(caps(&["net_admin"], &["ALL"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert!(
            !caps(&["ALL"], &["CAP_SYS_ADMIN"])
                .unwrap()
                .contains(&"CAP_SYS_ADMIN".to_owned())
        );
        assert_eq!(caps(&["ALL"], &[]).unwrap().len(), ALL_CAPABILITIES.len());
        assert!(caps(&["CAP_NOPE"], &[]).is_err());
    }

    #[test]
    fn open_files_are_clamped_and_asked_ones_are_not() {
        let mine = rlimits(&[]);
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        assert!(mine.iter().all(|l| l.hard <= hard.unwrap_or(u64::MAX)));
        let asked = Ulimit {
            kind: "RLIMIT_NOFILE".into(),
            soft: 1,
            hard: u64::MAX,
        };
        assert_eq!(rlimits(&[asked]).len(), 1);
    }

    #[test]
    fn tmpfs_options() {
        assert!(
            tmpfs("/x:size=1m,mode=700")
                .unwrap()
                .options
                .contains(&"size=1m".to_owned())
        );
        assert!(tmpfs("x").is_err());
    }
}
