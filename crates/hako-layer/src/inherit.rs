//! Gives the directories that a layer's archive does not describe the
//! attributes that the layers below show there.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::copy::copy_attributes;
use crate::error::{quote, system};
use crate::lower::{Found, find};
use crate::{Applied, Error, Notice, XattrPrefix, sys};

/// Completes the overlay layer in `root`, which was applied without its lower
/// layers, now that these are there: `lower`, the top one first. Every
/// directory in [`Applied::implicit`], and the root if the archive has no entry
/// for it, takes owner, mode, xattrs and times of the directory that it covers.
/// The list is emptied.
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
    let mut paths = std::mem::take(&mut applied.implicit);
    // Children first: a parent that cannot be searched comes after them.
    for real in paths.drain(..).rev() {
        let own = match sys::open_dir(root, &real) {
            Ok(own) => own,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(system("open", &real)(errno)),
        };
        match find(root, lower, xattr_prefix, &real)? {
            Some(Found::Dir(from)) => {
                copy_attributes(&from, &own, &real, |name| {
                    applied.warn(
                        Notice::Xattr {
                            name: name.to_vec(),
                        },
                        &real,
                    );
                })?;
            }
            Some(Found::Symlink(..)) => return Err(Error::NeedsLower { path: quote(&real) }),
            Some(Found::File(_)) | None => {}
        }
    }
    if !applied.root_entry {
        let own = sys::reopen(root).map_err(system("open", b"/"))?;
        if let Some(Found::Dir(from)) = find(root, lower, xattr_prefix, b"")? {
            copy_attributes(&from, &own, b"/", |name| {
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
