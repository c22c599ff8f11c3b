//! Gzip framing (RFC 1952) over the raw inflater. Own framing, because layers
//! come as one member, as a member per file (eStargz), or padded with zeros by
//! tape-minded tools, and because nothing in a header may take memory.

use std::io::{self, BufRead, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// Decompresses all gzip members of a source as one stream.
///
/// Zeros behind the last member are padding and ignored, as gzip(1) does;
/// anything else there is an error.
pub struct GzipDecoder<R> {
    source: R,
    inflate: Decompress,
    crc: Crc,
    state: State,
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

impl<R: BufRead> GzipDecoder<R> {
    /// Decompresses `source`, which is first read when this is.
    pub fn new(source: R) -> Self {
        Self {
            source,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            state: State::Start,
        }
    }

    /// The source, at the place that was reached.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.source.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// A little-endian number of two or four bytes.
    fn number<const N: usize>(&mut self) -> io::Result<u32> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, b| (value << 8) | u32::from(*b)))
    }

    /// Section 2.3. The header's own CRC is of no use: the data has one.
    fn header(&mut self) -> io::Result<()> {
        if self.number::<2>()? != 0x8b1f {
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
        self.number::<4>()?;
        self.number::<2>()?;
        if flags & FEXTRA != 0 {
            for _ in 0..self.number::<2>()? {
                self.byte()?;
            }
        }
        for flag in [FNAME, FCOMMENT] {
            if flags & flag != 0 {
                while self.byte()? != 0 {}
            }
        }
        if flags & FHCRC != 0 {
            self.number::<2>()?;
        }
        Ok(())
    }

    fn trailer(&mut self) -> io::Result<()> {
        let crc = self.number::<4>()?;
        let len = self.number::<4>()?;
        if crc != self.crc.sum() || len != self.crc.amount() {
            return Err(invalid("the gzip checksum is wrong"));
        }
        Ok(())
    }

    /// Decides what comes behind a member.
    fn between(&mut self) -> io::Result<State> {
        let mut padded = false;
        loop {
            let there = match self.source.fill_buf() {
                Ok(there) => there,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            match there.first() {
                None => return Ok(State::End),
                Some(0) => {
                    let zeros = there.iter().take_while(|b| **b == 0).count();
                    self.source.consume(zeros);
                    padded = true;
                }
                Some(_) if padded => return Err(invalid("garbage behind the gzip stream")),
                Some(_) => {
                    self.header()?;
                    self.inflate.reset(false);
                    self.crc.reset();
                    return Ok(State::Body);
                }
            }
        }
    }
}

impl<R: BufRead> Read for GzipDecoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Start => {
                    self.header()?;
                    self.state = State::Body;
                }
                State::Between => self.state = self.between()?,
                State::End => return Ok(0),
                State::Body => {
                    let there = match self.source.fill_buf() {
                        Ok(there) => there,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                        Err(e) => return Err(e),
                    };
                    let at_end = there.is_empty();
                    let (before_in, before_out) =
                        (self.inflate.total_in(), self.inflate.total_out());
                    let status = self
                        .inflate
                        .decompress(there, out, FlushDecompress::None)
                        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                    let used = self.inflate.total_in() - before_in;
                    let made = self.inflate.total_out() - before_out;
                    let used = usize::try_from(used).unwrap_or(usize::MAX);
                    let made = usize::try_from(made).unwrap_or(usize::MAX);
                    self.source.consume(used);
                    self.crc.update(out.get(..made).unwrap_or_default());
                    if status == Status::StreamEnd {
                        self.trailer()?;
                        self.state = State::Between;
                    } else if made == 0 && at_end {
                        let text = "the gzip stream is truncated";
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                    } else if made == 0 && used == 0 {
                        return Err(invalid("the gzip stream does not go on"));
                    }
                    if made > 0 {
                        return Ok(made);
                    }
                }
            }
        }
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
