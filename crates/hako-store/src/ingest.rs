//! Writing a blob: `ingest/<algorithm>-<hex>` until it is whole and verified,
//! then `blobs/<algorithm>/<hex>` by rename.
//!
//! The file is locked by whoever writes it, so many processes that pull one
//! blob download it once; the bytes of a writer that was killed are hashed
//! again and built upon. A stream of unknown digest is written to
//! `ingest/new-<random>`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use hako_spec::digest::{Algorithm, Digest};
use rustix::fs::Mode;

use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::lock::{self, Wait};
use crate::random;
use crate::store::Store;

/// Buffer for hashing files.
const CHUNK: usize = 256 * 1024;

/// What beginning to write a blob found.
#[derive(Debug)]
pub enum Ingest {
    /// The blob is in the store: there is nothing to write.
    Present,
    /// The blob is to be written from [`BlobWriter::offset`] on.
    Writer(Box<BlobWriter>),
}

/// A blob in the making, locked against other writers.
///
/// Dropping it leaves the bytes for the next writer (unless the disk was
/// full); the garbage collection takes them when they are old.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: File,
    path: PathBuf,
    digest: Digest,
    size: u64,
    offset: u64,
    hasher: Hasher,
    /// The disk was full: the bytes are worth less than their space.
    full: bool,
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.full {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl BlobWriter {
    /// Opens and locks the file for `digest`, and hashes what is in it.
    pub(crate) fn open(
        store: &Store,
        digest: &Digest,
        size: u64,
        wait: Wait,
    ) -> Result<BlobWriter> {
        let name = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        let path = store.path("ingest").join(name);
        let Some(mut file) = lock::file(&path, wait).at("lock", &path)? else {
            return Err(Error::Busy(digest.clone()));
        };
        let mut hasher = Hasher::like(digest);
        let mut offset = hash(&mut file, size, &mut hasher).at("read", &path)?;
        if offset > size {
            file.set_len(0).at("truncate", &path)?;
            file.rewind().at("truncate", &path)?;
            (offset, hasher) = (0, Hasher::like(digest));
        }
        let (store, digest) = (store.clone(), digest.clone());
        Ok(BlobWriter {
            store,
            file,
            path,
            digest,
            size,
            offset,
            hasher,
            full: false,
        })
    }

    /// How many bytes are there: where to resume.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is written, for a reader that follows. Nothing of it is verified
    /// before [`BlobWriter::commit`].
    ///
    /// Errors: those of open(2).
    pub fn reader(&self) -> Result<File> {
        File::open(&self.path).at("open", &self.path)
    }

    /// The digest promised.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The size promised, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Forgets what is there and starts at offset 0: for a source that cannot
    /// resume.
    ///
    /// Errors: those of ftruncate(2).
    pub fn restart(&mut self) -> Result<()> {
        if self.offset > 0 {
            self.file.set_len(0).at("truncate", &self.path)?;
            self.file.rewind().at("truncate", &self.path)?;
            self.offset = 0;
            self.hasher = Hasher::like(&self.digest);
        }
        Ok(())
    }

    /// Appends bytes.
    ///
    /// Errors: [`Error::SizeMismatch`] as soon as there are more than
    /// promised (nothing of `bytes` is then written), and those of write(2).
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(self.wrong_size(self.size.saturating_add(1)));
        }
        if let Err(e) = self.file.write_all(bytes) {
            self.full = e.kind() == io::ErrorKind::StorageFull;
            // Some of it may be there: back to what was hashed.
            let _ = self.file.set_len(self.offset);
            let _ = self.file.seek(SeekFrom::Start(self.offset));
            return Err(e).at("write", &self.path);
        }
        self.hasher.update(bytes);
        self.offset = end;
        Ok(())
    }

    /// Verifies size and digest, and puts the blob in its place.
    ///
    /// Errors: [`Error::SizeMismatch`] when bytes are missing (they stay, to
    /// be resumed), [`Error::DigestMismatch`] (the bytes are removed), and
    /// those of rename(2).
    pub fn commit(self) -> Result<()> {
        if self.offset != self.size {
            return Err(self.wrong_size(self.offset));
        }
        let actual = self.hasher.clone().finish();
        if actual != self.digest {
            let expected = self.digest.clone();
            self.discard()?;
            return Err(Error::DigestMismatch { expected, actual });
        }
        publish(&self.store, &self.file, &self.path, &self.digest)
    }

    /// Removes what was written.
    ///
    /// Errors: those of unlink(2).
    pub fn discard(self) -> Result<()> {
        std::fs::remove_file(&self.path).at("remove", &self.path)
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::SizeMismatch {
            digest: self.digest.clone(),
            expected: self.size,
            actual,
        }
    }
}

impl io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.write_bytes(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(Error::Io { source, path, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                let text = format!("cannot write {}: {source}", path.display());
                Err(io::Error::new(io::ErrorKind::StorageFull, text))
            }
            Err(e @ Error::SizeMismatch { .. }) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, e))
            }
            Err(e) => Err(io::Error::other(e)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a finished file its name among the blobs.
fn publish(store: &Store, file: &File, path: &Path, digest: &Digest) -> Result<()> {
    let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
    rustix::fs::fchmod(file, mode).at("set the mode of", path)?;
    let target = store.blobs().path(digest);
    let result = match std::fs::rename(path, &target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.exists() => {
            // The first blob of its algorithm.
            if let Some(dir) = target.parent() {
                match std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
                    .create(dir)
                {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(e).at("create", dir);
                    }
                    _ => {}
                }
            }
            std::fs::rename(path, &target)
        }
        other => other,
    };
    result.at("create", &target)?;
    store.touch();
    Ok(())
}

/// Hashes a file from its start, up to one byte more than `limit`; gives the
/// number of bytes and leaves the file's position behind them.
fn hash(file: &mut File, limit: u64, hasher: &mut Hasher) -> io::Result<u64> {
    if file.metadata()?.len() == 0 {
        return Ok(0);
    }
    let mut buffer = vec![0u8; CHUNK];
    let mut total = 0u64;
    while total <= limit {
        let n = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(buffer.get(..n).unwrap_or_default());
        total = total.saturating_add(n as u64);
    }
    Ok(total)
}

/// Removes the file of a stream that did not become a blob.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// [`crate::Blobs::put_stream`].
pub(crate) fn stream(
    store: &Store,
    source: &mut dyn io::Read,
    limit: u64,
) -> Result<(Digest, u64)> {
    let dir = store.path("ingest");
    let path = dir.join(format!(
        "new-{}",
        random::name().at("name a file in", &dir)?
    ));
    let Some(mut file) = lock::file(&path, Wait::Forever).at("create", &path)? else {
        return Err(Error::Io {
            doing: "lock",
            path,
            source: io::Error::from(io::ErrorKind::WouldBlock),
        });
    };
    let cleanup = Unfinished(&path);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0u8; CHUNK];
    let mut total = 0u64;
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::Source(e)),
        };
        let bytes = buffer.get(..n).unwrap_or_default();
        total = total.saturating_add(n as u64);
        if total > limit {
            return Err(Error::StreamTooLarge { limit });
        }
        hasher.update(bytes);
        file.write_all(bytes).at("write", &path)?;
    }
    let digest = hasher.finish();
    publish(store, &file, &path, &digest)?;
    std::mem::forget(cleanup);
    Ok((digest, total))
}
