//! The directories below `snapshots/`.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hako_store::lock::{self, Wait};
use hako_store::random;
use rustix::fs::{Mode, OFlags};

use crate::delete;
use crate::erofs;
use crate::error::{At, Error, Result};
use crate::key::LayerKey;

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    pub(crate) root: PathBuf,
}

impl Dirs {
    /// Makes what is missing; one stat when nothing is.
    pub(crate) fn open(root: PathBuf) -> Result<Dirs> {
        // The last one that is made.
        if !root.join("empty").is_dir() {
            for name in ["", "layers", "active", "tmp"] {
                let path = root.join(name);
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .at("create", &path)?;
            }
            let path = root.join("empty");
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&path)
                .at("create", &path)?;
        }
        Ok(Dirs { root })
    }

    pub(crate) fn layer(&self, key: &LayerKey) -> PathBuf {
        self.root.join("layers").join(key.as_str())
    }

    pub(crate) fn active(&self, id: &str) -> PathBuf {
        self.root.join("active").join(id)
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A new directory under `tmp/`, locked.
    pub(crate) fn temporary(&self, kind: &str) -> Result<Temporary> {
        let tmp = self.tmp();
        let name = random::name().at("name a directory in", &tmp)?;
        self.claim(&format!("{kind}-{name}"))
    }

    /// The directory `name` under `tmp/`, locked and empty; waits for whoever
    /// has it.
    pub(crate) fn claim(&self, name: &str) -> Result<Temporary> {
        let path = self.tmp().join(name);
        let Some(lock) = lock::directory(&path, true, Wait::Forever).at("lock", &path)? else {
            let source = std::io::ErrorKind::WouldBlock.into();
            return Err(Error::Io {
                doing: "lock",
                path,
                source,
            });
        };
        let temporary = Temporary::new(self, path, lock);
        delete::contents(&temporary.path)?;
        Ok(temporary)
    }

    /// Moves a directory out of sight, into `tmp/`, if `really` says so once it
    /// is locked; `None` when there is none.
    pub(crate) fn discard(
        &self,
        path: &Path,
        really: impl FnOnce() -> Result<bool>,
    ) -> Result<Option<Temporary>> {
        let lock = match lock::directory(path, false, Wait::Forever) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("lock", path),
        };
        if !really()? {
            return Ok(None);
        }
        let target = self.grave()?;
        match std::fs::rename(path, &target) {
            Ok(()) => Ok(Some(Temporary::new(self, target, lock))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at("remove", path),
        }
    }

    /// A new name for something that is to be deleted.
    pub(crate) fn grave(&self) -> Result<PathBuf> {
        let tmp = self.tmp();
        let name = random::name().at("name a directory in", &tmp)?;
        Ok(tmp.join(format!("rm-{name}")))
    }

    /// Deletes what `tmp/` holds and nobody works on; the number of entries.
    pub(crate) fn sweep(&self) -> Result<usize> {
        let tmp = self.tmp();
        let mut swept = 0;
        let mut first = Ok(());
        for entry in std::fs::read_dir(&tmp).at("list", &tmp)? {
            let path = entry.at("list", &tmp)?.path();
            let done = match lock::directory(&path, false, Wait::No) {
                Ok(Some(lock)) => Temporary::new(self, path, lock).delete(),
                Ok(None) => continue,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                    std::fs::remove_file(&path).at("remove", &path)
                }
                Err(e) => Err(e).at("lock", &path),
            };
            swept += usize::from(done.is_ok());
            first = first.and(done);
        }
        first.map(|()| swept)
    }
}

/// A locked directory under `tmp/`. Dropping it deletes it.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) path: PathBuf,
    dirs: Dirs,
    /// None once it has its place or is deleted.
    lock: Option<OwnedFd>,
}

impl Temporary {
    fn new(dirs: &Dirs, path: PathBuf, lock: OwnedFd) -> Temporary {
        Temporary {
            path,
            dirs: dirs.clone(),
            lock: Some(lock),
        }
    }

    /// Gives the directory its place; `false` when the place is taken.
    pub(crate) fn publish(mut self, target: &Path) -> Result<bool> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.lock = None;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(e) => Err(e).at("create", target),
        }
    }

    /// Deletes it, and says what went wrong.
    pub(crate) fn delete(mut self) -> Result<()> {
        self.bury()
    }

    fn bury(&mut self) -> Result<()> {
        let Some(lock) = self.lock.take() else {
            return Ok(());
        };
        erofs::detach(&self.path);
        delete::contents(&self.path)?;
        // The directory itself goes after its descriptor: removing one that is
        // open takes milliseconds on ext4. Under a name that nobody waits for,
        // as the lock is then free.
        let grave = self.dirs.grave()?;
        match std::fs::rename(&self.path, &grave) {
            Ok(()) => {}
            // A grave that was found between its owner's unlocking and removing
            // it, the two steps below.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).at("remove", &self.path),
        }
        drop(lock);
        match std::fs::remove_dir(&grave) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &grave),
            _ => Ok(()),
        }
    }
}

impl Drop for Temporary {
    /// What fails here is left for the garbage collection.
    fn drop(&mut self) {
        let _ = self.bury();
    }
}

/// Opens a directory as a place only.
pub(crate) fn place(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who buries a directory lets go of its lock before removing it; a sweep
    /// that locks it in between finds nothing left to do.
    #[test]
    fn a_grave_gone_beneath_a_sweep() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::open(root.path().join("snapshots")).unwrap();
        let swept = dirs.temporary("rm").unwrap();
        std::fs::remove_dir(&swept.path).unwrap();
        swept.delete().unwrap();
        assert_eq!(std::fs::read_dir(dirs.tmp()).unwrap().count(), 0);
    }
}
