//! What was fetched before: releases, indexes in their compact form, and
//! packages.
//!
//! Files appear by rename and are named by their hash (releases by their
//! URL's), so any number of processes may share the directory. What is read
//! is checked again: releases by their signature, packages by their hash,
//! indexes by the hashes inside them. A file that fails is as if absent.

use crate::error::{Result, io};
use crate::release::{Promise, hex};
use sha2::{Digest as _, Sha256};
use std::fs::{File, FileTimes};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// After this time an unfinished file belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A cache directory.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// A release as it was fetched, not yet verified again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    /// InRelease, or Release.
    pub(crate) text: Vec<u8>,
    /// Release.gpg, where the text is Release.
    pub(crate) signature: Option<Vec<u8>>,
}

impl Cache {
    /// Opens a cache, making its directories.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        for name in ["release", "index", "pool", "image", "tmp"] {
            let path = directory.join(name);
            std::fs::create_dir_all(&path).map_err(io(&path, "create"))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// A new file that is to be put into the cache, or to be thrown away.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile> {
        let path = self.directory.join("tmp");
        tempfile::Builder::new()
            .prefix("")
            .tempfile_in(&path)
            .map_err(io(path, "create a file in"))
    }

    /// A file without a name, for data on its way through.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn anonymous(&self) -> Result<File> {
        let path = self.directory.join("tmp");
        tempfile::tempfile_in(&path).map_err(io(path, "create a file in"))
    }

    /// Gives a file its name, and hands it back standing at its start.
    fn publish(&self, file: NamedTempFile, path: &Path) -> Result<File> {
        let mut file = file.persist(path).map_err(|e| io(path, "write")(e.error))?;
        file.rewind().map_err(io(path, "read"))?;
        Ok(file)
    }

    fn release_path(&self, url: &str) -> PathBuf {
        let name: String = hex(&Sha256::digest(url.as_bytes()))
            .chars()
            .take(32)
            .collect();
        self.directory.join("release").join(name)
    }

    /// A release and how old it is. `None` where there is none.
    pub(crate) fn release(&self, url: &str) -> Option<(Signed, Duration)> {
        let path = self.release_path(url);
        let bytes = std::fs::read(&path).ok()?;
        let modified = std::fs::metadata(&path).and_then(|m| m.modified()).ok()?;
        let age = SystemTime::now()
            .duration_since(modified)
            .unwrap_or_default();
        let (length, rest) = bytes.split_at_checked(8)?;
        let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (text, signature) = rest.split_at_checked(length)?;
        let signed = Signed {
            text: text.to_vec(),
            signature: (!signature.is_empty()).then(|| signature.to_vec()),
        };
        Some((signed, age))
    }

    /// Keeps a release.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_release(&self, url: &str, signed: &Signed) -> Result<()> {
        let path = self.release_path(url);
        let mut file = self.temporary()?;
        let length = (signed.text.len() as u64).to_le_bytes();
        let signature = signed.signature.as_deref().unwrap_or_default();
        for part in [length.as_slice(), &signed.text, signature] {
            file.write_all(part).map_err(io(&path, "write"))?;
        }
        self.publish(file, &path)?;
        Ok(())
    }

    /// Marks a release as fresh: the archive still has the same.
    pub(crate) fn freshen_release(&self, url: &str) {
        touch(&self.release_path(url));
    }

    fn index_path(&self, key: &[u8; 32]) -> PathBuf {
        self.directory.join("index").join(hex(key))
    }

    /// A compact index, by the hash that the release promises.
    pub(crate) fn index(&self, key: &[u8; 32]) -> Option<File> {
        let path = self.index_path(key);
        let file = File::open(&path).ok()?;
        touch(&path);
        Some(file)
    }

    /// Keeps a compact index.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_index(&self, key: &[u8; 32], compact: &[u8]) -> Result<File> {
        let path = self.index_path(key);
        let mut file = self.temporary()?;
        file.write_all(compact).map_err(io(&path, "write"))?;
        self.publish(file, &path)
    }

    /// Throws all indexes away: one of them is damaged.
    pub(crate) fn forget_indexes(&self) {
        for (path, _, _) in files(&self.directory.join("index")) {
            let _gone_anyway = std::fs::remove_file(path);
        }
    }

    fn package_path(&self, sha256: &[u8; 32]) -> PathBuf {
        self.directory
            .join("pool")
            .join(format!("{}.deb", hex(sha256)))
    }

    /// A package, if it is there and still what was promised.
    pub(crate) fn package(&self, promise: &Promise) -> Option<File> {
        let path = self.package_path(&promise.sha256);
        let mut file = File::open(&path).ok()?;
        if check(&mut file, promise).is_err() {
            let _gone_anyway = std::fs::remove_file(&path);
            return None;
        }
        touch(&path);
        Some(file)
    }

    /// Keeps a package whose hash was checked.
    ///
    /// # Errors
    /// It cannot be moved.
    pub(crate) fn keep_package(&self, promise: &Promise, file: NamedTempFile) -> Result<File> {
        self.publish(file, &self.package_path(&promise.sha256))
    }

    /// What was made of a set of packages before: a small text.
    pub(crate) fn result(&self, key: &[u8; 32]) -> Option<String> {
        std::fs::read_to_string(self.directory.join("image").join(hex(key))).ok()
    }

    /// Keeps what was made of a set of packages.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_result(&self, key: &[u8; 32], text: &str) -> Result<()> {
        let path = self.directory.join("image").join(hex(key));
        let mut file = self.temporary()?;
        file.write_all(text.as_bytes())
            .map_err(io(&path, "write"))?;
        self.publish(file, &path)?;
        Ok(())
    }

    /// Removes what was not used for longest until at most `limit` bytes
    /// are left, and what dead processes left behind. Nothing that goes
    /// wrong here matters.
    pub(crate) fn prune(&self, limit: u64) {
        let mut all = Vec::new();
        for name in ["index", "pool"] {
            all.extend(files(&self.directory.join(name)));
        }
        all.sort_by_key(|(_, modified, _)| std::cmp::Reverse(*modified));
        let mut total = 0u64;
        for (path, _, size) in all {
            total = total.saturating_add(size);
            if total > limit {
                let _gone_anyway = std::fs::remove_file(path);
            }
        }
        for (path, modified, _) in files(&self.directory.join("tmp")) {
            if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _gone_anyway = std::fs::remove_file(path);
            }
        }
    }
}

