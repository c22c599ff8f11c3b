//! How much a tree takes on the disk.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;

use crate::error::{At, Result};

/// Space and files of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes allocated on the disk.
    pub bytes: u64,
    /// Files, directories and all else.
    pub inodes: u64,
}

/// Adds up the tree below `top`, each inode once. What vanishes meanwhile, and
/// what lies deeper than a path can name, is left out.
pub(crate) fn tree(top: &Path) -> Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = openat(rustix::fs::CWD, top, flags, Mode::empty()).at("open", top)?;
    let mut usage = Usage::default();
    let mut links = BTreeSet::new();
    let mut queue = vec![PathBuf::from(".")];
    while let Some(path) = queue.pop() {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL);
        let name = name.at("open", &path)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let dir = match openat2(&root, &name, flags, Mode::empty(), resolve) {
            Ok(dir) => dir,
            Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::XDEV
                | Errno::ACCESS
                | Errno::AGAIN,
            ) => continue,
            Err(e) => return Err(e).at("open", top.join(&path)),
        };
        for entry in Dir::read_from(&dir).at("list", top.join(&path))? {
            let entry = entry.at("list", top.join(&path))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = match statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e).at("examine", top.join(&path)),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                queue.push(path.join(OsStr::from_bytes(name.to_bytes())));
            } else if stat.st_nlink > 1 && !links.insert(stat.st_ino) {
                continue;
            }
            usage.inodes = usage.inodes.saturating_add(1);
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            usage.bytes = usage.bytes.saturating_add(blocks.saturating_mul(512));
        }
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let usage = tree(dir.path()).unwrap();
        assert_eq!(usage.inodes, 3);
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");
        assert!(tree(&dir.path().join("absent")).is_err());
    }
}
