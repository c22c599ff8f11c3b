//! Names of images: an owner's fully qualified reference, and the index or
//! manifest it stood for when it was pulled or built (that digest is what
//! Docker calls the RepoDigest). Shortening is for output; nothing short is
//! stored.

use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;
use rusqlite::{OptionalExtension as _, Row};

use crate::clock;
use crate::error::{Db, Error, Result};
use crate::links;
use crate::owner::Owner;
use crate::store::Store;

/// Longest reference stored, in bytes (a name has at most 255, a tag 128 and
/// a digest 135, see distribution-spec "Pulling manifests").
const MAX_REFERENCE: usize = 1024;

/// A name in the store.
#[derive(Debug, Clone)]
pub struct Name {
    /// Whose name it is.
    pub owner: Owner,
    /// The fully qualified reference: `docker.io/library/debian:12`.
    pub reference: String,
    /// The index or manifest that it stands for.
    pub target: Descriptor,
    /// When the name was first set, in nanoseconds since 1970.
    pub created: i64,
    /// When its target was last set.
    pub updated: i64,
}

/// Which names [`Names::list`] gives; the default is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Names of this owner only.
    pub owner: Option<Owner>,
    /// Names that this pattern fits, where `*` stands for any text.
    pub pattern: Option<String>,
    /// Names of this index or manifest only.
    pub target: Option<Digest>,
}

/// The names of a store.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    store: &'a Store,
}

impl<'a> Names<'a> {
    pub(crate) fn new(store: &'a Store) -> Names<'a> {
        Names { store }
    }

    /// Lets `owner`'s `reference` stand for `target`, whose blob must be in
    /// the store. Gives what it stood for before.
    ///
    /// What was written so far is brought to the disk first (see
    /// [`Store::sync`]).
    ///
    /// Errors: [`Error::BlobUnknown`], [`Error::SizeMismatch`],
    /// [`Error::Text`], [`Error::Document`] when the target is no index or
    /// manifest, and database errors.
    pub fn set(
        &self,
        owner: Owner,
        reference: &str,
        target: &Descriptor,
    ) -> Result<Option<Descriptor>> {
        valid(reference)?;
        let links = links::collect(self.store, target)?;
        self.store.sync_if_needed()?;
        let now = clock::now();
        let json = descriptor_json(target)?;
        self.store.tables()?.write(|tx| {
            // Under the write lock the garbage collection stands still.
            if !self.store.blobs().contains(&target.digest)? {
                return Err(Error::BlobUnknown(target.digest.clone()));
            }
            links::record(tx, &links)?;
            let old = tx
                .query_row(
                    "SELECT descriptor FROM names WHERE owner = ?1 AND reference = ?2",
                    (owner.to_string(), reference),
                    |row| descriptor_at(row, 0),
                )
                .optional()
                .db("query of names")?;
            tx.execute(
                "INSERT INTO names (owner, reference, target, descriptor, created, updated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (owner, reference) DO UPDATE SET
                 target = excluded.target, descriptor = excluded.descriptor, updated = excluded.updated",
                (owner.to_string(), reference, target.digest.as_str(), json, now),
            )
            .db("change of names")?;
            Ok(old)
        })
    }

    /// `owner`'s name `reference`.
    ///
    /// Errors: database errors.
    pub fn get(&self, owner: Owner, reference: &str) -> Result<Option<Name>> {
        self.store.tables()?.read(|conn| {
            conn.query_row(
                "SELECT owner, reference, descriptor, created, updated FROM names
                 WHERE owner = ?1 AND reference = ?2",
                (owner.to_string(), reference),
                name_at,
            )
            .optional()
            .db("query of names")
        })
    }

    /// The names that `filter` lets through, in the order of their references.
    ///
    /// Errors: database errors.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Name>> {
        let names = self.store.tables()?.read(|conn| {
            let mut statement = conn
                .prepare_cached(
                    "SELECT owner, reference, descriptor, created, updated FROM names
                     WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR target = ?2)
                     ORDER BY reference, owner",
                )
                .db("query of names")?;
            let owner = filter.owner.map(|owner| owner.to_string());
            let target = filter
                .target
                .as_ref()
                .map(|digest| digest.as_str().to_owned());
            let rows = statement
                .query_map((owner, target), name_at)
                .db("query of names")?;
            rows.collect::<Result<Vec<_>, _>>().db("query of names")
        })?;
        Ok(match &filter.pattern {
            None => names,
            Some(pattern) => names
                .into_iter()
                .filter(|name| fits(pattern.as_bytes(), name.reference.as_bytes()))
                .collect(),
        })
    }

    /// Removes `owner`'s name `reference`; gives what it stood for, `None`
    /// when there was no such name. Content is left to the garbage collection.
    ///
    /// Errors: database errors.
    pub fn remove(&self, owner: Owner, reference: &str) -> Result<Option<Descriptor>> {
        self.store.tables()?.write(|tx| {
            tx.query_row(
                "DELETE FROM names WHERE owner = ?1 AND reference = ?2 RETURNING descriptor",
                (owner.to_string(), reference),
                |row| descriptor_at(row, 0),
            )
            .optional()
            .db("change of names")
        })
    }
}

