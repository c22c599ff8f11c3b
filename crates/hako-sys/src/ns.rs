//! Namespaces: joining by descriptor and leaving the shared ones.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// setns(2): the calling thread joins the namespace that `fd` refers to.
/// `kind` is one of [`crate::clone::flags`] as a check, or 0 for any kind.
///
/// Pid and time namespaces take effect for children only; a user or mount
/// namespace cannot be joined by a multi-threaded process (`EINVAL`).
pub fn join(fd: BorrowedFd<'_>, kind: u64) -> Result<(), Errno> {
    // SAFETY: a valid descriptor and an integer; no memory is passed.
    crate::check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kind as libc::c_int) })?;
    Ok(())
}

/// `CLONE_FS`: a thread of its own working directory, root and umask. It must
/// be unshared by a thread before it can have a mount namespace of its own.
pub const FS: u64 = 0x0000_0200;

/// unshare(2) of the calling thread with `NEW*` flags of
/// [`crate::clone::flags`] and [`FS`].
///
/// Errors: `EINVAL` for any other flag (sharing of memory, descriptors or
/// signal handlers is not for this function) and those of unshare(2).
pub fn unshare(flags: u64) -> Result<(), Errno> {
    use crate::clone::flags as f;
    const ALLOWED: u64 = FS
        | f::NEWNS
        | f::NEWCGROUP
        | f::NEWUTS
        | f::NEWIPC
        | f::NEWUSER
        | f::NEWPID
        | f::NEWNET
        | f::NEWTIME;
    if flags & !ALLOWED != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: only namespace and CLONE_FS flags pass the check above; none of
    // them touches memory or descriptors that Rust code relies on.
    crate::check(unsafe { libc::syscall(libc::SYS_unshare, flags) })?;
    Ok(())
}

/// The kind of the namespace behind `fd`, as its `CLONE_NEW*` flag
/// (NS_GET_NSTYPE, ioctl_nsfs(2)). `ENOTTY`: not a namespace.
pub fn kind(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument and returns the flag.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    Ok(crate::check(libc::c_long::from(ret))? as u64)
}
