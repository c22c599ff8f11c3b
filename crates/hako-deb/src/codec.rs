//! Decompression of package indexes and of the tars inside packages, with a
//! bound on memory and on what may come out.

use std::io::{self, BufRead, BufReader, Read};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952)
    Gzip,
    /// xz
    Xz,
    /// Zstandard (RFC 8878)
    Zstd,
}

/// Most memory for an xz dictionary, in KiB. dpkg-deb at its highest level
/// uses 64 MiB.
const XZ_MEMORY_KIB: u32 = 160 * 1024;

/// Largest zstd window as a power of two: 128 MiB, the format's own advice
/// for decoders (`zstd --ultra -22` needs it).
const ZSTD_WINDOW: u32 = 27;

impl Compression {
    /// By the end of a file's name. `None` where the end is of none that
    /// can be read here (bzip2, lzma).
    pub fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "" => Some(Self::None),
            ".gz" => Some(Self::Gzip),
            ".xz" => Some(Self::Xz),
            ".zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The end of a file's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    /// A reader of the decompressed bytes. More than `limit` bytes are an
    /// error, not a cut.
    ///
    /// # Errors
    /// The zstd decoder cannot be made.
    pub fn decoder<'a>(
        self,
        input: impl Read + Send + 'a,
        limit: u64,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        let input = BufReader::with_capacity(64 << 10, input);
        Ok(match self {
            Self::None => Box::new(Bounded::new(input, limit)),
            Self::Gzip => Box::new(Bounded::new(
                flate2::bufread::MultiGzDecoder::new(input),
                limit,
            )),
            Self::Xz => Box::new(Bounded::new(
                lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB),
                limit,
            )),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(Bounded::new(decoder, limit))
            }
        })
    }
}

/// Fails once more than a limit has been read.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Bounded<R> {
    /// Lets `limit` bytes through.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more data than the size limit allows",
            )),
        }
    }
}

/// Reads to the end and gives the number of bytes, so that a decoder checks
/// its trailers.
///
/// # Errors
/// As the reader.
pub fn drain(mut input: impl Read) -> io::Result<u64> {
    let mut buffer = BufReader::with_capacity(64 << 10, &mut input);
    let mut total = 0;
    loop {
        let n = buffer.fill_buf()?.len();
        if n == 0 {
            return Ok(total);
        }
        buffer.consume(n);
        total += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn compress(tool: &str, data: &[u8]) -> Vec<u8> {
        let mut child = Command::new(tool)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(tool);
        let mut input = child.stdin.take().unwrap();
        let data = data.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&data).unwrap());
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap();
        out.stdout
    }

    #[test]
    fn reads_what_the_tools_write() {
        let data: Vec<u8> = (0..200_000u32)
            .flat_map(|i| (i / 7).to_le_bytes())
            .collect();
        for (tool, codec) in [
            ("gzip", Compression::Gzip),
            ("xz", Compression::Xz),
            ("zstd", Compression::Zstd),
        ] {
            let packed = if tool == "zstd" {
                zstd::encode_all(data.as_slice(), 3).unwrap()
            } else {
                compress(tool, &data)
            };
            let read = |packed: &[u8], limit| {
                let mut out = Vec::new();
                codec
                    .decoder(packed, limit)
                    .and_then(|mut d| d.read_to_end(&mut out))
                    .map(|_| out)
            };
            assert_eq!(read(&packed, data.len() as u64).unwrap(), data, "{tool}");
            let error = read(&packed, data.len() as u64 - 1).unwrap_err();
            assert!(error.to_string().contains("size limit"), "{tool}: {error}");
            assert!(
                read(&packed[..packed.len() / 2], u64::MAX).is_err(),
                "{tool} cut"
            );
            let mut bent = packed.clone();
            let middle = bent.len() / 2;
            bent[middle] ^= 0x55;
            assert!(
                read(&bent, u64::MAX).is_err() || read(&bent, u64::MAX).unwrap() != data,
                "{tool} bent"
            );
        }
    }
}
