//! Copying a tree of ours, for machines without overlayfs: contents by reflink
//! or in the kernel where the file system can, holes, hard links, owners,
//! modes, xattrs and times as they are.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec,
    Timestamps, Uid, XattrFlags, chmodat, chownat, copy_file_range, fstat, ftruncate, getxattr,
    ioctl_ficlone, linkat, listxattr, mkdirat, mknodat, openat, openat2, readlinkat, seek,
    setxattr, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::{At, Result};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Copies what is in the directory `from` into the empty directory `to`, and
/// the attributes of `from` itself.
pub(crate) fn tree(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Copy {
        from: openat(CWD, from, DIRECTORY, Mode::empty()).at("open", from)?,
        to: openat(CWD, to, DIRECTORY, Mode::empty()).at("open", to)?,
        links: BTreeMap::new(),
    };
    let mut queue = vec![PathBuf::from(".")];
    let mut done = Vec::new();
    while let Some(path) = queue.pop() {
        copy.directory(&path, &mut queue)
            .at("copy", from.join(&path))?;
        done.push(path);
    }
    // Times of directories last, for their contents have changed them.
    for path in done.iter().rev() {
        copy.finish(path).at("copy", from.join(path))?;
    }
    Ok(())
}

/// Copies owner, mode, xattrs and times of one directory to another, but
/// nothing that is overlayfs's own.
pub(crate) fn root_attributes(from: &Path, to: &Path) -> Result<()> {
    let source = openat(CWD, from, DIRECTORY, Mode::empty()).at("open", from)?;
    let target = openat(CWD, to, DIRECTORY, Mode::empty()).at("open", to)?;
    attributes(source.as_fd(), target.as_fd()).at("set the attributes of", to)
}

struct Copy {
    from: OwnedFd,
    to: OwnedFd,
    /// Where a file with several names was copied first.
    links: BTreeMap<u64, PathBuf>,
}

impl Copy {
    fn open(top: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(top, &name, DIRECTORY, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    fn directory(&mut self, path: &Path, queue: &mut Vec<PathBuf>) -> Result<(), Errno> {
        let (from, to) = (Self::open(&self.from, path)?, Self::open(&self.to, path)?);
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let here = path.join(OsStr::from_bytes(name.to_bytes()));
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mkdirat(&to, name, Mode::RWXU)?;
                queue.push(here);
            } else {
                self.file(from.as_fd(), to.as_fd(), name, &stat, here)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        here: PathBuf,
    ) -> Result<(), Errno> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                let parent = Self::open(&self.to, first.parent().unwrap_or(Path::new(".")))?;
                let base = first.file_name().unwrap_or_default();
                return linkat(&parent, base, to, name, AtFlags::empty());
            }
            self.links.insert(stat.st_ino, here);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = openat(from, name, read, Mode::empty())?;
                let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let target = openat(to, name, new, Mode::RUSR | Mode::WUSR)?;
                contents(&source, &target, stat)?;
            }
            FileType::Symlink => {
                symlinkat(&*readlinkat(from, name, Vec::new())?, to, name)?;
            }
            FileType::Socket => return Ok(()),
            _ => mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
        }
        let node = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = openat(from, name, node, Mode::empty())?;
        let target = openat(to, name, node, Mode::empty())?;
        attributes(source.as_fd(), target.as_fd())
    }

    fn finish(&self, path: &Path) -> Result<(), Errno> {
        let (from, to) = (Self::open(&self.from, path)?, Self::open(&self.to, path)?);
        attributes(from.as_fd(), to.as_fd())
    }
}

/// Shares the blocks, or copies the data between the holes.
fn contents(source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    if ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut at = 0;
    while at < size {
        let start = match seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e),
        };
        let end = seek(source, SeekFrom::Hole(start))?;
        range(source, target, start, end)?;
        at = end;
    }
    ftruncate(target, size)
}

