//! What keeps content alive beside names: a container needs its image after
//! the name is gone, and a pull needs its blobs before there is a name.
//!
//! - A permanent lease belongs to something that is listed elsewhere (a
//!   container, a mount) and goes with it.
//! - A [`Lease`] belongs to a running process: the process locks a file in
//!   `leases/`, and when the lock is free its holder is gone, so `kill -9`
//!   leaves nothing that has to expire.
//!
//! The order that makes a pull safe: hold a digest, then look whether it is
//! there. The garbage collection decides and moves things out of sight inside
//! one write transaction, so it has either done so before the hold or sees it.

use std::collections::BTreeSet;
use std::fs::File;

use hako_spec::digest::Digest;
use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::clock;
use crate::error::{At, Db, Error, Result};
use crate::lock::{self, Wait};
use crate::names::parsed_at;
use crate::owner::Owner;
use crate::random;
use crate::store::Store;

/// Something that a lease keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// A blob and all that it needs: a layer, a config (the id of an image,
    /// which keeps the image with its layers), a manifest, an index.
    Blob(Digest),
    /// An unpacked layer, by its diff id or by its key among the snapshots.
    Layer(String),
}

impl Hold {
    fn kind(&self) -> &'static str {
        match self {
            Hold::Blob(_) => "blob",
            Hold::Layer(_) => "layer",
        }
    }

    fn key(&self) -> &str {
        match self {
            Hold::Blob(digest) => digest.as_str(),
            Hold::Layer(key) => key,
        }
    }
}

/// A lease as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub owner: Owner,
    /// What kind of thing has it: `container`, `pull`.
    pub kind: String,
    /// The thing's id.
    pub id: String,
    /// Whether it ends with a process.
    pub temporary: bool,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// What it keeps.
    pub holds: BTreeSet<Hold>,
}

/// The leases of a store.
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    store: &'a Store,
}

impl<'a> Leases<'a> {
    pub(crate) fn new(store: &'a Store) -> Leases<'a> {
        Leases { store }
    }

    /// Adds `holds` to the permanent lease of `owner`'s thing `id` of `kind`,
    /// making it when it is new.
    ///
    /// Errors: [`Error::Text`] for an empty kind or id, and database errors.
    pub fn hold(&self, owner: Owner, kind: &str, id: &str, holds: &[Hold]) -> Result<()> {
        let db = self.store.tables()?;
        db.write(|tx| hold(tx, owner, kind, id, holds))
    }

    /// Ends a permanent lease; `false` when there was none.
    ///
    /// Errors: database errors.
    pub fn release(&self, owner: Owner, kind: &str, id: &str) -> Result<bool> {
        self.store
            .tables()?
            .write(|tx| release(tx, owner, kind, id))
    }

    /// A lease that lasts as long as the value and the process do.
    ///
    /// Errors: I/O and database errors.
    pub fn temporary(&self, owner: Owner, kind: &str) -> Result<Lease> {
        valid(kind)?;
        let dir = self.store.path("leases");
        let id = random::name().at("name a file in", &dir)?;
        let path = dir.join(&id);
        let Some(file) = lock::file(&path, Wait::Forever).at("lock", &path)? else {
            return Err(Error::Io {
                doing: "lock",
                path,
                source: std::io::ErrorKind::WouldBlock.into(),
            });
        };
        // Locked before it is listed: a collection never sees it unlocked.
        let number = self
            .store
            .tables()?
            .write(|tx| insert(tx, owner, kind, &id, Some(&id)))?;
        Ok(Lease {
            store: self.store.clone(),
            number,
            id,
            _file: file,
        })
    }

    /// All leases, of `owner` if one is given.
    ///
    /// Errors: database errors.
    pub fn list(&self, owner: Option<Owner>) -> Result<Vec<Listed>> {
        let row = |row: &Row<'_>| {
            let listed = Listed {
                owner: parsed_at(row, 1)?,
                kind: row.get(2)?,
                id: row.get(3)?,
                temporary: row.get::<_, Option<String>>(4)?.is_some(),
                created: row.get(5)?,
                holds: BTreeSet::new(),
            };
            Ok((row.get::<_, i64>(0)?, listed))
        };
        self.store.tables()?.read(|conn| {
            let mut leases = conn
                .prepare_cached(
                    "SELECT number, owner, kind, id, lock, created FROM leases
                     WHERE ?1 IS NULL OR owner = ?1 ORDER BY number",
                )
                .db("query of leases")?;
            let mut holds = conn
                .prepare_cached("SELECT kind, key FROM holds WHERE lease = ?1")
                .db("query of leases")?;
            let rows = leases
                .query_map([owner.map(|owner| owner.to_string())], row)
                .db("query of leases")?;
            let mut all = Vec::new();
            for found in rows {
                let (number, mut listed) = found.db("query of leases")?;
                let rows = holds.query_map([number], hold_at).db("query of leases")?;
                listed.holds = rows.collect::<Result<_, _>>().db("query of leases")?;
                all.push(listed);
            }
            Ok(all)
        })
    }

