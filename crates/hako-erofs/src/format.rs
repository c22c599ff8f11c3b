//! The parts of EROFS's format that our images are made of, to and from bytes
//! (kernel fs/erofs/erofs_fs.h; all numbers are little-endian).
//!
//! Blocks have 512 bytes, as those of tar, so that each file's data in a tar
//! begins at a block. Inodes are extended ones (64 bytes: times to the
//! nanosecond, owners of 32 bits); files are chunk-based and lie on the one
//! extra device, the layer's data.

/// Logarithm of [`BLOCK`].
pub(crate) const BLOCK_BITS: u32 = 9;
/// Size of a block in bytes.
pub(crate) const BLOCK: u64 = 1 << BLOCK_BITS;
/// Where the superblock lies, in bytes.
pub(crate) const SUPER: u64 = 1024;
/// First block behind the superblock and the table of devices.
pub(crate) const FIRST: u64 = 3;
/// Size of an inode without what follows it.
pub(crate) const INODE: u64 = 64;
/// Inodes begin at multiples of this; an inode's number counts them.
pub(crate) const SLOT: u64 = 32;
/// Size of a directory's entry without the name.
pub(crate) const DIRENT: usize = 12;
/// Size of a chunk's index.
pub(crate) const CHUNK_INDEX: u64 = 8;
/// Size of the head of an inode's xattrs.
pub(crate) const XATTR_HEAD: u64 = 12;
/// Largest chunk: the field has five bits for the blocks' logarithm.
pub(crate) const MAX_CHUNK_BITS: u32 = BLOCK_BITS + 31;
/// The block number of a hole.
pub(crate) const HOLE: u32 = u32::MAX;
/// Longest target of a symlink (PATH_MAX without its NUL).
pub(crate) const MAX_TARGET: usize = 4095;
/// Longest name (NAME_MAX).
pub(crate) const MAX_NAME: usize = 255;

const MAGIC: u32 = 0xE0F5_E1E2;
const DEVICE_SLOT: u64 = 128;
/// The superblock's checksum is there; inodes have their mtime.
const COMPAT: u32 = 0x1 | 0x2;
/// Files in chunks; more than one device.
const INCOMPAT: u32 = 0x4 | 0x8;
const CHUNK_INDEXES: u32 = 0x20;

pub(crate) const S_IFMT: u32 = 0o170_000;
pub(crate) const S_IFIFO: u32 = 0o010_000;
pub(crate) const S_IFCHR: u32 = 0o020_000;
pub(crate) const S_IFDIR: u32 = 0o040_000;
pub(crate) const S_IFBLK: u32 = 0o060_000;
pub(crate) const S_IFREG: u32 = 0o100_000;
pub(crate) const S_IFLNK: u32 = 0o120_000;

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Super {
    /// Number of the root's inode.
    pub(crate) root: u16,
    /// How many inodes there are.
    pub(crate) inodes: u64,
    /// Blocks of the image.
    pub(crate) blocks: u32,
    /// First block of the inodes.
    pub(crate) meta: u32,
    /// First block of the shared xattrs.
    pub(crate) xattrs: u32,
    /// Blocks of the layer's data.
    pub(crate) data_blocks: u32,
}

/// How an inode's data is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In blocks.
    Plain,
    /// In blocks, with the last, incomplete one behind the inode.
    Inline,
    /// In chunks.
    Chunks,
}

impl Layout {
    const fn number(self) -> u16 {
        match self {
            Self::Plain => 0,
            Self::Inline => 2,
            Self::Chunks => 4,
        }
    }
}

/// An inode without its xattrs and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawInode {
    pub(crate) layout: Layout,
    /// Bytes of xattrs that follow.
    pub(crate) xattrs: u64,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    /// First block, device number or chunk format, as the mode and layout say.
    pub(crate) union: u32,
    pub(crate) number: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) secs: i64,
    pub(crate) nanos: u32,
    pub(crate) nlink: u32,
}

impl RawInode {
    pub(crate) fn encode(&self) -> [u8; INODE as usize] {
        let mut out = [0; INODE as usize];
        let format = 1 | self.layout.number() << 1;
        let count = match self.xattrs {
            0 => 0,
            bytes => (bytes - XATTR_HEAD) / 4 + 1,
        };
        put(&mut out, 0, &format.to_le_bytes());
        put(&mut out, 2, &low16(count).to_le_bytes());
        put(&mut out, 4, &low16(u64::from(self.mode)).to_le_bytes());
        put(&mut out, 8, &self.size.to_le_bytes());
        put(&mut out, 16, &self.union.to_le_bytes());
        put(&mut out, 20, &self.number.to_le_bytes());
        put(&mut out, 24, &self.uid.to_le_bytes());
        put(&mut out, 28, &self.gid.to_le_bytes());
        put(&mut out, 32, &self.secs.to_le_bytes());
        put(&mut out, 40, &self.nanos.to_le_bytes());
        put(&mut out, 44, &self.nlink.to_le_bytes());
        out
    }

    /// What the bytes say, or what is wrong with them.
    pub(crate) fn decode(bytes: &[u8; INODE as usize]) -> Result<Self, &'static str> {
        let format = get16(bytes, 0);
        if format & 1 == 0 {
            return Err("an inode is not an extended one");
        }
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            4 => Layout::Chunks,
            _ => return Err("an inode has an unknown layout"),
        };
        let xattrs = match u64::from(get16(bytes, 2)) {
            0 => 0,
            count => XATTR_HEAD + (count - 1) * 4,
        };
        let nanos = get32(bytes, 40);
        if nanos >= 1_000_000_000 {
            return Err("a time is out of range");
        }
        Ok(Self {
            layout,
            xattrs,
            mode: u32::from(get16(bytes, 4)),
            size: get64(bytes, 8),
            union: get32(bytes, 16),
            number: get32(bytes, 20),
            uid: get32(bytes, 24),
            gid: get32(bytes, 28),
            secs: get64(bytes, 32).cast_signed(),
            nanos,
            nlink: get32(bytes, 44),
        })
    }
}

