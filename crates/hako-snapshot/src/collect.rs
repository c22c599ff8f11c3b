//! The layers' part in the store's garbage collection.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::time::{Duration, Instant};

use hako_store::gc::{Collector, Condemned, Live};
use hako_store::lock::{self, Wait};

use crate::erofs;
use crate::error::{At, Result};
use crate::key::{LayerKey, chain_ids};
use crate::layers::Snapshotter;
use crate::record::{self, SNAPSHOT, Snapshot};

/// How long the collection waits for those who are just preparing snapshots.
/// They hold the lock for microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

impl Collector for Snapshotter {
    fn name(&self) -> &'static str {
        "layers"
    }

    /// Condemns layers that no living image lists, no lease holds and no
    /// snapshot uses.
    fn condemn(
        &self,
        live: &Live,
        dry_run: bool,
    ) -> Result<Vec<Condemned>, Box<dyn StdError + Send + Sync>> {
        Ok(self.condemn_layers(live, dry_run)?)
    }

    fn sweep(&self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.dirs.sweep()?;
        Ok(())
    }
}

impl Snapshotter {
    fn condemn_layers(&self, live: &Live, dry_run: bool) -> Result<Vec<Condemned>> {
        let path = self.dirs.root.join("lock");
        let patience = Instant::now();
        let _lock = loop {
            match lock::file(&path, Wait::No).at("lock", &path)? {
                Some(lock) => break lock,
                None if patience.elapsed() > PATIENCE => return Ok(Vec::new()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut needed = self.in_use()?;
        if !dry_run {
            // Snapshots in the making have their layers mounted when they need
            // them, and killed ones never do.
            let used = self.listed_in(&["active"])?;
            for key in self.layers()?.iter().filter(|key| !used.contains(key)) {
                erofs::detach(&self.dirs.layer(key));
            }
        }
        for diff_ids in &live.images {
            for (diff_id, chain_id) in diff_ids.iter().zip(chain_ids(diff_ids)) {
                needed.insert(LayerKey::alone(diff_id));
                needed.insert(LayerKey::chain(&chain_id));
                needed.insert(LayerKey::plain(&chain_id));
            }
        }
        let mut condemned = Vec::new();
        for key in self.layers()? {
            if needed.contains(&key) || live.layer(key.as_str()) {
                continue;
            }
            let dir = self.dirs.layer(&key);
            // A broken record does not keep a layer.
            let layer = self.layer(&key).ok();
            if layer
                .as_ref()
                .is_some_and(|layer| live.layer(layer.diff_id.as_str()))
            {
                continue;
            }
            let meta = match dir.symlink_metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e).at("examine", &dir),
            };
            if meta.modified().at("examine", &dir)? > live.young {
                continue;
            }
            if !dry_run {
                match std::fs::rename(&dir, self.dirs.grave()?) {
                    Ok(()) => {}
                    // Somebody discarded it since it was listed.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e).at("remove", &dir),
                }
            }
            let bytes = layer.map_or(0, |layer| layer.bytes);
            condemned.push(Condemned {
                name: key.to_string(),
                bytes,
            });
        }
        Ok(condemned)
    }

    /// The layers of all snapshots, those being made included.
    pub(crate) fn in_use(&self) -> Result<BTreeSet<LayerKey>> {
        self.listed_in(&["active", "tmp"])
    }

    /// The layers of the snapshots in these directories.
    fn listed_in(&self, dirs: &[&str]) -> Result<BTreeSet<LayerKey>> {
        let mut keys = BTreeSet::new();
        for dir in dirs {
            let dir = self.dirs.root.join(dir);
            for entry in std::fs::read_dir(&dir).at("list", &dir)? {
                let path = entry.at("list", &dir)?.path().join(SNAPSHOT);
                match record::read::<Snapshot>(&path) {
                    Ok(Some(snapshot)) => keys.extend(snapshot.image),
                    Ok(None) => {}
                    // Half-written, or not a directory: nobody's.
                    Err(_) if dir.ends_with("tmp") => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(keys)
    }
}
