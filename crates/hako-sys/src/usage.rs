//! What an ended child has used: the standard library waits without asking.

use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::io::Errno;

/// What a process and those of its children that it has waited for have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on processors, in the program and in the kernel.
    pub cpu: Duration,
    /// The most memory that one of these processes had resident, in bytes.
    pub peak: u64,
}

/// Waits for a child's end: wait4(2).
///
/// # Errors
/// `ECHILD` if it has been waited for.
pub fn wait(child: Child) -> Result<(ExitStatus, Usage), Errno> {
    let pid = libc::pid_t::try_from(child.id()).map_err(|_| Errno::SRCH)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to values that live and are writable; the
        // kernel writes one int and one rusage there.
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if ended == pid {
            break;
        }
        match crate::last_errno() {
            Errno::INTR => {}
            error => return Err(error),
        }
    }
    // Its pid is free: nobody may wait for it again.
    drop(child);
    // SAFETY: it consists of integers, for which zeros are values, too.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::from_secs(seconds).saturating_add(Duration::from_micros(
            u64::try_from(time.tv_usec).unwrap_or_default(),
        ))
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or_default();
    Ok((
        ExitStatus::from_raw(status),
        Usage {
            cpu: time(usage.ru_utime).saturating_add(time(usage.ru_stime)),
            // getrusage(2): kilobytes.
            peak: peak.saturating_mul(1024),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_childs_status_and_its_childrens_work() {
        let script = "(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done); exit 3";
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let (status, usage) = wait(child).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(usage.cpu > Duration::from_millis(5), "{usage:?}");
        assert!(usage.peak > 100_000, "{usage:?}");
    }
}
