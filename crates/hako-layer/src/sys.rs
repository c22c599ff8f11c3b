//! The few ways in which this crate asks the kernel for files: always by a
//! directory's descriptor and one name (or a path without symlinks) in it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, Timespec, Timestamps,
    XattrFlags,
};
use rustix::io::Errno;

/// Nothing is followed, and nothing outside of the directory is reached.
const STRICT: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Opens a file or directory below `dir`; a symlink anywhere is `ELOOP`.
pub(crate) fn open(dir: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    // EAGAIN: the tree was renamed meanwhile (openat2(2)).
    loop {
        match rustix::fs::openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::empty(), STRICT) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens a directory below `dir` with `O_PATH`; a symlink is `ELOOP`, another
/// file `ENOTDIR`.
pub(crate) fn open_dir(dir: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(dir, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens whatever `name` is, a symlink included, with `O_PATH`.
pub(crate) fn open_node(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

pub(crate) fn stat(dir: impl AsFd, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The status of an open file, `O_PATH` ones included.
pub(crate) fn fstat(fd: impl AsFd) -> Result<Stat, Errno> {
    rustix::fs::fstat(fd)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Overlayfs's mark of a deleted file.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(crate) fn perm(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// A path that names the very file which is open, for the calls that refuse
/// `O_PATH` descriptors. It is a magic link into our own process, not a name in
/// the tree.
pub(crate) fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

pub(crate) fn chmod(fd: impl AsFd, mode: u32) -> Result<(), Errno> {
    rustix::fs::chmodat(CWD, proc_path(fd), perm(mode), AtFlags::empty())
}

pub(crate) fn chown(fd: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(uid),
        rustix::fs::Gid::from_raw(gid),
    );
    rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

pub(crate) fn set_times(fd: impl AsFd, times: &Timestamps) -> Result<(), Errno> {
    rustix::fs::utimensat(fd, "", times, AtFlags::EMPTY_PATH)
}

pub(crate) fn set_xattr(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::setxattr(proc_path(fd), name, value, XattrFlags::empty())
}

pub(crate) fn remove_xattr(fd: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    rustix::fs::removexattr(proc_path(fd), name)
}

/// An xattr's value, `None` if there is none or it cannot be had.
pub(crate) fn xattr(fd: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    // The largest value that Linux allows (XATTR_SIZE_MAX).
    let mut value = Vec::with_capacity(256);
    loop {
        match rustix::fs::getxattr(
            proc_path(&fd),
            name,
            rustix::buffer::spare_capacity(&mut value),
        ) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() < 64 << 10 => value.reserve(64 << 10),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// The names of a file's xattrs.
pub(crate) fn xattr_names(fd: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = Vec::with_capacity(1024);
    loop {
        match rustix::fs::listxattr(proc_path(&fd), rustix::buffer::spare_capacity(&mut list)) {
            Ok(_) => break,
            Err(Errno::RANGE) if list.capacity() < 64 << 10 => list.reserve(64 << 10),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(list
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// The names in a directory, of which `dir` may be an `O_PATH` descriptor.
pub(crate) fn list(dir: impl AsFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let fd = open(dir, b"", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(found)
}

/// The times of a file, to be given to it again.
pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    let spec = |secs, nanos: u64| Timespec {
        tv_sec: secs,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// A borrowed descriptor's directory, opened anew with `O_PATH`.
pub(crate) fn reopen(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_dir(dir, b"")
}
