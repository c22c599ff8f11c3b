//! Deleting trees that a container wrote: modes that forbid it, immutable
//! files, names of any bytes, depth without end. Never through a symlink and
//! never into another mount.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hako_store::random;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, fchmod, ioctl_getflags,
    ioctl_setflags, openat, openat2, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{At, Result};

/// Directories held open at a time; what is deeper is moved up first.
const DEPTH: usize = 64;

/// Deletes all that is in the directory `path`; no directory there is fine.
///
/// Goes on after an error and gives the first one.
pub(crate) fn contents(path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let top = match openat(CWD, path, flags, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e).at("open", path),
    };
    // Each pass also deletes what the one before moved up.
    loop {
        let mut pass = Pass {
            top: top.as_fd(),
            moved: false,
        };
        pass.empty(top.as_fd(), 0).at("delete a file below", path)?;
        if !pass.moved {
            return Ok(());
        }
    }
}

struct Pass<'a> {
    top: BorrowedFd<'a>,
    moved: bool,
}

impl Pass<'_> {
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
        let mut first = Ok(());
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let done = match entry.file_type() {
                FileType::Directory => self.directory(dir, name, depth),
                _ => remove(dir, name, AtFlags::empty()),
            };
            first = first.and(done);
        }
        first
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        depth: usize,
    ) -> Result<(), Errno> {
        if depth >= DEPTH {
            let up = random::name().map_err(|_| Errno::IO)?;
            let up = CString::new(up).map_err(|_| Errno::INVAL)?;
            self.moved = true;
            return renameat(parent, name, self.top, &up);
        }
        let dir = match enter(parent, name) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e),
        };
        let emptied = self.empty(dir.as_fd(), depth + 1);
        drop(dir);
        match remove(parent, name, AtFlags::REMOVEDIR) {
            // Its contents say more.
            Err(Errno::NOTEMPTY) => emptied.and(Err(Errno::NOTEMPTY)),
            other => other,
        }
    }
}

/// Opens a directory for emptying it, whatever its mode says.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let open = |flags| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(
                parent,
                name,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    };
    let read = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let dir = match open(read) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open(read)?
        }
        other => other?,
    };
    // Without write and search permission its entries cannot be removed; root
    // has them anyway.
    if !rustix::process::geteuid().is_root() {
        let _ = fchmod(&dir, Mode::RWXU);
    }
    Ok(dir)
}

/// unlinkat(2), after taking away the flags that forbid it when they do.
fn remove(parent: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match unlinkat(parent, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::PERM) => {
            thaw(parent.as_fd());
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if let Ok(file) = openat(parent, name, read, Mode::empty()) {
                thaw(file.as_fd());
            }
            unlinkat(parent, name, flags)
        }
        other => other,
    }
}

/// Clears the immutable and append-only flags (ioctl_iflags(2)).
fn thaw(fd: BorrowedFd<'_>) {
    let frozen = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = ioctl_getflags(fd)
        && flags.intersects(frozen)
    {
        let _ = ioctl_setflags(fd, flags - frozen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn deep_forbidden_and_linked() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("keep"), "").unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir(&top).unwrap();
        symlink(&outside, top.join("link")).unwrap();
        std::fs::create_dir(top.join("locked")).unwrap();
        std::fs::write(top.join("locked/file"), "").unwrap();
        std::fs::set_permissions(top.join("locked"), PermissionsExt::from_mode(0o000)).unwrap();
        // Deeper than any path can name and than descriptors last.
        let read = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(CWD, &top, read, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "dddd", Mode::RWXU).unwrap();
            at = openat(&at, "dddd", read, Mode::empty()).unwrap();
        }
        contents(&top).unwrap();
        std::fs::remove_dir(&top).unwrap();
        assert!(outside.join("keep").exists());
        contents(&top).unwrap();
    }

    #[test]
    fn immutable_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("sub")).unwrap();
        std::fs::write(top.join("sub/file"), "").unwrap();
        for path in ["sub/file", "sub"] {
            let file = std::fs::File::open(top.join(path)).unwrap();
            let flags = ioctl_getflags(&file).unwrap();
            ioctl_setflags(&file, flags | IFlags::IMMUTABLE).expect("this test needs root");
        }
        contents(&top).unwrap();
        std::fs::remove_dir(&top).unwrap();
    }
}
