//! Hard links, also to files of lower layers.

use hako_layer::lower::Found;
use hako_layer::name::{Name, bound, classify, clean, join, split};
use hako_layer::target::{MAX_LINKS, Target as _};
use hako_layer::{Error, quote, system};
use hako_tar::Entry;
use rustix::io::Errno;

use crate::extent::{Piece, Source, push};
use crate::format::{S_IFLNK, S_IFREG};
use crate::layer::{Copied, Dir, Layer};
use crate::node::is_device;
use crate::tree::{Body, Id, Node};
use crate::view::Place;

/// A file of a lower layer, without what depends on this layer's tables.
pub(crate) struct Lent {
    node: Node,
    xattrs: crate::Xattrs,
    target: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Layer<'_> {
    /// A hard link has no attributes of its own; its target is a name in the
    /// archive, and a symlink there is linked, not followed.
    pub(crate) fn hard_link(&mut self, entry: &Entry, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let target = clean(&entry.link, &self.options.limits)?;
        let Name::Entry { parent, base: name } = classify(&target)? else {
            return Err(refuse(entry, "a hard link needs a file"));
        };
        let Some(there) = self.directory(parent, &entry.path, false)? else {
            return self.link_lower(entry, parent, name, dir, base);
        };
        Self::proper(name, &target)?;
        let found = self.tree.lookup(there.id, name);
        let Some(id) = found.filter(|id| !self.tree.node(*id).is_whiteout()) else {
            return self.link_lower(entry, parent, name, dir, base);
        };
        if self.tree.node(id).is_dir() {
            return Err(refuse(entry, "it is a directory"));
        }
        self.link(there.id, name, id, dir, base)
    }

    /// Links the file `id`, which is `name` in `from`, to one more name.
    fn link(&mut self, from: Id, name: &[u8], id: Id, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let real = join(&dir.real, base);
        Self::proper(base, &real)?;
        // Names of one file already: none of them must be removed.
        if self.tree.lookup(dir.id, base) == Some(id) {
            return Ok(());
        }
        self.vacate(dir, base);
        if self.tree.lookup(from, name) != Some(id) {
            // It lay in the directory that has made way.
            return Err(system("create", &real)(Errno::NOENT));
        }
        self.tree.link(dir.id, base, id, &real)
    }

    /// A link to what this layer does not have. A file of a lower layer is
    /// copied to the new name; the lower name keeps the file that it has, as it
    /// would in a container that writes to one of the two. Further links to the
    /// same file share the copy.
    fn link_lower(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &[u8],
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        if self.options.lower.is_none() {
            return Err(Error::NeedsLower {
                path: quote(&entry.path),
            });
        }
        let missing = || refuse(entry, "it does not exist in this or a lower layer");
        let parent = self.locate(parent, &entry.path)?.ok_or_else(missing)?;
        let target = join(&parent, name);
        if let Some(Copied { path, id }) = self.copies.get(&target)
            && self.tree.at(path) == Some(*id)
        {
            let ((parent, name), id) = (split(path), *id);
            let from = self.tree.at(parent).unwrap_or_default();
            let name = name.to_vec();
            return self.link(from, &name, id, dir, base);
        }
        let lent = match self.below(&target)? {
            None => return Err(missing()),
            Some(Found::Dir(_)) => return Err(refuse(entry, "it is a directory")),
            Some(Found::Symlink(from, _) | Found::File(from)) => lend(&from, name, &target)?,
        };
        let id = self.copy_up(lent, dir, base)?;
        let path = join(&dir.real, base);
        self.copies.insert(target, Copied { path, id });
        Ok(())
    }

    /// Takes a lower layer's file into this one, as overlayfs does before it
    /// links to it (overlayfs.rst, "Non-directories": copy_up).
    fn copy_up(&mut self, lent: Lent, dir: &Dir, base: &[u8]) -> Result<Id, Error> {
        let real = join(&dir.real, base);
        let mut node = lent.node;
        node.xattrs = self.xattrs.intern(&lent.xattrs, &real)?;
        match node.kind() {
            S_IFLNK => node.body = Body::Link(self.tree.keep(&lent.target, &real)?),
            S_IFREG => {
                self.book.applied.bytes += lent.pieces.iter().map(|piece| piece.len).sum::<u64>();
                node.body = self.body(lent.pieces, node.size, &real)?;
            }
            _ => {}
        }
        self.place(node, dir, base)
    }

    /// The real path of a directory in the merged view of this layer and those
    /// below. Unlike [`hako_layer::target::Target::directory`], nothing is made
    /// in this layer.
    fn locate(&mut self, path: &[u8], entry: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut work = components(path);
        let mut real = Vec::new();
        let mut links = 0;
        while let Some(component) = work.pop() {
            let next = match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    real = split(&real).0.to_vec();
                    continue;
                }
                name => join(&real, name),
            };
            bound(&next, &self.options.limits)?;
            let target = match self.tree.at(&next) {
                Some(id) => {
                    let node = *self.tree.node(id);
                    if !node.is_dir() && !node.is_symlink() {
                        return Ok(None);
                    }
                    node.is_symlink().then(|| self.tree.target(&node).to_vec())
                }
                None => match self.below(&next)? {
                    Some(Found::Dir(_)) => None,
                    Some(Found::Symlink(_, target)) => {
                        self.book.followed.insert(next.clone());
                        Some(target)
                    }
                    Some(Found::File(_)) | None => return Ok(None),
                },
            };
            let Some(target) = target else {
                real = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::TooManyLinks { path: quote(entry) });
            }
            if target.first() == Some(&b'/') {
                real.clear();
            }
            work.extend(components(&target));
        }
        Ok(Some(real))
    }
}

/// The components of a path, the last first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|b| *b == b'/').rev();
    parts.map(<[u8]>::to_vec).collect()
}

fn refuse(entry: &Entry, reason: &'static str) -> Error {
    Error::LinkTarget {
        path: quote(&entry.path),
        target: quote(&entry.link),
        reason,
    }
}

/// Reads what is to be copied of `name` in a lower layer's directory.
fn lend(from: &Place<'_>, name: &[u8], path: &[u8]) -> Result<Lent, Error> {
    let failed = |error: crate::Error| error.into_lower(path);
    let Place::Lower {
        lower, number, dir, ..
    } = from
    else {
        return Err(system("open the source of", path)(Errno::NOENT));
    };
    let image = lower.image;
    let found = image.lookup(dir, name).map_err(failed)?;
    let inode = found.ok_or_else(|| system("open the source of", path)(Errno::NOENT))?;
    let mut lent = Lent {
        node: inode.node(),
        xattrs: image.xattrs(&inode).map_err(failed)?,
        target: Vec::new(),
        pieces: Vec::new(),
    };
    lent.xattrs.retain(|(name, _)| hako_layer::wanted(name));
    match inode.mode & crate::format::S_IFMT {
        S_IFLNK => lent.target = image.target(&inode).map_err(failed)?,
        S_IFREG => {
            for extent in image.extents(&inode).map_err(failed)? {
                let extent = extent.map_err(failed)?;
                let piece = Piece {
                    at: extent.at,
                    len: extent.len,
                    source: Source::Lower(*number, extent.data),
                };
                push(&mut lent.pieces, piece);
            }
        }
        mode if is_device(mode) => lent.node.body = Body::Device(inode.rdev),
        _ => {}
    }
    Ok(lent)
}
