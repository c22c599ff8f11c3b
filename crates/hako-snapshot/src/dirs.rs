//! The directories below `snapshots/`.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hako_store::lock::{self, Wait};
use hako_store::random;
use rustix::fs::{Mode, OFlags};

use crate::delete;
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
        let temporary = Temporary {
            path,
            lock,
            done: false,
        };
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
        let tmp = self.tmp();
        let name = random::name().at("name a directory in", &tmp)?;
        let target = tmp.join(format!("rm-{name}"));
        match std::fs::rename(path, &target) {
            Ok(()) => Ok(Some(Temporary {
                path: target,
                lock,
                done: false,
            })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at("remove", path),
        }
    }
}

/// A locked directory under `tmp/`. Dropping it deletes it.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) path: PathBuf,
    #[allow(dead_code, reason = "the lock is held by being there")]
    lock: OwnedFd,
    done: bool,
}

impl Temporary {
    /// Gives the directory its place; `false` when the place is taken.
    pub(crate) fn publish(mut self, target: &Path) -> Result<bool> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.done = true;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(e) => Err(e).at("create", target),
        }
    }

    /// Deletes it, and says what went wrong.
    pub(crate) fn delete(mut self) -> Result<()> {
        self.done = true;
        delete::tree(&self.path)
    }
}

impl Drop for Temporary {
    /// What fails here is left for the garbage collection.
    fn drop(&mut self) {
        if !self.done {
            let _ = delete::tree(&self.path);
        }
    }
}

/// Opens a directory as a place only.
pub(crate) fn place(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}
