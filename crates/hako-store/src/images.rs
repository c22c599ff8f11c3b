//! Images by id. An image is a config and the layers that it lists; its id is
//! the config's digest, whatever the manifest around it is called.

use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, Image as Config};
use hako_spec::manifest::ManifestKind;
use hako_spec::platform::Platform;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Db, Error, Result};
use crate::links;
use crate::names::{descriptor_at, descriptor_json, json_at};
use crate::owner::Owner;
use crate::store::Store;

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The layer as the manifest lists it; its blob may not be in the store
    /// (`store.originals = discard`).
    pub descriptor: Descriptor,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The config's digest.
    pub id: Digest,
    /// What it runs on, normalised.
    pub platform: Platform,
    /// When it was made, as its config says (RFC 3339).
    pub created: Option<String>,
    /// Its layers, the base first.
    pub layers: Vec<Layer>,
    /// Bytes of its unpacked layers, as measured when it was recorded.
    pub size: u64,
    /// When it was last pulled or built, in nanoseconds since 1970.
    pub pulled: i64,
    /// The manifests that it came with.
    pub manifests: Vec<Descriptor>,
}

impl Image {
    /// The layers' diff ids, the base first.
    #[must_use]
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers
            .iter()
            .map(|layer| layer.diff_id.clone())
            .collect()
    }
}

/// The part of an image that is stored as one JSON text.
#[derive(Serialize, Deserialize)]
struct Record {
    platform: Platform,
    created: Option<String>,
    layers: Vec<Layer>,
    size: u64,
}

/// The images of a store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub(crate) store: &'a Store,
}

impl<'a> Images<'a> {
    pub(crate) fn new(store: &'a Store) -> Images<'a> {
        Images { store }
    }

    /// Records the image of `manifest`, whose blob and whose config's blob
    /// are in the store; its layers' blobs need not be. `size` is the bytes of
    /// its unpacked layers.
    ///
    /// An image that came before keeps the manifests it came with.
    ///
    /// Errors: [`Error::BlobUnknown`], [`Error::DigestMismatch`],
    /// [`Error::SizeMismatch`], and [`Error::Document`] for what is no image
    /// or whose config lists another number of layers than its manifest.
    pub fn record(&self, manifest: &Descriptor, size: u64) -> Result<Image> {
        let refuse = |what, digest: &Digest, why: String| Error::Document {
            what,
            digest: digest.clone(),
            why,
        };
        let ManifestKind::Manifest(document) = links::document(self.store, manifest)? else {
            return Err(refuse(
                "index",
                &manifest.digest,
                "it is not one image".to_owned(),
            ));
        };
        let id = document.config.digest.clone();
        if !document.is_image() {
            let why = format!(
                "its config is {:?}, not an image's",
                document.config.media_type
            );
            return Err(refuse("manifest", &manifest.digest, why));
        }
        let reader = self.store.blobs().open_sized(&id, document.config.size)?;
        drop(reader);
        let bytes = self.store.blobs().read(&id, Config::MAX_LEN as u64)?;
        let config =
            Config::from_slice(&bytes).map_err(|e| refuse("config", &id, e.to_string()))?;
        let (diff_ids, descriptors) = (&config.rootfs.diff_ids, &document.layers);
        if diff_ids.len() != descriptors.len() {
            let why = format!(
                "it lists {} layers, its manifest {}",
                diff_ids.len(),
                descriptors.len()
            );
            return Err(refuse("config", &id, why));
        }
        let layers = diff_ids
            .iter()
            .zip(descriptors)
            .map(|(diff_id, descriptor)| Layer {
                diff_id: diff_id.clone(),
                descriptor: descriptor.clone(),
            })
            .collect();
        let platform = config.platform();
        let record = Record {
            platform,
            created: config.created,
            layers,
            size,
        };
        let json =
            serde_json::to_string(&record).map_err(|e| refuse("config", &id, e.to_string()))?;
        let links = links::collect(self.store, manifest)?;
        let descriptor = descriptor_json(manifest)?;
        self.store.tables()?.write(|tx| {
            links::record(tx, &links)?;
            tx.execute(
                "INSERT INTO images VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record, pulled = excluded.pulled",
                (id.as_str(), json, clock::now()),
            )
            .db("change of images")?;
            tx.execute(
                "INSERT OR REPLACE INTO manifests VALUES (?1, ?2, ?3)",
                (id.as_str(), manifest.digest.as_str(), descriptor),
            )
            .db("change of images")?;
            load(tx, &id)?.ok_or_else(|| Error::ImageUnknown(id.to_string()))
        })
    }

    /// The image with this id.
    ///
    /// Errors: database errors.
    pub fn get(&self, id: &Digest) -> Result<Option<Image>> {
        self.store.tables()?.read(|conn| load(conn, id))
    }

    /// The image that `manifest` describes, if it was recorded.
    ///
    /// Errors: database errors.
    pub fn by_manifest(&self, manifest: &Digest) -> Result<Option<Image>> {
        self.store.tables()?.read(|conn| {
            let id: Option<String> = conn
                .query_row(
                    "SELECT image FROM manifests WHERE manifest = ?1",
                    [manifest.as_str()],
                    |row| row.get(0),
                )
                .optional()
                .db("query of images")?;
            match id.and_then(|id| id.parse().ok()) {
                Some(id) => load(conn, &id),
                None => Ok(None),
            }
        })
    }

    /// The images below an index or manifest that are in the store.
    ///
    /// Errors: database errors.
    pub fn below(&self, target: &Digest) -> Result<Vec<Image>> {
        self.store.tables()?.read(|conn| below(conn, target))
    }

    /// The images that have a name of `owner` (of anybody: `None`), and those
    /// that nothing but a lease keeps (`None` only), newest pull first.
    ///
    /// Errors: database errors.
    pub fn list(&self, owner: Option<Owner>) -> Result<Vec<Image>> {
        self.store.tables()?.read(|conn| {
            let ids = match owner {
                None => ids(conn, "SELECT id FROM images ORDER BY pulled DESC, id", [])?,
                Some(owner) => ids(
                    conn,
                    "WITH RECURSIVE owned (digest) AS (
                         SELECT target FROM names WHERE owner = ?1
                         UNION SELECT child FROM links JOIN owned ON parent = digest)
                     SELECT id FROM images WHERE id IN
                         (SELECT image FROM manifests JOIN owned ON manifest = digest)
                     ORDER BY pulled DESC, id",
                    [owner.to_string()],
                )?,
            };
            let mut images = Vec::with_capacity(ids.len());
            for id in ids {
                images.extend(load(conn, &id)?);
            }
            Ok(images)
        })
    }
}

