//! The way through the archive: one entry after the other is sorted by its
//! name, made, and remembered as far as later ones need to know.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use hako_tar::{Entry, Kind, Reader};

use crate::attrs::{Deferred, Process};
use crate::cache::{Cache, Dir};
use crate::error::{quote, system};
use crate::finisher::Finisher;
use crate::link::Copied;
use crate::name::{Name, classify, clean, join, split};
use crate::{Applied, Error, Format, Notice, Options, XattrPrefix, sys};

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
    let mut reader = Reader::new(tar);
    while let Some(entry) = reader.next_entry()? {
        layer
            .entry(&mut reader, &entry)
            .map_err(|error| layer.blame(error, &entry))?;
    }
    reader.drain()?;
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
    /// Directories of this layer without an entry of their own, by real path.
    pub(crate) implicit: BTreeSet<Vec<u8>>,
    /// Former members of `implicit`, in an overlay layer whose lower layers are
    /// not known.
    pub(crate) assumed: BTreeSet<Vec<u8>>,
    /// Directories of this overlay layer that hide the lower ones' contents.
    pub(crate) opaque: BTreeSet<Vec<u8>>,
    /// Symlinks of lower layers that were followed, by real path.
    pub(crate) followed: BTreeSet<Vec<u8>>,
    /// Lower layers' files that were copied to be linked, by real path there.
    pub(crate) copies: BTreeMap<Vec<u8>, Copied>,
    /// Whiteouts of this overlay layer, by real path.
    pub(crate) deleted: BTreeSet<Vec<u8>>,
    /// What directories get in the end, by real path.
    pub(crate) deferred: BTreeMap<Vec<u8>, Deferred>,
    pub(crate) applied: Applied,
    /// Fills files while this goes on.
    pub(crate) finisher: Option<Finisher>,
    /// Entries, and directories made without one.
    counted: u64,
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
            implicit: BTreeSet::new(),
            assumed: BTreeSet::new(),
            opaque: BTreeSet::new(),
            followed: BTreeSet::new(),
            copies: BTreeMap::new(),
            deleted: BTreeSet::new(),
            deferred: BTreeMap::new(),
            applied: Applied::default(),
            finisher: Finisher::start(),
            counted: 0,
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

    fn entry<R: Read>(&mut self, reader: &mut Reader<R>, entry: &Entry) -> Result<(), Error> {
        let limits = &self.options.limits;
        self.applied.entries += 1;
        self.count(&entry.path)?;
        if let Kind::Other(flag) = entry.kind {
            // GNU tar's label of the archive; it is no file.
            if flag != b'V' {
                return Err(Error::Unsupported {
                    path: quote(&entry.path),
                    flag,
                });
            }
            self.applied.warn(Notice::Label, &entry.path);
            return Ok(());
        }
        let path = clean(&entry.path, limits)?;
        match classify(&path)? {
            Name::Root if entry.kind == Kind::Dir => self.root_entry(entry),
            Name::Root => Err(Error::Root),
            Name::Aufs => {
                self.applied.warn(Notice::Aufs, &path);
                Ok(())
            }
            Name::Opaque { parent } => {
                self.whiteout_kind(entry)?;
                match self.parent_of_deletion(parent, &path)? {
                    Some(dir) => self.opaque(&dir),
                    None => Ok(()),
                }
            }
            Name::Whiteout { parent, base } => {
                self.whiteout_kind(entry)?;
                match self.parent_of_deletion(parent, &path)? {
                    Some(dir) => self.whiteout(&dir, base),
                    None => Ok(()),
                }
            }
            Name::Entry { parent, base } => {
                let dir = self.parent(parent, &path)?;
                crate::name::bound(&join(&dir.real, base), limits)?;
                self.node(reader, entry, &dir, base)
            }
        }
    }

    /// Where something of the lower layers is to be deleted. `None` below a file
    /// of this layer, which hides all that was there: umoci writes such
    /// whiteouts for a directory that became a file.
    fn parent_of_deletion(&mut self, parent: &[u8], path: &[u8]) -> Result<Option<Rc<Dir>>, Error> {
        match self.parent(parent, path) {
            Ok(dir) => Ok(Some(dir)),
            Err(Error::NotADirectory { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Counts an entry, or a directory made for one: a single name can ask for
    /// hundreds of them.
    pub(crate) fn count(&mut self, path: &[u8]) -> Result<(), Error> {
        self.counted += 1;
        let limit = self.options.limits.entries;
        if self.counted <= limit {
            return Ok(());
        }
        let what = "the number of entries";
        Err(Error::Limit {
            path: quote(path),
            what,
            limit,
        })
    }

    /// Where directories were made in the belief that nothing else is there,
    /// the layers below may show that an entry was no mistake.
    fn blame(&self, error: Error, entry: &Entry) -> Error {
        let alone = self.overlay().is_some() && self.options.lower.is_none();
        let believed = !self.implicit.is_empty() || !self.assumed.is_empty();
        match error {
            Error::LinkTarget { .. } | Error::NotADirectory { .. } | Error::TooManyLinks { .. }
                if alone && believed =>
            {
                Error::NeedsLower {
                    path: quote(&entry.path),
                }
            }
            other => other,
        }
    }

    /// A whiteout is a regular file ("regardless of the path being deleted");
    /// AUFS made them hard links.
    fn whiteout_kind(&mut self, entry: &Entry) -> Result<(), Error> {
        self.applied.whiteouts += 1;
        if matches!(entry.kind, Kind::File | Kind::HardLink) {
            return Ok(());
        }
        let reason = "a whiteout has to be a regular file";
        Err(Error::Name {
            path: quote(&entry.path),
            reason,
        })
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.applied.root_entry = true;
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
        self.deleted.remove(&real);
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
            for path in below(&self.implicit, &real) {
                self.settle(&path);
            }
            for set in [&mut self.opaque, &mut self.deleted] {
                for path in below(set, &real) {
                    set.remove(&path);
                }
                set.remove(&real);
            }
            self.deferred.remove(&real);
            self.settle(&real);
        }
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
        self.opaque.insert(real.to_vec());
        sys::set_xattr(fd, prefix.opaque().as_bytes(), b"y").map_err(system("mark as opaque", real))
    }

    /// Whether an opaque directory lies above the path.
    pub(crate) fn is_hidden(&self, real: &[u8]) -> bool {
        let mut path = real;
        while !path.is_empty() {
            path = split(path).0;
            if self.opaque.contains(path) {
                return true;
            }
        }
        false
    }

    /// A directory is no longer implicit: it got an entry, or is gone. Without
    /// the lower layers, it is not certain that it was right to make it.
    pub(crate) fn settle(&mut self, real: &[u8]) {
        if self.implicit.remove(real) && self.overlay().is_some() && self.options.lower.is_none() {
            self.assumed.insert(real.to_vec());
        }
    }
}

/// Members of the set below a directory: those that start with `real` and a
/// slash.
pub(crate) fn below(set: &BTreeSet<Vec<u8>>, real: &[u8]) -> Vec<Vec<u8>> {
    if real.is_empty() {
        return set
            .iter()
            .filter(|path| !path.is_empty())
            .cloned()
            .collect();
    }
    // '0' follows '/'.
    let (start, end) = ([real, b"/"].concat(), [real, b"0"].concat());
    set.range(start..end).cloned().collect()
}
