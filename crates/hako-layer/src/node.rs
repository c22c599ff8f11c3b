//! Makes the file that an entry describes. The common case costs one system
//! call to make it, one to write, one for its times and one to close it (the
//! latter three by a thread of their own, see `finisher`); nothing is looked at
//! before, only when the name turns out to be taken.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hako_tar::{Entry, Kind, Reader};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::apply::Layer;
use crate::attrs::timestamps;
use crate::cache::Dir;
use crate::error::{quote, system};
use crate::finisher::{Attributes, Finisher, PIECE, write};
use crate::name::join;
use crate::{Error, sys};

impl Layer<'_> {
    pub(crate) fn make_node<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        self.make(reader, entry, dir, base)?;
        if !self.book.followed.is_empty() && self.book.followed.contains(&join(&dir.real, base)) {
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
                if let Some(notice) = self.options.devices.left_out(entry)? {
                    self.book.applied.warn(notice, &entry.path);
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
        self.book.fits(entry, &self.options.limits)?;
        let owner = self.owner(entry)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = sys::perm(entry.mode & 0o777);
        let fd = self.create(dir, base, || rustix::fs::openat(&dir.fd, base, flags, mode))?;
        self.probe(dir, || sys::fstat(&fd));
        let chown = !self.owned(dir, owner);
        let last = Attributes {
            size: entry.sparse.is_some().then_some(entry.size),
            owner: owner.filter(|_| chown),
            mode: self.needs_chmod(entry.mode, chown).then_some(entry.mode),
            times: timestamps(entry.mtime, entry.atime),
        };
        let file = Arc::new(fd);
        let path: Arc<[u8]> = entry.path.as_slice().into();
        if entry.xattrs.is_empty()
            && let Some(mut finisher) = self.finisher.take()
        {
            let handed = self.hand_over(reader, &mut finisher, &file, &path, last);
            self.finisher = Some(finisher);
            return handed;
        }
        while let Some(chunk) = reader.next_chunk()? {
            write(&file, chunk.offset, chunk.data, &path)?;
            self.book.applied.bytes += chunk.data.len() as u64;
        }
        last.set_first(&file, &path)?;
        let none = rustix::fs::XattrFlags::empty();
        self.xattrs(entry, |name, value| {
            rustix::fs::fsetxattr(&file, name, value, none)
        })?;
        last.set_times(&file, &path)
    }

    /// Gives the file's data to the finisher, leaving holes.
    fn hand_over<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        finisher: &mut Finisher,
        file: &Arc<OwnedFd>,
        path: &Arc<[u8]>,
        last: Attributes,
    ) -> Result<(), Error> {
        let (mut piece, mut begin) = (finisher.buffer(), 0);
        while let Some(chunk) = reader.next_chunk()? {
            let follows = chunk.offset == begin + piece.len() as u64;
            let fits = piece.len() + chunk.data.len() <= PIECE;
            if !(piece.is_empty() || follows && fits) {
                let next = finisher.buffer();
                let full = std::mem::replace(&mut piece, next);
                finisher.put(file, path, begin, full, None)?;
            }
            if piece.is_empty() {
                begin = chunk.offset;
            }
            piece.extend_from_slice(chunk.data);
            self.book.applied.bytes += chunk.data.len() as u64;
        }
        finisher.put(file, path, begin, piece, Some(last))
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
        self.book.settle(&real);
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
        self.book.deleted.insert(join(&dir.real, base));
        Ok(())
    }
}
