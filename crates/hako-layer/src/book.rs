//! What has to be remembered while a layer is made, by path: the part of the
//! rules that does not care whether the layer becomes a directory or an image.

use std::collections::BTreeSet;

use hako_tar::{Entry, Kind};

use crate::error::quote;
use crate::name::{join, split};
use crate::{Applied, Error, Limits, Notice};

/// The notes about a layer in the making. All paths are real ones: clean, from
/// the root, and without symlinks.
#[derive(Debug, Default)]
pub struct Book {
    /// The result so far.
    pub applied: Applied,
    /// Directories of this layer without an entry of their own.
    pub implicit: BTreeSet<Vec<u8>>,
    /// Former members of `implicit`, if the layer is made `alone`.
    pub assumed: BTreeSet<Vec<u8>>,
    /// Directories that hide the contents of the lower ones.
    pub opaque: BTreeSet<Vec<u8>>,
    /// Symlinks of lower layers that were followed.
    pub followed: BTreeSet<Vec<u8>>,
    /// Whiteouts that were made.
    pub deleted: BTreeSet<Vec<u8>>,
    /// Whether this is a layer of an overlay whose lower layers are not known.
    alone: bool,
    /// Entries, and directories made without one.
    counted: u64,
}

impl Book {
    /// An empty book; `alone` for a layer of an overlay whose lower layers are
    /// not known.
    #[must_use]
    pub fn new(alone: bool) -> Self {
        Self {
            alone,
            ..Self::default()
        }
    }

    /// Counts an entry, or a directory made for one: a single name can ask for
    /// hundreds of them.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn count(&mut self, path: &[u8], limits: &Limits) -> Result<(), Error> {
        self.counted += 1;
        within("the number of entries", self.counted, limits.entries, path)
    }

    /// Counts a whiteout and checks its kind: it is a regular file ("regardless
    /// of the path being deleted"); AUFS made them hard links.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn whiteout(&mut self, entry: &Entry) -> Result<(), Error> {
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

    /// Checks a file's size, and that of all files with it.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn fits(&self, entry: &Entry, limits: &Limits) -> Result<(), Error> {
        let sum = self.applied.bytes.saturating_add(entry.offsets.stored);
        within("the size of a file", entry.size, limits.file, &entry.path)?;
        within("the layer's data", sum, limits.bytes, &entry.path)
    }

    /// A directory is no longer implicit: it got an entry, or is gone. Without
    /// the lower layers, it is not certain that it was right to make it.
    pub fn settle(&mut self, real: &[u8]) {
        if self.implicit.remove(real) && self.alone {
            self.assumed.insert(real.to_vec());
        }
    }

    /// Something at the path was removed, a directory with all in it.
    pub fn removed(&mut self, real: &[u8], dir: bool) {
        self.deleted.remove(real);
        if !dir {
            return;
        }
        for path in below(&self.implicit, real) {
            self.settle(&path);
        }
        for set in [&mut self.opaque, &mut self.deleted] {
            for path in below(set, real) {
                set.remove(&path);
            }
            set.remove(real);
        }
        self.settle(real);
    }

    /// Whether an opaque directory lies above the path.
    #[must_use]
    pub fn is_hidden(&self, real: &[u8]) -> bool {
        let mut path = real;
        while !path.is_empty() {
            path = split(path).0;
            if self.opaque.contains(path) {
                return true;
            }
        }
        false
    }

    /// Deletions come first, whatever their place in the archive; but an entry
    /// may have gone through a symlink already that is now to be deleted.
    ///
    /// # Errors
    /// [`Error::Reordered`].
    pub fn not_followed(&self, real: &[u8]) -> Result<(), Error> {
        match below(&self.followed, real).first() {
            Some(path) => Err(Error::Reordered { path: quote(path) }),
            None => Ok(()),
        }
    }

    /// The same for the deletion of one name, with all below it.
    ///
    /// # Errors
    /// [`Error::Reordered`].
    pub fn deletable(&self, real: &[u8]) -> Result<(), Error> {
        if self.followed.contains(real) {
            return Err(Error::Reordered { path: quote(real) });
        }
        self.not_followed(real)
    }

    /// Where directories were made in the belief that nothing else is there,
    /// the layers below may show that an entry was no mistake.
    #[must_use]
    pub fn blame(&self, error: Error, entry: &Entry) -> Error {
        let believed = !self.implicit.is_empty() || !self.assumed.is_empty();
        match error {
            Error::LinkTarget { .. } | Error::NotADirectory { .. } | Error::TooManyLinks { .. }
                if self.alone && believed =>
            {
                Error::NeedsLower {
                    path: quote(&entry.path),
                }
            }
            other => other,
        }
    }

    /// Moves what the layers below have to complete into `applied`.
    pub fn report(&mut self) {
        let list = |set: &mut BTreeSet<Vec<u8>>| std::mem::take(set).into_iter().collect();
        self.applied.implicit = list(&mut self.implicit);
        self.applied.assumed = list(&mut self.assumed);
        self.applied.deleted = list(&mut self.deleted);
    }

    /// Notes an xattr that was left out.
    pub fn refused(&mut self, name: &[u8], path: &[u8]) {
        let name = name.to_vec();
        self.applied.warn(Notice::Xattr { name }, path);
    }
}

fn within(what: &'static str, value: u64, limit: u64, path: &[u8]) -> Result<(), Error> {
    if value <= limit {
        return Ok(());
    }
    Err(Error::Limit {
        path: quote(path),
        what,
        limit,
    })
}

/// Members of the set below a directory: those that start with `real` and a
/// slash.
fn below(set: &BTreeSet<Vec<u8>>, real: &[u8]) -> Vec<Vec<u8>> {
    if real.is_empty() {
        return set
            .iter()
            .filter(|path| !path.is_empty())
            .cloned()
            .collect();
    }
    // '0' follows '/'.
    let (start, end) = (join(real, b""), [real, b"0"].concat());
    set.range(start..end).cloned().collect()
}
