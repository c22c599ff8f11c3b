//! Files of a directory, opened by `openat2` so that no symlink, mount magic or
//! `..` leads out of it (attacks 18).

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::files::{Files, is_plain};
use crate::error::{Error, Result};

/// An open directory.
pub(crate) struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Error::File {
            path: path.to_owned(),
            file: "the directory".to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }
}

impl Files for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, file: &str) -> std::io::Result<(Box<dyn Read + Send>, u64)> {
        if !is_plain(file) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not a plain path",
            ));
        }
        // O_NONBLOCK: a FIFO must not hold us up before we see that it is one.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        let fd = loop {
            match rustix::fs::openat2(&self.fd, file, flags, Mode::empty(), resolve) {
                // openat2(2): a rename somewhere raced with the resolution.
                Err(rustix::io::Errno::AGAIN) if tries < 16 => tries += 1,
                result => break result?,
            }
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok((Box::new(std::fs::File::from(fd)), size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("secret");
        std::fs::write(&outside, "secret").unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a"), "a").unwrap();
        for (name, to) in [
            ("inside", "a"),
            ("absolute", outside.to_str().unwrap()),
            ("parent", "../secret"),
            ("proc", "/proc/self/environ"),
        ] {
            std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        }
        let fifo = rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        );
        fifo.unwrap();
        let files = Directory::open(&root).unwrap();
        assert_eq!(files.read("a", 9).unwrap(), b"a");
        assert_eq!(files.read("inside", 9).unwrap(), b"a");
        for bad in [
            "absolute",
            "parent",
            "proc",
            "fifo",
            ".",
            "",
            "../secret",
            "./a",
            "x",
            "/etc/passwd",
        ] {
            assert!(files.read(bad, 9).is_err(), "{bad}");
        }
        assert!(matches!(files.read("a", 0), Err(Error::Layout { .. })));
    }
}
