//! Owners, modes, xattrs and times, with as few system calls as will do.

use std::os::fd::{AsFd, OwnedFd};

use hako_tar::{Entry, Time};
use rustix::fs::{Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::apply::Layer;
use crate::cache::Dir;
use crate::error::system;
use crate::{Error, sys, wanted};

/// Mode of a directory that the archive does not describe.
pub const IMPLICIT_MODE: u32 = 0o755;

/// Default ACLs act on whatever is made in the directory, so they come last.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// What files get by themselves when this process makes them.
pub(crate) struct Process {
    uid: u32,
    /// `None` if the file system has rules of its own (mount option `grpid`).
    gid: Option<u32>,
    umask: u32,
    /// Whether permission bits do not bind us (CAP_DAC_OVERRIDE).
    pub(crate) privileged: bool,
    probed: bool,
}

impl Process {
    pub(crate) fn current() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = Some(rustix::process::getegid().as_raw());
        Self {
            uid,
            gid,
            umask: umask(),
            privileged: uid == 0,
            probed: false,
        }
    }
}

/// The umask, read where that does not change it; all bits if it is not known,
/// so that every mode is set explicitly.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok())
        .unwrap_or(0o777)
}

/// What a directory gets when all of its contents are there.
pub(crate) struct Deferred {
    pub(crate) times: Timestamps,
    /// A mode that would lock us out.
    pub(crate) mode: Option<u32>,
    pub(crate) default_acl: Option<Vec<u8>>,
}

pub(crate) fn timestamps(mtime: Time, atime: Option<Time>) -> Timestamps {
    let spec = |t: Time| Timespec {
        tv_sec: t.secs,
        tv_nsec: i64::from(t.nanos),
    };
    Timestamps {
        last_access: spec(atime.unwrap_or(mtime)),
        last_modification: spec(mtime),
    }
}

impl Layer<'_> {
    /// The owner to store, `None` for whoever we are.
    pub(crate) fn owner(&self, entry: &Entry) -> Result<Option<(u32, u32)>, Error> {
        self.options.ids.stored(entry.uid, entry.gid, &entry.path)
    }

    /// Whether a file just made in `dir` has the owner already.
    pub(crate) fn owned(&self, dir: &Dir, owner: Option<(u32, u32)>) -> bool {
        match owner {
            None => true,
            Some((uid, gid)) => {
                uid == self.process.uid && self.process.gid == Some(gid) && !dir.setgid
            }
        }
    }

    /// Looks at the first file that we made, to learn whether the file system
    /// gives groups as everywhere.
    pub(crate) fn probe(&mut self, dir: &Dir, stat: impl FnOnce() -> Result<Stat, Errno>) {
        if !self.process.probed && !dir.setgid {
            self.process.probed = true;
            if stat().map_or(true, |stat| Some(stat.st_gid) != self.process.gid) {
                self.process.gid = None;
            }
        }
    }

    /// Whether a file made with these permission bits lacks some of them.
    pub(crate) fn needs_chmod(&self, mode: u32, chowned: bool) -> bool {
        let special = mode & 0o7000 != 0;
        special || mode & self.process.umask & 0o777 != 0 || (chowned && mode & 0o6000 != 0)
    }

    /// Sets an entry's xattrs; those that mean something to overlayfs or to the
    /// host's SELinux policy are not the archive's to set.
    pub(crate) fn xattrs(
        &mut self,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        for (name, value) in &entry.xattrs {
            if !wanted(name) || (entry.kind == hako_tar::Kind::Dir && name == DEFAULT_ACL) {
                continue;
            }
            match set(name, value) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {
                    self.book.refused(name, &entry.path);
                }
                Err(errno) => return Err(system("set an xattr of", &entry.path)(errno)),
            }
        }
        Ok(())
    }

    /// Gives a directory what its entry says. `known` is false for one that was
    /// made just now with `mkdir`'s mode and our owner.
    pub(crate) fn dir_attributes(
        &mut self,
        fd: &OwnedFd,
        real: &[u8],
        entry: &Entry,
        replace: bool,
    ) -> Result<(), Error> {
        if replace {
            self.clear_xattrs(fd, real)?;
        }
        let owner = self.owner(entry)?;
        if let Some((uid, gid)) = owner {
            sys::chown(fd, uid, gid).map_err(system("set the owner of", real))?;
        }
        let mode = self.dir_mode(entry.mode);
        sys::chmod(fd, mode).map_err(system("set the mode of", real))?;
        self.xattrs(entry, |name, value| sys::set_xattr(fd, name, value))?;
        self.defer(real.to_vec(), entry);
        Ok(())
    }

    /// The mode that a directory has while we work in it.
    pub(crate) fn dir_mode(&self, mode: u32) -> u32 {
        if self.process.privileged {
            mode
        } else {
            mode | 0o700
        }
    }

    /// Remembers what a directory gets in the end.
    pub(crate) fn defer(&mut self, real: Vec<u8>, entry: &Entry) {
        let acl = entry.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL);
        let deferred = Deferred {
            times: timestamps(entry.mtime, entry.atime),
            mode: (self.dir_mode(entry.mode) != entry.mode).then_some(entry.mode),
            default_acl: acl.map(|(_, value)| value.clone()),
        };
        self.deferred.insert(real, deferred);
    }

    /// Keeps a lower layer's directory as it is while things change in it.
    pub(crate) fn keep(&mut self, dir: &Dir, stat: &Stat) -> Result<(), Error> {
        if self.made.is_none() || self.deferred.contains_key(&dir.real) {
            return Ok(());
        }
        let mode = stat.st_mode & 0o7777;
        let open = self.dir_mode(mode);
        if open != mode {
            sys::chmod(&dir.fd, open).map_err(system("set the mode of", &dir.real))?;
        }
        let deferred = Deferred {
            times: sys::times_of(stat),
            mode: (open != mode).then_some(mode),
            default_acl: None,
        };
        self.deferred.insert(dir.real.clone(), deferred);
        Ok(())
    }

    /// Gives a directory the attributes of one that no archive describes.
    pub(crate) fn reset_dir(&mut self, dir: &Dir) -> Result<(), Error> {
        let path = if dir.real.is_empty() {
            b"/"
        } else {
            &dir.real[..]
        };
        let entry = Entry {
            mode: IMPLICIT_MODE,
            ..Entry::dir(path)
        };
        self.dir_attributes(&dir.fd, &dir.real, &entry, true)
    }

    /// Removes the xattrs that layers may set.
    fn clear_xattrs(&self, fd: impl AsFd, real: &[u8]) -> Result<(), Error> {
        let names = sys::xattr_names(&fd).map_err(system("list the xattrs of", real))?;
        for name in names.iter().filter(|name| wanted(name)) {
            match sys::remove_xattr(&fd, name) {
                Ok(()) | Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {}
                Err(errno) => return Err(system("remove an xattr of", real)(errno)),
            }
        }
        Ok(())
    }
}
