//! Signals of this process: blocking, reading them from a descriptor, and
//! giving the next program a clean slate.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// Highest signal number of Linux.
pub const MAX: i32 = 64;

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset refuses numbers that
    // are no signals and changes nothing then.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Blocks every signal that can be blocked and returns a descriptor from which
/// they are read with [`read`] (signalfd(2)).
pub fn block_all() -> Result<OwnedFd, Errno> {
    from_set(&full_set())
}

/// As [`block_all`], for `signals` alone.
pub fn block(signals: &[i32]) -> Result<OwnedFd, Errno> {
    from_set(&set_of(signals))
}

fn from_set(set: &libc::sigset_t) -> Result<OwnedFd, Errno> {
    // SAFETY: a valid set; the old mask is not asked for.
    unsafe {
        crate::check(libc::c_long::from(libc::sigprocmask(
            libc::SIG_BLOCK,
            set,
            std::ptr::null_mut(),
        )))?;
        let fd = crate::check(libc::c_long::from(libc::signalfd(
            -1,
            set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )))?;
        // The descriptor is new and ours.
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// One signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it; 0 when the kernel did.
    pub pid: u32,
    /// `si_code`: 0 (SI_USER) for kill(2), above 0 (SI_KERNEL, CLD_*) for the kernel.
    pub code: i32,
}

/// Reads the next pending signal; `None` when there is none.
pub fn read(fd: BorrowedFd<'_>) -> Result<Option<Received>, Errno> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is writable for `size` bytes, and all zeroes is a
    // valid value should the read be short.
    let ret = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    match crate::check(ret as libc::c_long) {
        Ok(n) if n as usize == size => {
            // SAFETY: the kernel has filled it.
            let info = unsafe { info.assume_init() };
            Ok(Some(Received {
                signal: info.ssi_signo as i32,
                pid: info.ssi_pid,
                code: info.ssi_code,
            }))
        }
        Ok(_) | Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Gives every signal its default action and unblocks all of them, as the next
/// program expects to find them (Rust's own start-up ignores SIGPIPE).
pub fn reset() -> Result<(), Errno> {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags, an empty mask.
    // libc's call would refuse the two signals that it keeps for itself, which
    // a caller may have left ignored all the same.
    let default = [0u64; 4];
    for signal in 1..=MAX {
        // SAFETY: the struct is at most this long, and the default action is
        // always valid; KILL and STOP give EINVAL.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                size_of::<u64>(),
            );
        }
    }
    let set = set_of(&[]);
    // SAFETY: a valid set.
    crate::check(libc::c_long::from(unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
    }))?;
    Ok(())
}

/// Sends signal number `signal` (also real-time ones, which rustix' `Signal`
/// does not name) to the process behind `pidfd`. 0 only checks.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers and a null siginfo, which the kernel then fills itself.
    crate::check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// kill(2) with any signal number; `pid` must be above 0.
pub fn send_pid(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: integers only.
    crate::check(libc::c_long::from(unsafe { libc::kill(pid, signal) }))?;
    Ok(())
}
