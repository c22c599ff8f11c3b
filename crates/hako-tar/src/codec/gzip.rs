//! Gzip framing (RFC 1952) over the inflater. Own framing, because layers
//! come as one member, as a member per file (eStargz), or padded with zeros by
//! tape-minded tools, and because nothing in a header may take memory.

use std::io::{self, BufRead, Read};

use crc32fast::Hasher;

use super::inflate::{BITS, HISTORY, Inflate, Input, PAD, SLACK, Step};

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// Bytes of input that are read at once.
const PIECE: usize = 64 << 10;
/// Bytes that come out at once, at most; with their history they stay in the
/// second cache.
const ROOM: usize = 192 << 10;

/// Decompresses all gzip members of a source as one stream.
///
/// Zeros behind the last member are padding and ignored, as gzip(1) does;
/// anything else there is an error.
pub struct GzipDecoder<R> {
    source: R,
    inflate: Inflate,
    crc: Hasher,
    /// Bytes of this member, modulo 2^32.
    amount: u32,
    state: State,
    /// What was read: `input[at..end]`, and room for [`PAD`].
    input: Box<[u8]>,
    at: usize,
    end: usize,
    /// The source has ended.
    last: bool,
    /// History and what was decoded, of which `[given..made]` is to be given.
    window: Box<[u8]>,
    given: usize,
    made: usize,
    /// Where this member begins, or the history does.
    floor: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first member, which has to be there.
    Start,
    Body,
    /// Behind a member: another one, padding or the end.
    Between,
    End,
}

impl<R: Read> GzipDecoder<R> {
    /// Decompresses `source`, which is first read when this is.
    pub fn new(source: R) -> Self {
        Self {
            source,
            inflate: Inflate::new(),
            crc: Hasher::new(),
            amount: 0,
            state: State::Start,
            input: vec![0; PIECE + PAD].into(),
            at: 0,
            end: 0,
            last: false,
            window: vec![0; HISTORY + ROOM + SLACK].into(),
            given: 0,
            made: 0,
            floor: 0,
        }
    }

    /// The source; more of it was read than was decoded.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Reads once, behind what is there still, and the bytes before it that the
    /// inflater may give back.
    fn fill(&mut self) -> io::Result<()> {
        let old = self.at.saturating_sub(BITS);
        self.input.copy_within(old..self.end, 0);
        self.end -= old;
        self.at -= old;
        let room = self.input.get_mut(self.end..PIECE).unwrap_or_default();
        let count = loop {
            match self.source.read(room) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += count;
        self.last = count == 0;
        if self.last {
            let pad = self.input.get_mut(self.end..self.end + PAD);
            pad.unwrap_or_default().fill(0);
        }
        Ok(())
    }

    /// The next byte, if there is one.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at == self.end && !self.last {
            self.fill()?;
        }
        Ok(match self.at < self.end {
            true => self.input.get(self.at).copied(),
            false => None,
        })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = self.peek()?;
        self.at += 1;
        byte.ok_or_else(|| {
            self.at = self.end;
            let text = "the gzip stream is truncated";
            io::Error::new(io::ErrorKind::UnexpectedEof, text)
        })
    }

    /// A little-endian number of `count` bytes, at most four.
    fn number(&mut self, count: u32) -> io::Result<u32> {
        let mut value = 0;
        for place in 0..count {
            value |= u32::from(self.byte()?) << (8 * place);
        }
        Ok(value)
    }

    /// Section 2.3. The header's own CRC is of no use: the data has one.
    fn header(&mut self) -> io::Result<()> {
        if self.number(2)? != 0x8b1f {
            return Err(invalid("no gzip header"));
        }
        if self.byte()? != 8 {
            return Err(invalid("the gzip compression method is unknown"));
        }
        let flags = self.byte()?;
        if flags & 0xe0 != 0 {
            return Err(invalid("the gzip header has unknown flags"));
        }
        // Time, extra flags, operating system.
        self.number(4)?;
        self.number(2)?;
        if flags & FEXTRA != 0 {
            for _ in 0..self.number(2)? {
                self.byte()?;
            }
        }
        for flag in [FNAME, FCOMMENT] {
            if flags & flag != 0 {
                while self.byte()? != 0 {}
            }
        }
        if flags & FHCRC != 0 {
            self.number(2)?;
        }
        self.inflate.reset();
        self.crc.reset();
        self.amount = 0;
        self.floor = self.made;
        Ok(())
    }

    fn trailer(&mut self) -> io::Result<()> {
        let crc = self.number(4)?;
        let len = self.number(4)?;
        if crc != self.crc.clone().finalize() || len != self.amount {
            return Err(invalid("the gzip checksum is wrong"));
        }
        Ok(())
    }

    /// Decides what comes behind a member.
    fn between(&mut self) -> io::Result<State> {
        let mut padded = false;
        loop {
            match self.peek()? {
                None => return Ok(State::End),
                Some(0) => {
                    self.at += 1;
                    padded = true;
                }
                Some(_) if padded => return Err(invalid("garbage behind the gzip stream")),
                Some(_) => {
                    self.header()?;
                    return Ok(State::Body);
                }
            }
        }
    }

    /// Decodes until something can be given, or the end is reached.
    fn advance(&mut self) -> io::Result<()> {
        while self.given == self.made {
            match self.state {
                State::Start => {
                    self.header()?;
                    self.state = State::Body;
                }
                State::Between => self.state = self.between()?,
                State::End => break,
                State::Body => self.body()?,
            }
        }
        Ok(())
    }

    fn body(&mut self) -> io::Result<()> {
        let old = self.made.saturating_sub(HISTORY);
        if self.made > HISTORY + ROOM / 2 {
            self.window.copy_within(old..self.made, 0);
            self.made -= old;
            self.given = self.made;
            self.floor = self.floor.saturating_sub(old);
        }
        let mut input = Input {
            data: &self.input,
            at: self.at,
            end: self.end,
            last: self.last,
        };
        let window = &mut self.window;
        let step = self
            .inflate
            .run(&mut input, window, &mut self.made, self.floor);
        self.at = input.at;
        let step = step?;
        let new = self.window.get(self.given..self.made).unwrap_or_default();
        self.crc.update(new);
        self.amount = self.amount.wrapping_add(new.len() as u32);
        match step {
            // What there is comes first; the source may be slow.
            Step::More if self.given == self.made => self.fill(),
            Step::Full | Step::More => Ok(()),
            Step::End => {
                self.state = State::Between;
                self.trailer()
            }
        }
    }
}

impl<R: Read> Read for GzipDecoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

/// What was decoded, without a copy.
impl<R: Read> BufRead for GzipDecoder<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.advance()?;
        Ok(self.window.get(self.given..self.made).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.given = self.made.min(self.given + count);
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
