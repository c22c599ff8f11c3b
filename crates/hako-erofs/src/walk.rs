//! A way through a whole image, which is also the way to check one.

use std::collections::HashSet;

use hako_layer::name::join;

use crate::format::{S_IFDIR, S_IFMT, file_type};
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
}
