//! Makes the file that an entry describes. The common case costs one system
//! call to make it, one to write, one for its times and one to close it;
//! nothing is looked at before, only when the name turns out to be taken.

use std::io::Read;
use std::os::fd::OwnedFd;

use hako_tar::{Entry, Kind, Reader};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::apply::Layer;
use crate::attrs::timestamps;
use crate::cache::Dir;
use crate::error::{quote, system};
use crate::name::join;
use crate::{Devices, Error, Notice, sys};

impl Layer<'_> {
    pub(crate) fn node<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        self.make(reader, entry, dir, base)?;
        if !self.followed.is_empty() && self.followed.contains(&join(&dir.real, base)) {
            // A lower layer's symlink is hidden now, and leads nowhere any more.
            self.cache.clear();
        }
        Ok(())
    }

    fn make<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        match entry.kind {
            Kind::File => self.file(reader, entry, dir, base)?,
            Kind::Dir => return self.dir(entry, dir, base),
            Kind::HardLink => self.hard_link(entry, dir, base)?,
            Kind::Symlink => self.symlink(entry, dir, base)?,
            Kind::Fifo => self.device(entry, dir, base, FileType::Fifo)?,
            Kind::Char | Kind::Block => {
                let dropped = if entry.kind == Kind::Char && entry.major == 0 && entry.minor == 0 {
                    Some(Notice::WhiteoutDevice)
                } else {
                    (self.options.devices == Devices::Skip).then_some(Notice::Device)
                };
                if let Some(notice) = dropped {
                    self.applied.warn(notice, &entry.path);
                    return self.absent(dir, base);
                }
                let kind = match entry.kind {
                    Kind::Char => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                self.device(entry, dir, base, kind)?;
            }
            Kind::Other(flag) => {
                return Err(Error::Unsupported {
                    path: quote(&entry.path),
                    flag,
                });
            }
        }
        self.mark(join(&dir.real, base));
        Ok(())
    }

    /// Makes something at a name by `make`; once more when the name was taken
    /// and has been cleared.
    pub(crate) fn create<T>(
        &mut self,
        dir: &Dir,
        base: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let real = || join(&dir.real, base);
        match make() {
            Err(Errno::EXIST) => {
                self.vacate(dir, base)?;
                make().map_err(|errno| system("create", &real())(errno))
            }
            other => other.map_err(|errno| system("create", &real())(errno)),
        }
    }

    fn file<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        let limits = &self.options.limits;
        for (what, value, limit) in [
            ("the size of a file", entry.size, limits.file),
            (
                "the layer's data",
                self.applied.bytes.saturating_add(entry.offsets.stored),
                limits.bytes,
            ),
        ] {
            if value > limit {
                return Err(Error::Limit {
                    path: quote(&entry.path),
                    what,
                    limit,
                });
            }
        }
        let owner = self.owner(entry)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = sys::perm(entry.mode & 0o777);
        let fd = self.create(dir, base, || rustix::fs::openat(&dir.fd, base, flags, mode))?;
        self.probe(dir, || sys::fstat(&fd));
        self.contents(reader, entry, &fd)?;
        let chown = !self.owned(dir, owner);
        if let (true, Some((uid, gid))) = (chown, owner) {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(uid),
                rustix::fs::Gid::from_raw(gid),
            );
            rustix::fs::fchown(&fd, Some(uid), Some(gid))
                .map_err(system("set the owner of", &entry.path))?;
        }
        // After chown, which takes setuid bits away; and before capabilities,
        // which chown takes away, too.
        if self.needs_chmod(entry.mode, chown) {
            rustix::fs::fchmod(&fd, sys::perm(entry.mode))
                .map_err(system("set the mode of", &entry.path))?;
        }
        if !entry.xattrs.is_empty() {
            let none = rustix::fs::XattrFlags::empty();
            self.xattrs(entry, |name, value| {
                rustix::fs::fsetxattr(&fd, name, value, none)
            })?;
        }
        rustix::fs::futimens(&fd, &timestamps(entry.mtime, entry.atime))
            .map_err(system("set the times of", &entry.path))
    }

    /// Writes the data straight out of the reader's buffer, leaving holes.
    fn contents<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        fd: &OwnedFd,
    ) -> Result<(), Error> {
        let mut end = 0;
        while let Some(chunk) = reader.next_chunk()? {
            let (mut offset, mut data) = (chunk.offset, chunk.data);
            while !data.is_empty() {
                let written = if offset == end && entry.sparse.is_none() {
                    rustix::io::write(fd, data)
                } else {
                    rustix::io::pwrite(fd, data, offset)
                };
                let n = match written {
                    Err(Errno::INTR) => continue,
                    Ok(0) => return Err(system("write", &entry.path)(Errno::IO)),
                    other => other.map_err(system("write", &entry.path))?,
                };
                data = data.get(n..).unwrap_or_default();
                offset += n as u64;
                end = offset;
                self.applied.bytes += n as u64;
            }
        }
        if entry.sparse.is_some() {
            rustix::fs::ftruncate(fd, entry.size).map_err(system("size", &entry.path))?;
        }
        Ok(())
    }

    fn dir(&mut self, entry: &Entry, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let real = join(&dir.real, base);
        let owner = self.owner(entry)?;
        let mode = self.dir_mode(entry.mode);
        let make = || rustix::fs::mkdirat(&dir.fd, base, sys::perm(mode & 0o777));
        let mut hides = false;
        let fresh = match make() {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let stat = sys::stat(&dir.fd, base).map_err(system("examine", &real))?;
                if sys::kind(&stat) == FileType::Directory {
                    false
                } else {
                    // It hid what lies below, and so does the directory.
                    hides = self.vacate(dir, base)?;
                    make().map_err(system("create the directory", &real))?;
                    true
                }
            }
            Err(errno) => return Err(system("create the directory", &real)(errno)),
        };
        self.settle(&real);
        self.mark(real.clone());
        if fresh {
            self.probe(dir, || sys::stat(&dir.fd, base));
        }
        let owned = fresh && self.owned(dir, owner);
        let setgid = mode & 0o2000 != 0;
        if fresh && owned && !hides && entry.xattrs.is_empty() && !self.needs_chmod(mode, false) {
            self.defer(real, entry);
            return Ok(());
        }
        let fd = sys::open_dir(&dir.fd, base).map_err(system("open", &real))?;
        if hides {
            self.set_opaque(&fd, &real)?;
        }
        self.dir_attributes(&fd, &real, entry, !fresh)?;
        if setgid || !fresh {
            // What is cached of it may have changed.
            self.cache.clear();
        }
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let owner = self.owner(entry)?;
        let target = entry.link.as_slice();
        if target.is_empty() {
            let reason = "its target is empty";
            return Err(Error::Name {
                path: quote(&entry.path),
                reason,
            });
        }
        self.create(dir, base, || rustix::fs::symlinkat(target, &dir.fd, base))?;
        self.node_attributes(entry, dir, base, owner)
    }

    fn device(
        &mut self,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
        kind: FileType,
    ) -> Result<(), Error> {
        let owner = self.owner(entry)?;
        let number = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(entry.major, entry.minor),
        };
        let mode = sys::perm(entry.mode & 0o777);
        self.create(dir, base, || {
            rustix::fs::mknodat(&dir.fd, base, kind, mode, number)
        })?;
        self.node_attributes(entry, dir, base, owner)
    }

    /// Attributes of what has no descriptor: symlinks, devices, pipes.
    fn node_attributes(
        &mut self,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
        owner: Option<(u32, u32)>,
    ) -> Result<(), Error> {
        self.probe(dir, || sys::stat(&dir.fd, base));
        let chown = !self.owned(dir, owner);
        if let (true, Some((uid, gid))) = (chown, owner) {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(uid),
                rustix::fs::Gid::from_raw(gid),
            );
            rustix::fs::chownat(
                &dir.fd,
                base,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(system("set the owner of", &entry.path))?;
        }
        let chmod = entry.kind != Kind::Symlink && self.needs_chmod(entry.mode, chown);
        if chmod || !entry.xattrs.is_empty() {
            let fd = sys::open_node(&dir.fd, base).map_err(system("open", &entry.path))?;
            if chmod {
                sys::chmod(&fd, entry.mode).map_err(system("set the mode of", &entry.path))?;
            }
            self.xattrs(entry, |name, value| sys::set_xattr(&fd, name, value))?;
        }
        let times = timestamps(entry.mtime, entry.atime);
        rustix::fs::utimensat(&dir.fd, base, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(system("set the times of", &entry.path))
    }

    /// Leaves nothing at the name, and nothing of the lower layers' either.
    fn absent(&mut self, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        self.vacate(dir, base)?;
        if self.overlay().is_some() {
            self.make_whiteout(dir, base)?;
        }
        Ok(())
    }

    pub(crate) fn make_whiteout(&mut self, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let make = || {
            let kind = FileType::CharacterDevice;
            rustix::fs::mknodat(&dir.fd, base, kind, Mode::empty(), 0)
        };
        self.create(dir, base, make)?;
        self.deleted.insert(join(&dir.real, base));
        Ok(())
    }
}
