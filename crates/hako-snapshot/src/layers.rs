//! The unpacked layers: which there are, and their removal.

use std::path::PathBuf;
use std::sync::OnceLock;

use hako_spec::digest::Digest;
use hako_store::Store;
use hako_store::runroot::boot_id;

use crate::backend::{self, Backend, Choice};
use crate::dirs::Dirs;
use crate::erofs;
use crate::error::{At, Error, Result};
use crate::key::{LayerKey, chain_ids};
use crate::record::{self, LAYER, Layer};

/// Name of the mark of a layer that may not be on the disk yet: a symlink with
/// the boot id as its text, so that mark and text appear together.
pub(crate) const UNSYNCED: &str = "unsynced";

/// Layers and snapshots of a store. It can be shared by threads.
#[derive(Debug)]
pub struct Snapshotter {
    pub(crate) store: Store,
    pub(crate) dirs: Dirs,
    rootless: bool,
    choice: OnceLock<Choice>,
    boot: OnceLock<String>,
}

impl Snapshotter {
    /// Opens the snapshots of `store`. `rootless` says that this process is in
    /// a user namespace of its own.
    ///
    /// Cheap: the backend is chosen when it is first needed.
    ///
    /// Errors: I/O errors.
    pub fn open(store: &Store, rootless: bool) -> Result<Snapshotter> {
        let dirs = Dirs::open(store.path("snapshots"))?;
        Ok(Snapshotter {
            store: store.clone(),
            dirs,
            rootless,
            choice: OnceLock::new(),
            boot: OnceLock::new(),
        })
    }

