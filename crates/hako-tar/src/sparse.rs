//! Maps of sparse files in GNU tar's four formats (GNU tar manual, "Storing
//! Sparse Files"): the old one in header blocks, and PAX 0.0, 0.1 and 1.0.

use std::io::Read;

use crate::header::{Block, Header, slice};
use crate::input::Input;
use crate::pax::Records;
use crate::{BLOCK, Segment, number};

/// A file's map while it is read: segments end to end in the archive.
pub(crate) struct Map {
    pub(crate) segments: Vec<Segment>,
    limit: usize,
}

/// What is wrong with a map; the reader adds where.
#[derive(Debug)]
pub(crate) enum Bad {
    Malformed(&'static str),
    TooMany,
    Truncated,
    Read(std::io::Error),
    Header(crate::Error),
}

impl From<crate::Error> for Bad {
    fn from(error: crate::Error) -> Self {
        Self::Header(error)
    }
}

impl From<std::io::Error> for Bad {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

impl Map {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            segments: Vec::new(),
            limit,
        }
    }

    /// Adds a segment; empty ones (they mark the file's end) are dropped.
    fn push(&mut self, offset: u64, len: u64) -> Result<(), Bad> {
        let end = offset
            .checked_add(len)
            .ok_or(Bad::Malformed("a segment is out of range"))?;
        let previous = self
            .segments
            .last()
            .map_or(0, |s| s.offset.saturating_add(s.len));
        if offset < previous || i64::try_from(end).is_err() {
            return Err(Bad::Malformed("its segments are not in order"));
        }
        if len > 0 {
            if self.segments.len() >= self.limit {
                return Err(Bad::TooMany);
            }
            self.segments.push(Segment { offset, len });
        }
        Ok(())
    }

    /// Checks the whole against the file's size and its stored data.
    pub(crate) fn check(&self, size: u64, stored: u64) -> Result<(), Bad> {
        let end = self
            .segments
            .last()
            .map_or(0, |s| s.offset.saturating_add(s.len));
        let sum: u64 = self.segments.iter().map(|s| s.len).sum();
        if end > size {
            return Err(Bad::Malformed("a segment lies behind the end of the file"));
        }
        if sum != stored {
            return Err(Bad::Malformed(
                "its segments do not add up to the stored data",
            ));
        }
        Ok(())
    }

    /// `count` pairs of 12-byte fields at `at`; an empty field ends them.
    fn pairs(&mut self, block: &Block, at: usize, count: usize) -> Result<(), Bad> {
        for index in 0..count {
            let offset = slice(block, at + index * 24, 12);
            let len = slice(block, at + index * 24 + 12, 12);
            if offset.first() == Some(&0) || len.first() == Some(&0) {
                break;
            }
            let field = |bytes| number::field(bytes).and_then(|n| u64::try_from(n).ok());
            match (field(offset), field(len)) {
                (Some(offset), Some(len)) => self.push(offset, len)?,
                _ => return Err(Bad::Malformed("a number is invalid")),
            }
        }
        Ok(())
    }

    /// The old GNU format: four segments in the header, and blocks of 21 more
    /// behind it. Returns the file's real size.
    pub(crate) fn old_gnu<R: Read>(
        &mut self,
        header: &Header<'_>,
        input: &mut Input<R>,
    ) -> Result<u64, Bad> {
        let size = number::field(header.bytes(483, 12))
            .and_then(|n| i64::try_from(n).ok())
            .and_then(|n| u64::try_from(n).ok())
            .ok_or(Bad::Malformed("the real size is invalid"))?;
        let mut block: Block = [0; BLOCK];
        block.copy_from_slice(header.bytes(0, BLOCK));
        self.pairs(&block, 386, 4)?;
        let mut more = block[482] != 0;
        let mut blocks = 0usize;
        while more {
            blocks += 1;
            if blocks.saturating_mul(21) > self.limit.saturating_add(21) {
                return Err(Bad::TooMany);
            }
            if input.read_full(&mut block)? != BLOCK {
                return Err(Bad::Truncated);
            }
            self.pairs(&block, 0, 21)?;
            more = block[504] != 0;
        }
        Ok(size)
    }

    /// PAX 0.0 (a pair of records a segment) and 0.1 (one record with all).
    pub(crate) fn pax0(&mut self, records: &Records) -> Result<(), Bad> {
        let invalid = Bad::Malformed("a number is invalid");
        let mut numbers = Vec::new();
        if let Some(map) = records.get(b"GNU.sparse.map") {
            if !map.is_empty() {
                numbers.extend(map.split(|b| *b == b',').map(number::decimal));
            }
        } else {
            let mut want = &b"GNU.sparse.offset"[..];
            for (key, value) in records.iter() {
                if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
                    if key != want {
                        return Err(Bad::Malformed("offsets and lengths do not alternate"));
                    }
                    want = if numbers.len().is_multiple_of(2) {
                        b"GNU.sparse.numbytes"
                    } else {
                        b"GNU.sparse.offset"
                    };
                    numbers.push(number::decimal(value));
                }
            }
        }
        let declared = records
            .get(b"GNU.sparse.numblocks")
            .and_then(number::decimal);
        if !numbers.len().is_multiple_of(2)
            || declared.is_some_and(|n| n != numbers.len() as u64 / 2)
        {
            return Err(Bad::Malformed("the number of segments is wrong"));
        }
        for pair in numbers.chunks_exact(2) {
            match pair {
                [Some(offset), Some(len)] => self.push(*offset, *len)?,
                _ => return Err(invalid),
            }
        }
        Ok(())
    }

    /// PAX 1.0: the map stands before the data as lines of decimal numbers, the
    /// first of them the number of segments, padded to a block. Returns the
    /// bytes read.
    pub(crate) fn pax1<R: Read>(&mut self, input: &mut Input<R>, stored: u64) -> Result<u64, Bad> {
        let mut lines = Lines {
            input,
            left: stored,
            block: [0; BLOCK],
            at: BLOCK,
            read: 0,
        };
        let count = lines.number()?;
        if count > self.limit as u64 {
            return Err(Bad::TooMany);
        }
        for _ in 0..count {
            let offset = lines.number()?;
            let len = lines.number()?;
            self.push(offset, len)?;
        }
        Ok(lines.read)
    }
}

/// Numbers, one a line, out of whole blocks.
struct Lines<'a, R> {
    input: &'a mut Input<R>,
    left: u64,
    block: Block,
    at: usize,
    read: u64,
}

impl<R: Read> Lines<'_, R> {
    fn byte(&mut self) -> Result<u8, Bad> {
        if self.at >= BLOCK {
            if self.left < BLOCK as u64 {
                return Err(Bad::Malformed("it is longer than the stored data"));
            }
            if self.input.read_full(&mut self.block)? != BLOCK {
                return Err(Bad::Truncated);
            }
            self.left -= BLOCK as u64;
            self.read += BLOCK as u64;
            self.at = 0;
        }
        let byte = self.block.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Bad> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if byte.is_ascii_digit() && digits.len() < 20 => digits.push(byte),
                _ => return Err(Bad::Malformed("a number is invalid")),
            }
        }
        number::decimal(&digits).ok_or(Bad::Malformed("a number is invalid"))
    }
}
