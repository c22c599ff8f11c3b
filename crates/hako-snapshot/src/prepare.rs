//! Snapshots: a writable directory over a stack of layers, one per container.

use std::path::PathBuf;
use std::time::SystemTime;

use hako_store::lock::{self, Wait};

use crate::backend::Backend;
use crate::copy;
use crate::error::{At, Error, Result};
use crate::key::LayerKey;
use crate::layers::Snapshotter;
use crate::record::{self, SNAPSHOT, Snapshot};
use crate::usage::{self, Usage};

impl Snapshotter {
    /// Makes the snapshot `id` over an image's layers, the base first; none is
    /// fine (`FROM scratch`).
    ///
    /// Errors: [`Error::Id`], [`Error::Exists`], [`Error::LayerUnknown`], and
    /// I/O errors; nothing stays behind then.
    pub fn prepare(&self, id: &str, layers: &[LayerKey]) -> Result<Snapshot> {
        valid(id)?;
        let target = self.dirs.active(id);
        if target.exists() {
            return Err(Error::Exists(id.to_owned()));
        }
        let backend = self.backend()?.backend;
        let tmp = self.dirs.temporary("new")?;
        let snapshot = {
            // The garbage collection reads records under tmp/ too: from here on
            // the layers stay.
            let lock = self.dirs.root.join("lock");
            let _lock = lock::shared_file(&lock, Wait::Forever).at("lock", &lock)?;
            for key in layers {
                if !self.usable(key)? {
                    return Err(Error::LayerUnknown(key.to_string()));
                }
            }
            let (effective, root) = self.effective(layers)?;
            let snapshot = Snapshot {
                id: id.to_owned(),
                backend,
                layers: effective,
                image: layers.to_vec(),
                root,
                created: now(),
            };
            record::write(&tmp.path.join(SNAPSHOT), &snapshot)?;
            snapshot
        };
        let upper = tmp.path.join("upper");
        for dir in [&upper, &tmp.path.join("work")] {
            std::fs::create_dir(dir).at("create", dir)?;
        }
        match (backend, layers.last(), &snapshot.root) {
            (Backend::Plain, Some(top), _) => copy::tree(&self.layer_path(top), &upper)?,
            (_, _, Some(root)) => {
                self.provide(std::slice::from_ref(root))?;
                copy::root_attributes(&self.layer_path(root), &upper)?;
            }
            _ => {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(0o755))
                    .at("set the mode of", &upper)?;
            }
        }
        match tmp.publish(&target)? {
            true => Ok(snapshot),
            false => Err(Error::Exists(id.to_owned())),
        }
    }

    /// The layers to mount, the base first: a layer that comes twice counts
    /// where it comes last (overlayfs refuses it twice, and the upper one shows
    /// all that the lower one would), and what an opaque layer hides is left
    /// out. Second, the layer whose root directory is the one to be seen.
    fn effective(&self, layers: &[LayerKey]) -> Result<(Vec<LayerKey>, Option<LayerKey>)> {
        let mut effective: Vec<LayerKey> = Vec::with_capacity(layers.len());
        let mut root = None;
        for key in layers.iter().rev() {
            if effective.contains(key) {
                continue;
            }
            let layer = self.layer(key)?;
            effective.push(key.clone());
            if root.is_none() && (layer.root_entry || key.as_str().starts_with("chain-")) {
                root = Some(key.clone());
            }
            if layer.opaque_root {
                break;
            }
        }
        effective.reverse();
        let root = root.or_else(|| effective.first().cloned());
        Ok((effective, root))
    }

    /// The snapshot `id`.
    ///
    /// Errors: [`Error::Unknown`], [`Error::Record`].
    pub fn snapshot(&self, id: &str) -> Result<Snapshot> {
        valid(id)?;
        record::read(&self.dirs.active(id).join(SNAPSHOT))?
            .ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    /// The ids of all snapshots.
    ///
    /// Errors: I/O errors.
    pub fn list(&self) -> Result<Vec<String>> {
        let dir = self.dirs.root.join("active");
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            ids.extend(entry.at("list", &dir)?.file_name().into_string().ok());
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes the snapshot `id` with all that was written to it; `false` when
    /// there is none. Its root file system must not be mounted any more.
    ///
    /// Errors: I/O errors; the snapshot is gone all the same, and the rest is
    /// for the garbage collection.
    pub fn remove(&self, id: &str) -> Result<bool> {
        valid(id)?;
        match self.dirs.discard(&self.dirs.active(id), || Ok(true))? {
            Some(gone) => gone.delete().map(|()| true),
            None => Ok(false),
        }
    }

    /// What the container has written (with plain copies: all of its files).
    ///
    /// Errors: [`Error::Unknown`], and I/O errors.
    pub fn usage(&self, id: &str) -> Result<Usage> {
        self.snapshot(id)?;
        usage::tree(&self.dirs.active(id).join("upper"))
    }

    /// The directory that takes what a container writes.
    #[must_use]
    pub fn upper_path(&self, snapshot: &Snapshot) -> PathBuf {
        self.dirs.active(&snapshot.id).join("upper")
    }
}

fn valid(id: &str) -> Result<()> {
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if first && rest && id.len() <= 128 {
        Ok(())
    } else {
        Err(Error::Id(id.chars().take(160).collect()))
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_files() {
        for good in ["a", "0", "my_pod.container-1", &"x".repeat(128)] {
            valid(good).unwrap();
        }
        for bad in ["", ".", "..", "-a", "a/b", "a\0", "é", &"x".repeat(129)] {
            assert!(valid(bad).is_err(), "{bad:?}");
        }
    }
}
