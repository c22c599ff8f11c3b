//! mount_setattr(2): attributes of a whole mount tree, and id mappings.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Attribute bits, as in `linux/mount.h`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x0000_0001;
    /// Ignore set-user-id bits and file capabilities.
    pub const NOSUID: u64 = 0x0000_0002;
    /// No device nodes.
    pub const NODEV: u64 = 0x0000_0004;
    /// No programs.
    pub const NOEXEC: u64 = 0x0000_0008;
    /// Mask of the access-time settings.
    pub const ATIME: u64 = 0x0000_0070;
    /// Update access times relative to modification (the value 0).
    pub const RELATIME: u64 = 0x0000_0000;
    /// Never update access times.
    pub const NOATIME: u64 = 0x0000_0010;
    /// Always update access times.
    pub const STRICTATIME: u64 = 0x0000_0020;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x0000_0080;
    /// Map ids through the user namespace given.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Do not follow symbolic links.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// What to change: bits to set and clear, a propagation type
/// (`MS_PRIVATE`, `MS_SLAVE`, … or 0 for none) and, with [`attr::IDMAP`], the
/// user namespace whose mapping applies.
#[derive(Debug, Default, Clone, Copy)]
pub struct Change<'a> {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
    /// Propagation type or 0.
    pub propagation: u64,
    /// A user namespace descriptor for [`attr::IDMAP`].
    pub userns: Option<BorrowedFd<'a>>,
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Applies `change` to the mount at `path` relative to `dir` (an empty path:
/// `dir` itself), to the whole tree below when `recursive`.
///
/// Errors: those of mount_setattr(2); `ENOSYS` before Linux 5.12.
pub fn set(
    dir: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    change: Change<'_>,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let attr = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: a NUL-terminated path and a mount_attr of the size given, both
    // alive for the call.
    crate::check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}
