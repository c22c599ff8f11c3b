//! From what a user types to an image: a familiar name (`debian`), a full one,
//! a name with a digest, an image id or the start of one.

use hako_spec::digest::Digest;
use hako_spec::platform::{self, Platform};
use hako_spec::reference::{DEFAULT_REGISTRY, OFFICIAL_PREFIX, Reference};
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{Db, Error, Result};
use crate::images::{self, Image, Images};
use crate::names::{Name, name_at};
use crate::owner::Owner;

/// An image and, when it was asked for by name, the name.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The image.
    pub image: Image,
    /// The name that led to it; `None` for an id.
    pub name: Option<Name>,
}

impl Images<'_> {
    /// The image that `text` means to `owner` (`None`: to anybody) on `want`.
    ///
    /// Tried in this order: a whole digest (of a config, manifest or index), a
    /// reference with the tag `latest` when it has none, the same reference at
    /// `localhost/` when it names no registry, and the start of an image id.
    /// An id is taken whatever its platform is.
    ///
    /// Errors: [`Error::ImageUnknown`], [`Error::PlatformUnknown`] when the
    /// name is there for other platforms only, [`Error::Ambiguous`] when
    /// several ids start so, and database errors.
    pub fn resolve(&self, owner: Option<Owner>, text: &str, want: &Platform) -> Result<Resolved> {
        let owner = owner.map(|owner| owner.to_string());
        self.store.tables()?.read(|conn| {
            if let Ok(digest) = text.parse::<Digest>() {
                return by_digest(conn, owner.as_deref(), text, &digest, want);
            }
            if let Ok(reference) = Reference::parse(text) {
                for reference in spellings(text, reference.or_latest()) {
                    if let Some(name) = by_name(conn, owner.as_deref(), &reference)? {
                        let image = choose(conn, text, &name.target.digest, want)?;
                        return Ok(Resolved {
                            image,
                            name: Some(name),
                        });
                    }
                }
            }
            by_prefix(conn, owner.as_deref(), text)
        })
    }
}

/// The reference, and where a local build of that name would be.
fn spellings(text: &str, reference: Reference) -> Vec<Reference> {
    let first = text.split('/').next().unwrap_or_default();
    let named = text.contains('/') && (first == DEFAULT_REGISTRY || first == "index.docker.io");
    if named || reference.registry != DEFAULT_REGISTRY {
        return vec![reference];
    }
    let repository = match reference.repository.strip_prefix(OFFICIAL_PREFIX) {
        Some(short) if !text.starts_with(OFFICIAL_PREFIX) => short.to_owned(),
        _ => reference.repository.clone(),
    };
    let local = Reference {
        registry: "localhost".to_owned(),
        repository,
        ..reference.clone()
    };
    vec![reference, local]
}

/// The newest name that fits; with a digest, a name of the repository whose
/// target, or a manifest or config below it, has that digest.
fn by_name(conn: &Connection, owner: Option<&str>, reference: &Reference) -> Result<Option<Name>> {
    let exact = conn
        .query_row(
            "SELECT owner, reference, descriptor, created, updated FROM names
             WHERE reference = ?1 AND (?2 IS NULL OR owner = ?2)
             ORDER BY updated DESC LIMIT 1",
            (reference.to_string(), owner),
            name_at,
        )
        .optional()
        .db("query of names")?;
    let Some(digest) = reference.digest.as_ref().filter(|_| exact.is_none()) else {
        return Ok(exact);
    };
    // The tag of name:tag@digest says nothing: the digest does.
    let prefix = reference.name();
    conn.query_row(
        "SELECT owner, reference, descriptor, created, updated FROM names
         WHERE (?2 IS NULL OR owner = ?2)
           AND (substr(reference, 1, length(?1) + 1) IN (?1 || ':', ?1 || '@'))
           AND target = ?3
         ORDER BY updated DESC LIMIT 1",
        (prefix, owner, digest.as_str()),
        name_at,
    )
    .optional()
    .db("query of names")
}

/// The best image below `target` for `want`.
fn choose(conn: &Connection, text: &str, target: &Digest, want: &Platform) -> Result<Image> {
    let candidates = images::below(conn, target)?;
    let have: Vec<String> = candidates
        .iter()
        .map(|image| image.platform.to_string())
        .collect();
    candidates
        .into_iter()
        .filter_map(|image| platform::rank(want, &image.platform).map(|rank| (rank, image)))
        .min_by(|(a, x), (b, y)| a.cmp(b).then(y.pulled.cmp(&x.pulled)))
        .map(|(_, image)| image)
        .ok_or_else(|| match have.is_empty() {
            true => Error::ImageUnknown(text.to_owned()),
            false => Error::PlatformUnknown {
                name: text.to_owned(),
                want: want.to_string(),
                have,
            },
        })
}

/// Whether the image with this id is `owner`'s: a name of theirs leads to it,
/// or nobody's does (a lease alone keeps it).
const OWNED: &str = "
    (?2 IS NULL OR NOT EXISTS (
        WITH RECURSIVE up (digest) AS (
            SELECT manifest FROM manifests WHERE image = images.id
            UNION SELECT parent FROM links JOIN up ON child = digest)
        SELECT 1 FROM names JOIN up ON target = digest)
     OR EXISTS (
        WITH RECURSIVE up (digest) AS (
            SELECT manifest FROM manifests WHERE image = images.id
            UNION SELECT parent FROM links JOIN up ON child = digest)
        SELECT 1 FROM names JOIN up ON target = digest WHERE owner = ?2))";

fn by_digest(
    conn: &Connection,
    owner: Option<&str>,
    text: &str,
    digest: &Digest,
    want: &Platform,
) -> Result<Resolved> {
    let sql = format!("SELECT id FROM images WHERE id = ?1 AND {OWNED}");
    if let Some(id) = images::ids(conn, &sql, (digest.as_str(), owner))?.first() {
        return found(conn, text, id);
    }
    let image = choose(conn, text, digest, want)?;
    let sql = format!("SELECT id FROM images WHERE id = ?1 AND {OWNED}");
    match images::ids(conn, &sql, (image.id.as_str(), owner))?.first() {
        Some(_) => Ok(Resolved { image, name: None }),
        None => Err(Error::ImageUnknown(text.to_owned())),
    }
}

fn by_prefix(conn: &Connection, owner: Option<&str>, text: &str) -> Result<Resolved> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let valid = !hex.is_empty()
        && hex.len() <= 64
        && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !valid {
        return Err(Error::ImageUnknown(text.to_owned()));
    }
    let sql = format!(
        "SELECT id FROM images WHERE id >= ?1 AND id < ?1 || 'g' AND {OWNED} ORDER BY id LIMIT 9"
    );
    let ids = images::ids(conn, &sql, (format!("sha256:{hex}"), owner))?;
    match ids.as_slice() {
        [] => Err(Error::ImageUnknown(text.to_owned())),
        [id] => found(conn, text, id),
        many => Err(Error::Ambiguous {
            text: text.to_owned(),
            candidates: many.iter().map(|id| id.short().to_owned()).collect(),
        }),
    }
}

fn found(conn: &Connection, text: &str, id: &Digest) -> Result<Resolved> {
    let image = images::load(conn, id)?.ok_or_else(|| Error::ImageUnknown(text.to_owned()))?;
    Ok(Resolved { image, name: None })
}
