//! A mount of type `cgroup`: what the container sees of its control groups.
//!
//! On cgroup v2 it is one cgroup2 file system. On v1 and hybrid hosts it is a
//! tmpfs with one directory per hierarchy, as every v1 host has it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_cgroup::Mode;
use hako_sys::mount_attr::attr;
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;

use super::mount::{Setup, attach, clone, create, set};
use super::options::Options;
use crate::error::{Context, Error, Result};

/// One hierarchy and the container's place in it.
#[derive(Debug, Clone)]
pub struct Own {
    /// Name of the directory below the cgroup mount: `memory`, `cpu,cpuacct`,
    /// `systemd`, `unified`.
    pub name: String,
    /// What mounts the hierarchy: the controllers, `name=systemd`, or nothing
    /// for cgroup2.
    pub hierarchy: Option<String>,
    /// The container's directory on the host.
    pub path: String,
}

/// Mounts the container's view of its cgroups at `target`.
pub fn mount(cx: &Setup<'_>, o: &Options, target: BorrowedFd<'_>) -> Result<()> {
    if cx.host.mode() == Some(Mode::V2) {
        let own = cx.cgroups.first();
        return hierarchy(cx, own, o, target);
    }
    let mode = [("mode".to_owned(), Some("755".to_owned()))];
    let base = Options {
        set: o.set & !attr::RDONLY,
        ..Options::default()
    };
    let tmpfs = create("tmpfs", Some("tmpfs"), &base, &mode, cx.label, 0).map_err(Error::from)?;
    attach(&tmpfs, target)?;
    for own in cx.cgroups {
        let place = directory(tmpfs.as_fd(), &own.name).context(|| own.name.clone())?;
        hierarchy(cx, Some(own), o, place.as_fd()).context(|| own.name.clone())?;
        for alias in own.name.split(',').filter(|alias| *alias != own.name) {
            match rustix::fs::symlinkat(own.name.as_str(), &tmpfs, alias) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::from(e).within(alias)),
            }
        }
    }
    let change = hako_sys::mount_attr::Change {
        set: o.set,
        ..Default::default()
    };
    set(tmpfs.as_fd(), false, change)
}

/// A new directory of a file system that nobody else knows yet.
fn directory(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, FileMode::from_raw_mode(0o755)) {
        // Two hierarchies whose mounts have the same name.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, FileMode::empty())?)
}

/// One hierarchy: a new mount that the cgroup namespace roots at the
/// container's group. Without such a namespace it is a bind mount of the group,
/// but where version 2 stands alone the whole hierarchy, as with runc and crun.
fn hierarchy(cx: &Setup<'_>, own: Option<&Own>, o: &Options, target: BorrowedFd<'_>) -> Result<()> {
    let whole = cx.host.mode() == Some(Mode::V2);
    if cx.cgroup_namespace || own.is_none() || whole {
        let (kind, data) = match own.and_then(|own| own.hierarchy.as_deref()) {
            None => ("cgroup2", Vec::new()),
            Some(named) => ("cgroup", v1_data(named)),
        };
        let plain = Options {
            set: o.set,
            clear: o.clear,
            ..Options::default()
        };
        match create(kind, Some("cgroup"), &plain, &data, None, 0).map_err(Error::from) {
            Ok(tree) => return Ok(attach(&tree, target)?),
            // A user namespace without a cgroup namespace of its own may not.
            Err(e) if own.is_none() => return Err(e),
            Err(_) => {}
        }
    }
    let Some(own) = own else { return Ok(()) };
    let tree = clone(&own.path, false).context(|| own.path.clone())?;
    attach(&tree, target)?;
    let change = hako_sys::mount_attr::Change {
        set: o.set,
        clear: o.clear & attr::ATIME,
        ..Default::default()
    };
    set(tree.as_fd(), false, change)
}

fn v1_data(named: &str) -> Vec<(String, Option<String>)> {
    match named.split_once('=') {
        Some((key, value)) => {
            vec![
                ("none".to_owned(), None),
                (key.to_owned(), Some(value.to_owned())),
            ]
        }
        None => named.split(',').map(|c| (c.to_owned(), None)).collect(),
    }
}
