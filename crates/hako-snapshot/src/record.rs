//! What is written down beside a layer's tree and a container's upper
//! directory.

use std::path::Path;

use hako_spec::digest::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::error::{At, Error, Result};
use crate::key::LayerKey;

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its diff id.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub bytes: u64,
    /// Entries of its archive.
    pub entries: u64,
    /// Whether the archive describes the root directory itself.
    pub root_entry: bool,
    /// Whether it hides all layers below.
    pub opaque_root: bool,
    /// What could not be unpacked as the archive has it, one line each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A writable root file system over a stack of layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id, that of its container.
    pub id: String,
    /// How its root file system is made.
    pub backend: Backend,
    /// The layers that are mounted, the base first: each once, and none that
    /// another one hides.
    pub layers: Vec<LayerKey>,
    /// All layers of the image, the base first.
    pub image: Vec<LayerKey>,
    /// The layer whose root directory is the one to be seen; none without
    /// layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<LayerKey>,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
}

/// Name of a layer's record.
pub(crate) const LAYER: &str = "layer.json";
/// Name of a snapshot's record.
pub(crate) const SNAPSHOT: &str = "snapshot.json";

/// Reads a record; `None` when there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).at("read", path),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Record {
            path: path.to_path_buf(),
            source,
        })
}

/// Writes a record into a directory that is not visible yet.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|source| Error::Record {
        path: path.to_path_buf(),
        source,
    })?;
    std::fs::write(path, bytes).at("write", path)
}
