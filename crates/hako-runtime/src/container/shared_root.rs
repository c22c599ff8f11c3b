//! The root of a container without a mount namespace: "If a namespace type is not
//! specified in the namespaces array, the container MUST inherit the runtime
//! namespace of that type" (config-linux.md, "Namespaces"), and its mounts are
//! made there. They are below a mount of the root over itself, with which they
//! all go when the container is deleted.

use std::os::fd::AsFd;

use hako_spec::runtime::{Config, Linux};
use hako_sys::mount_attr::Change;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};
use rustix::mount::UnmountFlags;

use crate::error::{Context, Error, Result};
use crate::rootfs::mount;
use crate::rootfs::options::propagation;

/// Whether anything is to be mounted.
pub fn is_needed(config: &Config) -> bool {
    let none = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    !config.mounts.is_empty()
        || !linux.devices.is_empty()
        || !linux.masked_paths.is_empty()
        || !linux.readonly_paths.is_empty()
        || config.root.as_ref().is_some_and(|root| root.readonly)
}

/// Mounts the root of the container over itself. `record` gets the mount before
/// it can be seen, for [`remove`].
pub fn make(rootfs: &str, record: impl FnOnce(u64) -> Result<()>) -> Result<()> {
    let title = || format!("root {rootfs}");
    let tree = mount::clone(rootfs, true).context(title)?;
    // What is mounted below it is nobody else's affair.
    let private = Change {
        propagation: propagation::PRIVATE,
        ..Change::default()
    };
    mount::set(tree.as_fd(), true, private).context(title)?;
    record(number(tree.as_fd())?)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let below = rustix::fs::open(rootfs, flags, Mode::empty()).context(title)?;
    mount::attach(&tree, below.as_fd()).context(title)
}

/// Unmounts the mount `own` over `rootfs` with all that is below, if it is still
/// there.
pub fn remove(rootfs: &str, own: u64) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::open(rootfs, flags, Mode::empty()) else {
        return Ok(());
    };
    if number(top.as_fd())? != own {
        return Ok(());
    }
    rustix::mount::unmount(rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .context(|| format!("unmount the root {rootfs}"))
}

/// The number of the mount that `fd` is in: one that is never used again, where
/// the kernel has such (Linux 6.8).
fn number(fd: impl AsFd) -> Result<u64> {
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    let unique = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
    let found = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | unique)?;
    match found.stx_mnt_id {
        0 => Err(Error::new("this kernel does not number its mounts")),
        number => Ok(number),
    }
}
