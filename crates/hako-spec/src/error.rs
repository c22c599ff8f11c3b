//! The crate's one error type.

/// Why a piece of text or a document was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document is not JSON, or has not the shape that its type demands.
    #[error("the {what} cannot be read")]
    Json {
        /// What was read, such as "runtime configuration".
        what: &'static str,
        /// Where and why; names the path of the field.
        #[source]
        source: serde_json::Error,
    },
    /// A document is larger than any honest one.
    #[error("the {what} has {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// Its length in bytes.
        size: usize,
        /// The largest accepted length in bytes.
        limit: usize,
    },
    /// An image manifest or index that is ambiguous, outdated or incomplete.
    #[error("the manifest is refused: {reason}")]
    Manifest {
        /// What is wrong, naming the field.
        reason: String,
    },
    /// An image configuration that no container can be made of.
    #[error("the image configuration is refused: {reason}")]
    Image {
        /// What is wrong, naming the field.
        reason: String,
    },
    /// A text that is no digest.
    #[error("{text:?} is not a digest: {reason}")]
    Digest {
        /// The text, shortened if it is long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text that is no image reference.
    #[error("{text:?} is not an image reference: {reason}")]
    Reference {
        /// The text, shortened if it is long.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no platform.
    #[error("{text:?} is not a platform: {reason}")]
    Platform {
        /// The text, shortened if it is long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text that is no container id.
    #[error("{text:?} is not a container id: {reason}")]
    ContainerId {
        /// The text, shortened if it is long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text that is not padded base64.
    #[error("{text:?} is not base64")]
    Base64 {
        /// The text, shortened if it is long.
        text: String,
    },
    /// A text that is none of the names of an enumeration.
    #[error("invalid {what} {text:?}")]
    UnknownName {
        /// Of which enumeration, such as "namespace type".
        what: &'static str,
        /// The text, shortened if it is long.
        text: String,
    },
}

/// At most the first 80 characters of `text`, so that an error about a
/// megabyte of rubbish stays one line.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
