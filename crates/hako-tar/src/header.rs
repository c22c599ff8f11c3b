//! The 512-byte header block, in the dialects v7, ustar, star and GNU
//! (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

use crate::{BLOCK, Error, number};

pub(crate) type Block = [u8; BLOCK];

/// Which layout the second half of the block has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block whose checksum holds, at `offset` in the archive.
pub(crate) struct Header<'a> {
    block: &'a Block,
    pub(crate) offset: u64,
    pub(crate) dialect: Dialect,
}

impl<'a> Header<'a> {
    /// Verifies the checksum, in the unsigned form of the standard or the
    /// signed one of old Sun tars.
    pub(crate) fn parse(block: &'a Block, offset: u64) -> Result<Self, Error> {
        let (mut unsigned, mut signed) = (0i128, 0i128);
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            };
            unsigned += i128::from(byte);
            signed += i128::from(byte.cast_signed());
        }
        let dialect = match (slice(block, 257, 8), slice(block, 508, 4)) {
            (b"ustar  \0", _) => Dialect::Gnu,
            (magic, b"tar\0") if magic.starts_with(b"ustar\0") => Dialect::Star,
            (magic, _) if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        };
        match number::field(slice(block, 148, 8)) {
            Some(sum) if sum == unsigned || sum == signed => Ok(Self {
                block,
                offset,
                dialect,
            }),
            _ => Err(Error::Checksum { offset }),
        }
    }

    pub(crate) fn flag(&self) -> u8 {
        self.block[156]
    }

    pub(crate) fn bytes(&self, at: usize, len: usize) -> &'a [u8] {
        slice(self.block, at, len)
    }

    /// A string field, up to its first NUL.
    fn string(&self, at: usize, len: usize) -> &'a [u8] {
        let field = self.bytes(at, len);
        let end = field.iter().position(|b| *b == 0).unwrap_or(len);
        field.get(..end).unwrap_or(field)
    }

    fn number(&self, at: usize, len: usize, field: &'static str) -> Result<i128, Error> {
        number::field(self.bytes(at, len)).ok_or(Error::Field {
            offset: self.offset,
            field,
        })
    }

    fn unsigned(&self, at: usize, len: usize, field: &'static str) -> Result<u64, Error> {
        u64::try_from(self.number(at, len, field)?).map_err(|_| Error::Field {
            offset: self.offset,
            field,
        })
    }

    pub(crate) fn path(&self) -> Vec<u8> {
        let prefix = match self.dialect {
            Dialect::Ustar => self.string(345, 155),
            Dialect::Star => self.string(345, 131),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        let name = self.string(0, 100);
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        self.string(157, 100).to_vec()
    }

    pub(crate) fn mode(&self) -> Result<u32, Error> {
        let mode = self.unsigned(100, 8, "mode")? & 0o7777;
        u32::try_from(mode).map_err(|_| Error::Field {
            offset: self.offset,
            field: "mode",
        })
    }

    pub(crate) fn uid(&self) -> Result<u64, Error> {
        self.unsigned(108, 8, "uid")
    }

    pub(crate) fn gid(&self) -> Result<u64, Error> {
        self.unsigned(116, 8, "gid")
    }

    /// At most `i64::MAX`, the largest file that Linux can have.
    pub(crate) fn size(&self) -> Result<u64, Error> {
        match self.unsigned(124, 12, "size")? {
            size if i64::try_from(size).is_ok() => Ok(size),
            _ => Err(Error::Field {
                offset: self.offset,
                field: "size",
            }),
        }
    }

    pub(crate) fn mtime(&self) -> Result<i64, Error> {
        i64::try_from(self.number(136, 12, "mtime")?).map_err(|_| Error::Field {
            offset: self.offset,
            field: "mtime",
        })
    }

    pub(crate) fn uname(&self) -> Vec<u8> {
        if self.dialect == Dialect::V7 {
            Vec::new()
        } else {
            self.string(265, 32).to_vec()
        }
    }

    pub(crate) fn gname(&self) -> Vec<u8> {
        if self.dialect == Dialect::V7 {
            Vec::new()
        } else {
            self.string(297, 32).to_vec()
        }
    }

    /// Device numbers; v7 has none.
    pub(crate) fn device(&self) -> Result<(u32, u32), Error> {
        if self.dialect == Dialect::V7 {
            return Ok((0, 0));
        }
        let major = u32::try_from(self.unsigned(329, 8, "devmajor")?);
        let minor = u32::try_from(self.unsigned(337, 8, "devminor")?);
        match (major, minor) {
            (Ok(major), Ok(minor)) => Ok((major, minor)),
            _ => Err(Error::Field {
                offset: self.offset,
                field: "devmajor or devminor",
            }),
        }
    }
}

/// A field of a block; the callers' constants all lie inside it.
pub(crate) fn slice(block: &Block, at: usize, len: usize) -> &[u8] {
    block.get(at..at + len).unwrap_or_default()
}
