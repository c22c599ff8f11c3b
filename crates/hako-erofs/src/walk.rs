//! A way through a whole image, which is also the way to check one.

use std::collections::HashSet;

use hako_layer::name::join;

use crate::format::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, file_type};
use crate::{Error, Image, Inode, Source};

/// A file met on the way.
#[derive(Clone, Debug)]
pub struct Visited {
    /// Its path from the root, empty for the root itself.
    pub path: Vec<u8>,
    /// Its attributes.
    pub inode: Inode,
}

impl<S: Source> Image<S> {
    /// Calls `visit` for every name, directories before what is in them and the
    /// names of each sorted. Every directory is met once, however damaged the
    /// image is.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`], and what `visit` returns.
    pub fn walk(&self, mut visit: impl FnMut(&Visited) -> Result<(), Error>) -> Result<(), Error> {
        let mut ahead = vec![Visited {
            path: Vec::new(),
            inode: self.root()?,
        }];
        let mut known = HashSet::new();
        while let Some(visited) = ahead.pop() {
            visit(&visited)?;
            let Visited { path, inode } = visited;
            if inode.mode & S_IFMT != S_IFDIR {
                continue;
            }
            let damaged = |what| Error::Damaged {
                offset: inode.at,
                what,
            };
            if !known.insert(inode.nid) {
                return Err(damaged("a directory is in two places"));
            }
            for name in self.names(&inode)?.into_iter().rev() {
                let inode = self.inode(name.nid)?;
                if file_type(inode.mode) != name.kind {
                    return Err(damaged("a directory is wrong about a file's type"));
                }
                let path = join(&path, &name.name);
                ahead.push(Visited { path, inode });
            }
        }
        Ok(())
    }
    /// Reads all that there is, and returns the number of names: an image that
    /// passes can be shown.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn check(&self) -> Result<u64, Error> {
        let mut names = 0;
        self.walk(|visited| {
            names += 1;
            let inode = &visited.inode;
            self.xattrs(inode)?;
            match inode.mode & S_IFMT {
                S_IFLNK => self.target(inode).map(drop),
                S_IFREG => self.extents(inode)?.try_for_each(|extent| extent.map(drop)),
                _ => Ok(()),
            }
        })?;
        Ok(names)
    }
}
