//! `hako system check`: whether what is on disk and what runs agree.

use std::collections::BTreeSet;

use hako_store::Owner;
use hako_store::check::Options;

use crate::containers;
use crate::engine::Engine;
use crate::error::{At, Result};
use crate::network::DEFAULT;

/// Something that is not as it should be.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What, in one line.
    pub text: String,
    /// It was put right.
    pub repaired: bool,
}

impl Engine {
    /// Looks everywhere. With `repair`, what killed commands have left is
    /// removed; with `deep`, every blob is read and compared with its digest.
    ///
    /// Errors: those of the looking itself.
    pub fn check(&self, repair: bool, deep: bool) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        // Containers first: settling them frees what they hold.
        self.containers(containers::Filter::All)?;
        let ids: BTreeSet<String> = containers::ids(self.database()?)?.into_iter().collect();
        self.orphan_leases(&ids, repair, &mut found)?;
        self.orphan_dirs(&ids, repair, &mut found)?;
        self.orphan_snapshots(&ids, repair, &mut found)?;
        self.sweep_locks(&ids)?;
        if self.networks()?.get(DEFAULT)?.is_some() {
            let stale: Vec<_> = self
                .networks()?
                .leased(DEFAULT)?
                .into_iter()
                .filter(|lease| !ids.contains(&lease.container))
                .collect();
            if repair && !stale.is_empty() {
                self.networks()?.reconcile(DEFAULT, |id| ids.contains(id))?;
            }
            for lease in stale {
                found.push(Finding {
                    text: format!("address {} is held by no container", lease.address),
                    repaired: repair,
                });
            }
        }
        let report = self.store.check(Options { deep, repair })?;
        for problem in report.problems {
            found.push(Finding {
                text: problem.to_string(),
                repaired: false,
            });
        }
        Ok(found)
    }

    /// Removes the lock files of containers that are gone. They are no finding:
    /// nobody looks at them.
    fn sweep_locks(&self, ids: &BTreeSet<String>) -> Result<()> {
        let dir = self.runroot.path().join("locks");
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            // One that is held is in use, by a container that is newer than the
            // list.
            if !ids.contains(&name)
                && let Ok(Some(_lock)) =
                    hako_store::lock::existing_file(&path, hako_store::lock::Wait::No)
            {
                self.forget_lock(&name);
            }
        }
        Ok(())
    }

    fn orphan_leases(
        &self,
        ids: &BTreeSet<String>,
        repair: bool,
        found: &mut Vec<Finding>,
    ) -> Result<()> {
        for lease in self.store.leases().list(None)? {
            if lease.kind == containers::LEASE && !ids.contains(&lease.id) {
                if repair {
                    self.store
                        .leases()
                        .release(lease.owner, &lease.kind, &lease.id)?;
                }
                found.push(Finding {
                    text: format!("a lease of container {}, which does not exist", lease.id),
                    repaired: repair,
                });
            }
        }
        Ok(())
    }

    fn orphan_dirs(
        &self,
        ids: &BTreeSet<String>,
        repair: bool,
        found: &mut Vec<Finding>,
    ) -> Result<()> {
        let places = [
            self.store.path("containers"),
            self.runroot.path().join("containers"),
        ];
        for place in places {
            let entries = match std::fs::read_dir(&place) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.at("list", &place)?,
            };
            for entry in entries {
                let entry = entry.at("list", &place)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if ids.contains(&name) {
                    continue;
                }
                if repair {
                    crate::start::clear(&entry.path())?;
                }
                found.push(Finding {
                    text: format!("{} is of no container", entry.path().display()),
                    repaired: repair,
                });
            }
        }
        Ok(())
    }

    fn orphan_snapshots(
        &self,
        ids: &BTreeSet<String>,
        repair: bool,
        found: &mut Vec<Finding>,
    ) -> Result<()> {
        let snapshotter = self.snapshotter()?;
        for id in snapshotter.list()? {
            if !ids.contains(&id) {
                if repair {
                    snapshotter.remove(&id)?;
                }
                found.push(Finding {
                    text: format!("snapshot {id} is of no container"),
                    repaired: repair,
                });
            }
        }
        Ok(())
    }

    /// Whose containers and names these are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.places.owner
    }
}
