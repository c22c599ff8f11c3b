//! Compression of layers: none, gzip and zstd (image-spec layer.md), streaming
//! and with bounded memory.
//!
//! A decoder reads a whole stream: several gzip members, several zstd frames
//! and skippable frames are one content. It does not bound how much comes out;
//! [`limit`] does.

mod gzip;
mod inflate;

use std::io::{self, BufRead, Read, Write};

pub use gzip::GzipDecoder;

/// The largest zstd window, as a power of two: 128 MiB, zstd's own default.
/// A frame that wants more is an error, lest a small layer takes all memory.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, possibly several members.
    Gzip,
    /// RFC 8878, possibly several frames.
    Zstd,
}

/// Number of bytes that [`detect`] wants to see.
pub const MAGIC: usize = 4;

/// Tells the compression from the first [`MAGIC`] bytes of a stream (fewer if
/// it is shorter). Peers go by these bytes, too, when a media type lies.
#[must_use]
pub fn detect(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        // A frame (RFC 8878, 3.1.1), or a skippable frame (3.1.2) first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// A stream that decompresses what it reads from `R`.
///
/// Read errors: `InvalidData` for a malformed stream, `UnexpectedEof` for one
/// that ends too early, and the source's own.
pub enum Decoder<R: BufRead> {
    /// Passes through.
    None(R),
    /// See [`GzipDecoder`].
    Gzip(Box<GzipDecoder<R>>),
    /// libzstd's streaming decoder.
    Zstd(Box<zstd::Decoder<'static, R>>),
}

/// Starts to decompress. An empty source is an empty stream, but for gzip and
/// zstd, where it is a truncated one.
///
/// # Errors
/// If libzstd cannot be set up (no memory).
pub fn decoder<R: BufRead>(compression: Compression, source: R) -> io::Result<Decoder<R>> {
    Ok(match compression {
        Compression::None => Decoder::None(source),
        Compression::Gzip => Decoder::Gzip(Box::new(GzipDecoder::new(source))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Decoder::Zstd(Box::new(decoder))
        }
    })
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(inner) => inner.read(out),
            Self::Gzip(inner) => inner.read(out),
            Self::Zstd(inner) => inner.read(out).map_err(|error| match error.kind() {
                // libzstd's errors come as "other".
                io::ErrorKind::Other => io::Error::new(io::ErrorKind::InvalidData, error),
                _ => error,
            }),
        }
    }
}

impl<R: BufRead> Decoder<R> {
    /// The source. Bytes behind the compressed stream may have been read.
    pub fn into_inner(self) -> R {
        match self {
            Self::None(inner) => inner,
            Self::Gzip(inner) => inner.into_inner(),
            Self::Zstd(inner) => inner.finish(),
        }
    }
}

/// A stream that compresses what is written to it into `W`. It has to be ended
/// with [`Encoder::finish`].
pub enum Encoder<W: Write> {
    /// Passes through.
    None(W),
    /// One gzip member without name and time, so that equal input gives equal
    /// output.
    Gzip(Box<flate2::write::GzEncoder<W>>),
    /// One zstd frame with a checksum.
    Zstd(Box<zstd::Encoder<'static, W>>),
}

/// Starts to compress. `level` is 0 to 9 for gzip and 1 to 19 for zstd; the
/// nearest of these is taken, and `None` means 6 and 3.
///
/// # Errors
/// If libzstd cannot be set up (no memory).
pub fn encoder<W: Write>(
    compression: Compression,
    level: Option<u32>,
    out: W,
) -> io::Result<Encoder<W>> {
    Ok(match compression {
        Compression::None => Encoder::None(out),
        Compression::Gzip => {
            let level = flate2::Compression::new(level.unwrap_or(6).min(9));
            let encoder = flate2::GzBuilder::new()
                .mtime(0)
                .operating_system(255)
                .write(out, level);
            Encoder::Gzip(Box::new(encoder))
        }
        Compression::Zstd => {
            let level = i32::try_from(level.unwrap_or(3).clamp(1, 19)).unwrap_or(3);
            let mut encoder = zstd::Encoder::new(out, level)?;
            encoder.include_checksum(true)?;
            Encoder::Zstd(Box::new(encoder))
        }
    })
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(inner) => inner.write(data),
            Self::Gzip(inner) => inner.write(data),
            Self::Zstd(inner) => inner.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(inner) => inner.flush(),
            Self::Gzip(inner) => inner.flush(),
            Self::Zstd(inner) => inner.flush(),
        }
    }
}

impl<W: Write> Encoder<W> {
    /// Writes what is left and the stream's end, and gives the destination
    /// back.
    ///
    /// # Errors
    /// The destination's.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(inner) => Ok(inner),
            Self::Gzip(inner) => inner.finish(),
            Self::Zstd(inner) => inner.finish(),
        }
    }
}

/// Passes a stream on until more than `max` bytes came out of it, which is an
/// error of kind `FileTooLarge`: the answer to decompression bombs.
pub fn limit<R: Read>(inner: R, max: u64) -> Limit<R> {
    Limit {
        inner,
        left: max,
        max,
    }
}

/// See [`limit`].
pub struct Limit<R> {
    inner: R,
    left: u64,
    max: u64,
}

impl<R: Read> Read for Limit<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // One byte more than allowed is asked for, to tell the end from more.
        let most = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX);
        let len = out.len().min(most);
        let n = self.inner.read(out.get_mut(..len).unwrap_or_default())? as u64;
        match self.left.checked_sub(n) {
            Some(left) => self.left = left,
            None => {
                let text = format!("the stream is longer than {} bytes", self.max);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
        }
        Ok(usize::try_from(n).unwrap_or(len))
    }
}

#[cfg(test)]
mod tests;
