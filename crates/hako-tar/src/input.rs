//! A buffer over the archive's source that knows its offset. Data is lent out
//! of it, so a file's bytes go from the decompressor's output to `write(2)`
//! with no copy between.

use std::io::{self, Read};

/// Size of the buffer: large enough that a system call per buffer is cheap,
/// small enough to stay in the second-level cache.
const SIZE: usize = 256 * 1024;

pub(crate) struct Input<R> {
    inner: R,
    buf: Box<[u8]>,
    pos: usize,
    end: usize,
    /// Offset in the archive of `buf[pos]`.
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            buf: vec![0; SIZE].into_boxed_slice(),
            pos: 0,
            end: 0,
            offset: 0,
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn filled(&self) -> &[u8] {
        self.buf.get(self.pos..self.end).unwrap_or_default()
    }

    /// Reads once more from the source, behind what is there; 0 is the end.
    fn refill(&mut self) -> io::Result<usize> {
        if self.pos == self.end {
            self.pos = 0;
            self.end = 0;
        } else if self.end == self.buf.len() {
            self.buf.copy_within(self.pos..self.end, 0);
            self.end -= self.pos;
            self.pos = 0;
        }
        loop {
            let room = self.buf.get_mut(self.end..).unwrap_or_default();
            match self.inner.read(room) {
                Ok(n) => {
                    let n = n.min(room.len());
                    self.end += n;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// At least one byte, or an empty slice at the end; at most `max`.
    pub(crate) fn peek(&mut self, max: u64) -> io::Result<&[u8]> {
        if self.pos == self.end {
            self.refill()?;
        }
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let there = self.filled();
        Ok(there.get(..max).unwrap_or(there))
    }

    /// Moves past `n` bytes that [`Self::peek`] showed.
    pub(crate) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.pos);
        self.pos += n;
        self.offset += n as u64;
    }

    /// Fills `out` and returns how much there was before the end.
    pub(crate) fn read_full(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.end - self.pos < out.len().min(self.buf.len()) {
            if self.refill()? == 0 {
                break;
            }
        }
        let mut done = 0;
        while done < out.len() {
            let there = self.peek((out.len() - done) as u64)?;
            let n = there.len();
            if n == 0 {
                break;
            }
            if let Some(to) = out.get_mut(done..done + n) {
                to.copy_from_slice(there);
            }
            self.consume(n);
            done += n;
        }
        Ok(done)
    }

    /// Moves past `n` bytes; false if the archive ends before.
    pub(crate) fn skip(&mut self, mut n: u64) -> io::Result<bool> {
        while n > 0 {
            let there = self.peek(n)?.len();
            if there == 0 {
                return Ok(false);
            }
            self.consume(there);
            n -= there as u64;
        }
        Ok(true)
    }
}
