//! Reads an image without a mount. It reads those that this crate makes, and
//! refuses others; whatever the bytes are, it neither fails to end nor takes
//! more memory than the image is long.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::format::{
    BLOCK, DIRENT, INODE, Layout, MAX_TARGET, NAMESPACES, S_IFDIR, S_IFLNK, S_IFMT, SLOT, SUPER,
    Super, XATTR_HEAD, get16, get32, get64,
};
use crate::{Error, Inode};

/// Where an image is read from.
pub trait Source {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Those of the system, and [`io::ErrorKind::UnexpectedEof`].
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Source for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = self.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An image whose superblock has been read.
#[derive(Debug)]
pub struct Image<S> {
    source: S,
    len: u64,
    head: Super,
}

/// Xattrs by their full names, with their values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: Vec<u8>,
    /// The number of its inode, for [`Image::inode`].
    pub nid: u64,
    /// The file's type as in the directory (1 regular file, 2 directory, 3 and 4
    /// character and block device, 5 pipe, 7 symlink).
    pub kind: u8,
}

impl<S: Source> Image<S> {
    /// Reads and checks the superblock.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Damaged`], [`Error::Read`].
    pub fn open(source: S) -> Result<Self, Error> {
        let len = source
            .size()
            .map_err(|source| Error::Read { offset: 0, source })?;
        if len < SUPER + BLOCK {
            let what = "it is too short";
            return Err(Error::Foreign { what });
        }
        let mut block = [0; BLOCK as usize];
        let read = source.fill(SUPER, &mut block);
        read.map_err(|source| Error::Read {
            offset: SUPER,
            source,
        })?;
        let head = Super::decode(&block).map_err(|what| Error::Foreign { what })?;
        if u64::from(head.blocks) * BLOCK > len {
            let what = "it is cut off";
            return Err(Error::Damaged { offset: len, what });
        }
        Ok(Self { source, len, head })
    }

