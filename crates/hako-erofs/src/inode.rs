//! One file of an image, and where its data lies.

use hako_tar::Time;

use crate::Error;
use crate::format::{
    BLOCK, BLOCK_BITS, CHUNK_INDEX, HOLE, INODE, Layout, RawInode, S_IFMT, S_IFREG, chunk_bits,
    chunk_format, get16, get32,
};
use crate::image::{Image, Source};
use crate::node::is_device;
use crate::tree::{Body, Node, Tree};
use crate::xattr::EMPTY;

/// A file's attributes (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number, which stands for its place.
    pub nid: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; of a directory, of its entries in the image.
    pub size: u64,
    /// Modification.
    pub mtime: Time,
    /// How many names it has.
    pub nlink: u32,
    /// A device's number as Linux encodes it on disk, 0 for 0:0 and other files.
    pub rdev: u32,
    pub(crate) layout: Layout,
    pub(crate) union: u32,
    /// Where it begins in the image.
    pub(crate) at: u64,
    /// Bytes of its xattrs.
    pub(crate) xattrs: u64,
}

impl Inode {
    /// The inode of these bytes, or what is wrong with it.
    pub(crate) fn decode(
        nid: u64,
        at: u64,
        bytes: &[u8; INODE as usize],
    ) -> Result<Self, &'static str> {
        let raw = RawInode::decode(bytes)?;
        let regular = raw.mode & S_IFMT == S_IFREG;
        if (raw.layout == Layout::Chunks) != (regular && raw.size > 0) {
            return Err("a file has no chunks, or something else has");
        }
        Ok(Self {
            nid,
            mode: raw.mode,
            uid: raw.uid,
            gid: raw.gid,
            size: raw.size,
            mtime: Time {
                secs: raw.secs,
                nanos: raw.nanos,
            },
            nlink: raw.nlink,
            rdev: if is_device(raw.mode) { raw.union } else { 0 },
            layout: raw.layout,
            union: raw.union,
            at,
            xattrs: raw.xattrs,
        })
    }

    /// Where what follows the xattrs begins.
    pub(crate) fn tail(&self) -> u64 {
        self.at + INODE + self.xattrs
    }

    /// Its attributes for another image.
    pub(crate) fn node(&self) -> Node {
        Node {
            secs: self.mtime.secs,
            size: self.size,
            body: if self.mode & S_IFMT == crate::format::S_IFDIR {
                Tree::empty_dir()
            } else {
                Body::Empty
            },
            uid: self.uid,
            gid: self.gid,
            names: 0,
            xattrs: EMPTY,
            nanos: self.mtime.nanos,
            mode: (self.mode & 0xFFFF) as u16,
        }
    }
}

/// A run of a file's data; what lies between runs is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file, in bytes.
    pub at: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// Offset in the layer's data, in bytes.
    pub data: u64,
}

impl<S: Source> Image<S> {
    /// The data of a regular file, chunk by chunk. There are no more than the
    /// image has room for.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`]; also as items.
    pub fn extents(
        &self,
        inode: &Inode,
    ) -> Result<impl Iterator<Item = Result<Extent, Error>>, Error> {
        let damaged = |what| Error::Damaged {
            offset: inode.at,
            what,
        };
        let size = match inode.layout {
            Layout::Chunks => inode.size,
            Layout::Plain | Layout::Inline => 0,
        };
        let bits = match chunk_bits(inode.union) {
            Some(bits) if inode.union == chunk_format(bits) => bits,
            _ if size == 0 => BLOCK_BITS,
            _ => return Err(damaged("a file has an unknown form of chunks")),
        };
        let chunks = size.div_ceil(1 << bits);
        let first = inode.tail().next_multiple_of(CHUNK_INDEX);
        let end = chunks
            .checked_mul(CHUNK_INDEX)
            .and_then(|len| first.checked_add(len));
        if end.is_none_or(|end| end > self.len()) {
            return Err(damaged("a file has more chunks than there is room for"));
        }
        let extent = move |chunk: u64| {
            let offset = first + chunk * CHUNK_INDEX;
            let mut index = [0; CHUNK_INDEX as usize];
            self.fill(offset, &mut index)?;
            let (device, block) = (get16(&index, 2), get32(&index, 4));
            if block == HOLE {
                return Ok(None);
            }
            let at = chunk << bits;
            let len = (size - at).min(1 << bits);
            let data = u64::from(block) * BLOCK;
            if device != 1 || data + len > self.data_len() {
                let what = "a chunk lies outside of the data";
                return Err(Error::Damaged { offset, what });
            }
            Ok(Some(Extent { at, len, data }))
        };
        Ok((0..chunks).filter_map(move |chunk| extent(chunk).transpose()))
    }
}
