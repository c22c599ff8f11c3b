//! Session keyrings, keyctl(2): a container must not see its caller's keys.

use std::ffi::CStr;

use rustix::io::Errno;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEYCTL_SETPERM: libc::c_int = 5;
const KEYCTL_DESCRIBE: libc::c_int = 6;

/// Makes a new session keyring called `name` and joins it; returns its serial
/// number. `ENOSYS` where the kernel has no keyrings.
pub fn join_new_session(name: &CStr) -> Result<i32, Errno> {
    // SAFETY: a NUL-terminated string that outlives the call.
    let id = crate::check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    })?;
    Ok(id as i32)
}

/// Adds the user-search permission to the keyring `id`, which a process with
/// other ids needs to reach it (keyctl(2), KEYCTL_SETPERM).
pub fn allow_user_search(id: i32) -> Result<(), Errno> {
    let mut text = [0u8; 1024];
    // SAFETY: the buffer is writable for the length given.
    let len = crate::check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            id,
            text.as_mut_ptr(),
            text.len(),
        )
    })? as usize;
    // type;uid;gid;perm;description
    let text = text.get(..len.min(text.len())).unwrap_or_default();
    let perm = text
        .split(|b| *b == b';')
        .nth(3)
        .and_then(|p| std::str::from_utf8(p).ok())
        .and_then(|p| u32::from_str_radix(p, 16).ok())
        .ok_or(Errno::INVAL)?;
    const USER_SEARCH: u32 = 0x0008_0000;
    // SAFETY: integers only.
    crate::check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, id, perm | USER_SEARCH)
    })?;
    Ok(())
}
