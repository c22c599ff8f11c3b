//! The end of a layer: what directories could not be given before their
//! contents were there.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::apply::Layer;
use crate::attrs::Deferred;
use crate::error::system;
use crate::{Applied, Error, sys};

impl Layer<'_> {
    pub(crate) fn finish(mut self) -> Result<Applied, Error> {
        self.cache.clear();
        let deferred = std::mem::take(&mut self.deferred);
        let implicit = self.book.implicit.clone();
        let root_entry = self.book.applied.root_entry;
        // Those that may inherit first, then what they inherit, then the rest.
        let inherits = |real: &[u8]| {
            if real.is_empty() {
                !root_entry
            } else {
                implicit.contains(real)
            }
        };
        self.complete(deferred.iter().filter(|(real, _)| inherits(real)))?;
        if let Some(prefix) = self.overlay() {
            self.book.report();
            if let Some(lower) = self.options.lower {
                crate::inherit(&mut self.book.applied, self.root.fd.as_fd(), lower, prefix)?;
            }
        }
        self.complete(deferred.iter().filter(|(real, _)| !inherits(real)))?;
        Ok(self.book.applied)
    }

    /// Gives directories their last attributes. Children come before their
    /// parents: one that cannot be searched any more is no hindrance.
    fn complete<'d>(
        &mut self,
        deferred: impl DoubleEndedIterator<Item = (&'d Vec<u8>, &'d Deferred)>,
    ) -> Result<(), Error> {
        for (real, last) in deferred.rev() {
            let fd = match sys::open_dir(&self.root.fd, real) {
                Ok(fd) => fd,
                // Replaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(system("open", real)(errno)),
            };
            if let Some(acl) = &last.default_acl {
                let name = b"system.posix_acl_default";
                match sys::set_xattr(&fd, name, acl) {
                    Ok(()) => {}
                    Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {
                        self.book.refused(name, real);
                    }
                    Err(errno) => return Err(system("set an xattr of", real)(errno)),
                }
            }
            if let Some(mode) = last.mode {
                sys::chmod(&fd, mode).map_err(system("set the mode of", real))?;
            }
            sys::set_times(&fd, &last.times).map_err(system("set the times of", real))?;
        }
        Ok(())
    }
}