    /// Whether this process is in a user namespace.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.rootless
    }

    /// How root file systems are made here, and why.
    ///
    /// Errors: I/O errors of the trial, such as a full disk.
    pub fn backend(&self) -> Result<&Choice> {
        match self.choice.get() {
            Some(choice) => Ok(choice),
            None => {
                let choice = backend::choose(&self.dirs, self.rootless)?;
                Ok(self.choice.get_or_init(|| choice))
            }
        }
    }

    /// Uses `backend` from now on in this value, whatever a trial says: for
    /// tests and for `--snapshotter`. Layers that were unpacked for the other
    /// kind of backend are not found then.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Snapshotter {
        let choice = Choice {
            backend,
            reason: "it was asked for".to_owned(),
            kernel: String::new(),
            rootless: self.rootless,
            single_id: (self.rootless).then(|| backend::single_id().unwrap_or(true)),
        };
        Snapshotter {
            choice: OnceLock::from(choice),
            ..self
        }
    }

    fn boot(&self) -> Result<&str> {
        match self.boot.get() {
            Some(boot) => Ok(boot),
            None => {
                let boot = boot_id()?;
                Ok(self.boot.get_or_init(|| boot))
            }
        }
    }

    /// The text of the mark that a layer gets while it may not be on the disk.
    pub(crate) fn mark(&self) -> Result<&str> {
        self.boot()
    }

    /// Whether a layer is there and of use: an image is not where images cannot
    /// be mounted (any more).
    pub(crate) fn usable(&self, key: &LayerKey) -> Result<bool> {
        let is_image = erofs::is_image(&self.dirs.layer(key));
        if is_image && self.backend()?.backend != Backend::Erofs {
            return Ok(false);
        }
        self.survived(key)
    }

    /// Whether a layer is there whole: one that was not synced before the
    /// machine went down is not.
    pub(crate) fn survived(&self, key: &LayerKey) -> Result<bool> {
        let dir = self.dirs.layer(key);
        let mark = dir.join(UNSYNCED);
        match std::fs::read_link(&mark) {
            Ok(text) => Ok(text.as_os_str() == self.boot()?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(dir.join(LAYER).exists()),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => Ok(false),
            Err(e) => Err(e).at("read", &mark),
        }
    }

    /// The key of one layer, if it is unpacked.
    pub(crate) fn find(&self, diff_id: &Digest, chain_id: &Digest) -> Result<Option<LayerKey>> {
        let candidates = match self.backend()?.backend {
            Backend::Plain => vec![LayerKey::plain(chain_id)],
            _ => vec![LayerKey::alone(diff_id), LayerKey::chain(chain_id)],
        };
        for key in candidates {
            if self.usable(&key)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Which of an image's layers, the base first, are unpacked already. Hold
    /// their diff ids ([`hako_store::Hold::Layer`]) before asking.
    ///
    /// Errors: I/O errors.
    pub fn lookup(&self, diff_ids: &[Digest]) -> Result<Vec<Option<LayerKey>>> {
        let chain = chain_ids(diff_ids);
        diff_ids
            .iter()
            .zip(&chain)
            .map(|(diff, chain)| self.find(diff, chain))
            .collect()
    }

    /// Whether all layers of an image are unpacked; their keys, the base first.
    ///
    /// Errors: I/O errors.
    pub fn has(&self, diff_ids: &[Digest]) -> Result<Option<Vec<LayerKey>>> {
        Ok(self.lookup(diff_ids)?.into_iter().collect())
    }

    /// What is known about an unpacked layer.
    ///
    /// Errors: [`Error::LayerUnknown`], [`Error::Record`].
    pub fn layer(&self, key: &LayerKey) -> Result<Layer> {
        record::read(&self.dirs.layer(key).join(LAYER))?
            .ok_or_else(|| Error::LayerUnknown(key.to_string()))
    }

    /// Where a layer's tree is, once it is [provided](Snapshotter::provide).
    #[must_use]
    pub fn layer_path(&self, key: &LayerKey) -> PathBuf {
        self.dirs.layer(key).join(erofs::TREE)
    }

    /// All unpacked layers.
    ///
    /// Errors: I/O errors.
    pub fn layers(&self) -> Result<Vec<LayerKey>> {
        let dir = self.dirs.root.join("layers");
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            let name = entry.at("list", &dir)?.file_name();
            keys.extend(name.to_str().and_then(LayerKey::parse));
        }
        keys.sort();
        Ok(keys)
    }

    /// [`Snapshotter::settle`] for all layers that there are.
    ///
    /// Errors: as there.
    pub fn settle_all(&self) -> Result<()> {
        let mut keys = self.layers()?;
        // Those of another boot are for the check to remove.
        keys.retain(|key| self.survived(key).unwrap_or(false));
        self.settle(&keys)
    }

    /// Whether one of `keys` may not be on the disk yet.
    #[must_use]
    pub fn is_unsettled(&self, keys: &[LayerKey]) -> bool {
        keys.iter().any(|key| {
            let mark = self.dirs.layer(key).join(UNSYNCED);
            mark.symlink_metadata().is_ok()
        })
    }

    /// Brings layers to the disk for good: one syncfs(2), and their marks go.
    ///
    /// A layer that was never settled is unpacked anew after a power loss. The
    /// end of a pull calls this, before it sets the name, or sees to it that
    /// somebody does so soon after.
    ///
    /// Errors: those of syncfs(2) and unlink(2).
    pub fn settle(&self, keys: &[LayerKey]) -> Result<()> {
        let marks: Vec<PathBuf> = keys
            .iter()
            .map(|key| self.dirs.layer(key).join(UNSYNCED))
            .filter(|mark| mark.symlink_metadata().is_ok())
            .collect();
        if marks.is_empty() {
            return Ok(());
        }
        self.store.sync()?;
        for mark in marks {
            match std::fs::remove_file(&mark) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).at("remove", &mark);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes a layer whatever refers to it; `false` when it was not there.
    /// The garbage collection is the way that looks first.
    ///
    /// Errors: I/O errors.
    pub fn remove_layer(&self, key: &LayerKey) -> Result<bool> {
        match self.dirs.discard(&self.dirs.layer(key), || Ok(true))? {
            Some(gone) => gone.delete().map(|()| true),
            None => Ok(false),
        }
    }

    /// Removes a layer that is there and not usable; `false` for any other.
    pub(crate) fn remove_worthless(&self, key: &LayerKey) -> Result<bool> {
        match self
            .dirs
            .discard(&self.dirs.layer(key), || Ok(!self.usable(key)?))?
        {
            Some(gone) => gone.delete().map(|()| true),
            None => Ok(false),
        }
    }
}
