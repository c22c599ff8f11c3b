//! Gives the directories that a layer's archive does not describe the
//! attributes that the layers below show there.

use std::os::fd::BorrowedFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::copy::copy_attributes;
use crate::error::{quote, system};
use crate::lower::{Found, OnDisk, find};
use crate::name::split;
use crate::{Applied, Error, Notice, XattrPrefix, sys};

/// Completes the overlay layer in `root`, which was applied without its lower
/// layers, now that these are there: `lower`, the top one first. Every
/// directory in [`Applied::implicit`], and the root if the archive has no entry
/// for it, takes owner, mode, xattrs and times of the directory that it covers;
/// whiteouts in [`Applied::deleted`] that delete nothing go. The
/// lists are emptied.
///
/// # Errors
/// [`Error::NeedsLower`] if a lower layer has a symlink where this one has
/// gone through: the layer is to be applied anew with
/// [`crate::Options::lower`]. [`Error::System`].
pub fn inherit(
    applied: &mut Applied,
    root: BorrowedFd<'_>,
    lower: &[BorrowedFd<'_>],
    xattr_prefix: XattrPrefix,
) -> Result<(), Error> {
    let own = || OnDisk::root(root, xattr_prefix).map(Some);
    let below = || OnDisk::roots(lower, xattr_prefix);
    let assumed = std::mem::take(&mut applied.assumed);
    for real in applied.implicit.iter().chain(&assumed) {
        if let Some(Found::Symlink(..)) = find(None, below()?, real, false)? {
            return Err(Error::NeedsLower { path: quote(real) });
        }
    }
    for real in std::mem::take(&mut applied.deleted) {
        if find(own()?, below()?, &real, true)?.is_none() {
            remove_whiteout(root, &real)?;
        }
    }
    let mut paths = std::mem::take(&mut applied.implicit);
    // Children first: a parent that cannot be searched comes after them.
    for real in paths.drain(..).rev() {
        let dir = match sys::open_dir(root, &real) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(system("open", &real)(errno)),
        };
        match find(own()?, below()?, &real, false)? {
            Some(Found::Dir(from)) => {
                copy_attributes(&from.fd, &dir, &real, |name| {
                    applied.warn(
                        Notice::Xattr {
                            name: name.to_vec(),
                        },
                        &real,
                    );
                })?;
            }
            Some(Found::File(_) | Found::Symlink(..)) | None => {}
        }
    }
    if !applied.root_entry {
        let dir = sys::reopen(root).map_err(system("open", b"/"))?;
        if let Some(Found::Dir(from)) = find(own()?, below()?, b"", false)? {
            copy_attributes(&from.fd, &dir, b"/", |name| {
                applied.warn(
                    Notice::Xattr {
                        name: name.to_vec(),
                    },
                    b"/",
                );
            })?;
        }
    }
    Ok(())
}

/// Removes a whiteout and leaves no trace in its directory's times.
fn remove_whiteout(root: BorrowedFd<'_>, real: &[u8]) -> Result<(), Error> {
    let (parent, base) = split(real);
    let dir = sys::open_dir(root, parent).map_err(system("open", parent))?;
    let stat = sys::fstat(&dir).map_err(system("examine", parent))?;
    if !sys::stat(&dir, base).is_ok_and(|stat| sys::is_whiteout(&stat)) {
        return Ok(());
    }
    rustix::fs::unlinkat(&dir, base, AtFlags::empty()).map_err(system("remove", real))?;
    sys::set_times(&dir, &sys::times_of(&stat)).map_err(system("set the times of", parent))
}
