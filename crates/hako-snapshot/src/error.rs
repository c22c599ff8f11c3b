//! What can go wrong with layers and snapshots.

use std::io;
use std::path::{Path, PathBuf};

use hako_spec::digest::Digest;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with layers and snapshots.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was attempted, as an infinitive.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Layers were unpacked with subordinate ids, which are gone.
    #[error(
        "{} has files of subordinate ids that this user does not have now: install uidmap and give the ranges in /etc/subuid and /etc/subgid back", path.display()
    )]
    FewerIds {
        /// The snapshots' directory.
        path: PathBuf,
    },
    /// Layers were unpacked without subordinate ids, which are there now.
    #[error(
        "{} has images that were unpacked when this user had one id: remove containers and images ('hako rm -f -a' and 'hako system prune -a'), and pull them again", path.display()
    )]
    MoreIds {
        /// The snapshots' directory.
        path: PathBuf,
    },
    /// The layer's archive could not be applied.
    #[error("cannot unpack layer {diff_id} into {}", path.display())]
    Apply {
        /// The layer.
        diff_id: Digest,
        /// The directory it was to become.
        path: PathBuf,
        /// Why not.
        source: hako_layer::Error,
    },
    /// The layer's archive could not be read.
    #[error("cannot read layer {diff_id}")]
    Stream {
        /// The layer.
        diff_id: Digest,
        /// Why not.
        source: io::Error,
    },
    /// The layer can only be unpacked with a view of the layers below, which
    /// the next call of [`crate::Snapshotter::unpack`] will wait for: read its
    /// archive again from the start.
    #[error("layer {diff_id} has to be unpacked again, after the layers below it")]
    NeedsLower {
        /// The layer.
        diff_id: Digest,
    },
    /// The uncompressed archive is not what the image's config says.
    #[error("layer {expected} has the wrong content: its diff id is {actual}")]
    DiffId {
        /// The diff id promised.
        expected: Digest,
        /// The diff id of what came.
        actual: Digest,
    },
    /// A layer below could not be unpacked, or the pull was given up.
    #[error("layer {diff_id} waits for a layer below that does not come")]
    Abandoned {
        /// The layer that waited.
        diff_id: Digest,
    },
    /// A layer is not unpacked here.
    #[error("layer {0} is not unpacked")]
    LayerUnknown(String),
    /// A snapshot id that cannot be a file's name.
    #[error(
        "snapshot id {0:?} must be 1 to 128 letters, digits and . _ - that start with a letter or digit"
    )]
    Id(String),
    /// There is a snapshot with this id.
    #[error("snapshot {0:?} exists already")]
    Exists(String),
    /// There is no snapshot with this id.
    #[error("no snapshot {0:?}")]
    Unknown(String),
    /// A record of a layer or snapshot cannot be read.
    #[error("cannot read the record {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The kernel refused a mount.
    #[error("cannot mount the root file system of {id}: {step}{}", told(log))]
    Mount {
        /// The snapshot.
        id: String,
        /// Which step failed.
        step: &'static str,
        /// What the kernel said about it beside the error number.
        log: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused to mount a layer.
    #[error("cannot mount layer {layer}: {step}{}", told(log))]
    MountLayer {
        /// The layer's key.
        layer: String,
        /// Which step failed.
        step: &'static str,
        /// What the kernel said about it beside the error number.
        log: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A layer's image cannot be written or read.
    #[error("the image {}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: hako_erofs::Error,
    },
    /// Overlayfs takes no more layers than this.
    #[error("{id} has {layers} layers, and an overlay takes {limit}")]
    TooManyLayers {
        /// The snapshot.
        id: String,
        /// Its layers.
        layers: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// Plain copies are owned by who they are owned by.
    #[error("{id}: ids cannot be mapped here, because {why}")]
    IdMap {
        /// The snapshot.
        id: String,
        /// Why not.
        why: &'static str,
    },
    /// The store's own error.
    #[error(transparent)]
    Store(#[from] hako_store::Error),
}

fn told(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!(" ({log})")
    }
}

/// Adds what was done to which path to an I/O error.
pub(crate) trait At<T> {
    /// `doing` is an infinitive: "open", "rename".
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::Io {
            doing,
            path: path.as_ref().to_path_buf(),
            source: e.into(),
        })
    }
}