/// A reference that can be stored: it will be printed in lists.
fn valid(reference: &str) -> Result<()> {
    let why = if reference.is_empty() {
        "it is empty"
    } else if reference.len() > MAX_REFERENCE {
        "it is longer than 1024 bytes"
    } else if reference
        .chars()
        .any(|c| c.is_control() || c.is_whitespace())
    {
        "it holds spaces or control characters"
    } else {
        return Ok(());
    };
    let text = reference.chars().take(64).collect();
    Err(Error::Text {
        what: "reference",
        text,
        why,
    })
}

/// Whether `pattern`, where `*` stands for any bytes, fits `text`. Linear in
/// the product of the lengths at worst, and without recursion.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && pattern.get(p) == text.get(t) {
            p += 1;
            t += 1;
        } else if let Some((after, from)) = star {
            p = after;
            t = from + 1;
            star = Some((after, t));
        } else {
            return false;
        }
    }
    pattern
        .get(p..)
        .is_none_or(|rest| rest.iter().all(|b| *b == b'*'))
}

pub(crate) fn descriptor_json(descriptor: &Descriptor) -> Result<String> {
    serde_json::to_string(descriptor).map_err(|e| Error::Document {
        what: "descriptor",
        digest: descriptor.digest.clone(),
        why: e.to_string(),
    })
}

/// A descriptor in a column of a row.
pub(crate) fn descriptor_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Descriptor> {
    json_at(row, column)
}

/// JSON in a column of a row.
pub(crate) fn json_at<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| conversion(column, e))
}

/// Text that parses, in a column of a row.
pub(crate) fn parsed_at<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|e| conversion(column, e))
}

fn conversion(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

pub(crate) fn name_at(row: &Row<'_>) -> rusqlite::Result<Name> {
    Ok(Name {
        owner: parsed_at(row, 0)?,
        reference: row.get(1)?,
        target: descriptor_at(row, 2)?,
        created: row.get(3)?,
        updated: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let fits = |p: &str, t: &str| super::fits(p.as_bytes(), t.as_bytes());
        assert!(fits("*", ""));
        assert!(fits("docker.io/*:12", "docker.io/library/debian:12"));
        assert!(!fits("docker.io/*:12", "docker.io/library/debian:123"));
        assert!(fits("a*b*c", "axxbyybc"));
        assert!(!fits("a*b*c", "axxbyyb"));
        assert!(fits("abc", "abc") && !fits("abc", "abcd") && !fits("abcd", "abc"));
        assert!(!fits(&"*a".repeat(50), &"b".repeat(2000)));
    }

    #[test]
    fn references_that_would_break_a_list_are_refused() {
        for bad in ["", "a b", "a\nb", "a\x1b[31m", &"x".repeat(1025)] {
            assert!(valid(bad).is_err(), "{bad:?}");
        }
        valid("docker.io/library/debian@sha256:00").unwrap();
    }
}