/// Ids that a query gives in its first column.
pub(crate) fn ids(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Digest>> {
    let mut statement = conn.prepare_cached(sql).db("query of images")?;
    let rows = statement
        .query_map(params, |row| crate::names::parsed_at(row, 0))
        .db("query of images")?;
    rows.collect::<Result<_, _>>().db("query of images")
}

/// [`Images::below`] in a transaction.
pub(crate) fn below(conn: &Connection, target: &Digest) -> Result<Vec<Image>> {
    let ids = ids(
        conn,
        "WITH RECURSIVE tree (digest) AS (
             SELECT ?1 UNION SELECT child FROM links JOIN tree ON parent = digest)
         SELECT DISTINCT image FROM manifests JOIN tree ON manifest = digest",
        [target.as_str()],
    )?;
    let mut images = Vec::with_capacity(ids.len());
    for id in ids {
        images.extend(load(conn, &id)?);
    }
    Ok(images)
}

/// [`Images::get`] in a transaction.
pub(crate) fn load(conn: &Connection, id: &Digest) -> Result<Option<Image>> {
    let row = |row: &Row<'_>| Ok((json_at::<Record>(row, 0)?, row.get::<_, i64>(1)?));
    let found = conn
        .query_row(
            "SELECT record, pulled FROM images WHERE id = ?1",
            [id.as_str()],
            row,
        )
        .optional()
        .db("query of images")?;
    let Some((record, pulled)) = found else {
        return Ok(None);
    };
    let mut statement = conn
        .prepare_cached("SELECT descriptor FROM manifests WHERE image = ?1 ORDER BY manifest")
        .db("query of images")?;
    let rows = statement
        .query_map([id.as_str()], |row| descriptor_at(row, 0))
        .db("query of images")?;
    let manifests = rows.collect::<Result<_, _>>().db("query of images")?;
    Ok(Some(Image {
        id: id.clone(),
        platform: record.platform,
        created: record.created,
        layers: record.layers,
        size: record.size,
        pulled,
        manifests,
    }))
}
