//! What can go wrong in the store, said with the path, digest or name it
//! happened to.

use std::io;
use std::path::{Path, PathBuf};

use hako_spec::digest::Digest;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a path of the store failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was attempted, as an infinitive.
        doing: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// SQLite refused something.
    #[error("database {doing} failed")]
    Database {
        /// What was attempted, as a noun.
        doing: &'static str,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The store was written by a newer, incompatible version of hako.
    #[error(
        "{} has layout version {found}, and this hako reads 1.x: use a newer hako",
        path.display()
    )]
    LayoutNewer {
        /// The store's root.
        path: PathBuf,
        /// The version found.
        found: String,
    },
    /// `layout-version` is not a version.
    #[error("{} is not a layout version: {found:?}", path.display())]
    LayoutUnreadable {
        /// The file.
        path: PathBuf,
        /// Its start.
        found: String,
    },
    /// The directory holds other things than a store.
    #[error(
        "{} is neither empty nor a hako store (it holds {stranger:?})",
        path.display()
    )]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// The first entry that is not the store's.
        stranger: String,
    },
    /// SQLite's locks do not work over a network.
    #[error(
        "{} lies on a network file system ({kind}), where locks are not reliable: choose a local directory",
        path.display()
    )]
    NetworkFileSystem {
        /// The store's root.
        path: PathBuf,
        /// The file system's name.
        kind: String,
    },
    /// A component's tables are newer than this program.
    #[error(
        "the database's {component} tables have version {found}, and this hako knows {known}: use a newer hako"
    )]
    SchemaNewer {
        /// The component.
        component: String,
        /// Version found.
        found: u32,
        /// Newest version known.
        known: u32,
    },
    /// A blob is not in the store.
    #[error("blob {0} is not in the store")]
    BlobUnknown(Digest),
    /// A blob's bytes have another digest than its name.
    #[error("blob {expected} has the wrong content: its digest is {actual}")]
    DigestMismatch {
        /// The digest promised.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// A blob is shorter or longer than promised.
    #[error("blob {digest} has {actual} bytes instead of {expected}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// The size promised, in bytes.
        expected: u64,
        /// The size of what came (`expected + 1` stands for any more).
        actual: u64,
    },
    /// A blob is longer than its reader is ready to hold in memory.
    #[error("blob {digest} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The limit in bytes.
        limit: u64,
    },
    /// A stream was longer than its reader allows.
    #[error("the content is larger than the limit of {limit} bytes")]
    StreamTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The stream to store could not be read.
    #[error("cannot read the content to store")]
    Source(#[source] io::Error),
    /// Another process is writing this blob.
    #[error("blob {0} is being written by another process")]
    Busy(Digest),
    /// A manifest, index or config in the store cannot be used.
    #[error("{what} {digest} cannot be used: {why}")]
    Document {
        /// "manifest", "index" or "config".
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// Why not.
        why: String,
    },
    /// A name, owner or lease text that cannot be stored.
    #[error("{what} {text:?} cannot be used: {why}")]
    Text {
        /// What the text is meant to be.
        what: &'static str,
        /// The text.
        text: String,
        /// Why not.
        why: &'static str,
    },
    /// No image answers to this.
    #[error("no image {0:?} in the store")]
    ImageUnknown(String),
    /// More than one image answers to this.
    #[error("{text:?} fits more than one image: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The ids or names that fit.
        candidates: Vec<String>,
    },
    /// The name exists, the platform does not.
    #[error("image {name:?} is in the store for {}, not for {want}", have.join(", "))]
    PlatformUnknown {
        /// What was asked for.
        name: String,
        /// The platform asked for.
        want: String,
        /// The platforms there are.
        have: Vec<String>,
    },
    /// A part of the garbage collection outside this crate failed.
    #[error("garbage collection of {what} failed")]
    Collector {
        /// The collector's name.
        what: &'static str,
        /// Its error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Error {
        Error::Database {
            doing: "statement",
            source,
        }
    }
}

/// Adds what was done to which path to an I/O error.
pub(crate) trait At<T> {
    /// `doing` is an infinitive: "open", "rename".
    fn at(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|e| Error::Io {
            doing,
            path: path.to_path_buf(),
            source: e.into(),
        })
    }
}

/// Adds what was done to a database error.
pub(crate) trait Db<T> {
    /// `doing` is a noun: "query of names".
    fn db(self, doing: &'static str) -> Result<T>;
}

impl<T> Db<T> for std::result::Result<T, rusqlite::Error> {
    fn db(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| Error::Database { doing, source })
    }
}
