//! What can go wrong between a request and an image.

use std::path::PathBuf;

/// An error of this crate. The text names the request, file, URL or package
/// it is about; a cause is in `source()` and is not repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request string does not follow the syntax of [`crate::Request`].
    #[error("package request {request:?}: {reason} (at character {at})")]
    Request {
        /// The whole request.
        request: String,
        /// What is wrong.
        reason: String,
        /// Character position, counted from 1.
        at: usize,
    },
    /// A text that should be deb822 is not.
    #[error("{origin}, line {line}: {reason}")]
    Control {
        /// The file or URL.
        origin: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A list of package sources cannot be understood.
    #[error("package sources in {path}, line {line}: {reason}")]
    Sources {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing to take packages from.
    #[error(
        "no package sources: {reason}; name a sources file with HAKO_DEB_SOURCES (one-line or deb822 format, with Signed-By)"
    )]
    NoSources {
        /// Where was looked, and what was there.
        reason: String,
    },
    /// A keyring cannot be used.
    #[error("keyring {path}: {reason}")]
    Keyring {
        /// The keyring's file, or "Signed-By" for an embedded one.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The signature of a release does not satisfy the rules.
    #[error("{url}: {reason}")]
    Signature {
        /// The signed file.
        url: String,
        /// Which key, and why it does not count.
        reason: String,
    },
    /// A Release file says something that it must not.
    #[error("{url}: {reason}")]
    Release {
        /// The Release file.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Bytes are not those that were promised.
    #[error("{what}: {reason}")]
    Mismatch {
        /// The URL or file.
        what: String,
        /// Which size or hash was promised, which was found.
        reason: String,
    },
    /// A package index, archive or member cannot be read.
    #[error("{what}: {reason}")]
    Malformed {
        /// The URL, file or package.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The cached form of an index is damaged.
    #[error("{what}: the cached index is damaged")]
    DamagedIndex {
        /// The release's URL.
        what: String,
    },
    /// The packages that were asked for cannot be had together.
    #[error("{0}")]
    Unresolvable(String),
    /// Two packages have the same path.
    #[error(
        "{path} is in {first} and, with other content, in {second}, and neither replaces the other"
    )]
    FileConflict {
        /// The path in the image.
        path: String,
        /// The one package.
        first: String,
        /// The other.
        second: String,
    },
    /// Something that is not in the cache was needed without the network.
    #[error("{url} is not in the cache and the network is not to be used")]
    Offline {
        /// What was needed.
        url: String,
    },
    /// A download failed.
    #[error("cannot fetch {url}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server answered with something else than the file.
    #[error("{url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A file of this machine cannot be read or written.
    #[error("{path}: cannot {action}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: "read", "write", ...
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store did not take the image.
    #[error("cannot put the image into the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A worker thread ended without an answer.
    #[error("a worker thread failed while it was to {0}")]
    Worker(&'static str),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A closure for `map_err` that names the file and the action.
pub(crate) fn io(
    path: impl Into<PathBuf>,
    action: &'static str,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io {
        path,
        action,
        source,
    }
}
