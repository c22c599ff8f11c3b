//! The engine: places on disk and what is opened from them.

use std::path::PathBuf;

use hako_net::Networks;
use hako_snapshot::{Backend, Snapshotter};
use hako_spec::id::ContainerId;
use hako_store::{Database, Owner, Runroot, Store};

use crate::containers::{self, STEPS};
use crate::error::{At, Result};
use crate::record::{Container, Phase};
use crate::runtime::OciRuntime;

/// Where things are kept, and for whom.
#[derive(Debug, Clone)]
pub struct Places {
    /// What outlives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub runroot: PathBuf,
    /// Whose containers and names these are.
    pub owner: Owner,
    /// This process is in a user namespace of an unprivileged user.
    pub rootless: bool,
    /// The runtime of containers that name none.
    pub runtime: String,
    /// How root file systems are made, if not in the first way that works.
    pub backend: Option<Backend>,
    /// The program to execute for policy, with its arguments, to which the verb
    /// is added: `hako internal`.
    pub internal: Vec<String>,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    pub(crate) places: Places,
    pub(crate) store: Store,
    pub(crate) runroot: Runroot,
}

impl Engine {
    /// Opens the engine's places, making them where they are missing.
    ///
    /// Errors: those of the store, such as a layout of a newer version.
    pub fn open(places: Places) -> Result<Self> {
        let store = Store::open(&places.root)?;
        let runroot = Runroot::open(&places.runroot)?;
        Ok(Engine {
            places,
            store,
            runroot,
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where things are kept.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The root file systems.
    pub fn snapshotter(&self) -> Result<Snapshotter> {
        Ok(self.open_snapshotter()?)
    }

    pub(crate) fn open_snapshotter(&self) -> hako_snapshot::Result<Snapshotter> {
        let snapshotter = Snapshotter::open(&self.store, self.places.rootless)?;
        Ok(match self.places.backend {
            Some(backend) => snapshotter.with_backend(backend),
            None => snapshotter,
        })
    }

    /// The command line of the internal verb `verb`.
    pub(crate) fn internal(&self, verb: &str) -> Vec<String> {
        let mut command = self.places.internal.clone();
        command.push(verb.to_owned());
        command
    }

    pub(crate) fn database(&self) -> Result<&Database> {
        let db = self.store.database();
        db.migrate("engine", STEPS)?;
        Ok(db)
    }

    pub(crate) fn networks(&self) -> Result<Networks> {
        Ok(Networks::open(&self.runroot.path().join("networks"))?)
    }

    /// The runtime called `name`, or the default one.
    pub fn runtime(&self, name: Option<&str>) -> Result<OciRuntime> {
        let name = name.unwrap_or(&self.places.runtime);
        // Each runtime keeps records of its own form.
        let dir = name.rsplit('/').next().unwrap_or(name);
        OciRuntime::find(name, &self.runroot.path().join("runtime").join(dir))
    }

    /// What of container `id` outlives a reboot.
    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.store.path("containers").join(id)
    }

    /// What of container `id` does not.
    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.runroot.container(id)
    }

    /// The container that a user means by `text`: a name, an id or its start.
    pub fn find(&self, text: &str) -> Result<Container> {
        let found = containers::find(self.database()?, self.places.owner, text)?;
        self.refresh(found)
    }

    /// All containers of this owner, the newest first, as they are now.
    pub fn containers(&self, filter: containers::Filter) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        for c in containers::list(self.database()?, self.places.owner)? {
            match self.refresh(c) {
                Ok(c) => all.push(c),
                // Removed by somebody else meanwhile.
                Err(crate::Error::NoContainer(_)) => {}
                Err(e) => return Err(e),
            }
        }
        if filter == containers::Filter::Running {
            all.retain(|c| matches!(c.state.phase, Phase::Running | Phase::Starting));
        }
        Ok(all)
    }

    /// Holds the container's lock until the value is dropped: one command at a
    /// time changes a container. A killed holder's lock is free.
    pub(crate) fn lock(&self, id: &str) -> Result<std::fs::File> {
        let _: ContainerId = id.parse()?;
        let path = self.runroot.path().join("locks").join(id);
        let lock =
            hako_store::lock::file(&path, hako_store::lock::Wait::Forever).at("lock", &path)?;
        lock.ok_or_else(|| crate::Error::Io {
            doing: "lock",
            path,
            source: std::io::ErrorKind::WouldBlock.into(),
        })
    }

    /// The container under its lock. Of one that is not there any more no lock
    /// file stays behind.
    ///
    /// Errors: [`crate::Error::NoContainer`], and those of the lock.
    pub(crate) fn locked(&self, id: &str) -> Result<(std::fs::File, Container)> {
        let lock = self.lock(id)?;
        match self.reload(id) {
            Ok(container) => Ok((lock, container)),
            Err(e) => {
                if matches!(e, crate::Error::NoContainer(_)) {
                    self.forget_lock(id);
                }
                Err(e)
            }
        }
    }

    pub(crate) fn forget_lock(&self, id: &str) {
        let _ = std::fs::remove_file(self.runroot.path().join("locks").join(id));
    }
}