    /// Length in bytes of the data that the image needs.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        u64::from(self.head.data_blocks) * BLOCK
    }

    /// How many files there are.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        self.head.inodes
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let read = self.source.fill(offset, buffer);
        read.map_err(|source| Error::Read { offset, source })
    }

    /// Reads `len` bytes, which the image has to have.
    fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
        let what = "something lies behind the end";
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let len = usize::try_from(len).ok().filter(|_| inside);
        let mut bytes = vec![0; len.ok_or(Error::Damaged { offset, what })?];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The root directory.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn root(&self) -> Result<Inode, Error> {
        let root = self.inode(u64::from(self.head.root))?;
        self.expect(&root, S_IFDIR, "the root is no directory")?;
        Ok(root)
    }

    /// The inode of a number that a directory gave.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn inode(&self, nid: u64) -> Result<Inode, Error> {
        let meta = u64::from(self.head.meta) * BLOCK;
        let at = nid.checked_mul(SLOT).and_then(|at| at.checked_add(meta));
        let at = at.filter(|at| *at <= self.len).ok_or(Error::Damaged {
            offset: meta,
            what: "an inode lies behind the end",
        })?;
        let bytes = self.bytes(at, INODE)?;
        let bytes = bytes.first_chunk().unwrap_or(&[0; INODE as usize]);
        Inode::decode(nid, at, bytes).map_err(|what| Error::Damaged { offset: at, what })
    }

    fn expect(&self, inode: &Inode, kind: u32, what: &'static str) -> Result<(), Error> {
        if inode.mode & S_IFMT == kind {
            return Ok(());
        }
        Err(Error::Damaged {
            offset: inode.at,
            what,
        })
    }

    /// A block of a directory's or symlink's data, shorter at its end.
    fn block(&self, inode: &Inode, number: u64) -> Result<Vec<u8>, Error> {
        let start = number * BLOCK;
        let len = inode.size.saturating_sub(start).min(BLOCK);
        let at = if inode.layout == Layout::Inline && len < BLOCK {
            inode.tail()
        } else {
            u64::from(inode.union) * BLOCK + start
        };
        self.bytes(at, len)
    }

    /// How many blocks of data a directory or symlink has, checked against the
    /// image's length.
    fn blocks(&self, inode: &Inode) -> Result<u64, Error> {
        if inode.size > self.len {
            let what = "a directory is larger than the image";
            return Err(Error::Damaged {
                offset: inode.at,
                what,
            });
        }
        Ok(inode.size.div_ceil(BLOCK))
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for other files; [`Error::Read`].
    pub fn target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        self.expect(inode, S_IFLNK, "this is no symlink")?;
        if inode.size > MAX_TARGET as u64 {
            let what = "a symlink is too long";
            return Err(Error::Damaged {
                offset: inode.at,
                what,
            });
        }
        let mut target = Vec::new();
        for number in 0..self.blocks(inode)? {
            target.extend(self.block(inode, number)?);
        }
        Ok(target)
    }

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for other files; [`Error::Read`].
    pub fn names(&self, dir: &Inode) -> Result<Vec<Name>, Error> {
        self.expect(dir, S_IFDIR, "this is no directory")?;
        let mut names: Vec<Name> = Vec::new();
        for number in 0..self.blocks(dir)? {
            names.extend(self.directory_block(dir, number)?);
        }
        if !names.is_sorted_by(|a, b| a.name < b.name) {
            let what = "a directory is not sorted";
            return Err(Error::Damaged {
                offset: dir.at,
                what,
            });
        }
        let before = names.len();
        names.retain(|name| !matches!(name.name.as_slice(), b"." | b".."));
        if before - names.len() != 2 {
            let what = "a directory has no dots";
            return Err(Error::Damaged {
                offset: dir.at,
                what,
            });
        }
        Ok(names)
    }

    fn directory_block(&self, dir: &Inode, number: u64) -> Result<Vec<Name>, Error> {
        let block = self.block(dir, number)?;
        parse(&block).ok_or(Error::Damaged {
            offset: dir.at,
            what: "a block of a directory makes no sense",
        })
    }

    /// Looks a name up in a directory.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for other files; [`Error::Read`].
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>, Error> {
        self.expect(dir, S_IFDIR, "this is no directory")?;
        // The last block whose first name is not behind the wanted one.
        let (mut low, mut high) = (0, self.blocks(dir)?);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let names = self.directory_block(dir, middle)?;
            match names.first() {
                Some(first) if first.name.as_slice() <= name => low = middle,
                _ => high = middle,
            }
        }
        if low >= high || matches!(name, b"." | b"..") {
            return Ok(None);
        }
        let names = self.directory_block(dir, low)?;
        let found = names.iter().find(|found| found.name == name);
        found.map(|found| self.inode(found.nid)).transpose()
    }

    /// The xattrs of a file by their full names.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, Error> {
        let mut found = Vec::new();
        if inode.xattrs == 0 {
            return Ok(found);
        }
        let start = inode.at + INODE;
        let bytes = self.bytes(start, inode.xattrs)?;
        let damaged = || Error::Damaged {
            offset: start,
            what: "xattrs make no sense",
        };
        let shared = usize::from(bytes.get(4).copied().unwrap_or_default());
        let mut rest = bytes.get(XATTR_HEAD as usize..).ok_or_else(damaged)?;
        for _ in 0..shared {
            let (place, behind) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            rest = behind;
            let place = u64::from(u32::from_le_bytes(*place)) * 4;
            let place = u64::from(self.head.xattrs) * BLOCK + place;
            let head = self.bytes(place, 4)?;
            let entry = self.bytes(place, entry_len(&head) as u64)?;
            found.push(xattr(&entry).ok_or_else(damaged)?);
        }
        while !rest.is_empty() {
            let len = entry_len(rest);
            let entry = rest.get(..len).ok_or_else(damaged)?;
            found.push(xattr(entry).ok_or_else(damaged)?);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(found)
    }
}

/// The names of a directory's block, if it makes sense.
fn parse(block: &[u8]) -> Option<Vec<Name>> {
    let first = usize::from(get16(block, 8));
    if first == 0 || !first.is_multiple_of(DIRENT) || first > block.len() {
        return None;
    }
    let count = first / DIRENT;
    let offset = |index: usize| usize::from(get16(block, index * DIRENT + 8));
    let mut names = Vec::with_capacity(count);
    for index in 0..count {
        let name = if index + 1 < count {
            block.get(offset(index)..offset(index + 1))?
        } else {
            // Up to the end of the block, or to a NUL.
            let rest = block.get(offset(index)..)?;
            rest.split(|b| *b == 0).next()?
        };
        if name.is_empty() || name.len() > crate::format::MAX_NAME {
            return None;
        }
        if name.iter().any(|b| matches!(*b, 0 | b'/')) {
            return None;
        }
        names.push(Name {
            name: name.to_vec(),
            nid: get64(block, index * DIRENT),
            kind: block.get(index * DIRENT + 10).copied()?,
        });
    }
    Some(names)
}

/// The length of an xattr that begins with these bytes, without padding.
fn entry_len(head: &[u8]) -> usize {
    let name = usize::from(head.first().copied().unwrap_or_default());
    4 + name + (get32(head, 0) >> 16) as usize
}

/// Name and value of an xattr.
fn xattr(entry: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (head, rest) = entry.split_first_chunk::<4>()?;
    let (name, value) = rest.split_at_checked(usize::from(head[0]))?;
    let (space, _) = NAMESPACES.iter().find(|(_, number)| *number == head[1])?;
    Some(([*space, name].concat(), value.to_vec()))
}
