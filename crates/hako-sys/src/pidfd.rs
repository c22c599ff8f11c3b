//! What a pidfd tells of its process (ioctl_pidfd(2)).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

const INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` of its first size, which every kernel with the call
/// takes.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::c_ulong = 0xC040_FF0B;

/// The wait status (wait(2)) of the process behind `pidfd`, whoever has
/// reaped it. `None` as long as it runs or has not been reaped.
///
/// Errors: `ENOTTY` before Linux 6.13, `EINVAL` when the kernel is too old
/// (6.15) to keep exit codes, `ESRCH` when the process went before the pidfd
/// could take note.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info {
        mask: INFO_EXIT,
        ..Info::default()
    };
    // SAFETY: the number encodes the size of the struct that is passed, and
    // the kernel writes within it.
    crate::check(libc::c_long::from(unsafe {
        libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut info)
    }))?;
    Ok((info.mask & INFO_EXIT != 0).then_some(info.exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::os::fd::AsFd;

    #[test]
    fn the_code_of_a_process_that_was_reaped() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read x; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let before = exit_status(fd.as_fd());
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(7));
        // Only kernels from 6.15 on can answer; what older ones say is told
        // apart from "it runs".
        match before {
            Ok(status) => {
                assert_eq!(status, None);
                assert_eq!(exit_status(fd.as_fd()).unwrap(), Some(7 << 8));
            }
            Err(e) => assert!(matches!(e, Errno::NOTTY | Errno::INVAL), "{e}"),
        }
    }
}
