//! Removal of a file or a whole tree by descriptor and name, following nothing.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::attrs::Process;
use crate::sys;

/// Removes `name` in `dir`. Returns what it was, `None` if there was nothing.
pub(crate) fn remove(
    dir: impl AsFd,
    name: &[u8],
    process: &Process,
) -> Result<Option<FileType>, Errno> {
    let stat = match sys::stat(&dir, name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let kind = sys::kind(&stat);
    if kind == FileType::Directory {
        tree(&dir, name, process)?;
    } else {
        rustix::fs::unlinkat(&dir, name, AtFlags::empty())?;
    }
    Ok(Some(kind))
}

/// Removes a directory with all in it. Depth, and so the number of open
/// descriptors, is bounded by [`crate::Limits::depth`].
fn tree(dir: impl AsFd, name: &[u8], process: &Process) -> Result<(), Errno> {
    let below = sys::open_dir(&dir, name)?;
    if !process.privileged {
        // Without the owner's bits nothing in it could be removed.
        sys::chmod(&below, 0o700)?;
    }
    for (child, kind) in sys::list(&below)? {
        if kind == FileType::Directory || kind == FileType::Unknown {
            remove(&below, &child, process)?;
        } else {
            rustix::fs::unlinkat(&below, &child, AtFlags::empty())?;
        }
    }
    rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)
}
