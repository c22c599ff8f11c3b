//! Reads archives of every dialect that images are made of: v7, ustar, star,
//! GNU (long names, base-256 numbers, sparse files) and PAX.
//!
//! Rules where the dialects or their readers disagree:
//! * Data of links, devices, pipes and directories: a directory has none
//!   whatever its size field says, and neither has a hard link whose *header*
//!   gives a size (all readers agree); any other size there is refused, for
//!   GNU tar would skip data where Go's reader would not.
//! * A GNU long name together with a different PAX name is refused.
//! * Global PAX records set attributes; a global name, size or sparse map is
//!   refused.
//! * A name with a NUL in it (PAX, GNU long name) is refused.
//! * An archive ends with two blocks of zeros, or one, or none, if nothing
//!   comes behind it; what comes behind two is not looked at. A single block
//!   of zeros followed by more is refused.

use std::io::{self, Read};

use crate::error::quote;
use crate::header::{Block, Dialect, Header};
use crate::input::Input;
use crate::pax::{Globals, Records};
use crate::sparse::{Bad, Map};
use crate::{BLOCK, Entry, Error, Kind, Offsets, Segment, Time};

/// Upper bounds for what a single member may make the reader hold in memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the PAX extended headers of a member.
    pub pax: u64,
    /// Bytes of all global PAX extended headers together.
    pub globals: u64,
    /// Bytes of a GNU long name.
    pub name: u64,
    /// Number of extended attributes of a member.
    pub xattrs: usize,
    /// Number of data segments of a sparse file.
    pub segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pax: 1 << 20,
            globals: 16 << 10,
            name: 64 << 10,
            xattrs: 1024,
            segments: 1 << 20,
        }
    }
}

/// How an archive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Without blocks of zeros.
    Missing,
    /// With one block of zeros.
    OneBlock,
    /// With two blocks of zeros, as the standard wants.
    TwoBlocks,
}

/// A piece of a member's data, lent out of the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Where it belongs in the file, in bytes.
    pub offset: u64,
    /// The bytes, at least one.
    pub data: &'a [u8],
}

/// A streaming reader of a tar archive. `next_entry` gives a member,
/// then `next_chunk` or `data` its contents; what is not read is skipped.
pub struct Reader<R> {
    input: Input<R>,
    limits: Limits,
    globals: Globals,
    end: Option<End>,
    body: Body,
}

/// What is left of the current member's data.
#[derive(Default)]
struct Body {
    member: Vec<u8>,
    /// Segments still to come, the last first.
    segments: Vec<Segment>,
    /// Bytes of stored data left, over all segments.
    left: u64,
    /// Bytes of padding behind the data.
    padding: u64,
    /// The chunk lent out, to be consumed at the next call.
    lent: usize,
    /// How far the file was read, holes included.
    position: u64,
    /// Its size, holes included.
    size: u64,
}

impl<R: Read> Reader<R> {
    /// Reads with the default [`Limits`]. The source is read in large pieces
    /// and needs no buffer of its own.
    pub fn new(source: R) -> Self {
        Self::with_limits(source, Limits::default())
    }

    /// Reads with limits of the caller's.
    pub fn with_limits(source: R, limits: Limits) -> Self {
        Self {
            input: Input::new(source),
            limits,
            globals: Globals::default(),
            end: None,
            body: Body::default(),
        }
    }

    /// How the archive ended; `None` before `next_entry` has returned `None`.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Reads the source to its end and returns the number of bytes that lay
    /// behind the archive, so that a digest over the source is complete.
    ///
    /// # Errors
    /// [`Error::Read`] if the source fails.
    pub fn drain(&mut self) -> Result<u64, Error> {
        let start = self.input.offset();
        while self.input.skip(1 << 30).map_err(|e| self.read_error(e))? {}
        Ok(self.input.offset() - start)
    }

