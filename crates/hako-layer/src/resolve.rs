//! From a name in the archive to the open directory that it lies in. Missing
//! directories are made, symlinks are followed within the root, and an overlay
//! layer's view goes on into the layers below, if these are known.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::apply::Layer;
use crate::attrs::{Deferred, IMPLICIT_MODE, timestamps};
use crate::cache::Dir;
use crate::error::{quote, system};
use crate::lower::{Found, OnDisk, find};
use crate::name::{bound, join, split};
use crate::target::{Step, enter};
use crate::{Error, sys};

impl Layer<'_> {
    /// The directory of the clean path `path`, `None` if there is none and none
    /// is to be made.
    pub(crate) fn resolve(
        &mut self,
        path: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Option<Rc<Dir>>, Error> {
        if path.is_empty() {
            return Ok(Some(Rc::clone(&self.root)));
        }
        // Up to the nearest directory that is open, and down from there.
        let mut known = path;
        let mut dir = loop {
            if let Some(dir) = self.cache.get(known) {
                break dir;
            }
            known = split(known).0;
            if known.is_empty() {
                break Rc::clone(&self.root);
            }
        };
        while known.len() < path.len() {
            let start = if known.is_empty() { 0 } else { known.len() + 1 };
            let rest = path.get(start..).unwrap_or_default();
            let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let component = rest.get(..len).unwrap_or_default();
            match enter(self, &dir, component, entry, create)? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
            known = path.get(..start + len).unwrap_or(path);
            // A directory that is only looked into has not been noted as touched.
            if create || self.made.is_none() {
                self.cache.insert(known.to_vec(), &dir);
            }
        }
        Ok(Some(dir))
    }

    /// The parent of a directory; the root's is the root.
    pub(crate) fn parent(&mut self, dir: &Rc<Dir>) -> Result<Rc<Dir>, Error> {
        let parent = split(&dir.real).0;
        if parent.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        let fd = sys::open_dir(&self.root.fd, parent).map_err(system("open", parent))?;
        self.opened(fd, parent.to_vec(), false)
    }

    /// What a name in a directory leads to.
    pub(crate) fn look(
        &mut self,
        dir: &Rc<Dir>,
        name: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Step<Rc<Dir>>, Error> {
        let real = join(&dir.real, name);
        bound(&real, &self.options.limits)?;
        match sys::open_dir(&dir.fd, name) {
            Ok(fd) => self.opened(fd, real, create).map(Step::Dir),
            Err(Errno::LOOP) => {
                let target = rustix::fs::readlinkat(&dir.fd, name, Vec::new())
                    .map_err(system("read the symlink", &real))?;
                if self.made.as_ref().is_some_and(|made| !made.contains(&real)) {
                    self.book.followed.insert(real);
                }
                Ok(Step::Link(target.into_bytes()))
            }
            Err(Errno::NOENT) => {
                if let Some(Found::Symlink(_, target)) = self.below(&real)? {
                    self.book.followed.insert(real);
                    return Ok(Step::Link(target));
                }
                if !create {
                    return Ok(Step::Missing);
                }
                self.make_implicit(dir, name, real, true).map(Step::Dir)
            }
            Err(Errno::NOTDIR) => {
                let stat = sys::stat(&dir.fd, name).map_err(system("examine", &real))?;
                if sys::kind(&stat) == FileType::Directory {
                    // Someone else works in this tree.
                    return Err(system("open", &real)(Errno::NOTDIR));
                }
                let deleted = self.overlay().is_some() && sys::is_whiteout(&stat);
                let from_below = self.made.as_ref().is_some_and(|made| !made.contains(&real));
                if !create && (deleted || from_below) {
                    return Ok(Step::Missing);
                }
                if !deleted && !from_below {
                    let (path, parent) = (quote(entry), quote(&real));
                    return Err(Error::NotADirectory { path, parent });
                }
                self.vacate(dir, name)?;
                let made = self.make_implicit(dir, name, real, false)?;
                self.set_opaque(&made.fd, &made.real)?;
                Ok(Step::Dir(made))
            }
            Err(errno) => Err(system("open", &real)(errno)),
        }
    }

    /// What the layers below show at a path that this one does not have.
    pub(crate) fn below(&self, real: &[u8]) -> Result<Option<Found<OnDisk>>, Error> {
        match (self.overlay(), self.options.lower) {
            (Some(prefix), Some(lower)) if !lower.is_empty() => {
                let own = OnDisk::root(self.root.fd.as_fd(), prefix)?;
                find(Some(own), OnDisk::roots(lower, prefix)?, real, false)
            }
            _ => Ok(None),
        }
    }

    /// A directory that exists. In a plain tree it may be the lower layers', and
    /// something is about to be put into it (`touch`).
    fn opened(
        &mut self,
        fd: std::os::fd::OwnedFd,
        real: Vec<u8>,
        touch: bool,
    ) -> Result<Rc<Dir>, Error> {
        let stat = sys::fstat(&fd).map_err(system("examine", &real))?;
        let dir = Rc::new(Dir {
            fd,
            real,
            setgid: stat.st_mode & 0o2000 != 0,
        });
        if touch
            && let Some(made) = &mut self.made
            && made.insert(dir.real.clone())
        {
            self.book.implicit.insert(dir.real.clone());
            self.keep(&dir, &stat)?;
        }
        Ok(dir)
    }

    /// Makes a directory that the archive has not described (yet). Its owner is
    /// the container's root.
    fn make_implicit(
        &mut self,
        parent: &Dir,
        name: &[u8],
        real: Vec<u8>,
        may_inherit: bool,
    ) -> Result<Rc<Dir>, Error> {
        self.book.count(&real, &self.options.limits)?;
        let owner = self.options.ids.stored(0, 0, &real)?;
        rustix::fs::mkdirat(&parent.fd, name, sys::perm(IMPLICIT_MODE))
            .map_err(system("create the directory", &real))?;
        self.probe(parent, || sys::stat(&parent.fd, name));
        let owned = self.owned(parent, owner);
        if let (false, Some((uid, gid))) = (owned, owner) {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(uid),
                rustix::fs::Gid::from_raw(gid),
            );
            rustix::fs::chownat(
                &parent.fd,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(system("set the owner of", &real))?;
        }
        let fd = sys::open_dir(&parent.fd, name).map_err(system("open", &real))?;
        if parent.setgid || self.needs_chmod(IMPLICIT_MODE, !owned) {
            sys::chmod(&fd, IMPLICIT_MODE).map_err(system("set the mode of", &real))?;
        }
        let times = timestamps(hako_tar::Time::default(), None);
        self.deferred.insert(
            real.clone(),
            Deferred {
                times,
                mode: None,
                default_acl: None,
            },
        );
        if may_inherit && !self.book.is_hidden(&real) {
            self.book.implicit.insert(real.clone());
        }
        self.mark(real.clone());
        Ok(Rc::new(Dir {
            fd,
            real,
            setgid: false,
        }))
    }
}
