//! Deletions (image-spec layer.md, "Whiteouts"). They concern what lower layers
//! have, never what this one has, in whatever order both come.

use std::rc::Rc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::apply::Layer;
use crate::cache::Dir;
use crate::error::system;
use crate::name::join;
use crate::{Error, sys};

impl Layer<'_> {
    /// Deletes `base` of the lower layers.
    pub(crate) fn hide(&mut self, dir: &Rc<Dir>, base: &[u8]) -> Result<(), Error> {
        let real = join(&dir.real, base);
        self.book.deletable(&real)?;
        if self.overlay().is_some() {
            let stat = match sys::stat(&dir.fd, base) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return self.make_whiteout(dir, base),
                Err(errno) => return Err(system("examine", &real)(errno)),
            };
            // A file of this layer hides the lower one by itself.
            if sys::kind(&stat) == FileType::Directory {
                let fd = sys::open_dir(&dir.fd, base).map_err(system("open", &real))?;
                self.set_opaque(&fd, &real)?;
                self.book.settle(&real);
            }
            return Ok(());
        }
        match &self.made {
            // Nothing was here before this layer.
            None => Ok(()),
            Some(made) if !made.contains(&real) => self.vacate(dir, base).map(drop),
            Some(_) => self.prune_child(dir, base, real),
        }
    }

    /// Deletes all that the lower layers have in `dir`.
    pub(crate) fn hide_all(&mut self, dir: &Rc<Dir>) -> Result<(), Error> {
        self.book.not_followed(&dir.real)?;
        if self.overlay().is_some() {
            self.book.applied.opaque_root |= dir.real.is_empty();
            return self.set_opaque(&dir.fd, &dir.real);
        }
        if self.made.is_some() {
            self.prune(dir)
        } else {
            Ok(())
        }
    }

    /// Deletes what is not this layer's, all the way down.
    fn prune(&mut self, dir: &Rc<Dir>) -> Result<(), Error> {
        for (name, _) in sys::list(&dir.fd).map_err(system("list", &dir.real))? {
            let real = join(&dir.real, &name);
            if self.made.as_ref().is_some_and(|made| made.contains(&real)) {
                self.prune_child(dir, &name, real)?;
            } else {
                self.vacate(dir, &name)?;
            }
        }
        Ok(())
    }

    /// Prunes a name of this layer's, if it is a directory. One without an
    /// entry of its own loses what it has from below.
    fn prune_child(&mut self, dir: &Dir, name: &[u8], real: Vec<u8>) -> Result<(), Error> {
        let fd = match sys::open_dir(&dir.fd, name) {
            Ok(fd) => fd,
            // No directory, or removed meanwhile by a later entry.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(system("open", &real)(errno)),
        };
        let child = Rc::new(Dir {
            fd,
            real,
            setgid: false,
        });
        self.prune(&child)?;
        if self.book.implicit.contains(&child.real) {
            self.reset_dir(&child)?;
            self.cache.clear();
        }
        Ok(())
    }
}
