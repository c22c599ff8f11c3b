//! Content by digest: `blobs/<algorithm>/<hex>`, as in an OCI image layout.
//!
//! A file in `blobs/` is whole and has the digest of its name: it came by
//! rename after it was verified. It is read through a [`VerifiedReader`] all
//! the same, for disks rot and people edit.

use std::fs::{File, FileTimes};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use hako_spec::digest::{Algorithm, Digest};
use rustix::fs::OFlags;

use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::ingest::{self, BlobWriter, Ingest};
use crate::lock::Wait;
use crate::reader::VerifiedReader;
use crate::store::Store;

/// The blobs of a store.
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a> {
    store: &'a Store,
}

impl<'a> Blobs<'a> {
    pub(crate) fn new(store: &'a Store) -> Blobs<'a> {
        Blobs { store }
    }

    /// Where the blob is, if it is.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.store.path("blobs");
        path.push(digest.algorithm().as_str());
        path.push(digest.hex());
        path
    }

    /// Whether the blob is in the store.
    ///
    /// Unless its digest is held by a name or lease, the next garbage
    /// collection may take it: hold it first (see [`crate::Lease`]), then ask.
    ///
    /// Errors: those of stat(2) other than absence.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        self.size(digest).map(|size| size.is_some())
    }

    /// The blob's size in bytes, or `None` when it is not in the store.
    ///
    /// Errors: those of stat(2) other than absence.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at("examine", &path),
        }
    }

    /// Opens a blob for reading; the digest is verified when its end is read.
    ///
    /// Errors: [`Error::BlobUnknown`], and those of open(2).
    pub fn open(&self, digest: &Digest) -> Result<VerifiedReader> {
        let path = self.path(digest);
        let file = match self.open_file(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::BlobUnknown(digest.clone()));
            }
            Err(e) => return Err(e).at("open", &path),
        };
        let size = file.metadata().at("examine", &path)?.len();
        Ok(VerifiedReader::new(file, digest.clone(), size))
    }

    /// Like [`Blobs::open`], and the size must be `size` bytes.
    ///
    /// Errors: [`Error::SizeMismatch`] beside those of [`Blobs::open`].
    pub fn open_sized(&self, digest: &Digest, size: u64) -> Result<VerifiedReader> {
        let reader = self.open(digest)?;
        if reader.size() != size {
            return Err(Error::SizeMismatch {
                digest: digest.clone(),
                expected: size,
                actual: reader.size(),
            });
        }
        Ok(reader)
    }

    /// Reads a whole blob of at most `max` bytes, verified.
    ///
    /// Errors: [`Error::TooLarge`], [`Error::DigestMismatch`] and those of
    /// [`Blobs::open`].
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>> {
        let reader = self.open(digest)?;
        if reader.size() > max {
            return Err(Error::TooLarge {
                digest: digest.clone(),
                limit: max,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size()).unwrap_or(0));
        let mut file = reader.into_file().take(max.saturating_add(1));
        file.read_to_end(&mut bytes)
            .at("read", &self.path(digest))?;
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(Error::DigestMismatch {
                expected: digest.clone(),
                actual,
            });
        }
        Ok(bytes)
    }

    /// Stores bytes and gives their SHA-256 digest. Nothing is written when
    /// they are there already (their age for the garbage collection starts
    /// anew).
    ///
    /// Errors: I/O errors.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        let digest = hasher.finish();
        match self.writer(&digest, bytes.len() as u64)? {
            Ingest::Present => {}
            Ingest::Writer(mut writer) => {
                writer.restart()?;
                writer.write_bytes(bytes)?;
                writer.commit()?;
            }
        }
        Ok(digest)
    }

    /// Stores a stream of unknown digest and at most `limit` bytes; gives its
    /// SHA-256 digest and size.
    ///
    /// Errors: [`Error::StreamTooLarge`], [`Error::Source`] when `source`
    /// fails, and I/O errors. Nothing stays behind.
    pub fn put_stream(&self, source: &mut dyn std::io::Read, limit: u64) -> Result<(Digest, u64)> {
        ingest::stream(self.store, source, limit)
    }

    /// Begins or resumes the writing of a blob of a known digest and size.
    ///
    /// When another process is writing it, this waits and then finds it
    /// present, or takes over what that process left.
    ///
    /// Errors: I/O errors.
    pub fn writer(&self, digest: &Digest, size: u64) -> Result<Ingest> {
        self.begin(digest, size, Wait::Forever)
    }

    /// Like [`Blobs::writer`], but never waits.
    ///
    /// Errors: [`Error::Busy`] when another process is writing the blob.
    pub fn try_writer(&self, digest: &Digest, size: u64) -> Result<Ingest> {
        self.begin(digest, size, Wait::No)
    }

    fn begin(&self, digest: &Digest, size: u64, wait: Wait) -> Result<Ingest> {
        if self.refresh(digest, size)? {
            return Ok(Ingest::Present);
        }
        let writer = BlobWriter::open(self.store, digest, size, wait)?;
        // The former holder of the lock may have finished it.
        if self.refresh(digest, size)? {
            writer.discard()?;
            return Ok(Ingest::Present);
        }
        Ok(Ingest::Writer(Box::new(writer)))
    }

    /// Whether the blob is there with the right size; if so its age starts
    /// anew, so that a collection that runs now leaves it.
    fn refresh(&self, digest: &Digest, size: u64) -> Result<bool> {
        if self.size(digest)? != Some(size) {
            return Ok(false);
        }
        let path = self.path(digest);
        let file = match self.open_file(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e).at("open", &path),
        };
        file.set_times(FileTimes::new().set_modified(SystemTime::now()))
            .at("touch", &path)?;
        self.store.touch();
        // A collection between open and now may have unlinked it.
        Ok(self.size(digest)? == Some(size))
    }

    fn open_file(&self, path: &std::path::Path) -> std::io::Result<File> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
        std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
    }

    /// Brings blobs to the disk for good, each once.
    ///
    /// Errors: those of open(2) and fsync(2).
    pub fn sync(&self, digests: &[Digest]) -> Result<()> {
        let mut paths: Vec<PathBuf> = digests.iter().map(|digest| self.path(digest)).collect();
        let dirs: Vec<PathBuf> = paths
            .iter()
            .filter_map(|path| Some(path.parent()?.to_path_buf()))
            .collect();
        paths.extend(dirs);
        // The files before their directory.
        let mut done = Vec::new();
        for path in paths {
            if !done.contains(&path) {
                std::fs::File::open(&path)
                    .and_then(|file| file.sync_all())
                    .at("sync", &path)?;
                done.push(path);
            }
        }
        Ok(())
    }

    /// Removes a blob whatever refers to it; `false` when it was not there.
    /// The garbage collection ([`Store::gc`]) is the way that looks first.
    ///
    /// Errors: those of unlink(2).
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).at("remove", &path),
        }
    }

    /// All blobs with their sizes in bytes, in no order. Files whose names are
    /// no digests are left out ([`Store::check`] reports them).
    ///
    /// Errors: I/O errors.
    pub fn list(&self) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        self.walk(&mut |digest, _, meta| {
            if let Some(digest) = digest {
                let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                all.push(Found {
                    digest,
                    size: meta.len(),
                    modified,
                });
            }
        })?;
        Ok(all)
    }

    /// Calls `each` for every file below `blobs/`, with its digest if its name
    /// is one.
    pub(crate) fn walk(
        &self,
        each: &mut dyn FnMut(Option<Digest>, PathBuf, std::fs::Metadata),
    ) -> Result<()> {
        let top = self.store.path("blobs");
        for algorithm in std::fs::read_dir(&top).at("list", &top)? {
            let algorithm = algorithm.at("list", &top)?;
            let dir = algorithm.path();
            if !algorithm.file_type().at("examine", &dir)?.is_dir() {
                each(None, dir.clone(), algorithm.metadata().at("examine", &dir)?);
                continue;
            }
            for entry in std::fs::read_dir(&dir).at("list", &dir)? {
                let entry = entry.at("list", &dir)?;
                let path = entry.path();
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e).at("examine", &path),
                };
                let digest = match (algorithm.file_name().to_str(), entry.file_name().to_str()) {
                    (Some(a), Some(hex)) if meta.is_file() => format!("{a}:{hex}").parse().ok(),
                    _ => None,
                };
                each(digest, path, meta);
            }
        }
        Ok(())
    }
}

/// A blob that [`Blobs::list`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its digest, by its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written or last found useful.
    pub modified: SystemTime,
}
