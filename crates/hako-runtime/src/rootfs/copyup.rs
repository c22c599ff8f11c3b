//! `tmpcopyup`: a new tmpfs starts with what the image has at its destination.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::mount::{HERE, reopen_dir};
use crate::error::{Context, Result};

/// Depth of directories that are copied; deeper ones are an error.
const MAX_DEPTH: u32 = 256;

/// Copies the directory `from` (a handle) into the directory `to`.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let from = reopen_dir(from)?;
    let to = reopen_dir(to)?;
    tree(from.as_fd(), to.as_fd(), 0)
}

fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        item(from, to, name, depth).context(|| name.to_string_lossy().into_owned())?;
    }
    let meta = rustix::fs::statat(from, HERE, AtFlags::EMPTY_PATH)?;
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(meta.st_uid)),
        Some(Gid::from_raw(meta.st_gid)),
    )?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(meta.st_mode & 0o7777))?;
    Ok(())
}

fn item(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &std::ffi::CStr, depth: u32) -> Result<()> {
    let meta = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(meta.st_mode & 0o7777);
    let owner = (
        Some(Uid::from_raw(meta.st_uid)),
        Some(Gid::from_raw(meta.st_gid)),
    );
    match FileType::from_raw_mode(meta.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let a = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let b = rustix::fs::openat(to, name, flags, Mode::empty())?;
            return tree(a.as_fd(), b.as_fd(), depth + 1);
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let a = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let b = rustix::fs::openat(to, name, flags, Mode::RWXU)?;
            while rustix::fs::sendfile(&b, &a, None, 1 << 20)? > 0 {}
            rustix::fs::fchown(&b, owner.0, owner.1)?;
            rustix::fs::fchmod(&b, mode)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
            rustix::fs::chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        kind => {
            rustix::fs::mknodat(to, name, kind, mode, meta.st_rdev)?;
            rustix::fs::chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: meta.st_atime,
            tv_nsec: meta.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: meta.st_mtime,
            tv_nsec: meta.st_mtime_nsec as _,
        },
    };
    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
