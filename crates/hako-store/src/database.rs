//! `meta.db`: the mutable metadata, in SQLite.
//!
//! - Write-ahead log: readers never wait for a writer. Transactions that write
//!   are `BEGIN IMMEDIATE`, so that two writers queue instead of failing.
//! - `synchronous=NORMAL`: a commit is atomic and survives `kill -9`; a power
//!   loss can take back the last commits, never half of one. What a commit
//!   points to is on disk before it (see [`crate::Store::sync`]).
//! - Each crate that keeps tables here is a component with a schema version of
//!   its own; a version newer than the program is refused.
//! - The connection is opened at the first use: commands that need no metadata
//!   do not pay for it.
//!
//! Invariant: no transaction is open across network or bulk file I/O.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::error::{At, Db, Error, Result};
use crate::lock::{self, Wait};
use crate::random;

/// How long a writer waits for other writers before it gives up.
const BUSY: Duration = Duration::from_secs(30);

/// Pages in the write-ahead log before they are moved into the database. Each
/// process that opens the database alone reads the log through, so it is kept
/// short (1 MiB with 4 KiB pages).
const CHECKPOINT_PAGES: u32 = 256;

/// Idle connections kept per process.
const IDLE: usize = 4;

/// The database, open or to be opened; shared by all threads.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    migrated: Mutex<BTreeMap<&'static str, u32>>,
}

impl Database {
    /// Names the database file without touching it.
    pub(crate) fn new(path: PathBuf) -> Database {
        Database {
            path,
            idle: Mutex::default(),
            migrated: Mutex::default(),
        }
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the tables of `component` to the newest of `steps`, which are
    /// pairs of a version (1, 2, …, rising) and the SQL that leads to it.
    ///
    /// Cheap when nothing is to be done: one query, once per process. An
    /// existing component is copied to `meta.db.<component>-<version>.backup`
    /// before its tables change.
    ///
    /// Errors: [`Error::SchemaNewer`] when the tables are newer than `steps`.
    pub fn migrate(&self, component: &'static str, steps: &[(u32, &str)]) -> Result<()> {
        let known = steps.iter().map(|(version, _)| *version).max().unwrap_or(0);
        if poisoned(&self.migrated)
            .get(component)
            .is_some_and(|v| *v == known)
        {
            return Ok(());
        }
        let conn = self.take()?;
        if version(&conn, component)? != known {
            self.upgrade(&conn, component, steps, known)?;
        }
        self.give(conn);
        poisoned(&self.migrated).insert(component, known);
        Ok(())
    }

    fn upgrade(
        &self,
        conn: &Connection,
        component: &'static str,
        steps: &[(u32, &str)],
        known: u32,
    ) -> Result<()> {
        let lock = self.path.with_extension("lock");
        let _lock = lock::file(&lock, Wait::Forever).at("lock", &lock)?;
        let found = version(conn, component)?;
        if found > known {
            return Err(Error::SchemaNewer {
                component: component.to_owned(),
                found,
                known,
            });
        }
        if found == known {
            return Ok(());
        }
        if found > 0 {
            self.backup(conn, component, found)?;
        }
        let tx =
            Transaction::new_unchecked(conn, TransactionBehavior::Immediate).db("migration")?;
        for (to, sql) in steps.iter().filter(|(to, _)| *to > found) {
            tx.execute_batch(sql).db("migration")?;
            tx.execute(
                "INSERT INTO schema (component, version) VALUES (?1, ?2)
                 ON CONFLICT (component) DO UPDATE SET version = excluded.version",
                (component, to),
            )
            .db("migration")?;
        }
        tx.commit().db("migration")
    }

    fn backup(&self, conn: &Connection, component: &str, found: u32) -> Result<()> {
        let target = self
            .path
            .with_extension(format!("db.{component}-{found}.backup"));
        let new = self.path.with_extension(format!(
            "db.{}.new",
            random::name().at("name a copy of", &self.path)?
        ));
        conn.execute("VACUUM INTO ?1", [new.to_string_lossy()])
            .db("backup")?;
        std::fs::rename(&new, &target).at("create", &target)
    }

    /// Runs `work` in a transaction that may write; commits when it is `Ok`.
    ///
    /// Errors: those of `work`, and [`Error::Database`].
    pub fn write<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut conn = self.take()?;
        let out = {
            let tx = conn
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .db("start of a transaction")?;
            let out = work(&tx)?;
            tx.commit().db("commit")?;
            out
        };
        self.give(conn);
        Ok(out)
    }

