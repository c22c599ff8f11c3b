//! Which blob needs which, read from the blobs themselves: an index needs its
//! manifests, a manifest its config and layers. Indexes may be sparse: only
//! what is in the store is followed.
//!
//! A subject (image-spec manifest.md, `subject`) is not needed by what refers
//! to it; it is no link here.

use std::collections::BTreeSet;

use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, media_type};
use hako_spec::manifest::{self, ManifestKind};
use rusqlite::Transaction;

use crate::error::{Db, Error, Result};
use crate::store::Store;

/// Most documents that one name may lead to: an honest index has dozens, a
/// hostile one nests (attack "index recursion").
const MAX_DOCUMENTS: usize = 4096;

/// Links of a name's target: parents and children.
pub(crate) type Links = BTreeSet<(Digest, Digest)>;

/// Reads the manifest or index that `descriptor` names, verified.
///
/// Errors: [`Error::BlobUnknown`], [`Error::SizeMismatch`],
/// [`Error::DigestMismatch`], [`Error::Document`].
pub(crate) fn document(store: &Store, descriptor: &Descriptor) -> Result<ManifestKind> {
    let digest = &descriptor.digest;
    let size = store
        .blobs()
        .size(digest)?
        .ok_or_else(|| Error::BlobUnknown(digest.clone()))?;
    if size != descriptor.size {
        return Err(Error::SizeMismatch {
            digest: digest.clone(),
            expected: descriptor.size,
            actual: size,
        });
    }
    let bytes = store.blobs().read(digest, manifest::MAX_LEN as u64)?;
    let given = Some(descriptor.media_type.as_str()).filter(|given| !given.is_empty());
    manifest::parse(&bytes, given).map_err(|e| Error::Document {
        what: "manifest",
        digest: digest.clone(),
        why: e.to_string(),
    })
}

/// All links below `target`, whose own blob must be there.
pub(crate) fn collect(store: &Store, target: &Descriptor) -> Result<Links> {
    let mut links = Links::new();
    let mut seen = BTreeSet::from([target.digest.clone()]);
    let mut queue = vec![target.clone()];
    while let Some(parent) = queue.pop() {
        match document(store, &parent) {
            Ok(ManifestKind::Manifest(manifest)) => {
                for child in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    links.insert((parent.digest.clone(), child.digest.clone()));
                }
            }
            Ok(ManifestKind::Index(index)) => {
                for child in index.manifests {
                    links.insert((parent.digest.clone(), child.digest.clone()));
                    let kind = &child.media_type;
                    let follow = media_type::is_index(kind) || media_type::is_manifest(kind);
                    if follow && seen.insert(child.digest.clone()) {
                        queue.push(child);
                    }
                }
            }
            Err(Error::BlobUnknown(_)) if parent.digest != target.digest => {}
            Err(e) => return Err(e),
        }
        if seen.len() > MAX_DOCUMENTS {
            return Err(Error::Document {
                what: "index",
                digest: target.digest.clone(),
                why: format!("it leads to more than {MAX_DOCUMENTS} manifests"),
            });
        }
    }
    Ok(links)
}

/// Writes links down.
pub(crate) fn record(tx: &Transaction<'_>, links: &Links) -> Result<()> {
    let mut statement = tx
        .prepare_cached("INSERT OR IGNORE INTO links VALUES (?1, ?2)")
        .db("change of links")?;
    for (parent, child) in links {
        statement
            .execute([parent.as_str(), child.as_str()])
            .db("change of links")?;
    }
    Ok(())
}
