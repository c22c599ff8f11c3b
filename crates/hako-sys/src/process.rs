//! What the calling process asks about itself.

use rustix::io::Errno;

/// getppid(2) with arguments that it does not have: the kernel ignores them,
/// but a seccomp filter sees them. For trying filters.
pub fn getppid(arguments: [u64; 6]) -> Result<i32, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: getppid takes no arguments, so that none of these registers is
    // read, let alone taken for an address.
    let pid = crate::check(unsafe { libc::syscall(libc::SYS_getppid, a, b, c, d, e, f) })?;
    Ok(pid as i32)
}
