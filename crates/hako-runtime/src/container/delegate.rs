//! Whose the container's cgroup is (config-linux.md, "Cgroup ownership"): with
//! version 2, a cgroup namespace of its own and a writable mount of it, the
//! container's user may make cgroups below.

use hako_cgroup::{Cgroup, Error as CgroupError, Permission};
use hako_spec::runtime::{Config, NamespaceKind, Process};
use hako_sys::id_map;

use super::namespaces::Namespaces;
use crate::error::{Context, Error, Result};
use crate::proc::Proc;

/// Gives the cgroup of the container, whose process is `pid`, to its user,
/// where the configuration asks for it. `permission`: whether it matters that
/// the caller may not give it away.
pub fn hand_over(
    cgroup: &Cgroup,
    config: &Config,
    process: &Process,
    namespaces: &Namespaces,
    (proc, pid): (&Proc, i32),
    permission: Permission,
) -> Result<()> {
    if !is_wanted(config, namespaces, cgroup) {
        return Ok(());
    }
    let map = proc
        .read(&format!("{pid}/uid_map"))
        .context(|| "read the id mappings")?;
    let inside = process.user.uid;
    let uid = id_map::outside(&String::from_utf8_lossy(&map), inside)
        .ok_or_else(|| Error::new(format!("process.user.uid {inside} is not mapped")))?;
    match cgroup.delegate(uid) {
        Err(CgroupError::Write { source, .. })
            if permission == Permission::Ignore && source == rustix::io::Errno::PERM =>
        {
            Ok(())
        }
        other => other.context(|| "give the cgroup to the container's user"),
    }
}

fn is_wanted(config: &Config, namespaces: &Namespaces, cgroup: &Cgroup) -> bool {
    let saved = cgroup.saved();
    // Version 1, alone or beside version 2, cannot be delegated safely.
    saved.v1.is_empty()
        && saved.v2.is_some()
        && namespaces.makes(NamespaceKind::Cgroup)
        && is_writable(config)
}

/// Whether the cgroup file system is mounted where it belongs, to be written.
fn is_writable(config: &Config) -> bool {
    config.mounts.iter().any(|mount| {
        mount.source.as_deref() == Some("cgroup")
            && mount.destination.trim_end_matches('/') == "/sys/fs/cgroup"
            && !mount.options.iter().any(|o| o == "ro")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_writable_mount_at_its_place() {
        let config = |source: &str, at: &str, options: &str| {
            let json = format!(
                r#"{{"ociVersion":"1.0.0","mounts":[{{"destination":"{at}","type":"cgroup",
                "source":"{source}","options":[{options}]}}]}}"#
            );
            is_writable(&Config::from_slice(json.as_bytes()).unwrap())
        };
        assert!(config("cgroup", "/sys/fs/cgroup", r#""rw","nosuid""#));
        assert!(config("cgroup", "/sys/fs/cgroup/", ""));
        assert!(!config("cgroup", "/sys/fs/cgroup", r#""nosuid","ro""#));
        assert!(!config("cgroup", "/cg", ""));
        assert!(!config("tmpfs", "/sys/fs/cgroup", ""));
    }
}
