//! execve(2) by descriptor.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain(std::iter::once(std::ptr::null()))
        .collect()
}

/// execveat(2): runs the program at `path` relative to `dir`, or `dir` itself
/// when the path is empty. Returns only on failure.
pub fn at(dir: BorrowedFd<'_>, path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let (argv, env) = (pointers(argv), pointers(env));
    let flags = if path.is_empty() {
        libc::AT_EMPTY_PATH
    } else {
        0
    };
    // SAFETY: both arrays end with a null pointer and their strings outlive
    // the call, which either replaces this process or fails.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            dir.as_raw_fd(),
            path.as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            flags,
        )
    };
    crate::check(ret).err().unwrap_or(Errno::IO)
}

/// execve(2) of `path`. Returns only on failure.
pub fn path(path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: as in `at`.
    let ret =
        unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    crate::check(ret).err().unwrap_or(Errno::IO)
}
