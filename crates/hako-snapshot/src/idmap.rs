//! Layers whose owners are shown mapped: the snapshots' directory cloned as a
//! detached mount with an id mapping (mount_setattr(2), Linux 5.12; under
//! overlayfs, Linux 5.19), through which the lower directories are opened. Layers
//! stay unmapped, so containers with different mappings share them.
//!
//! An upper directory cannot be opened that way: overlayfs makes files in it as
//! whoever mounts, and root's own id is outside of the mapping. It holds ids as
//! they are seen, mapped, and so does its root directory from the first mount on.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use hako_sys::mount_attr::{self, Change, attr};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

/// A detached clone of the mount at `dir`, beginning there, and of those below,
/// with the mapping of the user namespace `userns`.
pub(crate) fn clone(dir: &Path, userns: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, dir, flags)?;
    let change = Change {
        set: attr::IDMAP,
        userns: Some(userns),
        ..Change::default()
    };
    mount_attr::set(tree.as_fd(), c"", true, change)?;
    Ok(tree)
}

/// Gives the directory `upper` the owner that `root`, a directory below the
/// clone `mapped`, is seen with, if it still has the one that is stored.
/// `stored` is the same directory without the mapping.
pub(crate) fn adopt(
    upper: BorrowedFd<'_>,
    mapped: BorrowedFd<'_>,
    stored: BorrowedFd<'_>,
    root: &str,
) -> Result<(), Errno> {
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let seen = fstat(openat(mapped, root, place, Mode::empty())?)?;
    let stored = fstat(openat(stored, root, place, Mode::empty())?)?;
    let now = fstat(upper)?;
    if (now.st_uid, now.st_gid) == (stored.st_uid, stored.st_gid) {
        let (uid, gid) = (Uid::from_raw(seen.st_uid), Gid::from_raw(seen.st_gid));
        chownat(upper, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}
