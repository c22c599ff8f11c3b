//! A cgroup directory that was checked to be one. Every read and write goes
//! through such a descriptor, never through a path string, so that nothing
//! mounted or linked over the path can take a write elsewhere (the class of
//! CVE-2019-16884 and CVE-2025-52881).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// `CGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC_V1: u64 = 0x0027_e0eb;
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const MAGIC_V2: u64 = 0x6367_7270;
/// More than any control file of the kernel holds, `cgroup.procs` of a busy
/// root included.
const MAX_FILE: usize = 16 << 20;

/// Which file system a directory must be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// cgroup, version 1.
    V1,
    /// cgroup2.
    V2,
    /// An ordinary directory in a test.
    #[cfg(test)]
    Plain,
}

/// An open, verified cgroup directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: String,
    #[cfg_attr(not(test), allow(dead_code))]
    kind: Kind,
}

impl Dir {
    /// Opens `path` (a mount point or below one) and checks its file system.
    pub(crate) fn open(path: &str, kind: Kind) -> Result<Self> {
        let open = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(open)?;
        let magic = rustix::fs::fstatfs(&fd).map_err(open)?.f_type as u64;
        let right = match kind {
            Kind::V1 => magic == MAGIC_V1,
            Kind::V2 => magic == MAGIC_V2,
            #[cfg(test)]
            Kind::Plain => true,
        };
        if !right {
            return Err(Error::NotCgroup {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            fd,
            path: path.to_owned(),
            kind,
        })
    }

    /// Opens the directory at `inner`, which has no leading slash, below this
    /// one on the same mount: what is mounted there is an error (`EXDEV`).
    pub(crate) fn below(&self, inner: &str) -> Result<Self> {
        let path = self.join(inner);
        let fd = rustix::fs::openat2(
            &self.fd,
            inner,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )
        .map_err(|source| Error::Open {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            fd,
            path,
            kind: self.kind,
        })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The path of something in this directory, for messages.
    pub(crate) fn join(&self, name: &str) -> String {
        format!("{}/{name}", self.path.trim_end_matches('/'))
    }

    /// Makes one directory; `Ok(false)` if it was there. `inner` may have
    /// several components, of which all but the last exist.
    pub(crate) fn mkdir(&self, inner: &str) -> Result<bool, Errno> {
        match rustix::fs::mkdirat(&self.fd, inner, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Removes one directory below this one.
    pub(crate) fn rmdir(&self, inner: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.fd, inner, AtFlags::REMOVEDIR)
    }

    /// Opens a control file. `name` is a file name without slashes.
    pub(crate) fn open_file(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let open = |source| Error::Open {
            path: self.join(name),
            source,
        };
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(open(Errno::INVAL));
        }
        #[cfg(test)]
        let flags = if self.kind == Kind::Plain && flags.intersects(OFlags::WRONLY) {
            flags | OFlags::TRUNC
        } else {
            flags
        };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
                Err(Errno::INTR) => {}
                other => return other.map_err(open),
            }
        }
    }

    /// Reads a whole control file.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let fd = self.open_file(name, OFlags::RDONLY)?;
        let bytes = read_all(&fd).map_err(|source| Error::Read {
            path: self.join(name),
            source,
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Dir::read`], with `None` for a file that does not exist.
    pub(crate) fn read_if_exists(&self, name: &str) -> Result<Option<String>> {
        match self.read(name) {
            Err(Error::Open {
                source: Errno::NOENT,
                ..
            }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// A file with one number in it; `max` counts as the largest.
    pub(crate) fn read_number(&self, name: &str) -> Result<u64> {
        let text = self.read(name)?;
        let text = text.trim();
        if text == "max" {
            return Ok(u64::MAX);
        }
        // Version 1 prints some "no limit" values as negative numbers.
        if text == "-1" {
            return Ok(u64::MAX);
        }
        text.parse().map_err(|_| self.malformed(name, text))
    }

    /// The number after `key` in a file of `key number` lines.
    pub(crate) fn read_key(&self, name: &str, key: &str) -> Result<Option<u64>> {
        let text = self.read(name)?;
        Ok(crate::stats::parse::pairs(&text)
            .find(|(k, _)| *k == key)
            .map(|(_, v)| v))
    }

    /// An error that shows what a file said.
    pub(crate) fn malformed(&self, name: &str, text: &str) -> Error {
        Error::Malformed {
            path: self.join(name),
            text: text.chars().take(80).collect(),
        }
    }

    /// Writes `value` in one write(2), as the control files demand.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<()> {
        let fd = self.open_file(name, OFlags::WRONLY)?;
        self.write_fd(&fd, name, value)
    }

    /// Writes `value` to the already open control file `name`.
    pub(crate) fn write_fd(&self, fd: &OwnedFd, name: &str, value: &str) -> Result<()> {
        let failed = |source| Error::Write {
            path: self.join(name),
            value: value.to_owned(),
            source,
        };
        loop {
            match rustix::io::write(fd, value.as_bytes()) {
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed(e)),
                Ok(n) if n == value.len() => return Ok(()),
                Ok(_) => return Err(failed(Errno::IO)),
            }
        }
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.fd, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// The names of the cgroups directly below.
    pub(crate) fn children(&self) -> Result<Vec<String>> {
        let failed = |source| Error::Read {
            path: self.path.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name: &CStr = entry.file_name();
            if entry.file_type() == rustix::fs::FileType::Directory
                && !matches!(name.to_bytes(), b"." | b"..")
                && let Ok(name) = name.to_str()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// Reads a descriptor to its end, within a bound.
pub(crate) fn read_all(fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0u8; 4096];
    let mut filled = 0;
    loop {
        let Some(space) = bytes.get_mut(filled..) else {
            return Err(Errno::IO);
        };
        match rustix::io::read(fd, space) {
            Ok(0) => {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            Ok(n) => filled += n,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e),
        }
        if filled == bytes.len() {
            if filled >= MAX_FILE {
                return Err(Errno::FBIG);
            }
            bytes.resize(filled * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_no_cgroup() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().to_str().unwrap();
        for kind in [Kind::V1, Kind::V2] {
            assert!(matches!(
                Dir::open(path, kind),
                Err(Error::NotCgroup { .. })
            ));
        }
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("in")).unwrap();
        std::fs::write(temp.path().join("out"), "secret").unwrap();
        std::os::unix::fs::symlink("../out", temp.path().join("in/link")).unwrap();
        std::os::unix::fs::symlink("..", temp.path().join("in/up")).unwrap();
        let dir = Dir::open(temp.path().join("in").to_str().unwrap(), Kind::Plain).unwrap();
        for name in ["../out", "", "..", "link", "up/out"] {
            assert!(dir.read(name).is_err(), "{name}");
        }
        for inner in ["../in", "up", "up/in", "/"] {
            assert!(dir.below(inner).is_err(), "{inner}");
        }
    }

    #[test]
    fn reads_more_than_one_buffer() {
        let temp = tempfile::tempdir().unwrap();
        let text = "12345\n".repeat(5000);
        std::fs::write(temp.path().join("cgroup.procs"), &text).unwrap();
        let dir = Dir::open(temp.path().to_str().unwrap(), Kind::Plain).unwrap();
        assert_eq!(dir.read("cgroup.procs").unwrap(), text);
    }
}
