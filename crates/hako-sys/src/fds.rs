//! Many descriptors at once.

use std::os::fd::RawFd;

use rustix::io::Errno;

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// Marks every descriptor from `first` on close-on-exec, so that nothing the
/// caller inherited or forgot reaches the next program (CVE-2016-9962,
/// CVE-2024-21626).
///
/// Errors: `ENOSYS` or `EINVAL` before Linux 5.11. There is no way round by
/// `/proc/self/fd`: in a container that is whatever the image has there.
pub fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only; marking descriptors close-on-exec does not
    // invalidate any of them in this process.
    crate::check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every descriptor from `first` on, besides `keep`: for a forked child
/// that goes on with these alone.
///
/// Whatever else owns a descriptor in this process must never be used or
/// dropped again: the child is to end by execve(2) or _exit(2).
pub fn close_others(first: RawFd, keep: &[RawFd]) -> Result<(), Errno> {
    let mut keep: Vec<libc::c_uint> = keep
        .iter()
        .filter_map(|fd| libc::c_uint::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut from = libc::c_uint::try_from(first).map_err(|_| Errno::BADF)?;
    let close = |from: libc::c_uint, to: libc::c_uint| {
        // SAFETY: integers only; the caller states that nothing uses these
        // descriptors any more.
        crate::check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })
    };
    for fd in keep {
        if fd > from {
            close(from, fd - 1)?;
        }
        from = from.max(fd.saturating_add(1));
    }
    close(from, libc::c_uint::MAX)?;
    Ok(())
}

/// Lets `fd` pass through the next execve(2).
pub fn keep_on_exec(fd: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
}

/// A duplicate of a descriptor that the caller of this program left open for it
/// (`LISTEN_FDS`, `--preserve-fds`, `--ready-fd`).
///
/// Errors: `EBADF` when `number` is no open descriptor.
pub fn inherit(number: RawFd) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_GETFD on any integer is harmless.
    crate::check(libc::c_long::from(unsafe {
        libc::fcntl(number, libc::F_GETFD)
    }))?;
    // Duplicating gives a descriptor that is certainly nobody else's.
    // SAFETY: as above.
    let fresh = crate::check(libc::c_long::from(unsafe {
        libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3)
    }))?;
    // SAFETY: the duplicate was made just now and has no other owner.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fresh as RawFd) })
}

/// Closes the descriptor `number` that [`inherit`] has duplicated, or that
/// was inherited and is not wanted. `number` must not be owned by anything in
/// this process; 0, 1 and 2 are refused with `EBADF`.
pub fn close_inherited(number: RawFd) -> Result<(), Errno> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    // SAFETY: the caller states that no owner exists in this process.
    crate::check(libc::c_long::from(unsafe { libc::close(number) }))?;
    Ok(())
}
