//! A reader that keeps what goes through it: the layer's tar becomes a file
//! while it is read, in one pass and without a copy of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

/// Reads from `inner` and writes the same to `file`, from its beginning.
pub(crate) struct Tee<'a, R> {
    inner: R,
    file: &'a File,
    written: u64,
    failed: Option<io::Error>,
}

impl<'a, R: Read> Tee<'a, R> {
    pub(crate) fn new(inner: R, file: &'a File) -> Self {
        Self {
            inner,
            file,
            written: 0,
            failed: None,
        }
    }

    /// Bytes so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Why the file could not be written, if that is why reading failed.
    pub(crate) fn failed(self) -> Option<io::Error> {
        self.failed
    }
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let data = buffer.get(..count).unwrap_or_default();
        if let Err(error) = self.file.write_all_at(data, self.written) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        self.written += count as u64;
        Ok(count)
    }
}