    /// Removes the leases whose process is gone; gives their number.
    pub(crate) fn reap(&self) -> Result<usize> {
        let locks: Vec<String> = self.store.tables()?.read(|conn| {
            let mut statement = conn
                .prepare("SELECT lock FROM leases WHERE lock IS NOT NULL")
                .db("query of leases")?;
            let rows = statement
                .query_map([], |row| row.get(0))
                .db("query of leases")?;
            rows.collect::<Result<_, _>>().db("query of leases")
        })?;
        let dir = self.store.path("leases");
        let mut files: BTreeSet<String> = locks.into_iter().collect();
        for entry in std::fs::read_dir(&dir).at("list", &dir)? {
            files.extend(entry.at("list", &dir)?.file_name().into_string().ok());
        }
        let mut dead = Vec::new();
        for name in files {
            let path = dir.join(&name);
            match lock::existing_file(&path, Wait::No) {
                Ok(None) => {}
                Ok(Some(_locked)) => {
                    std::fs::remove_file(&path).at("remove", &path)?;
                    dead.push(name);
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => dead.push(name),
                Err(e) => return Err(e).at("lock", &path),
            }
        }
        if dead.is_empty() {
            return Ok(0);
        }
        self.store.tables()?.write(|tx| {
            let mut reaped = 0;
            for name in &dead {
                reaped += tx
                    .execute("DELETE FROM leases WHERE lock = ?1", [name])
                    .db("change of leases")?;
            }
            Ok(reaped)
        })
    }
}

/// [`Leases::hold`] as a part of a transaction on the store's database, so that
/// a thing and its lease appear together. The store has been used before: its
/// tables exist.
///
/// Errors: [`Error::Text`] for an empty kind or id, and database errors.
pub fn hold(
    tx: &Transaction<'_>,
    owner: Owner,
    kind: &str,
    id: &str,
    holds: &[Hold],
) -> Result<()> {
    valid(kind)?;
    valid(id)?;
    let number = insert(tx, owner, kind, id, None)?;
    add(tx, number, holds)
}

/// [`Leases::release`] as a part of a transaction on the store's database, so
/// that a thing and its lease go together.
///
/// Errors: database errors.
pub fn release(tx: &Transaction<'_>, owner: Owner, kind: &str, id: &str) -> Result<bool> {
    tx.execute(
        "DELETE FROM leases WHERE owner = ?1 AND kind = ?2 AND id = ?3",
        (owner.to_string(), kind, id),
    )
    .db("change of leases")
    .map(|n| n > 0)
}

fn valid(text: &str) -> Result<()> {
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        let text = text.chars().take(64).collect();
        return Err(Error::Text {
            what: "lease",
            text,
            why: "kind and id must have 1 to 256 printable bytes",
        });
    }
    Ok(())
}

fn insert(
    tx: &Transaction<'_>,
    owner: Owner,
    kind: &str,
    id: &str,
    lock: Option<&str>,
) -> Result<i64> {
    tx.execute(
        "INSERT OR IGNORE INTO leases (owner, kind, id, lock, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        (owner.to_string(), kind, id, lock, clock::now()),
    )
    .db("change of leases")?;
    tx.query_row(
        "SELECT number FROM leases WHERE owner = ?1 AND kind = ?2 AND id = ?3",
        (owner.to_string(), kind, id),
        |row| row.get(0),
    )
    .db("query of leases")
}

fn add(tx: &Transaction<'_>, lease: i64, holds: &[Hold]) -> Result<()> {
    let mut statement = tx
        .prepare_cached("INSERT OR IGNORE INTO holds VALUES (?1, ?2, ?3)")
        .db("change of leases")?;
    for hold in holds {
        statement
            .execute((lease, hold.kind(), hold.key()))
            .db("change of leases")?;
    }
    Ok(())
}

fn hold_at(row: &Row<'_>) -> rusqlite::Result<Hold> {
    let kind: String = row.get(0)?;
    match kind.as_str() {
        "blob" => Ok(Hold::Blob(parsed_at(row, 1)?)),
        _ => Ok(Hold::Layer(row.get(1)?)),
    }
}

/// A lease of this process. Dropping it ends it; so does the process's death.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    number: i64,
    id: String,
    _file: File,
}

impl Lease {
    /// Its id among the leases.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Keeps `holds` from the garbage collection from now on; ask for their
    /// presence after this.
    ///
    /// Errors: database errors.
    pub fn hold(&self, holds: &[Hold]) -> Result<()> {
        self.store.tables()?.write(|tx| {
            let there: Option<i64> = tx
                .query_row(
                    "SELECT 1 FROM leases WHERE number = ?1",
                    [self.number],
                    |r| r.get(0),
                )
                .optional()
                .db("query of leases")?;
            if there.is_none() {
                // Somebody removed leases/<id>: holding would hold nothing.
                return Err(Error::Text {
                    what: "lease",
                    text: self.id.clone(),
                    why: "it was removed while in use",
                });
            }
            add(tx, self.number, holds)
        })
    }
}

impl Drop for Lease {
    /// What fails here is left to the next garbage collection.
    fn drop(&mut self) {
        let ended = self.store.tables().and_then(|db| {
            db.write(|tx| {
                tx.execute("DELETE FROM leases WHERE number = ?1", [self.number])
                    .db("change of leases")
            })
        });
        if ended.is_ok() {
            let _ = std::fs::remove_file(self.store.path("leases").join(&self.id));
        }
    }
}
