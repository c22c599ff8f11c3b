//! System calls that rustix lacks, behind safe APIs over owned file
//! descriptors. This is the one crate of the workspace with `unsafe`; every
//! block names the invariant that makes it sound.
//!
//! Errors are plain [`rustix::io::Errno`] values: the callers know what they
//! were doing to what, and say so.

#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod fds;
pub mod id_map;
pub mod keyring;
pub mod limits;
pub mod link;
pub mod mount_attr;
pub mod ns;
pub mod pidfd;
pub mod process;
pub mod program;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod stub;
pub mod usage;

use rustix::io::Errno;

/// Turns the return value of `libc::syscall` into a `Result`.
fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret < 0 { Err(last_errno()) } else { Ok(ret) }
}

/// The calling thread's `errno` as an [`Errno`].
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
