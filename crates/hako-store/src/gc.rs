//! Garbage collection.
//!
//! The roots are the names and leases of all owners; what they reach through
//! `links` lives. The decision and the moving of dead files to `trash/` happen
//! inside one write transaction, where nobody can add a name or a hold; the
//! slow deleting happens after it. Killed half way, it leaves files in `trash/`
//! that nothing refers to, for the next collection.
//!
//! Content younger than a grace is kept whatever refers to it: it may be on
//! its way to a name. An image recorded within it counts as a root. Files in `ingest/` whose writer lives are locked and
//! kept; what a dead writer left is kept for [`Options::resumable`], so that a
//! pull can go on where it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hako_spec::digest::Digest;
use rusqlite::Transaction;

use crate::error::{At, Db, Error, Result};
use crate::lock::{self, Wait};
use crate::store::Store;
use crate::{images, random};

/// How a collection is done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Content younger than this is kept.
    pub grace: Duration,
    /// Unfinished downloads younger than this are kept.
    pub resumable: Duration,
    /// Say what would go, and let it stay.
    pub dry_run: bool,
}

impl Default for Options {
    /// A grace of ten minutes; unfinished downloads live for a day.
    fn default() -> Options {
        Options {
            grace: Duration::from_secs(600),
            resumable: Duration::from_secs(86_400),
            dry_run: false,
        }
    }
}

/// What a collection freed (or would free).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    /// Blobs and their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Images that are no longer recorded.
    pub images: Vec<Digest>,
    /// What collectors condemned, such as unpacked layers, and bytes.
    pub others: Vec<(String, u64)>,
    /// Unfinished downloads.
    pub unfinished: usize,
    /// Leases whose process was gone.
    pub leases: usize,
    /// Bytes of all of this.
    pub bytes: u64,
}

/// What is alive, inside the transaction of a collection.
#[derive(Debug)]
pub struct Live {
    blobs: BTreeSet<String>,
    layers: BTreeSet<String>,
    /// The diff ids of every living image, the base first.
    pub images: Vec<Vec<Digest>>,
    /// What was touched after this is to be kept.
    pub young: SystemTime,
}

impl Live {
    /// Whether a name or lease reaches this blob.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> bool {
        self.blobs.contains(digest.as_str())
    }

    /// Whether a lease holds this layer, by diff id or key. Layers of living
    /// images are told by [`Live::images`].
    #[must_use]
    pub fn layer(&self, key: &str) -> bool {
        self.layers.contains(key)
    }
}

/// Something that a collector moved out of sight, to be deleted.
#[derive(Debug, Clone)]
pub struct Condemned {
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A crate that keeps derived content beside the blobs.
pub trait Collector {
    /// Its name, for errors.
    fn name(&self) -> &'static str;

    /// Moves what is not alive out of sight, quickly: a database transaction is
    /// open. With `dry_run` it only says what would go.
    ///
    /// # Errors
    /// Whatever failed; the collection ends with it.
    fn condemn(
        &self,
        live: &Live,
        dry_run: bool,
    ) -> Result<Vec<Condemned>, Box<dyn std::error::Error + Send + Sync>>;

    /// Deletes what was moved out of sight, now or by an earlier collection
    /// that was killed.
    ///
    /// # Errors
    /// Whatever failed, after trying the rest.
    fn sweep(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl Store {
    /// Removes what no name and no lease of any owner reaches.
    ///
    /// Safe beside pulls, runs and other collections (which wait for each
    /// other).
    ///
    /// Errors: I/O and database errors, [`Error::Collector`].
    pub fn gc(&self, options: &Options, collectors: &[&dyn Collector]) -> Result<Freed> {
        let lock = self.path("gc.lock");
        let _lock = lock::file(&lock, Wait::Forever).at("lock", &lock)?;
        let mut freed = Freed {
            leases: self.leases().reap()?,
            ..Freed::default()
        };
        let young = SystemTime::now()
            .checked_sub(options.grace)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        // Listed before the transaction: what comes later is not looked at.
        let candidates: Vec<_> = self
            .blobs()
            .list()?
            .into_iter()
            .filter(|found| found.modified <= young)
            .collect();
        let trash = self.path("trash");
        // First the records, then what they need: killed between the two, the
        // store has unused blobs and no image without them.
        freed.images = self
            .tables()?
            .write(|tx| forget(tx, young, options.dry_run))?;
        self.tables()?.write(|tx| {
            let live = live(tx, young)?;
            for found in candidates {
                if live.blob(&found.digest) {
                    continue;
                }
                if !options.dry_run && !self.condemn_blob(&found.digest, young, &trash)? {
                    continue;
                }
                freed.blobs.push((found.digest, found.size));
            }
            for collector in collectors {
                let condemned = collector
                    .condemn(&live, options.dry_run)
                    .map_err(|source| Error::Collector {
                        what: collector.name(),
                        source,
                    })?;
                freed
                    .others
                    .extend(condemned.into_iter().map(|c| (c.name, c.bytes)));
            }
            Ok::<_, Error>(())
        })?;
        self.sweep_ingest(options, &mut freed)?;
        let sizes = freed
            .blobs
            .iter()
            .map(|(_, n)| n)
            .chain(freed.others.iter().map(|(_, n)| n));
        freed.bytes = sizes.fold(freed.bytes, |sum, n| sum.saturating_add(*n));
        if !options.dry_run {
            empty(&trash)?;
            for collector in collectors {
                collector.sweep().map_err(|source| Error::Collector {
                    what: collector.name(),
                    source,
                })?;
            }
        }
        Ok(freed)
    }

    /// Moves a blob to the trash unless it was touched since it was listed.
    fn condemn_blob(&self, digest: &Digest, young: SystemTime, trash: &Path) -> Result<bool> {
        let path = self.blobs().path(digest);
        let modified = match std::fs::symlink_metadata(&path) {
            Ok(meta) => meta.modified().at("examine", &path)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e).at("examine", &path),
        };
        if modified > young {
            return Ok(false);
        }
        let target = trash.join(random::name().at("name a file in", trash)?);
        match std::fs::rename(&path, &target) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).at("remove", &path),
        }
    }

