//! A process made by clone3(2) that goes on in the caller's code, as fork(2)
//! does, but in new namespaces, directly in a cgroup, and watched by a pidfd
//! from its first moment, so that a fast exit is never missed.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// Flags of clone3(2) that make sense for a forked process (namespaces and
/// parentage), as in `linux/sched.h`.
pub mod flags {
    /// New mount namespace.
    pub const NEWNS: u64 = 0x0002_0000;
    /// The caller's parent becomes the child's parent.
    pub const PARENT: u64 = 0x0000_8000;
    /// New cgroup namespace.
    pub const NEWCGROUP: u64 = 0x0200_0000;
    /// New UTS namespace.
    pub const NEWUTS: u64 = 0x0400_0000;
    /// New IPC namespace.
    pub const NEWIPC: u64 = 0x0800_0000;
    /// New user namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// New pid namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// New network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
    /// New time namespace (clone3 and unshare only).
    pub const NEWTIME: u64 = 0x0000_0080;
}

const CLONE_PIDFD: u64 = 0x0000_1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of the clone goes on.
#[derive(Debug)]
pub enum Forked {
    /// This is the new process.
    Child,
    /// This is the caller; the new process is named by number and by handle.
    Parent {
        /// The child's pid as seen from the caller's pid namespace.
        pid: Pid,
        /// Refers to the child and to nothing else, even after its exit.
        pidfd: OwnedFd,
    },
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whether this process has one thread. unshare(2) refuses to unshare a shared
/// address space and has nothing to do for one that is not shared; unlike
/// procfs it can be asked in every mount and pid namespace.
fn single_threaded() -> bool {
    // SAFETY: unsharing a thread group of one changes nothing, and of more
    // than one fails.
    unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_THREAD) == 0 }
}

/// Forks by clone3(2) with the namespace `flags`, optionally straight into the
/// cgroup v2 directory `cgroup`. The child's exit signal is SIGCHLD (none with
/// [`flags::PARENT`], where the kernel takes the caller's).
///
/// Errors: those of clone3(2), and `EBUSY` when this process has more than one
/// thread, since only one would go on in the child with every lock as it was.
pub fn fork(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    if !single_threaded() {
        return Err(Errno::BUSY);
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: if flags & self::flags::PARENT == 0 {
            libc::SIGCHLD as u64
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given, `pidfd` outlives
    // the call. No CLONE_VM and no stack: the child runs on a copy of this
    // address space, which is whole because this process has one thread.
    let ret = crate::check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>())
    })?;
    if ret == 0 {
        return Ok(Forked::Child);
    }
    let pid = Pid::from_raw(ret as i32).ok_or(Errno::SRCH)?;
    // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor that
    // nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid, pidfd })
}

/// Ends this process at once, without running destructors or exit handlers:
/// the only right end of a forked child that did not exec.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes any value and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_to_fork_with_threads() {
        // The test harness itself has a main thread and this one.
        assert_eq!(fork(0, None).unwrap_err(), Errno::BUSY);
    }
}
