//! Which devices a container may use (config-linux.md, "Allowed Device list").
//!
//! The rules are folded, in their order, into one policy: a default and its
//! exceptions, which is what the `devices` controller of version 1 can
//! express. Version 2 gets the same policy as a BPF program.

pub mod filter;
mod policy;

use std::os::fd::AsFd;

use hako_spec::runtime::{DeviceKind, DeviceRule};
use rustix::fs::OFlags;

use crate::cgroup::Cgroup;
use crate::create::Devices;
use crate::dir::Dir;
use crate::error::{Error, Result};

pub use policy::{Access, Exception, Kind, Policy};

/// The devices that every container may use unless told otherwise: making any
/// node, and the default devices of the spec (config-linux.md, "Default
/// Devices") with ttys and tun, as every runtime has it.
#[must_use]
pub fn default_rules() -> Vec<DeviceRule> {
    const DEVICES: [(DeviceKind, Option<i64>, Option<i64>, &str); 11] = [
        (DeviceKind::Char, None, None, "m"),
        (DeviceKind::Block, None, None, "m"),
        (DeviceKind::Char, Some(1), Some(3), "rwm"), // null
        (DeviceKind::Char, Some(1), Some(5), "rwm"), // zero
        (DeviceKind::Char, Some(1), Some(7), "rwm"), // full
        (DeviceKind::Char, Some(1), Some(8), "rwm"), // random
        (DeviceKind::Char, Some(1), Some(9), "rwm"), // urandom
        (DeviceKind::Char, Some(5), Some(0), "rwm"), // tty
        (DeviceKind::Char, Some(5), Some(2), "rwm"), // ptmx
        (DeviceKind::Char, Some(136), None, "rwm"),  // pts/*
        (DeviceKind::Char, Some(10), Some(200), "rwm"), // net/tun
    ];
    DEVICES
        .into_iter()
        .map(|(kind, major, minor, access)| DeviceRule {
            allow: true,
            kind: Some(kind),
            major,
            minor,
            access: Some(access.to_owned()),
            ..DeviceRule::default()
        })
        .collect()
}

/// The policy that the rules come to; none where devices are left alone.
pub(crate) fn policy(rules: &[DeviceRule], devices: Devices) -> Result<Option<Policy>> {
    if devices == Devices::Skip {
        return Ok(None);
    }
    let mut policy = Policy::build(rules)?;
    if devices == Devices::Apply {
        policy.add_defaults();
    }
    Ok(Some(policy))
}

/// Applies the rules to the cgroup, with version 1 where the host has it.
pub(crate) fn apply(cgroup: &Cgroup, rules: &[DeviceRule], devices: Devices) -> Result<()> {
    let Some(policy) = policy(rules, devices)? else {
        return Ok(());
    };
    if let Some(dir) = cgroup.v1_with("devices")? {
        return v1(dir, &policy);
    }
    match cgroup.v2_dir()? {
        Some(dir) => v2(dir, &policy),
        // Not limiting devices would be a hole, so this is no silent matter.
        None => Err(Error::Unavailable {
            field: "devices".to_owned(),
            controller: "devices".to_owned(),
        }),
    }
}

/// Version 1: back to the default, which drops all exceptions, and then one
/// line for each exception (Documentation/admin-guide/cgroup-v1/devices.rst).
fn v1(dir: &Dir, policy: &Policy) -> Result<()> {
    let (default, exceptions) = if policy.default_allow {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    };
    dir.write(default, "a")?;
    if policy.exceptions.is_empty() {
        return Ok(());
    }
    let fd = dir.open_file(exceptions, OFlags::WRONLY)?;
    for exception in &policy.exceptions {
        dir.write_fd(&fd, exceptions, &exception.to_string())?;
    }
    Ok(())
}

/// Version 2: a program in the place of the one that is there.
fn v2(dir: &Dir, policy: &Policy) -> Result<()> {
    let failed = |action| {
        move |source| Error::DeviceFilter {
            action,
            path: dir.path().to_owned(),
            source,
        }
    };
    let program =
        hako_sys::bpf::load_device_filter(&filter::compile(policy)).map_err(failed("load"))?;
    let old = hako_sys::bpf::device_filters(dir.fd()).map_err(failed("list"))?;
    let replace = match old.as_slice() {
        [one] => Some(one.as_fd()),
        _ => None,
    };
    hako_sys::bpf::attach_device_filter(dir.fd(), program.as_fd(), replace)
        .map_err(failed("attach"))?;
    if replace.is_none() {
        for program in &old {
            hako_sys::bpf::detach_device_filter(dir.fd(), program.as_fd())
                .map_err(failed("detach"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Hierarchy, Host};
    use crate::path::CgroupPath;

    #[test]
    fn version_one_writes_the_default_and_then_the_exceptions() {
        let temp = tempfile::tempdir().unwrap();
        let c = temp.path().join("c");
        std::fs::create_dir(&c).unwrap();
        for file in ["devices.allow", "devices.deny"] {
            std::fs::write(c.join(file), "").unwrap();
        }
        let host = Host {
            v1: vec![Hierarchy {
                controllers: vec!["devices".to_owned()],
                mount: temp.path().to_str().unwrap().to_owned(),
                root: "/".to_owned(),
            }],
            plain: true,
            ..Host::default()
        };
        let cgroup = Cgroup::at(&host, &CgroupPath::parse("c").unwrap());
        let rules = vec![DeviceRule {
            allow: true,
            kind: Some(DeviceKind::Char),
            major: Some(10),
            minor: Some(229),
            access: Some("rw".to_owned()),
            ..DeviceRule::default()
        }];
        apply(&cgroup, &rules, Devices::Exact).unwrap();
        let read = |name| std::fs::read_to_string(c.join(name)).unwrap();
        assert_eq!(read("devices.deny"), "a");
        assert_eq!(read("devices.allow"), "c 10:229 rw");
    }

    #[test]
    fn no_devices_controller_at_all_is_an_error() {
        let cgroup = Cgroup::assemble(Vec::new(), None);
        assert!(matches!(
            apply(&cgroup, &[], Devices::Apply),
            Err(Error::Unavailable { .. })
        ));
    }
}
