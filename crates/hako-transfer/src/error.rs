//! Why an image could not be brought.

use std::path::PathBuf;

use hako_spec::digest::Digest;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A boxed cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Failures of a transfer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names no source.
    #[error("{text:?} is not an image source: {reason}")]
    Source {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A reference is malformed.
    #[error("not an image reference")]
    Reference(#[source] hako_spec::Error),
    /// The registry; its errors say what was being done.
    #[error(transparent)]
    Registry(hako_distribution::Error),
    /// The store; its errors say what was being done.
    #[error(transparent)]
    Store(hako_store::Error),
    /// The unpacked layers; their errors say what was being done.
    #[error(transparent)]
    Snapshots(hako_snapshot::Error),
    /// A file of a local source.
    #[error("cannot read {file} of {}", path.display())]
    File {
        /// The layout, directory or archive.
        path: PathBuf,
        /// The file in it.
        file: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// An archive is broken.
    #[error("{} is not a readable archive", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The cause.
        #[source]
        source: hako_tar::Error,
    },
    /// A local source is not what it should be.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The layout, directory or archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A document of the image.
    #[error("{name}: {what} {digest} is not usable")]
    Document {
        /// The image.
        name: String,
        /// `index`, `manifest`, `config`.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The cause.
        #[source]
        source: hako_spec::Error,
    },
    /// The image breaks a rule.
    #[error("{name}: {reason}")]
    Image {
        /// The image.
        name: String,
        /// Which rule.
        reason: String,
    },
    /// There is no image for the platform.
    #[error("{name}: no image for {want}{}", among(.have))]
    Platform {
        /// The image.
        name: String,
        /// What was asked for.
        want: String,
        /// What there is.
        have: Vec<String>,
    },
    /// The user wanted no download.
    #[error("{name}: not in the store, and pulling was not allowed")]
    Absent {
        /// The image.
        name: String,
    },
    /// The user's or the machine's policy forbids the image.
    #[error("{name}: refused by {}: {reason}", path.display())]
    Policy {
        /// The image.
        name: String,
        /// The policy's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A policy file is unreadable.
    #[error("cannot read the policy {}", path.display())]
    PolicyFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A layer could not be unpacked.
    #[error("{name}: cannot unpack layer {digest}")]
    Unpack {
        /// The image.
        name: String,
        /// The layer's digest.
        digest: Digest,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// Packages could not be turned into an image.
    #[error("{name}: cannot make an image of packages")]
    Packages {
        /// The request.
        name: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// A task of ours died.
    #[error("a part of the transfer ended without a result")]
    Task(#[source] tokio::task::JoinError),
}

fn among(have: &[String]) -> String {
    if have.is_empty() {
        String::new()
    } else {
        format!(" among {}", have.join(", "))
    }
}

impl Error {
    /// The registry's class of the error, if it was the registry.
    pub fn registry_kind(&self) -> Option<hako_distribution::Kind> {
        match self {
            Self::Registry(error) => Some(error.kind()),
            _ => None,
        }
    }
}

impl From<hako_distribution::Error> for Error {
    fn from(error: hako_distribution::Error) -> Self {
        Self::Registry(error)
    }
}

impl From<hako_store::Error> for Error {
    fn from(error: hako_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<hako_snapshot::Error> for Error {
    fn from(error: hako_snapshot::Error) -> Self {
        Self::Snapshots(error)
    }
}
