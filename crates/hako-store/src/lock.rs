//! Locks that die with their holder: flock(2) on a file or directory that is
//! named after what it guards.
//!
//! A name can change its inode while one waits for the lock (the former holder
//! renamed the finished file away, or the garbage collection unlinked it), so a
//! lock counts only when the path still names the inode that was locked.
//!
//! Invariant: no SQLite transaction is open while one waits here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// What to do when somebody else holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Wait until it is free.
    Forever,
    /// Do not wait.
    No,
}

/// Locks the file at `path` exclusively, making it (mode 0600) when it is
/// missing. `None`: somebody else holds it and `wait` is [`Wait::No`].
///
/// Errors: those of open(2) and flock(2).
pub fn file(path: &Path, wait: Wait) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    named(path, wait, FlockOperation::LockExclusive, |path| {
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
    })
    .map(|fd| fd.map(File::from))
}

/// Like [`file`], but a missing file is an error (`ENOENT`) and is not made.
pub fn existing_file(path: &Path, wait: Wait) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    named(path, wait, FlockOperation::LockExclusive, |path| {
        rustix::fs::open(path, flags, Mode::empty())
    })
    .map(|fd| fd.map(File::from))
}

/// Like [`file`], but the lock is shared with other callers of this function.
pub fn shared_file(path: &Path, wait: Wait) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    named(path, wait, FlockOperation::LockShared, |path| {
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
    })
    .map(|fd| fd.map(File::from))
}

/// Locks the directory at `path` exclusively, making it (mode 0700) when it is
/// missing and `create` is true.
///
/// Errors: those of mkdir(2), open(2) and flock(2).
pub fn directory(path: &Path, create: bool, wait: Wait) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    named(path, wait, FlockOperation::LockExclusive, |path| {
        loop {
            if create {
                match rustix::fs::mkdir(path, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
            }
            match rustix::fs::open(path, flags, Mode::empty()) {
                // Renamed away between mkdir and open.
                Err(Errno::NOENT) if create => {}
                other => return other,
            }
        }
    })
}

/// Opens and locks until the path names what was locked.
fn named(
    path: &Path,
    wait: Wait,
    kind: FlockOperation,
    open: impl Fn(&Path) -> Result<OwnedFd, Errno>,
) -> io::Result<Option<OwnedFd>> {
    loop {
        let fd = match open(path) {
            Ok(fd) => fd,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        if !flock(&fd, kind, wait)? {
            return Ok(None);
        }
        let held = rustix::fs::fstat(&fd)?;
        match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if there.st_ino == held.st_ino && there.st_dev == held.st_dev => {
                return Ok(Some(fd));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// flock(2); `false` when it is held elsewhere and `wait` is [`Wait::No`].
pub fn flock(fd: impl AsFd, kind: FlockOperation, wait: Wait) -> io::Result<bool> {
    let operation = match (kind, wait) {
        (FlockOperation::LockExclusive, Wait::No) => FlockOperation::NonBlockingLockExclusive,
        (FlockOperation::LockShared, Wait::No) => FlockOperation::NonBlockingLockShared,
        (other, _) => other,
    };
    loop {
        match rustix::fs::flock(&fd, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_renamed_file_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let held = file(&path, Wait::No).unwrap().unwrap();
        assert!(file(&path, Wait::No).unwrap().is_none());
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || file(&path, Wait::Forever).unwrap().unwrap()
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::rename(&path, dir.path().join("b")).unwrap();
        drop(held);
        drop(waiting.join().unwrap());
        assert!(path.exists(), "the waiter made a file of its own");
    }

    #[test]
    fn a_missing_file_is_not_made_by_the_wrong_function() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let error = existing_file(&path, Wait::Forever).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
    }
}
