//! Containers in the database.

use hako_store::{Database, Hold, Owner, lease};
use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::error::{Error, Result};
use crate::record::{Container, Record, State};

/// The component's schema; never edit a released step.
pub(crate) const STEPS: &[(u32, &str)] = &[(
    1,
    "CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        record TEXT NOT NULL,      -- JSON, never changes
        state TEXT NOT NULL,       -- JSON
        UNIQUE (owner, name)
    ) STRICT, WITHOUT ROWID;",
)];

/// The kind of the leases that keep what containers are made of.
pub(crate) const LEASE: &str = "container";

/// Which containers [`crate::Engine::containers`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Those whose process runs or is being started.
    #[default]
    Running,
    /// All.
    All,
}

fn failed(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |e| {
        Error::Store(hako_store::Error::Database {
            doing: what,
            source: e,
        })
    }
}

fn json<T: serde::Serialize>(id: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::Record {
        id: id.to_owned(),
        source,
    })
}

type Columns = (String, String, String, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn container((id, owner, record, state): Columns) -> Result<Container> {
    let broken = |source| Error::Record {
        id: id.clone(),
        source,
    };
    Ok(Container {
        owner: owner.parse()?,
        record: serde_json::from_str::<Record>(&record).map_err(broken)?,
        state: serde_json::from_str::<State>(&state).map_err(broken)?,
    })
}

/// Adds a container, and with it the lease on what it is made of; its name must
/// be free.
pub(crate) fn insert(db: &Database, c: &Container, holds: &[Hold]) -> Result<()> {
    let (record, state) = (json(c.id(), &c.record)?, json(c.id(), &c.state)?);
    db.write(|tx| {
        let taken = tx
            .query_row(
                "SELECT id FROM containers WHERE owner = ?1 AND name = ?2",
                (c.owner.to_string(), &c.record.name),
                |row| row.get::<_, String>(0),
            )
            .optional()
            .map_err(failed("look-up of a name"))?;
        if let Some(id) = taken {
            let id = id.get(..12).unwrap_or(&id).to_owned();
            return Err(Error::NameTaken {
                name: c.record.name.clone(),
                id,
            });
        }
        tx.execute(
            "INSERT INTO containers (id, owner, name, record, state) VALUES (?1, ?2, ?3, ?4, ?5)",
            (c.id(), c.owner.to_string(), &c.record.name, record, state),
        )
        .map_err(failed("insertion of a container"))?;
        Ok(lease::hold(tx, c.owner, LEASE, c.id(), holds)?)
    })
}

/// All containers of `owner`, the newest first.
pub(crate) fn list(db: &Database, owner: Owner) -> Result<Vec<Container>> {
    let rows: Vec<Columns> = db.read(|conn| {
        let mut query = conn
            .prepare_cached("SELECT id, owner, record, state FROM containers WHERE owner = ?1")
            .map_err(failed("list of containers"))?;
        let rows = query
            .query_map([owner.to_string()], columns)
            .and_then(Iterator::collect)
            .map_err(failed("list of containers"))?;
        Ok::<Vec<Columns>, Error>(rows)
    })?;
    let mut all = rows
        .into_iter()
        .map(container)
        .collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    Ok(all)
}

/// Ids of all containers of all owners.
pub(crate) fn ids(db: &Database) -> Result<Vec<String>> {
    db.read(|conn| {
        conn.prepare_cached("SELECT id FROM containers")
            .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
            .map_err(failed("list of containers"))
    })
}

/// The container of that id.
pub(crate) fn by_id(db: &Database, id: &str) -> Result<Option<Container>> {
    let row = db.read(|conn| {
        conn.query_row(
            "SELECT id, owner, record, state FROM containers WHERE id = ?1",
            [id],
            columns,
        )
        .optional()
        .map_err(failed("look-up of a container"))
    })?;
    row.map(container).transpose()
}

/// The container that a user means: by name, id, or the start of an id.
pub(crate) fn find(db: &Database, owner: Owner, text: &str) -> Result<Container> {
    let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut rows: Vec<Columns> = db.read(|conn| {
        let owner = owner.to_string();
        let get = |sql: &str, key: &str| -> rusqlite::Result<Vec<Columns>> {
            conn.prepare_cached(sql)?
                .query_map((&owner, key), columns)?
                .collect()
        };
        let select = "SELECT id, owner, record, state FROM containers WHERE owner = ?1";
        let mut rows = get(&format!("{select} AND name = ?2"), text)
            .map_err(failed("look-up of a container"))?;
        if rows.is_empty() && hex {
            let lower = text.to_ascii_lowercase();
            rows = get(
                &format!("{select} AND id >= ?2 AND id < ?2 || 'g' LIMIT 100"),
                &lower,
            )
            .map_err(failed("look-up of a container"))?;
        }
        Ok::<Vec<Columns>, Error>(rows)
    })?;
    match rows.len() {
        0 => Err(Error::NoContainer(text.to_owned())),
        1 => container(rows.remove(0)),
        count => Err(Error::Ambiguous {
            text: text.to_owned(),
            count,
        }),
    }
}

/// Changes the state of container `id` inside one transaction: `change` sees
/// the state as it is now, whoever changed it last. Gives the new state; `None`
/// when there is no such container.
pub(crate) fn update(
    db: &Database,
    id: &str,
    change: impl FnOnce(&mut State) -> Result<()>,
) -> Result<Option<State>> {
    db.write(|tx: &Transaction<'_>| {
        let old = tx
            .query_row("SELECT state FROM containers WHERE id = ?1", [id], |row| {
                row.get::<_, String>(0)
            })
            .optional()
            .map_err(failed("look-up of a container"))?;
        let Some(old) = old else { return Ok(None) };
        let mut state: State = serde_json::from_str(&old).map_err(|source| Error::Record {
            id: id.to_owned(),
            source,
        })?;
        change(&mut state)?;
        tx.execute(
            "UPDATE containers SET state = ?2 WHERE id = ?1",
            (id, json(id, &state)?),
        )
        .map_err(failed("change of a container"))?;
        Ok(Some(state))
    })
}

/// Forgets a container.
pub(crate) fn delete(db: &Database, owner: Owner, id: &str) -> Result<()> {
    db.write(|tx| {
        tx.execute("DELETE FROM containers WHERE id = ?1", [id])
            .map_err(failed("removal of a container"))?;
        lease::release(tx, owner, LEASE, id)?;
        Ok(())
    })
}