    /// Runs `work` in a transaction that only reads: all its queries see one
    /// state of the database.
    ///
    /// Errors: those of `work`, and [`Error::Database`].
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut conn = self.take()?;
        let out = {
            let tx = conn.transaction().db("start of a transaction")?;
            work(&tx)?
        };
        self.give(conn);
        Ok(out)
    }

    /// An idle or new connection. A connection that met an error is dropped,
    /// which rolls its transaction back.
    fn take(&self) -> Result<Connection> {
        let idle = poisoned(&self.idle).pop();
        match idle {
            Some(conn) => Ok(conn),
            None => open(&self.path),
        }
    }

    fn give(&self, conn: Connection) {
        let mut idle = poisoned(&self.idle);
        if idle.len() < IDLE {
            idle.push(conn);
        }
    }

    /// SQLite's own check of the file's structure; the problems found, none
    /// when it is well.
    ///
    /// Errors: [`Error::Database`] when it cannot even be opened.
    pub fn check(&self) -> Result<Vec<String>> {
        self.read(|conn| {
            let mut statement = conn.prepare("PRAGMA integrity_check(20)").db("check")?;
            let rows = statement
                .query_map([], |row| row.get::<_, String>(0))
                .db("check")?;
            let lines = rows.collect::<Result<Vec<_>, _>>().db("check")?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }
}

/// A mutex whose holder panicked still guards whole values here: each is
/// changed by one call.
fn poisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(path, flags).db("open")?;
    conn.busy_timeout(BUSY).db("setup")?;
    // The last one out does not move the log into the database (two fsyncs):
    // most processes here live for milliseconds.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .db("setup")?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .db("setup")?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .db("setup")?;
    conn.execute_batch(&format!(
        "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))
    .db("setup")?;
    let known: Option<i64> = conn
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE name = 'schema'",
            [],
            |row| row.get(0),
        )
        .optional()
        .db("open")?;
    if known.is_none() {
        // SQLite's busy timeout does not cover the change to WAL.
        let lock = path.with_extension("lock");
        let _lock = lock::file(&lock, Wait::Forever).at("lock", &lock)?;
        create(&conn)?;
    }
    Ok(conn)
}

/// First use of a new file.
fn create(conn: &Connection) -> Result<()> {
    let mode: String = conn
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .db("setup")?;
    if mode != "wal" {
        let text = format!("journal mode is {mode}, not wal");
        return Err(Error::Database {
            doing: "setup",
            source: rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                Some(text),
            ),
        });
    }
    conn.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS schema (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         COMMIT;",
    )
    .db("setup")
}

fn version(conn: &Connection, component: &str) -> Result<u32> {
    Ok(conn
        .query_row(
            "SELECT version FROM schema WHERE component = ?1",
            [component],
            |row| row.get(0),
        )
        .optional()
        .db("query of versions")?
        .unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::new(dir.path().join("meta.db"));
        (dir, db)
    }

    const V1: &str = "CREATE TABLE a (x INTEGER) STRICT;";
    const V2: &str = "ALTER TABLE a ADD COLUMN y INTEGER;";

    #[test]
    fn migrates_step_by_step_with_a_backup() {
        let (dir, db) = database();
        db.migrate("engine", &[(1, V1)]).unwrap();
        db.write(|tx| {
            tx.execute("INSERT INTO a VALUES (7)", [])
                .map_err(Error::from)
        })
        .unwrap();
        let again = Database::new(dir.path().join("meta.db"));
        again.migrate("engine", &[(1, V1), (2, V2)]).unwrap();
        let sum: i64 = again
            .read(|c| {
                c.query_row("SELECT x FROM a WHERE y IS NULL", [], |r| r.get(0))
                    .map_err(Error::from)
            })
            .unwrap();
        assert_eq!(sum, 7);
        let old = Connection::open(dir.path().join("meta.db.engine-1.backup")).unwrap();
        assert!(old.prepare("SELECT x FROM a").is_ok());
        assert!(old.prepare("SELECT y FROM a").is_err());
    }

    #[test]
    fn newer_tables_are_refused() {
        let (dir, db) = database();
        db.migrate("engine", &[(1, V1), (2, V2)]).unwrap();
        let older = Database::new(dir.path().join("meta.db"));
        let error = older.migrate("engine", &[(1, V1)]).unwrap_err();
        assert!(
            matches!(
                error,
                Error::SchemaNewer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let (_dir, db) = database();
        db.migrate("engine", &[(1, V1)]).unwrap();
        let failed: Result<()> = db.write(|tx| {
            tx.execute("INSERT INTO a VALUES (1)", [])?;
            Err(Error::ImageUnknown("x".to_owned()))
        });
        failed.unwrap_err();
        let count: i64 = db
            .read(|c| Ok::<_, Error>(c.query_row("SELECT count(*) FROM a", [], |r| r.get(0))?))
            .unwrap();
        assert_eq!(count, 0);
        assert!(db.check().unwrap().is_empty());
    }

    #[test]
    fn many_threads_write_to_one_new_database() {
        let (dir, _) = database();
        let path = dir.path().join("meta.db");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let db = Database::new(path.clone());
                    db.migrate("engine", &[(1, V1)]).unwrap();
                    for _ in 0..20 {
                        db.write(|tx| Ok::<_, Error>(tx.execute("INSERT INTO a VALUES (1)", [])?))
                            .unwrap();
                    }
                });
            }
        });
        let db = Database::new(path);
        let count: i64 = db
            .read(|c| Ok::<_, Error>(c.query_row("SELECT count(*) FROM a", [], |r| r.get(0))?))
            .unwrap();
        assert_eq!(count, 160);
    }

    #[test]
    fn garbage_is_an_error() {
        let (dir, db) = database();
        std::fs::write(dir.path().join("meta.db"), vec![0x55; 8192]).unwrap();
        assert!(matches!(
            db.migrate("engine", &[(1, V1)]),
            Err(Error::Database { .. })
        ));
    }
}
