//! Settings that belong to a store, because everybody who uses the store must
//! agree on them.

use rusqlite::OptionalExtension as _;

use crate::error::{Db, Error, Result};
use crate::store::Store;

/// What becomes of a layer's compressed bytes after a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Originals {
    /// They are hashed and not stored: the default. Pushing the layer
    /// elsewhere compresses it anew, which changes its digest.
    #[default]
    Discard,
    /// They stay as blobs, for a store that also serves them.
    Keep,
}

impl Originals {
    /// `discard` or `keep`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Originals::Discard => "discard",
            Originals::Keep => "keep",
        }
    }
}

impl std::str::FromStr for Originals {
    type Err = Error;

    fn from_str(text: &str) -> Result<Originals, Error> {
        match text {
            "discard" => Ok(Originals::Discard),
            "keep" => Ok(Originals::Keep),
            _ => Err(Error::Text {
                what: "store.originals",
                text: text.to_owned(),
                why: "it is neither discard nor keep",
            }),
        }
    }
}

/// The settings of a store.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    store: &'a Store,
}

const ORIGINALS: &str = "store.originals";

impl<'a> Settings<'a> {
    pub(crate) fn new(store: &'a Store) -> Settings<'a> {
        Settings { store }
    }

    /// The value stored under `key`.
    ///
    /// Errors: [`Error::Database`].
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        self.store.tables()?.read(|conn| {
            conn.query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
            .db("query of settings")
        })
    }

    /// Stores `value` under `key`.
    ///
    /// Errors: [`Error::Database`].
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        self.store.tables()?.write(|tx| {
            tx.execute(
                "INSERT INTO settings VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            )
            .db("change of settings")
            .map(drop)
        })
    }

    /// `store.originals`; [`Originals::Discard`] when it was never set.
    ///
    /// Errors: [`Error::Database`], and [`Error::Text`] for a value that a
    /// newer minor version may have written.
    pub fn originals(&self) -> Result<Originals> {
        self.get(ORIGINALS)?
            .map_or(Ok(Originals::default()), |text| text.parse())
    }

    /// Sets `store.originals`; layers that are there already stay as they are.
    ///
    /// Errors: [`Error::Database`].
    pub fn set_originals(&self, originals: Originals) -> Result<()> {
        self.set(ORIGINALS, originals.as_str())
    }
}