fn range(source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let (mut from, mut to) = (start, start);
    let mut buffer = Vec::new();
    while from < end {
        let want = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), want) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                buffer.resize(128 << 10, 0);
                let room = want.min(buffer.len());
                let n =
                    rustix::io::pread(source, buffer.get_mut(..room).unwrap_or_default(), from)?;
                let mut data = buffer.get(..n).unwrap_or_default();
                if data.is_empty() {
                    return Ok(());
                }
                while !data.is_empty() {
                    let n = rustix::io::pwrite(target, data, to)?;
                    data = data.get(n..).unwrap_or_default();
                    from = from.saturating_add(n as u64);
                    to = to.saturating_add(n as u64);
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Owner, mode, xattrs and times, between descriptors of any kind.
fn attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = fstat(source)?;
    let now = fstat(target)?;
    if (stat.st_uid, stat.st_gid) != (now.st_uid, now.st_gid) {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(target, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    let (from, to) = (magic(source), magic(target));
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmodat(
            CWD,
            &to,
            Mode::from_raw_mode(stat.st_mode & 0o7777),
            AtFlags::empty(),
        )?;
    }
    for name in names(&from)? {
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let bytes = name.to_bytes();
        if bytes.starts_with(b"trusted.overlay.")
            || bytes.starts_with(b"user.overlay.")
            || bytes == b"security.selinux"
        {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let n = match getxattr(&from, &name, &mut value) {
            Ok(n) => n,
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(e) => return Err(e),
        };
        match setxattr(
            &to,
            &name,
            value.get(..n).unwrap_or_default(),
            XattrFlags::empty(),
        ) {
            // As when the layer was unpacked: what cannot be had here is left out.
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {}
            Err(e) => return Err(e),
        }
    }
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    utimensat(target, "", &times, AtFlags::EMPTY_PATH)
}

/// The path of an open file, for the calls that refuse `O_PATH` descriptors.
fn magic(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn names(path: &str) -> Result<Vec<Vec<u8>>, Errno> {
    // The largest list that Linux gives (XATTR_LIST_MAX).
    let mut list = vec![0u8; 64 << 10];
    let n = match listxattr(path, &mut list) {
        Ok(n) => n,
        Err(Errno::NOTSUP) => 0,
        Err(e) => return Err(e),
    };
    let list = list.get(..n).unwrap_or_default();
    Ok(list
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt};

    #[test]
    fn everything_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/file"), "text").unwrap();
        std::fs::set_permissions(from.join("a/b/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        std::fs::hard_link(from.join("a/b/file"), from.join("again")).unwrap();
        std::os::unix::fs::symlink("nowhere", from.join("link")).unwrap();
        std::os::unix::fs::chown(from.join("a"), Some(12), Some(34)).expect("this test needs root");
        setxattr(from.join("a"), "trusted.x", b"v", XattrFlags::empty()).unwrap();
        mknodat(CWD, from.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let sparse = std::fs::File::create(from.join("sparse")).unwrap();
        sparse.set_len(50 << 20).unwrap();
        sparse.write_at(b"x", 20 << 20).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5);
        for name in ["a/b/file", "a"] {
            let file = std::fs::File::open(from.join(name)).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(old))
                .unwrap();
        }
        tree(&from, &to).unwrap();
        let meta = |name: &str| to.join(name).symlink_metadata().unwrap();
        assert_eq!(std::fs::read_to_string(to.join("again")).unwrap(), "text");
        assert_eq!(meta("a/b/file").ino(), meta("again").ino());
        assert_eq!(meta("a/b/file").mode() & 0o7777, 0o4751);
        assert_eq!((meta("a").uid(), meta("a").gid()), (12, 34));
        assert_eq!(meta("a").modified().unwrap(), old);
        assert_eq!(meta("a/b/file").modified().unwrap(), old);
        let mut value = [0; 8];
        assert_eq!(getxattr(to.join("a"), "trusted.x", &mut value).unwrap(), 1);
        assert_eq!(
            std::fs::read_link(to.join("link")).unwrap(),
            Path::new("nowhere")
        );
        assert_eq!(meta("sparse").len(), 50 << 20);
        assert!(meta("sparse").blocks() < 2000, "holes stay holes");
        assert!(FileType::from_raw_mode(meta("pipe").mode()) == FileType::Fifo);
        let text = std::fs::read(to.join("sparse")).unwrap();
        assert!(text[20 << 20] == b'x' && text.iter().filter(|b| **b != 0).count() == 1);
    }
}
