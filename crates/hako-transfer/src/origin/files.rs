//! Files by relative path, in a directory or in an archive.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A tree of files that nothing in it can lead out of.
pub(crate) trait Files: Send + Sync {
    /// What the user calls it, for error texts.
    fn path(&self) -> &Path;

    /// Opens a regular file and tells its size.
    fn open(&self, file: &str) -> std::io::Result<(Box<dyn Read + Send>, u64)>;

    /// Reads a small file.
    fn read(&self, file: &str, limit: u64) -> Result<Vec<u8>> {
        let failed = |source| Error::File {
            path: self.path().to_owned(),
            file: file.to_owned(),
            source,
        };
        let (reader, size) = self.open(file).map_err(failed)?;
        if size > limit {
            return Err(self.refuse(format!("{file} is longer than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        reader.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Opens a file, with an error that names it.
    fn stream(&self, file: &str) -> Result<(Box<dyn Read + Send>, u64)> {
        self.open(file).map_err(|source| Error::File {
            path: self.path().to_owned(),
            file: file.to_owned(),
            source,
        })
    }

    /// An error that says what is wrong with the tree.
    fn refuse(&self, reason: String) -> Error {
        Error::Layout {
            path: PathBuf::from(self.path()),
            reason,
        }
    }
}

/// A relative path without tricks: no empty, `.` or `..` component, no NUL.
pub(crate) fn is_plain(file: &str) -> bool {
    !file.contains('\0')
        && file.len() <= 4096
        && file.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
