//! What an overlay of several layers shows at a path, by the kernel's rules
//! (Documentation/filesystems/overlayfs.rst, "Merged directories"), read from
//! the layers without a mount.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::error::system;
use crate::name::split;
use crate::{Error, XattrPrefix, sys};

/// What a name in one layer's directory is.
pub enum Child<D> {
    /// Nothing.
    Missing,
    /// A directory.
    Dir(D),
    /// A symlink to this target.
    Symlink(Vec<u8>),
    /// Overlayfs's mark of a deleted file.
    Whiteout,
    /// Anything else.
    File,
}

/// A directory of one layer, as the view through several of them needs it.
pub trait Instance: Sized {
    /// Whether it hides the layers below.
    ///
    /// # Errors
    /// [`Error::System`] with `path`.
    fn opaque(&self, path: &[u8]) -> Result<bool, Error>;

    /// Looks at a name in it.
    ///
    /// # Errors
    /// [`Error::System`] with `path`.
    fn child(&self, name: &[u8], path: &[u8]) -> Result<Child<Self>, Error>;
}

/// What is there.
pub enum Found<D> {
    /// A directory: its topmost instance below our layer.
    Dir(D),
    /// A symlink, by the directory that it lies in, and its target.
    Symlink(D, Vec<u8>),
    /// Any file, by the directory that it lies in.
    File(D),
}

/// Looks up the clean path `real`, in which no directory is a symlink, in
/// `lower`, the roots of layers, top layer first, as far as the layer `own`
/// lets it be seen: nothing is found behind a file or whiteout of its own, or
/// in an opaque directory. With `past_own`, its own file at the very end of the
/// path is looked through.
///
/// # Errors
/// Those of [`Instance`].
pub fn find<D: Instance>(
    own: Option<D>,
    lower: impl IntoIterator<Item = D>,
    real: &[u8],
    past_own: bool,
) -> Result<Option<Found<D>>, Error> {
    let mut view = View {
        real,
        dirs: Vec::new(),
    };
    let own = own.into_iter().map(|dir| (true, dir));
    let lower = lower.into_iter().map(|dir| (false, dir));
    for (own, root) in own.chain(lower) {
        if view.push(own, root)? {
            break;
        }
    }
    if real.is_empty() {
        let below = view.dirs.into_iter().find(|(own, _)| !own);
        return Ok(below.map(|(_, dir)| Found::Dir(dir)));
    }
    let (parent, base) = split(real);
    if !parent.is_empty() {
        for component in parent.split(|b| *b == b'/') {
            if !view.descend(component)? {
                return Ok(None);
            }
        }
    }
    view.last(base, past_own)
}

/// The instances of one directory that are merged, the upper ones first, each
/// with whether it is our own layer's.
struct View<'a, D> {
    real: &'a [u8],
    dirs: Vec<(bool, D)>,
}

impl<D: Instance> View<'_, D> {
    /// Adds an instance; true if it hides those below.
    fn push(&mut self, own: bool, dir: D) -> Result<bool, Error> {
        let opaque = dir.opaque(self.real)?;
        self.dirs.push((own, dir));
        Ok(opaque)
    }

    /// Goes down into a directory; false if there is none.
    fn descend(&mut self, name: &[u8]) -> Result<bool, Error> {
        for (own, dir) in std::mem::take(&mut self.dirs) {
            match dir.child(name, self.real)? {
                Child::Dir(child) => {
                    if self.push(own, child)? {
                        break;
                    }
                }
                Child::Missing => {}
                // A file or whiteout ends the row.
                Child::Symlink(_) | Child::Whiteout | Child::File => break,
            }
        }
        Ok(!self.dirs.is_empty())
    }

    fn last(self, name: &[u8], past_own: bool) -> Result<Option<Found<D>>, Error> {
        for (own, dir) in self.dirs {
            match dir.child(name, self.real)? {
                Child::Missing => {}
                // Our own, even if it is opaque: that hides the children of
                // those below, not their attributes.
                Child::Dir(_) if own => {}
                Child::Dir(child) => return Ok(Some(Found::Dir(child))),
                _ if own && past_own => {}
                _ if own => return Ok(None),
                Child::Whiteout => return Ok(None),
                Child::Symlink(target) => return Ok(Some(Found::Symlink(dir, target))),
                Child::File => return Ok(Some(Found::File(dir))),
            }
        }
        Ok(None)
    }
}

/// A directory in a file system, opened with `O_PATH`.
pub(crate) struct OnDisk {
    pub(crate) fd: OwnedFd,
    prefix: XattrPrefix,
}

impl OnDisk {
    pub(crate) fn root(root: BorrowedFd<'_>, prefix: XattrPrefix) -> Result<Self, Error> {
        let fd = sys::reopen(root).map_err(system("open a layer at", b"/"))?;
        Ok(Self { fd, prefix })
    }

    pub(crate) fn roots(roots: &[BorrowedFd<'_>], prefix: XattrPrefix) -> Result<Vec<Self>, Error> {
        roots.iter().map(|fd| Self::root(*fd, prefix)).collect()
    }
}

impl Instance for OnDisk {
    fn opaque(&self, path: &[u8]) -> Result<bool, Error> {
        let value = sys::xattr(&self.fd, self.prefix.opaque().as_bytes())
            .map_err(system("read an xattr of", path))?;
        Ok(value.as_deref() == Some(b"y"))
    }

    fn child(&self, name: &[u8], path: &[u8]) -> Result<Child<Self>, Error> {
        match sys::open_dir(&self.fd, name) {
            Ok(fd) => Ok(Child::Dir(Self {
                fd,
                prefix: self.prefix,
            })),
            Err(Errno::NOENT) => Ok(Child::Missing),
            Err(Errno::LOOP) => {
                let target = rustix::fs::readlinkat(&self.fd, name, Vec::new())
                    .map_err(system("read the symlink", path))?;
                Ok(Child::Symlink(target.into_bytes()))
            }
            Err(Errno::NOTDIR) => {
                let stat = sys::stat(&self.fd, name).map_err(system("examine", path))?;
                Ok(if sys::is_whiteout(&stat) {
                    Child::Whiteout
                } else {
                    Child::File
                })
            }
            Err(errno) => Err(system("open", path)(errno)),
        }
    }
}
