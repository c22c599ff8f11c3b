//! The way from a member of the archive to what it asks for, the same for every
//! form that a layer can be given.

use std::io::Read;

use hako_tar::{Entry, Kind, Reader};

use crate::book::Book;
use crate::error::quote;
use crate::name::{Name, bound, classify, clean, join};
use crate::{Error, Limits, Notice};

/// As many symlinks as the kernel follows in one path (path_resolution(7)).
pub const MAX_LINKS: usize = 40;

/// Where one component of a path leads.
pub enum Step<D> {
    /// Into a directory.
    Dir(D),
    /// To a symlink, with its target.
    Link(Vec<u8>),
    /// Nowhere.
    Missing,
}

/// Something that a layer is made in: a directory, or an image of one.
pub trait Target {
    /// A directory in it.
    type Dir: Clone;

    /// The notes about the layer.
    fn book(&mut self) -> &mut Book;
    /// The bounds.
    fn limits(&self) -> &Limits;
    /// The root directory.
    fn root(&self) -> Self::Dir;
    /// A directory's real path.
    fn real(dir: &Self::Dir) -> &[u8];
    /// The parent of a directory; the root's is the root.
    ///
    /// # Errors
    /// [`Error::System`].
    fn ascend(&mut self, dir: &Self::Dir) -> Result<Self::Dir, Error>;
    /// What the proper name `name` in `dir` leads to, made as a directory if it
    /// is missing and `create` wants it, on behalf of `entry`.
    ///
    /// # Errors
    /// Any [`Error`].
    fn step(
        &mut self,
        dir: &Self::Dir,
        name: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Step<Self::Dir>, Error>;
    /// The directory of the clean path `path`, `None` if there is none and none
    /// is to be made.
    ///
    /// # Errors
    /// Any [`Error`].
    fn directory(
        &mut self,
        path: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Option<Self::Dir>, Error>;
    /// Gives the root directory an entry's attributes.
    ///
    /// # Errors
    /// Any [`Error`].
    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error>;
    /// Deletes all that the lower layers have in `dir`.
    ///
    /// # Errors
    /// Any [`Error`].
    fn opaque(&mut self, dir: &Self::Dir) -> Result<(), Error>;
    /// Deletes `base` of the lower layers.
    ///
    /// # Errors
    /// Any [`Error`].
    fn whiteout(&mut self, dir: &Self::Dir, base: &[u8]) -> Result<(), Error>;
    /// Makes the file that an entry describes.
    ///
    /// # Errors
    /// Any [`Error`].
    fn node<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        dir: &Self::Dir,
        base: &[u8],
    ) -> Result<(), Error>;
}

/// Reads the archive to the end of the source, giving `target` what every
/// member asks for.
///
/// # Errors
/// Any [`Error`]; the target is then of no more use.
pub fn fill<T: Target, R: Read>(target: &mut T, reader: &mut Reader<R>) -> Result<(), Error> {
    while let Some(entry) = reader.next_entry()? {
        member(target, reader, &entry).map_err(|error| target.book().blame(error, &entry))?;
    }
    reader.drain()?;
    Ok(())
}

fn member<T: Target, R: Read>(
    target: &mut T,
    reader: &mut Reader<R>,
    entry: &Entry,
) -> Result<(), Error> {
    let limits = target.limits().clone();
    target.book().applied.entries += 1;
    target.book().count(&entry.path, &limits)?;
    if let Kind::Other(flag) = entry.kind {
        // GNU tar's label of the archive; it is no file.
        if flag != b'V' {
            return Err(Error::Unsupported {
                path: quote(&entry.path),
                flag,
            });
        }
        target.book().applied.warn(Notice::Label, &entry.path);
        return Ok(());
    }
    let path = clean(&entry.path, &limits)?;
    match classify(&path)? {
        Name::Root if entry.kind == Kind::Dir => {
            target.book().applied.root_entry = true;
            target.root_entry(entry)
        }
        Name::Root => Err(Error::Root),
        Name::Aufs => {
            target.book().applied.warn(Notice::Aufs, &path);
            Ok(())
        }
        Name::Opaque { parent } => {
            target.book().whiteout(entry)?;
            match parent_of_deletion(target, parent, &path)? {
                Some(dir) => target.opaque(&dir),
                None => Ok(()),
            }
        }
        Name::Whiteout { parent, base } => {
            target.book().whiteout(entry)?;
            match parent_of_deletion(target, parent, &path)? {
                Some(dir) => target.whiteout(&dir, base),
                None => Ok(()),
            }
        }
        Name::Entry { parent, base } => {
            let dir = parent_of(target, parent, &path)?;
            bound(&join(T::real(&dir), base), &limits)?;
            target.node(reader, entry, &dir, base)
        }
    }
}

/// The directory of a new entry, made if it is missing.
fn parent_of<T: Target>(target: &mut T, parent: &[u8], entry: &[u8]) -> Result<T::Dir, Error> {
    // Only `create == false` finds nothing.
    target
        .directory(parent, entry, true)?
        .ok_or_else(|| Error::NotADirectory {
            path: quote(entry),
            parent: quote(parent),
        })
}

/// Where something of the lower layers is to be deleted. `None` below a file
/// of this layer, which hides all that was there: umoci writes such
/// whiteouts for a directory that became a file.
fn parent_of_deletion<T: Target>(
    target: &mut T,
    parent: &[u8],
    path: &[u8],
) -> Result<Option<T::Dir>, Error> {
    match parent_of(target, parent, path) {
        Ok(dir) => Ok(Some(dir)),
        Err(Error::NotADirectory { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One component of an entry's path, with the symlinks it may stand for, which
/// are followed within the root.
///
/// # Errors
/// [`Error::TooManyLinks`], and those of [`Target::step`].
pub fn enter<T: Target>(
    target: &mut T,
    from: &T::Dir,
    component: &[u8],
    entry: &[u8],
    create: bool,
) -> Result<Option<T::Dir>, Error> {
    let mut dir = from.clone();
    // The next component is the last.
    let mut work = vec![component.to_vec()];
    let mut links = 0;
    while let Some(component) = work.pop() {
        match component.as_slice() {
            b"" | b"." => {}
            b".." => dir = target.ascend(&dir)?,
            name => match target.step(&dir, name, entry, create)? {
                Step::Dir(next) => dir = next,
                Step::Missing => return Ok(None),
                Step::Link(link) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::TooManyLinks { path: quote(entry) });
                    }
                    if link.first() == Some(&b'/') {
                        dir = target.root();
                    }
                    work.extend(link.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
            },
        }
    }
    Ok(Some(dir))
}
