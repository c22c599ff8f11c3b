//! Reading a blob and verifying it on the way.

use std::fs::File;
use std::io::{self, Read};

use hako_spec::digest::Digest;

use crate::error::Error;
use crate::hash::Hasher;

/// Reads a blob; the read that meets its end fails when digest or size are
/// wrong, so whoever reads to the end has read the right bytes.
#[derive(Debug)]
pub struct VerifiedReader {
    file: File,
    digest: Digest,
    size: u64,
    seen: u64,
    /// Gone when the end was verified.
    hasher: Option<Hasher>,
    /// The digest of wrong content, so that every further read fails too.
    wrong: Option<Digest>,
}

impl VerifiedReader {
    pub(crate) fn new(file: File, digest: Digest, size: u64) -> VerifiedReader {
        let hasher = Some(Hasher::like(&digest));
        VerifiedReader {
            file,
            digest,
            size,
            seen: 0,
            hasher,
            wrong: None,
        }
    }

    /// The file's size in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest that the content is verified against.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether the end has been read and verified.
    #[must_use]
    pub fn verified(&self) -> bool {
        self.hasher.is_none() && self.wrong.is_none()
    }

    /// Reads what is left and verifies it.
    ///
    /// Errors: those of reading; an error whose kind is `InvalidData` and
    /// whose source is [`Error::DigestMismatch`] or [`Error::SizeMismatch`].
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }

    /// The file, for a caller that hashes by itself.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    fn end(&mut self) -> io::Result<usize> {
        if let Some(hasher) = self.hasher.take() {
            let actual = hasher.finish();
            if actual != self.digest {
                self.wrong = Some(actual);
            }
        }
        match &self.wrong {
            None => Ok(0),
            Some(_) if self.seen != self.size => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Error::SizeMismatch {
                    digest: self.digest.clone(),
                    expected: self.size,
                    actual: self.seen,
                },
            )),
            Some(actual) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Error::DigestMismatch {
                    expected: self.digest.clone(),
                    actual: actual.clone(),
                },
            )),
        }
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.hasher.is_none() {
            return self.end();
        }
        let n = self.file.read(buf)?;
        if n == 0 {
            return self.end();
        }
        self.seen = self.seen.saturating_add(n as u64);
        if let (Some(hasher), Some(bytes)) = (&mut self.hasher, buf.get(..n)) {
            hasher.update(bytes);
        }
        Ok(n)
    }
}
