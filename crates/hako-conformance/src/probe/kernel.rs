//! Namespaces and mounts, for a probe that makes a surrounding.

use std::fs::File;
use std::os::fd::AsFd as _;

use hako_sys::clone::flags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};
use serde_json::Value;

type Done = Result<Value, Errno>;

fn flag(name: &str) -> Result<u64, Errno> {
    Ok(match name {
        "mnt" => flags::NEWNS,
        "net" => flags::NEWNET,
        "ipc" => flags::NEWIPC,
        "uts" => flags::NEWUTS,
        "user" => flags::NEWUSER,
        "cgroup" => flags::NEWCGROUP,
        "time" => flags::NEWTIME,
        "pid" => flags::NEWPID,
        _ => return Err(Errno::INVAL),
    })
}

pub(super) fn unshare(names: &[String]) -> Done {
    let mut all = 0;
    for name in names {
        all |= flag(name)?;
    }
    hako_sys::ns::unshare(all)?;
    if all & flags::NEWNS != 0 {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
    }
    Ok(Value::Null)
}

pub(super) fn join(path: &str) -> Done {
    let file = File::open(path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    hako_sys::ns::join(file.as_fd(), 0)?;
    Ok(Value::Null)
}

pub(super) fn mount_new(kind: &str, target: &str) -> Done {
    mount(kind, target, kind, MountFlags::empty(), None)?;
    Ok(Value::Null)
}

pub(super) fn bind(source: &str, target: &str) -> Done {
    mount_bind_recursive(source, target)?;
    Ok(Value::Null)
}

pub(super) fn propagation(path: &str, kind: &str) -> Done {
    let kind = match kind {
        "shared" => MountPropagationFlags::SHARED,
        "private" => MountPropagationFlags::PRIVATE,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        _ => return Err(Errno::INVAL),
    };
    mount_change(path, kind)?;
    Ok(Value::Null)
}
