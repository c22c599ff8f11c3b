//! From an entry of the archive to a row of the tree.

use hako_layer::name::join;
use hako_layer::{Error, quote, system};
use hako_tar::{Entry, Kind, Segment};
use rustix::io::Errno;

use crate::extent::{MAX_BLOCKS, Piece, Source, push};
use crate::format::{
    BLOCK, MAX_TARGET, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
};
use crate::layer::{Dir, Layer};
use crate::tree::{Body, Id, Node, Tree};
use crate::xattr::accepted;

impl Layer<'_> {
    pub(crate) fn make(&mut self, entry: &Entry, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let node = match entry.kind {
            Kind::File => self.file(entry)?,
            Kind::Dir => return self.dir(entry, dir, base),
            Kind::HardLink => return self.hard_link(entry, dir, base),
            Kind::Symlink => self.symlink(entry)?,
            Kind::Fifo => self.plain(entry, S_IFIFO, Body::Empty)?,
            Kind::Char | Kind::Block => {
                if let Some(notice) = self.options.devices.left_out(entry)? {
                    self.book.applied.warn(notice, &entry.path);
                    return self.make_whiteout(dir, base);
                }
                let kind = match entry.kind {
                    Kind::Char => S_IFCHR,
                    _ => S_IFBLK,
                };
                let number = device(entry.major, entry.minor);
                self.plain(entry, kind, Body::Device(number))?
            }
            Kind::Other(flag) => {
                return Err(Error::Unsupported {
                    path: quote(&entry.path),
                    flag,
                });
            }
        };
        self.place(node, dir, base).map(drop)
    }

    /// A file of any kind, with the entry's attributes.
    fn plain(&mut self, entry: &Entry, kind: u32, body: Body) -> Result<Node, Error> {
        let (uid, gid) = self.owner(entry)?;
        let mode = kind | entry.mode & 0o7777;
        let (xattrs, mode) = accepted(&entry.xattrs, mode, &mut self.book, &entry.path)?;
        Ok(Node {
            secs: entry.mtime.secs,
            size: 0,
            body,
            uid,
            gid,
            names: 0,
            xattrs: self.xattrs.intern(&xattrs, &entry.path)?,
            nanos: entry.mtime.nanos,
            mode: mode as u16,
        })
    }

    fn symlink(&mut self, entry: &Entry) -> Result<Node, Error> {
        let target = entry.link.as_slice();
        if target.is_empty() {
            let reason = "its target is empty";
            return Err(Error::Name {
                path: quote(&entry.path),
                reason,
            });
        }
        if target.len() > MAX_TARGET {
            return Err(system("create", &entry.path)(Errno::NAMETOOLONG));
        }
        let at = self.tree.keep(target, &entry.path)?;
        let node = self.plain(entry, S_IFLNK, Body::Link(at))?;
        Ok(Node {
            size: target.len() as u64,
            // A symlink's permissions mean nothing, and Linux shows all of them.
            mode: (S_IFLNK | 0o777) as u16,
            ..node
        })
    }

    fn file(&mut self, entry: &Entry) -> Result<Node, Error> {
        self.book.fits(entry, &self.options.limits)?;
        let node = self.plain(entry, S_IFREG, Body::Empty)?;
        self.book.applied.bytes += entry.offsets.stored;
        let whole = [Segment {
            offset: 0,
            len: entry.size,
        }];
        let segments = entry.sparse.as_deref().unwrap_or(&whole);
        let mut pieces = Vec::new();
        let mut from = entry.offsets.data;
        for segment in segments.iter().filter(|segment| segment.len > 0) {
            let piece = Piece {
                at: segment.offset,
                len: segment.len,
                source: Source::Own(from),
            };
            push(&mut pieces, piece);
            from += segment.len;
        }
        let body = self.body(pieces, entry.size, &entry.path)?;
        Ok(Node {
            size: entry.size,
            body,
            ..node
        })
    }

    /// The body of a file of these pieces.
    pub(crate) fn body(
        &mut self,
        pieces: Vec<Piece>,
        size: u64,
        path: &[u8],
    ) -> Result<Body, Error> {
        if size == 0 {
            return Ok(Body::Empty);
        }
        if let [piece] = pieces.as_slice()
            && let Source::Own(from) = piece.source
            && (piece.at, piece.len, from % BLOCK) == (0, size, 0)
            && let Some(block) = u32::try_from(from / BLOCK).ok()
            && u64::from(block) + size.div_ceil(BLOCK) <= MAX_BLOCKS
        {
            return Ok(Body::Run(block));
        }
        // The same bound as for entries: an archive can have many short pieces.
        self.counted += 1 + pieces.len() as u64;
        let limit = self.options.limits.entries;
        if self.counted > limit {
            return Err(Error::Limit {
                path: quote(path),
                what: "the pieces of sparse files",
                limit,
            });
        }
        self.pieces.push(pieces);
        Ok(Body::Pieces((self.pieces.len() - 1) as u32))
    }

    fn dir(&mut self, entry: &Entry, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let real = join(&dir.real, base);
        let known = self.tree.lookup(dir.id, base);
        if let Some(id) = known.filter(|id| self.tree.node(*id).is_dir()) {
            self.describe(id, entry)?;
            self.book.settle(&real);
            return Ok(());
        }
        let node = self.plain(entry, S_IFDIR, Tree::empty_dir())?;
        self.place(node, dir, base)?;
        if known.is_some() {
            // What was there hid what lies below, and so does the directory.
            self.book.opaque.insert(real);
        }
        Ok(())
    }

    /// Gives a directory the attributes of an entry in place of its own.
    pub(crate) fn describe(&mut self, id: Id, entry: &Entry) -> Result<(), Error> {
        let new = self.plain(entry, S_IFDIR, Tree::empty_dir())?;
        let node = self.tree.node_mut(id);
        *node = Node {
            body: node.body,
            names: node.names,
            ..new
        };
        Ok(())
    }
}

/// A device's number as the kernel writes it to disk (include/linux/kdev_t.h).
pub(crate) fn device(major: u32, minor: u32) -> u32 {
    minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xFFF00) << 12
}

/// Whether a mode is that of a device.
pub(crate) fn is_device(mode: u32) -> bool {
    matches!(mode & S_IFMT, S_IFCHR | S_IFBLK)
}
