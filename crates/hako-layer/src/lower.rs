//! What an overlay of several layers shows at a path, by the kernel's rules
//! (Documentation/filesystems/overlayfs.rst, "Merged directories"), read from
//! the layers' directories without a mount.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::system;
use crate::name::split;
use crate::{Error, XattrPrefix, sys};

/// What is there.
pub(crate) enum Found {
    /// A directory: its topmost instance below our layer.
    Dir(OwnedFd),
    /// A symlink, by the directory that it lies in, and its target.
    Symlink(OwnedFd, Vec<u8>),
    /// Any file, by the directory that it lies in.
    File(OwnedFd),
}

/// Looks up the clean path `real`, in which no directory is a symlink, in
/// `lower`, top layer first, as far as the layer `own` lets it be seen: nothing
/// is found behind a file or whiteout of its own, or in an opaque directory.
pub(crate) fn find(
    own: Option<BorrowedFd<'_>>,
    lower: &[BorrowedFd<'_>],
    prefix: XattrPrefix,
    real: &[u8],
) -> Result<Option<Found>, Error> {
    let view = View {
        prefix,
        real,
        dirs: Vec::new(),
        past_own: false,
    };
    view.find(own, lower)
}

/// What a whiteout of `own` at `real` deletes.
pub(crate) fn deleted(
    own: BorrowedFd<'_>,
    lower: &[BorrowedFd<'_>],
    prefix: XattrPrefix,
    real: &[u8],
) -> Result<Option<Found>, Error> {
    let view = View {
        prefix,
        real,
        dirs: Vec::new(),
        past_own: true,
    };
    view.find(Some(own), lower)
}

/// The instances of one directory that are merged, the upper ones first.
struct View<'a> {
    prefix: XattrPrefix,
    real: &'a [u8],
    dirs: Vec<(usize, OwnedFd)>,
    /// Whether our own file at the end of the path is looked through.
    past_own: bool,
}

impl View<'_> {
    fn find(
        mut self,
        own: Option<BorrowedFd<'_>>,
        lower: &[BorrowedFd<'_>],
    ) -> Result<Option<Found>, Error> {
        let roots = lower
            .iter()
            .enumerate()
            .map(|(index, root)| (index + 1, *root));
        for (index, root) in own.map(|own| (0, own)).into_iter().chain(roots) {
            let fd = sys::reopen(root).map_err(system("open a layer for", self.real))?;
            if self.push(index, fd)? {
                break;
            }
        }
        if self.real.is_empty() {
            return Ok(self.top().map(Found::Dir));
        }
        let (parent, base) = split(self.real);
        if !parent.is_empty() {
            for component in parent.split(|b| *b == b'/') {
                if !self.descend(component)? {
                    return Ok(None);
                }
            }
        }
        self.last(base)
    }

    /// Adds an instance; true if it hides those below.
    fn push(&mut self, index: usize, fd: OwnedFd) -> Result<bool, Error> {
        let opaque = sys::xattr(&fd, self.prefix.opaque().as_bytes())
            .map_err(system("read an xattr of", self.real))?;
        self.dirs.push((index, fd));
        Ok(opaque.as_deref() == Some(b"y"))
    }

    fn top(self) -> Option<OwnedFd> {
        self.dirs
            .into_iter()
            .find(|(index, _)| *index > 0)
            .map(|(_, fd)| fd)
    }

    /// Goes down into a directory; false if there is none.
    fn descend(&mut self, name: &[u8]) -> Result<bool, Error> {
        for (index, dir) in std::mem::take(&mut self.dirs) {
            match sys::open_dir(&dir, name) {
                Ok(fd) => {
                    if self.push(index, fd)? {
                        break;
                    }
                }
                Err(Errno::NOENT) => {}
                // A file or whiteout ends the row.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(errno) => return Err(system("open", self.real)(errno)),
            }
        }
        Ok(!self.dirs.is_empty())
    }

    fn last(self, name: &[u8]) -> Result<Option<Found>, Error> {
        for (index, dir) in self.dirs {
            let stat = match sys::stat(&dir, name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(system("examine", self.real)(errno)),
            };
            match sys::kind(&stat) {
                FileType::Directory => {
                    let fd = sys::open_dir(&dir, name).map_err(system("open", self.real))?;
                    if index > 0 {
                        return Ok(Some(Found::Dir(fd)));
                    }
                    // Our own, even if it is opaque: that hides the children of
                    // those below, not their attributes.
                }
                _ if index == 0 && self.past_own => {}
                _ if index == 0 || sys::is_whiteout(&stat) => return Ok(None),
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&dir, name, Vec::new())
                        .map_err(system("read the symlink", self.real))?;
                    return Ok(Some(Found::Symlink(dir, target.into_bytes())));
                }
                _ => return Ok(Some(Found::File(dir))),
            }
        }
        Ok(None)
    }
}