fn touch(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _only_for_pruning = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}

fn files(directory: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((entry.path(), meta.modified().ok()?, meta.len()))
        })
        .collect()
}

/// Whether a file is what was promised; afterwards it stands at its start.
///
/// # Errors
/// What was found instead, in words.
pub(crate) fn check(file: &mut File, promise: &Promise) -> Result<(), String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0u64;
    file.rewind().map_err(|e| e.to_string())?;
    loop {
        let n = file.read(&mut buffer).map_err(|e| e.to_string())?;
        if n == 0 {
            break;
        }
        total += n as u64;
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
    file.rewind().map_err(|e| e.to_string())?;
    compare(total, hasher.finalize().into(), promise)
}

/// Compares what came with what was promised.
///
/// # Errors
/// Both in words.
pub(crate) fn compare(size: u64, sha256: [u8; 32], promise: &Promise) -> Result<(), String> {
    if size != promise.size {
        return Err(format!(
            "has {size} bytes, where {} were promised",
            promise.size
        ));
    }
    if sha256 != promise.sha256 {
        return Err(format!(
            "has the SHA-256 {}, where {} was promised",
            hex(&sha256),
            hex(&promise.sha256)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(cache: &Cache, bytes: &[u8]) -> Promise {
        let promise = Promise {
            size: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
        };
        let mut file = cache.temporary().unwrap();
        file.write_all(bytes).unwrap();
        cache.keep_package(&promise, file).unwrap();
        promise
    }

    #[test]
    fn keeps_and_checks() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("deb")).unwrap();
        let promise = package(&cache, b"content");
        let mut text = String::new();
        cache
            .package(&promise)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "content");
        std::fs::write(cache.package_path(&promise.sha256), "Content").unwrap();
        assert!(cache.package(&promise).is_none(), "damage is noticed");
        assert!(!cache.package_path(&promise.sha256).exists());

        for signature in [None, Some(b"sig".to_vec())] {
            let signed = Signed {
                text: b"text".to_vec(),
                signature,
            };
            cache.keep_release("http://a", &signed).unwrap();
            let (read, age) = cache.release("http://a").unwrap();
            assert!(read == signed && age < Duration::from_secs(60));
        }
        assert!(cache.release("http://b").is_none());
        std::fs::write(
            cache.release_path("http://a"),
            b"\xff\xff\xff\xff\xff\xff\xff\xffx",
        )
        .unwrap();
        assert!(cache.release("http://a").is_none());

        assert!(cache.index(&[1; 32]).is_none());
        cache.keep_index(&[1; 32], b"x").unwrap();
        assert!(cache.index(&[1; 32]).is_some());
        cache.keep_result(&[2; 32], "digest").unwrap();
        assert_eq!(cache.result(&[2; 32]).unwrap(), "digest");
        assert_eq!(files(&dir.path().join("deb/tmp")).len(), 0);
    }

    #[test]
    fn prunes_what_was_used_longest_ago() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (old, new) = (
            package(&cache, b"1234567890"),
            package(&cache, b"abcdefghij"),
        );
        let past = SystemTime::now() - Duration::from_secs(1000);
        let set = |path: &Path, time| {
            File::open(path)
                .unwrap()
                .set_times(FileTimes::new().set_modified(time))
                .unwrap();
        };
        set(&cache.package_path(&old.sha256), past);
        let left = dir.path().join("tmp/left");
        std::fs::write(&left, "").unwrap();
        set(&left, past - ABANDONED);
        cache.prune(20);
        assert!(cache.package(&new).is_some() && !left.exists());
        set(&cache.package_path(&old.sha256), past);
        cache.prune(15);
        assert!(cache.package(&old).is_none() && cache.package(&new).is_some());
    }
}
