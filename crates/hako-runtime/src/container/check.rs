//! What is refused before anything is made: what this runtime or this kernel
//! cannot do, since a container must not lack what it was promised, and what
//! would reach the host, because the namespace that should keep it inside is
//! not the container's own.

use std::os::fd::AsFd as _;
use std::path::Path;

use hako_spec::runtime::{Config, Linux, NamespaceKind, Process};

use super::lsm;
use super::namespaces::{Namespaces, file};
use crate::error::{Context, Error, Result};

/// Checks the configuration against this runtime, this host and its own
/// namespaces.
pub fn all(config: &Config, process: &Process, namespaces: &Namespaces) -> Result<()> {
    supported(config, process)?;
    contained(config, namespaces)?;
    let none = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    sysctls(linux, namespaces)?;
    domain_name(config, linux)
}

fn supported(config: &Config, process: &Process) -> Result<()> {
    let linux = config.linux.as_ref();
    lsm::check(process, linux, Path::new("/sys"))
}

/// Names must land in a namespace that the configuration lists. Mounts need none:
/// [`super::shared_root`].
fn contained(config: &Config, namespaces: &Namespaces) -> Result<()> {
    let needs = |asked: bool, field: &str, kind| match asked && !namespaces.has(kind) {
        true => Err(Error::new(format!(
            "{field} needs a {} namespace of the container",
            file(kind)
        ))),
        false => Ok(()),
    };
    needs(config.hostname.is_some(), "hostname", NamespaceKind::Uts)?;
    needs(
        config.domainname.is_some(),
        "domainname",
        NamespaceKind::Uts,
    )?;
    let readonly = config.root.as_ref().is_some_and(|r| r.readonly);
    if readonly && namespaces.joins(NamespaceKind::Mount) {
        return Err(Error::new(
            "root.readonly is not for a mount namespace that is joined: its root is others'",
        ));
    }
    Ok(())
}

/// Parameters of the IPC namespace, besides all of `fs.mqueue`
/// (ipc_namespaces(7)).
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg_next_id",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
];

/// Every parameter must belong to a namespace that is not the runtime's own:
/// the others are the host's.
fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    for key in linux.sysctl.keys() {
        let name = dotted(key);
        let kind = match name.as_str() {
            "kernel.hostname" => {
                return Err(Error::new(format!(
                    "sysctl {key}: use the field hostname in its place"
                )));
            }
            "kernel.domainname" => NamespaceKind::Uts,
            name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => NamespaceKind::Ipc,
            name if name.starts_with("net.") => NamespaceKind::Network,
            name if name.starts_with("user.") => NamespaceKind::User,
            _ => {
                return Err(Error::new(format!(
                    "sysctl {key} is in no namespace: it would change the host"
                )));
            }
        };
        if !apart(namespaces, kind).context(|| format!("sysctl {key}"))? {
            return Err(Error::new(format!(
                "sysctl {key} needs a {} namespace of the container: it would change the host's",
                file(kind)
            )));
        }
    }
    Ok(())
}

/// The name that `domainname` sets, a parameter must not set to another one.
fn domain_name(config: &Config, linux: &Linux) -> Result<()> {
    let Some(name) = &config.domainname else {
        return Ok(());
    };
    let mut sysctls = linux.sysctl.iter();
    match sysctls.find(|(key, value)| dotted(key) == "kernel.domainname" && *value != name) {
        Some((key, _)) => Err(Error::new(format!(
            "sysctl {key} contradicts the field domainname"
        ))),
        None => Ok(()),
    }
}

/// Whether the container's namespace of this kind is another one than ours.
fn apart(namespaces: &Namespaces, kind: NamespaceKind) -> Result<bool> {
    if namespaces.makes(kind) {
        return Ok(true);
    }
    let Some((_, fd)) = namespaces.join.iter().find(|(k, _)| *k == kind) else {
        return Ok(false);
    };
    let theirs = rustix::fs::fstat(fd.as_fd())?;
    let ours = rustix::fs::stat(format!("/proc/self/ns/{}", file(kind)))?;
    Ok(theirs.st_ino != ours.st_ino)
}

/// A parameter's name with dots between its parts, and slashes in place of the
/// dots that belong to a part (sysctl.d(5)).
fn dotted(key: &str) -> String {
    match key.find(['.', '/']).and_then(|at| key.as_bytes().get(at)) {
        Some(b'/') => swap(key),
        _ => key.to_owned(),
    }
}

fn swap(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

/// The parameter's file below `/proc/sys`.
pub fn sysctl_path(key: &str) -> String {
    swap(&dotted(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(sysctl_path("kernel"), "kernel");
    }

    #[test]
    fn the_hosts_parameters_are_refused() {
        let check = |key: &str, new: u64| {
            let namespaces = Namespaces {
                new,
                join: Vec::new(),
            };
            let mut linux = Linux::default();
            linux.sysctl.insert(key.to_owned(), "1".to_owned());
            sysctls(&linux, &namespaces).is_ok()
        };
        use super::super::namespaces::flag;
        let all = u64::MAX;
        for key in [
            "kernel.panic",
            "vm.swappiness",
            "kernel/panic",
            "kernel.hostname",
        ] {
            assert!(!check(key, all), "{key}");
        }
        for (key, kind) in [
            ("net.ipv4.ip_forward", NamespaceKind::Network),
            ("net/ipv4/ip_forward", NamespaceKind::Network),
            ("kernel.shmmax", NamespaceKind::Ipc),
            ("fs.mqueue.msg_max", NamespaceKind::Ipc),
            ("kernel.domainname", NamespaceKind::Uts),
            ("user.max_net_namespaces", NamespaceKind::User),
        ] {
            assert!(check(key, flag(kind)), "{key}");
            assert!(!check(key, all & !flag(kind)), "{key}");
        }
    }
}
