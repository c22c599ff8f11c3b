//! The host's binary, out of reach of a container that can look into this
//! process (CVE-2019-5736).
//!
//! A process of the runtime that is born into a container's pid namespace, or
//! joins one that exists, is seen there. It is not dumpable, so that only who
//! has `CAP_SYS_PTRACE` over this program's user namespace can open its
//! `/proc/PID/exe`: root of a container without a user namespace to which that
//! capability was given. For such a one the runtime first executes itself
//! again, from a copy of the mount of its binary that is read-only and belongs
//! to no mount namespace, so that there is nobody who could change that; or,
//! where such a mount cannot be made, from a sealed file in memory.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use hako_sys::exec;
use hako_sys::mount_attr::{Change, attr};
use rustix::fs::{Mode, OFlags, SealFlags, StatVfsMountFlags};

use crate::error::{Context, Error, Result};
use crate::rootfs::mount::{HERE, clone_fd};

/// Sees that this process runs a binary that nobody can write through it;
/// executes this program again, from the start, when it does not.
pub fn up() -> Result<()> {
    let open = || -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let exe = rustix::fs::open("/proc/self/exe", flags, Mode::empty())?;
        Ok(exe)
    };
    let exe = open().context(|| "open this program")?;
    if is_read_only(&exe)? {
        return Ok(());
    }
    let copy = match read_only_mount(&exe) {
        Ok(mount) => mount,
        Err(_) => sealed_copy(&exe).context(|| "copy this program into memory")?,
    };
    let argv = strings(std::env::args_os())?;
    let env = strings(std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))?;
    let errno = exec::at(copy.as_fd(), c"", &argv, &env);
    Err(Error::from(errno).within("execute this program again, out of the container's reach"))
}

fn strings(list: impl Iterator<Item = OsString>) -> Result<Vec<CString>> {
    list.map(|s| CString::new(s.into_vec()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::new("an argument holds a NUL byte"))
}

/// By its mount or by its seals.
fn is_read_only(exe: &OwnedFd) -> Result<bool> {
    let mount = rustix::fs::fstatvfs(exe).context(|| "look at this program's mount")?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let seals = rustix::fs::fcntl_get_seals(exe);
    Ok(seals.is_ok_and(|s| s.contains(SealFlags::WRITE | SealFlags::SEAL)))
}

fn read_only_mount(exe: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let tree = clone_fd(exe.as_fd(), false)?;
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    hako_sys::mount_attr::set(tree.as_fd(), HERE, false, change)?;
    Ok(tree)
}

fn sealed_copy(exe: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let copy = hako_sys::stub::executable_memfd(c"hako-runtime")?;
    while rustix::fs::sendfile(&copy, exe, None, 1 << 24)? > 0 {}
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy)
}
