//! Takes a file of a lower layer into this one, as overlayfs does before it
//! links to it (overlayfs.rst, "Non-directories": copy_up).

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::apply::Layer;
use crate::cache::Dir;
use crate::error::system;
use crate::name::join;
use crate::{Error, sys, wanted};

impl Layer<'_> {
    /// Copies `name` in the lower layer's directory `from`, which is neither a
    /// directory nor a symlink, to `base` in `dir`.
    pub(crate) fn copy_up(
        &mut self,
        from: &OwnedFd,
        name: &[u8],
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        let real = join(&dir.real, base);
        let stat = sys::stat(from, name).map_err(system("examine the source of", &real))?;
        let kind = sys::kind(&stat);
        if kind == FileType::RegularFile {
            let source = sys::open(from, name, OFlags::RDONLY)
                .map_err(system("open the source of", &real))?;
            self.copy_contents(&source, &stat, dir, base)?;
        } else {
            let mode = sys::perm(0o600);
            self.create(dir, base, || {
                rustix::fs::mknodat(&dir.fd, base, kind, mode, stat.st_rdev)
            })?;
        }
        self.copy_attributes(from, name, dir, base)
    }

    fn copy_contents(
        &mut self,
        source: &OwnedFd,
        stat: &Stat,
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        let real = join(&dir.real, base);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = sys::perm(0o600);
        let out = self.create(dir, base, || rustix::fs::openat(&dir.fd, base, flags, mode))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut at = 0;
        while at < size {
            // Only the data is copied; holes stay holes.
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(system("read the source of", &real)(errno)),
            };
            let end = rustix::fs::seek(source, SeekFrom::Hole(start))
                .map_err(system("read the source of", &real))?;
            copy_range(source, &out, start, end).map_err(system("copy", &real))?;
            self.book.applied.bytes += end.saturating_sub(start);
            at = end;
        }
        rustix::fs::ftruncate(&out, size).map_err(system("size", &real))
    }

    /// Owner, mode, xattrs and times of a lower layer's file, as stored there.
    pub(crate) fn copy_attributes(
        &mut self,
        from: &OwnedFd,
        name: &[u8],
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        let real = join(&dir.real, base);
        let source = sys::open_node(from, name).map_err(system("open the source of", &real))?;
        let target = sys::open_node(&dir.fd, base).map_err(system("open", &real))?;
        copy_attributes(&source, &target, &real, |name| {
            self.book.refused(name, &real);
        })
    }
}

fn copy_range(source: &OwnedFd, out: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let (mut from, mut to) = (start, start);
    let mut buffer = Vec::new();
    while from < end {
        let want = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), out, Some(&mut to), want) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                buffer.resize(128 << 10, 0);
                let want = want.min(buffer.len());
                let room = buffer.get_mut(..want).unwrap_or_default();
                let n = rustix::io::pread(source, room, from)?;
                let mut data = buffer.get(..n).unwrap_or_default();
                if data.is_empty() {
                    return Ok(());
                }
                while !data.is_empty() {
                    let n = rustix::io::pwrite(out, data, to)?;
                    data = data.get(n..).unwrap_or_default();
                    from += n as u64;
                    to += n as u64;
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Copies owner, mode, xattrs and times between open (`O_PATH`) files. Calls
/// `refused` for xattrs that the target does not take.
pub(crate) fn copy_attributes(
    source: &OwnedFd,
    target: &OwnedFd,
    real: &[u8],
    mut refused: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let stat = sys::fstat(source).map_err(system("examine", real))?;
    let now = sys::fstat(target).map_err(system("examine", real))?;
    if (stat.st_uid, stat.st_gid) != (now.st_uid, now.st_gid) {
        sys::chown(target, stat.st_uid, stat.st_gid).map_err(system("set the owner of", real))?;
    }
    if sys::kind(&stat) != FileType::Symlink {
        sys::chmod(target, stat.st_mode).map_err(system("set the mode of", real))?;
    }
    for name in sys::xattr_names(source).map_err(system("list the xattrs of", real))? {
        if !wanted(&name) {
            continue;
        }
        let Some(value) = sys::xattr(source, &name).map_err(system("read an xattr of", real))?
        else {
            continue;
        };
        match sys::set_xattr(target, &name, &value) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => refused(&name),
            Err(errno) => return Err(system("set an xattr of", real)(errno)),
        }
    }
    let times = sys::times_of(&stat);
    rustix::fs::utimensat(target, "", &times, AtFlags::EMPTY_PATH)
        .map_err(system("set the times of", real))
}