    /// Removes what dead writers left in `ingest/`.
    fn sweep_ingest(&self, options: &Options, freed: &mut Freed) -> Result<()> {
        let old = SystemTime::now()
            .checked_sub(options.resumable)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        for (path, name) in self.unfinished()? {
            let locked = match lock::existing_file(&path, Wait::No) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e).at("lock", &path),
            };
            let meta = locked.metadata().at("examine", &path)?;
            // A stream of unknown digest cannot be resumed.
            let resumable = !name.starts_with("new-");
            if resumable && meta.modified().at("examine", &path)? > old {
                continue;
            }
            if !options.dry_run {
                std::fs::remove_file(&path).at("remove", &path)?;
            }
            freed.unfinished += 1;
            freed.bytes = freed.bytes.saturating_add(meta.len());
        }
        Ok(())
    }

    /// Files in `ingest/`, with their names.
    pub(crate) fn unfinished(&self) -> Result<Vec<(PathBuf, String)>> {
        let dir = self.path("ingest");
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            all.push((
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            ));
        }
        Ok(all)
    }
}

const LIVE: &str = "
    WITH RECURSIVE live (digest) AS (
        SELECT target FROM names
        UNION SELECT id FROM images WHERE pulled > ?1
        UNION SELECT key FROM holds WHERE kind = 'blob'
        UNION SELECT child FROM links JOIN live ON parent = digest
        UNION SELECT manifest FROM manifests JOIN live ON image = digest)
    SELECT digest FROM live";

/// Nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .unwrap_or(0)
}

/// The texts that a query gives in its first column.
fn texts(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<BTreeSet<String>> {
    let mut statement = tx.prepare(sql).db("query of what lives")?;
    let rows = statement
        .query_map(params, |row| row.get(0))
        .db("query of what lives")?;
    rows.collect::<Result<_, _>>().db("query of what lives")
}

fn live(tx: &Transaction<'_>, young: SystemTime) -> Result<Live> {
    let blobs = texts(tx, LIVE, [nanoseconds(young)])?;
    let layers = texts(tx, "SELECT key FROM holds WHERE kind = 'layer'", [])?;
    let mut images = Vec::new();
    for id in images::ids(tx, "SELECT id FROM images", [])? {
        if blobs.contains(id.as_str())
            && let Some(image) = images::load(tx, &id)?
        {
            images.push(image.diff_ids());
        }
    }
    Ok(Live {
        blobs,
        layers,
        images,
        young,
    })
}

/// Removes the records of dead images and the links of dead manifests.
fn forget(tx: &Transaction<'_>, young: SystemTime, dry_run: bool) -> Result<Vec<Digest>> {
    let live = texts(tx, LIVE, [nanoseconds(young)])?;
    let mut dead = images::ids(tx, "SELECT id FROM images", [])?;
    dead.retain(|id| !live.contains(id.as_str()));
    if dry_run {
        return Ok(dead);
    }
    for id in &dead {
        tx.execute("DELETE FROM images WHERE id = ?1", [id.as_str()])
            .db("change of images")?;
    }
    for parent in texts(tx, "SELECT DISTINCT parent FROM links", [])? {
        if !live.contains(&parent) {
            tx.execute("DELETE FROM links WHERE parent = ?1", [&parent])
                .db("change of links")?;
        }
    }
    Ok(dead)
}

/// Deletes all files in a directory.
fn empty(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).at("remove", &path),
        }
    }
    Ok(())
}
