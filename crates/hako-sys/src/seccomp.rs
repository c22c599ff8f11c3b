//! Loading a seccomp filter, seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Operation.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: return a notification descriptor.
pub const NEW_LISTENER: u64 = 1 << 3;

#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Filter,
}

/// Installs `program` for the calling thread with `flags`
/// (`SECCOMP_FILTER_FLAG_*`). With [`NEW_LISTENER`] the notification
/// descriptor is returned.
///
/// Errors: `EACCES` without no_new_privs and without `CAP_SYS_ADMIN`;
/// `EINVAL` for a program that the kernel's checker refuses or that is longer
/// than 4096 instructions.
pub fn install(program: &[Filter], flags: u64) -> Result<Option<OwnedFd>, Errno> {
    const SET_MODE_FILTER: libc::c_ulong = 1;
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let prog = Program {
        len,
        filter: program.as_ptr(),
    };
    // SAFETY: `prog` points at `len` instructions, alive for the call; the
    // kernel copies and checks them.
    let ret = crate::check(unsafe {
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const prog)
    })?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the return value is a new descriptor.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as RawFd) }))
}

/// Whether the kernel knows the filter flag `flag`: the call fails with
/// `EFAULT` for a known flag and no program, with `EINVAL` for an unknown one.
pub fn supports_flag(flag: u64) -> bool {
    const SET_MODE_FILTER: libc::c_ulong = 1;
    const WAIT_KILLABLE_RECV: u64 = 1 << 5;
    // It goes with a listener alone; without one it is taken for unknown.
    let flag = match flag & WAIT_KILLABLE_RECV {
        0 => flag,
        _ => flag | NEW_LISTENER,
    };
    // SAFETY: a null program is what the probe is about; nothing is installed.
    let ret = crate::check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flag,
            std::ptr::null::<Program>(),
        )
    });
    ret == Err(Errno::FAULT)
}

/// Whether the kernel knows the filter action `action` (`SECCOMP_RET_*`),
/// by SECCOMP_GET_ACTION_AVAIL.
pub fn supports_action(action: u32) -> bool {
    const GET_ACTION_AVAIL: libc::c_ulong = 2;
    // SAFETY: the kernel reads one u32, alive for the call.
    let ret = crate::check(unsafe {
        libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0u64, &raw const action)
    });
    ret.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_this_kernel() {
        // 5.19 has all up to 1 << 5, and nobody has 1 << 30.
        for bit in [0, 1, 2, 3, 4, 5] {
            assert!(supports_flag(1 << bit), "{bit}");
        }
        assert!(!supports_flag(1 << 30));
    }
}