/// The field of an inode that says how large its chunks are.
pub(crate) fn chunk_format(bits: u32) -> u32 {
    CHUNK_INDEXES | bits.saturating_sub(BLOCK_BITS).min(31)
}

/// Logarithm of the chunks' size, or `None` for chunks without indexes.
pub(crate) fn chunk_bits(format: u32) -> Option<u32> {
    (format & !0x1F == CHUNK_INDEXES).then_some(BLOCK_BITS + (format & 0x1F))
}

/// A chunk's index: device 1, or a hole.
pub(crate) fn chunk_index(block: u32) -> [u8; CHUNK_INDEX as usize] {
    let mut out = [0; CHUNK_INDEX as usize];
    if block != HOLE {
        put(&mut out, 2, &1u16.to_le_bytes());
    }
    put(&mut out, 4, &block.to_le_bytes());
    out
}

impl Super {
    /// The image's first blocks.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; (FIRST * BLOCK) as usize];
        let start = SUPER as usize;
        put(&mut out, start, &MAGIC.to_le_bytes());
        put(&mut out, start + 8, &COMPAT.to_le_bytes());
        put(&mut out, start + 12, &[BLOCK_BITS as u8]);
        put(&mut out, start + 14, &self.root.to_le_bytes());
        put(&mut out, start + 16, &self.inodes.to_le_bytes());
        put(&mut out, start + 36, &self.blocks.to_le_bytes());
        put(&mut out, start + 40, &self.meta.to_le_bytes());
        put(&mut out, start + 44, &self.xattrs.to_le_bytes());
        put(&mut out, start + 80, &INCOMPAT.to_le_bytes());
        put(&mut out, start + 86, &1u16.to_le_bytes());
        let slot = SUPER / DEVICE_SLOT + 1;
        put(&mut out, start + 88, &low16(slot).to_le_bytes());
        let slot = (slot * DEVICE_SLOT) as usize;
        put(&mut out, slot + 64, &self.data_blocks.to_le_bytes());
        let sum = checksum(out.get(start..).unwrap_or_default());
        put(&mut out, start + 4, &sum.to_le_bytes());
        out
    }

    /// What the block with the superblock says, or what is wrong with it.
    pub(crate) fn decode(block: &[u8; BLOCK as usize]) -> Result<Self, &'static str> {
        if get32(block, 0) != MAGIC {
            return Err("it has no superblock");
        }
        let mut blank = *block;
        put(&mut blank, 4, &[0; 4]);
        if get32(block, 4) != checksum(&blank) {
            return Err("its superblock's checksum is wrong");
        }
        let slot = usize::from(get16(block, 88)) * DEVICE_SLOT as usize;
        let same = get32(block, 8) == COMPAT
            && get32(block, 80) == INCOMPAT
            && u32::from(block[12]) == BLOCK_BITS
            && get16(block, 86) == 1
            && slot == (SUPER + DEVICE_SLOT) as usize;
        if !same {
            return Err("it has other features");
        }
        Ok(Self {
            root: get16(block, 14),
            inodes: get64(block, 16),
            blocks: get32(block, 36),
            meta: get32(block, 40),
            xattrs: get32(block, 44),
            data_blocks: get32(block, DEVICE_SLOT as usize + 64),
        })
    }
}

/// The kind of a file in a directory's entry.
pub(crate) fn file_type(mode: u32) -> u8 {
    match mode & S_IFMT {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// The namespaces of xattrs with their numbers; the two of ACLs are whole names.
pub(crate) const NAMESPACES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (ACL_ACCESS, 2),
    (ACL_DEFAULT, 3),
    (b"trusted.", 4),
    (b"security.", 6),
];
/// The xattr of a file's access control list (acl(5)).
pub(crate) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The xattr of what a directory's new files get.
pub(crate) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// CRC-32C over a superblock's block whose own field is zero, in the form that
/// has no final inversion.
fn checksum(block: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in block {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    crc
}

/// Copies `bytes` to `at`; what has no room there is not written.
pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = out.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

/// The number at `at`; 0 behind the end, as for the other two.
pub(crate) fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn low16(number: u64) -> u16 {
    (number & 0xFFFF) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // RFC 3720, B.4: 32 bytes of zeros; there with a final inversion.
        assert_eq!(!checksum(&[0; 32]), 0x8A91_36AA);
    }

    proptest! {
        #[test]
        fn superblocks_come_back(
            root: u16, inodes: u64, blocks: u32, meta: u32, xattrs: u32, data_blocks: u32,
        ) {
            let written = Super { root, inodes, blocks, meta, xattrs, data_blocks };
            let bytes = written.encode();
            let block = bytes[SUPER as usize..].first_chunk().unwrap();
            prop_assert_eq!(Super::decode(block), Ok(written));
        }

        #[test]
        fn inodes_come_back(
            layout in prop_oneof![Just(Layout::Plain), Just(Layout::Inline), Just(Layout::Chunks)],
            xattrs in prop_oneof![Just(0u64), (0u64..65_535).prop_map(|n| XATTR_HEAD + 4 * n)],
            mode in 0u32..=0o177_777, size: u64, union: u32, secs: i64, nanos in 0u32..1_000_000_000,
            uid: u32, gid: u32, nlink: u32, number: u32,
        ) {
            let written = RawInode {
                layout, xattrs, mode, size, union, number, uid, gid, secs, nanos, nlink,
            };
            prop_assert_eq!(RawInode::decode(&written.encode()), Ok(written));
        }
    }
}
