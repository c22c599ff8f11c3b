//! A mount namespace for a moment, in which the runtime can mount what nobody
//! else is to see. What it mounts ends with it, however it ends.

use std::os::fd::{AsFd as _, OwnedFd};

use hako_sys::clone::flags::NEWNS;
use hako_sys::mount_attr::Change;
use hako_sys::ns;
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Context, Result};
use crate::log;
use crate::rootfs::options::propagation;

/// This process is in a mount namespace of its own until this is dropped.
#[derive(Debug)]
pub struct Apart {
    outer: OwnedFd,
    inner: OwnedFd,
    root: OwnedFd,
    directory: OwnedFd,
}

impl Apart {
    /// Goes to a new mount namespace, a copy of this one, to which later mounts
    /// of this one come, but not the other way round.
    pub fn go() -> Result<Self> {
        let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &str, flags| {
            rustix::fs::open(path, flags, Mode::empty()).context(|| path.to_owned())
        };
        let own = || open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC);
        let (outer, root, directory) = (own()?, open("/", dir)?, open(".", dir)?);
        ns::unshare(NEWNS).context(|| "make a mount namespace")?;
        let apart = Apart {
            inner: own()?,
            outer,
            root,
            directory,
        };
        let slave = Change {
            propagation: propagation::SLAVE,
            ..Change::default()
        };
        hako_sys::mount_attr::set(CWD, c"/", true, slave).context(|| "cut off from the host")?;
        Ok(apart)
    }

    /// Does `what` in the mount namespace that was left.
    pub fn outside<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        self.leave()?;
        let done = what();
        ns::join(self.inner.as_fd(), NEWNS).context(|| "join the mount namespace")?;
        done
    }

    fn leave(&self) -> Result<()> {
        ns::join(self.outer.as_fd(), NEWNS).context(|| "leave the mount namespace")?;
        let back = || -> rustix::io::Result<()> {
            rustix::process::fchdir(&self.root)?;
            rustix::process::chroot(".")?;
            rustix::process::fchdir(&self.directory)
        };
        back().context(|| "go back to the directory")
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Err(e) = self.leave() {
            log::warn(&e.to_string());
        }
    }
}