    /// The next member, or `None` at the end of the archive. Data of the
    /// previous member that was not read is skipped.
    ///
    /// # Errors
    /// Any reading [`Error`]; after one the reader is of no more use.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.finish_body()?;
        let member = self.input.offset();
        let mut long = LongNames::default();
        let mut own = Records::default();
        let mut size = 0;
        loop {
            let Some((block, offset)) = self.header_block(member, &own, &long)? else {
                return Ok(None);
            };
            let header = Header::parse(&block, offset)?;
            match header.flag() {
                b'x' | b'X' => {
                    let body = self.special(&header, self.limits.pax, "extended header")?;
                    // Several headers before one member add up to one limit.
                    size += body.len() as u64;
                    if size > self.limits.pax {
                        let (what, limit) = ("extended headers", self.limits.pax);
                        return Err(Error::Limit {
                            offset,
                            what,
                            limit,
                        });
                    }
                    own.extend(Records::parse(&body, offset)?);
                }
                b'g' => {
                    let body = self.special(&header, self.limits.globals, "extended header")?;
                    let records = Records::parse(&body, offset)?;
                    self.globals.merge(records, offset, self.limits.globals)?;
                }
                b'L' => long.path = Some(self.long_name(&header)?),
                b'K' => long.link = Some(self.long_name(&header)?),
                _ => {
                    let records = self.globals.with(own);
                    return self.member(&header, member, &records, long).map(Some);
                }
            }
        }
    }

    /// The next piece of the current member's data; `None` at its end. Holes
    /// of a sparse file are not among the pieces.
    ///
    /// # Errors
    /// [`Error::Truncated`] and [`Error::Read`].
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, Error> {
        self.consume_lent();
        let Some(segment) = self.body.segments.last().copied() else {
            return Ok(None);
        };
        let offset = self.input.offset();
        // Asked twice since the borrow of a first answer would not end.
        let n = match self.input.peek(segment.len) {
            Ok(data) => data.len(),
            Err(source) => return Err(Error::Read { offset, source }),
        };
        if n == 0 {
            return Err(self.truncated());
        }
        self.body.lent = n;
        match self.input.peek(segment.len) {
            Ok(data) => Ok(Some(Chunk {
                offset: segment.offset,
                data,
            })),
            Err(source) => Err(Error::Read { offset, source }),
        }
    }

    /// The current member's contents as a plain stream; holes are zeros.
    pub fn data(&mut self) -> Data<'_, R> {
        self.consume_lent();
        Data { reader: self }
    }

    fn consume_lent(&mut self) {
        let n = std::mem::take(&mut self.body.lent);
        if n == 0 {
            return;
        }
        self.input.consume(n);
        self.body.left = self.body.left.saturating_sub(n as u64);
        if let Some(segment) = self.body.segments.last_mut() {
            segment.offset = segment.offset.saturating_add(n as u64);
            segment.len = segment.len.saturating_sub(n as u64);
            self.body.position = segment.offset;
            if segment.len == 0 {
                self.body.segments.pop();
            }
        }
    }

    fn finish_body(&mut self) -> Result<(), Error> {
        self.consume_lent();
        if self.body.left > 0 {
            let left = std::mem::take(&mut self.body.left);
            if !self.input.skip(left).map_err(|e| self.read_error(e))? {
                return Err(self.truncated());
            }
        }
        // Padding that the end of the archive swallowed takes no data away.
        let padding = std::mem::take(&mut self.body.padding);
        self.input.skip(padding).map_err(|e| self.read_error(e))?;
        self.body.segments.clear();
        Ok(())
    }

    fn read_error(&self, source: io::Error) -> Error {
        Error::Read {
            offset: self.input.offset(),
            source,
        }
    }

    fn truncated(&self) -> Error {
        Error::Truncated {
            offset: self.input.offset(),
            member: quote(&self.body.member),
        }
    }

    /// A block that is not zero, with its offset, or `None` at the end.
    fn header_block(
        &mut self,
        member: u64,
        own: &Records,
        long: &LongNames,
    ) -> Result<Option<(Block, u64)>, Error> {
        let mut block: Block = [0; BLOCK];
        let offset = self.input.offset();
        let n = self
            .input
            .read_full(&mut block)
            .map_err(|e| self.read_error(e))?;
        let pending = !own.is_empty() || long.path.is_some() || long.link.is_some();
        if n == BLOCK && block.iter().any(|b| *b != 0) {
            return Ok(Some((block, offset)));
        }
        if pending || (n > 0 && n < BLOCK) {
            return Err(Error::Truncated {
                offset: self.input.offset(),
                member: format!("the header of the member at offset {member}"),
            });
        }
        if n == 0 {
            self.end = Some(End::Missing);
            return Ok(None);
        }
        let n = self
            .input
            .read_full(&mut block)
            .map_err(|e| self.read_error(e))?;
        self.end = Some(match n {
            BLOCK if block.iter().all(|b| *b == 0) => End::TwoBlocks,
            0 => End::OneBlock,
            _ => {
                return Err(Error::Ambiguous {
                    offset,
                    member: "a lone block of zeros".to_owned(),
                    reason: "some readers end there and some do not",
                });
            }
        });
        Ok(None)
    }

    /// The body of an extension header, padding skipped.
    fn special(
        &mut self,
        header: &Header<'_>,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, Error> {
        let size = header.size()?;
        let offset = header.offset;
        let Some(len) = usize::try_from(size).ok().filter(|_| size <= limit) else {
            return Err(Error::Limit {
                offset,
                what,
                limit,
            });
        };
        let mut body = vec![0; len];
        let n = self
            .input
            .read_full(&mut body)
            .map_err(|e| self.read_error(e))?;
        let padded = self
            .input
            .skip(padding(size))
            .map_err(|e| self.read_error(e))?;
        if n < len || !padded {
            return Err(Error::Truncated {
                offset: self.input.offset(),
                member: format!("the {what} at offset {offset}"),
            });
        }
        Ok(body)
    }

    fn long_name(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Error> {
        let mut name = self.special(header, self.limits.name, "long name")?;
        while name.last() == Some(&0) {
            name.pop();
        }
        if name.is_empty() || name.contains(&0) {
            return Err(Error::Field {
                offset: header.offset,
                field: "long name",
            });
        }
        Ok(name)
    }

    fn member(
        &mut self,
        header: &Header<'_>,
        member: u64,
        records: &Records,
        long: LongNames,
    ) -> Result<Entry, Error> {
        let offset = header.offset;
        let pax_path = records.name(b"path", offset)?;
        let pax_link = records.name(b"linkpath", offset)?;
        let raw = long
            .path
            .clone()
            .or_else(|| pax_path.clone())
            .unwrap_or_else(|| header.path());
        let sparse_name = records.name(b"GNU.sparse.name", offset)?;
        for (gnu, pax) in [
            (&long.path, &pax_path),
            (&long.path, &sparse_name),
            (&long.link, &pax_link),
        ] {
            if gnu.is_some() && pax.is_some() && gnu != pax {
                return Err(Error::Ambiguous {
                    offset: member,
                    member: quote(&raw),
                    reason: "its GNU long name and its PAX name differ",
                });
            }
        }
        let kind = kind(header, &raw);
        let mut entry = Entry {
            path: raw,
            kind,
            mode: header.mode()?,
            uid: header.uid()?,
            gid: header.gid()?,
            uname: header.uname(),
            gname: header.gname(),
            mtime: Time::from_secs(header.mtime()?),
            ..Entry::default()
        };
        if matches!(kind, Kind::HardLink | Kind::Symlink) {
            entry.link = long.link.or(pax_link).unwrap_or_else(|| header.link());
        }
        if matches!(kind, Kind::Char | Kind::Block) {
            (entry.major, entry.minor) = header.device()?;
        }
        records.apply(&mut entry, offset, &self.limits)?;
        self.size(header, member, records, &mut entry)?;
        if kind == Kind::Dir {
            while entry.path.len() > 1 && entry.path.last() == Some(&b'/') {
                entry.path.pop();
            }
        }
        Ok(entry)
    }

    /// Works out the member's size, map and place, and prepares its body.
    fn size(
        &mut self,
        header: &Header<'_>,
        member: u64,
        records: &Records,
        entry: &mut Entry,
    ) -> Result<(), Error> {
        let offset = header.offset;
        let ambiguous = |entry: &Entry, reason| Error::Ambiguous {
            offset: member,
            member: quote(&entry.path),
            reason,
        };
        let pax_size = records.size(b"size", offset)?;
        let in_header = header.size()?;
        let mut stored = pax_size.unwrap_or(in_header);
        match entry.kind {
            Kind::Dir => stored = 0,
            Kind::HardLink if pax_size.unwrap_or(0) == 0 => stored = 0,
            kind if !kind.has_data() && stored != 0 => {
                return Err(ambiguous(entry, "it has a size, but its type has no data"));
            }
            _ => {}
        }
        let padding = padding(stored);
        let mut map = Map::new(self.limits.segments);
        let mut size = stored;
        let mut sparse = false;
        if header.flag() == b'S' {
            if header.dialect != Dialect::Gnu || pax_size.is_some() {
                return Err(ambiguous(
                    entry,
                    "it mixes GNU's old sparse format with another",
                ));
            }
            size = map
                .old_gnu(header, &mut self.input)
                .map_err(|bad| self.bad_map(bad, member, &entry.path))?;
            sparse = true;
        } else if entry.kind == Kind::File {
            let read = self
                .pax_sparse(records, offset, stored, &mut map, entry)
                .map_err(|bad| self.bad_map(bad, member, &entry.path))?;
            if let Some((real, read)) = read {
                size = real;
                stored = stored.saturating_sub(read);
                sparse = true;
            }
        }
        if sparse {
            map.check(size, stored)
                .map_err(|bad| self.bad_map(bad, member, &entry.path))?;
        }
        entry.size = size;
        entry.offsets = Offsets {
            member,
            header: offset,
            data: self.input.offset(),
            stored,
        };
        let mut segments = if sparse {
            entry.sparse = Some(map.segments.clone());
            map.segments
        } else if stored > 0 {
            vec![Segment {
                offset: 0,
                len: stored,
            }]
        } else {
            Vec::new()
        };
        segments.reverse();
        self.body = Body {
            member: entry.path.clone(),
            segments,
            left: stored,
            padding,
            size,
            ..Body::default()
        };
        Ok(())
    }

    /// Recognises the PAX sparse formats as GNU tar does. Returns the real
    /// size and the bytes that the map took from the data.
    fn pax_sparse(
        &mut self,
        records: &Records,
        offset: u64,
        stored: u64,
        map: &mut Map,
        entry: &mut Entry,
    ) -> Result<Option<(u64, u64)>, Bad> {
        let major = records.size(b"GNU.sparse.major", offset)?;
        let minor = records.size(b"GNU.sparse.minor", offset)?;
        let real = match records.size(b"GNU.sparse.realsize", offset)? {
            Some(real) => Some(real),
            None => records.size(b"GNU.sparse.size", offset)?,
        };
        let old = records.get(b"GNU.sparse.map").is_some()
            || records.get(b"GNU.sparse.numblocks").is_some();
        let read = match (major, minor) {
            (None, None) if !old => return Ok(None),
            (None | Some(0), None | Some(0 | 1)) => {
                map.pax0(records)?;
                0
            }
            (Some(1), Some(0)) => map.pax1(&mut self.input, stored)?,
            _ => return Err(Bad::Malformed("its version is unknown")),
        };
        if let Some(name) = records.name(b"GNU.sparse.name", offset)? {
            entry.path = name;
        }
        let real = real.ok_or(Bad::Malformed("the real size is missing"))?;
        Ok(Some((real, read)))
    }

    fn bad_map(&self, bad: Bad, member: u64, path: &[u8]) -> Error {
        let offset = self.input.offset();
        match bad {
            Bad::Malformed(reason) => Error::Sparse {
                offset: member,
                member: quote(path),
                reason,
            },
            Bad::TooMany => Error::Limit {
                offset: member,
                what: "number of sparse segments",
                limit: self.limits.segments as u64,
            },
            Bad::Truncated => Error::Truncated {
                offset,
                member: quote(path),
            },
            Bad::Read(source) => Error::Read { offset, source },
            Bad::Header(error) => error,
        }
    }
}

/// Names from GNU `L` and `K` headers.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The type; in archives of v7 a directory is a file whose name ends in a slash.
fn kind(header: &Header<'_>, path: &[u8]) -> Kind {
    match header.flag() {
        0 if path.last() == Some(&b'/') => Kind::Dir,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    }
}

/// Bytes from `size` to the next whole block.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The rest of a member's contents as a stream, made by [`Reader::data`].
pub struct Data<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let body = &self.reader.body;
        let next = body.segments.last().map_or(body.size, |s| s.offset);
        let hole = next.saturating_sub(body.position);
        if hole > 0 {
            let n = usize::try_from(hole).unwrap_or(usize::MAX).min(out.len());
            out.iter_mut().take(n).for_each(|b| *b = 0);
            self.reader.body.position += n as u64;
            return Ok(n);
        }
        let Some(chunk) = self.reader.next_chunk()? else {
            return Ok(0);
        };
        let n = chunk.data.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), chunk.data.get(..n)) {
            to.copy_from_slice(from);
        }
        self.reader.body.lent = n;
        self.reader.consume_lent();
        Ok(n)
    }
}
