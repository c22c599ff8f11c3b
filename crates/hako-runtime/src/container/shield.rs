//! The host out of reach of a container that can look into this process.
//!
//! A process of the runtime that is born into a container's pid namespace, or
//! joins one that exists, is seen there. It is not dumpable, so that only who
//! has `CAP_SYS_PTRACE` over this program's user namespace can look into its
//! `/proc/PID`: root of a container without a user namespace to which that
//! capability was given, here "a watcher". Where there may be one,
//!
//! - the runtime first executes itself again, so that `/proc/PID/exe` is no way
//!   to the host's binary (CVE-2019-5736): from a copy of the mount of its
//!   binary that is read-only and belongs to no mount namespace, so that there
//!   is nobody who could change that; or, where such a mount cannot be made,
//!   from a sealed file in memory. Measured for `exec true`: 3.0 ms without,
//!   4.3 ms with the mount, 5.9 ms with the file in memory, which is why it is
//!   done only where it is needed;
//! - the process of `exec` is born when its parent has entered all namespaces
//!   and closed what belongs to the host, so that neither `/proc/PID/root` nor
//!   `/proc/PID/fd` lead there.
//!
//! What remains is what the capability is for: a watcher can trace the process
//! while that still has the runtime's capabilities, and a container that is made
//! in an existing pid namespace has the host's root until it changes that.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use hako_spec::runtime::Capabilities;
use hako_sys::exec;
use hako_sys::mount_attr::{Change, attr};
use rustix::fs::{Mode, OFlags, SealFlags, StatVfsMountFlags};

use crate::error::{Context, Error, Result};
use crate::rootfs::mount::{HERE, clone_fd};

/// Notes about pid namespaces in which there may be watchers; no id of a
/// container has this sign.
const NOTES: &str = "#watched";

/// Whether a process with these capabilities can be a watcher.
pub fn may_trace(caps: Option<&Capabilities>) -> bool {
    caps.is_some_and(|c| c.bounding.iter().any(|name| name == "CAP_SYS_PTRACE"))
}

/// Notes below `root` that a watcher is going to the pid namespace with this
/// inode, although its first container has not that capability. The note stays:
/// for a later namespace of the same number it costs time, nothing else.
pub fn note(root: &Path, pid_namespace: u64) -> Result<()> {
    let dir = root.join(NOTES);
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(&dir)?;
        std::fs::File::create(dir.join(pid_namespace.to_string())).map(|_| ())
    };
    make().context(|| format!("write in {}", dir.display()))
}

/// Whether there is such a note.
pub fn is_watched(root: &Path, pid_namespace: u64) -> bool {
    let note = root.join(NOTES).join(pid_namespace.to_string());
    // When in doubt, yes.
    note.try_exists().unwrap_or(true)
}

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
