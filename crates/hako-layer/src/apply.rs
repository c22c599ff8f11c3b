//! The way through the archive: one entry after the other is sorted by its
//! name, made, and remembered as far as later ones need to know.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use hako_tar::{Entry, Reader};

use crate::attrs::{Deferred, Process};
use crate::book::Book;
use crate::cache::{Cache, Dir};
use crate::error::system;
use crate::finisher::Finisher;
use crate::link::Copies;
use crate::name::join;
use crate::target::{Step, Target, fill};
use crate::{Applied, Error, Format, Limits, Options, XattrPrefix, sys};

/// Applies the uncompressed archive `tar` to the directory `root`, and reads
/// `tar` to its end, so that a digest over it is complete.
///
/// Nothing is synced: `syncfs` once, when all layers are there.
///
/// # Errors
/// Any [`Error`]; the directory is then to be thrown away.
pub fn apply(
    tar: impl Read,
    root: BorrowedFd<'_>,
    options: &Options<'_>,
) -> Result<Applied, Error> {
    let mut layer = Layer::new(root, options)?;
    fill(&mut layer, &mut Reader::new(tar))?;
    if let Some(mut finisher) = layer.finisher.take() {
        finisher.finish()?;
    }
    layer.finish()
}

/// A layer on its way into a directory.
pub(crate) struct Layer<'a> {
    pub(crate) options: &'a Options<'a>,
    pub(crate) process: Process,
    pub(crate) root: Rc<Dir>,
    pub(crate) cache: Cache,
    /// In a plain directory that was not empty: what this layer has put there,
    /// by real path, for its whiteouts concern the rest alone.
    pub(crate) made: Option<HashSet<Vec<u8>>>,
    pub(crate) book: Book,
    /// Lower layers' files that were copied to be linked.
    pub(crate) copies: Copies,
    /// What directories get in the end, by real path.
    pub(crate) deferred: BTreeMap<Vec<u8>, Deferred>,
    /// Fills files while this goes on.
    pub(crate) finisher: Option<Finisher>,
}

impl<'a> Layer<'a> {
    fn new(root: BorrowedFd<'_>, options: &'a Options<'a>) -> Result<Self, Error> {
        let fd = sys::reopen(root).map_err(system("open", b"/"))?;
        let stat = sys::fstat(&fd).map_err(system("examine", b"/"))?;
        let empty = sys::list(&fd).map_err(system("list", b"/"))?.is_empty();
        let overlay = matches!(options.format, Format::Overlay { .. });
        if overlay && !empty {
            return Err(Error::NotEmpty);
        }
        let dir = Dir {
            fd,
            real: Vec::new(),
            setgid: stat.st_mode & 0o2000 != 0,
        };
        let mut layer = Self {
            options,
            process: Process::current(),
            root: Rc::new(dir),
            cache: Cache::default(),
            made: (!empty).then(HashSet::new),
            book: Book::new(overlay && options.lower.is_none()),
            copies: Copies::default(),
            deferred: BTreeMap::new(),
            finisher: Finisher::start(),
        };
        if empty {
            layer.reset_dir(&Rc::clone(&layer.root))?;
        } else {
            layer.keep(&Rc::clone(&layer.root), &stat)?;
        }
        Ok(layer)
    }

    /// Overlayfs's xattrs, if this is an overlay's layer.
    pub(crate) fn overlay(&self) -> Option<XattrPrefix> {
        match self.options.format {
            Format::Overlay { xattr_prefix } => Some(xattr_prefix),
            Format::Plain => None,
        }
    }

    /// Notes that this layer has something at the path.
    pub(crate) fn mark(&mut self, real: Vec<u8>) {
        if let Some(made) = &mut self.made {
            made.insert(real);
        }
    }

    /// Makes way for a new file: removes what is at the name, whatever it is.
    /// Returns whether something that is no directory was removed.
    pub(crate) fn vacate(&mut self, dir: &Dir, base: &[u8]) -> Result<bool, Error> {
        let real = join(&dir.real, base);
        let removed =
            crate::remove::remove(&dir.fd, base, &self.process).map_err(system("remove", &real))?;
        let Some(removed) = removed else {
            return Ok(false);
        };
        if removed.is_dir() {
            // A directory's descendants go with it: keys that start with "real/".
            let (start, end) = (join(&real, b""), [&real[..], b"0"].concat());
            let gone: Vec<_> = self
                .deferred
                .range(start..end)
                .map(|(k, _)| k.clone())
                .collect();
            for path in gone {
                self.deferred.remove(&path);
            }
            self.deferred.remove(&real);
        }
        self.book.removed(&real, removed.is_dir());
        self.copies.removed(&real);
        if removed.is_dir() || removed.is_symlink() {
            self.cache.clear();
        }
        Ok(!removed.is_dir())
    }

    /// Sets overlayfs's mark that hides the lower layers' directory.
    pub(crate) fn set_opaque(&mut self, fd: &OwnedFd, real: &[u8]) -> Result<(), Error> {
        let Some(prefix) = self.overlay() else {
            return Ok(());
        };
        self.book.opaque.insert(real.to_vec());
        sys::set_xattr(fd, prefix.opaque().as_bytes(), b"y").map_err(system("mark as opaque", real))
    }
}

impl Target for Layer<'_> {
    type Dir = Rc<Dir>;

    fn book(&mut self) -> &mut Book {
        &mut self.book
    }

    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    fn root(&self) -> Rc<Dir> {
        Rc::clone(&self.root)
    }

    fn real(dir: &Rc<Dir>) -> &[u8] {
        &dir.real
    }

    fn ascend(&mut self, dir: &Rc<Dir>) -> Result<Rc<Dir>, Error> {
        self.parent(dir)
    }

    fn step(
        &mut self,
        dir: &Rc<Dir>,
        name: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Step<Rc<Dir>>, Error> {
        self.look(dir, name, entry, create)
    }

    fn directory(
        &mut self,
        path: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Option<Rc<Dir>>, Error> {
        self.resolve(path, entry, create)
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let root = Rc::clone(&self.root);
        self.dir_attributes(&root.fd, &root.real, entry, true)?;
        let stat = sys::fstat(&root.fd).map_err(system("examine", b"/"))?;
        let fd = sys::reopen(rustix::fd::AsFd::as_fd(&root.fd)).map_err(system("open", b"/"))?;
        self.root = Rc::new(Dir {
            fd,
            real: Vec::new(),
            setgid: stat.st_mode & 0o2000 != 0,
        });
        self.cache.clear();
        Ok(())
    }

    fn opaque(&mut self, dir: &Rc<Dir>) -> Result<(), Error> {
        self.hide_all(dir)
    }

    fn whiteout(&mut self, dir: &Rc<Dir>, base: &[u8]) -> Result<(), Error> {
        self.hide(dir, base)
    }

    fn node<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        dir: &Rc<Dir>,
        base: &[u8],
    ) -> Result<(), Error> {
        self.make_node(reader, entry, dir, base)
    }
}
