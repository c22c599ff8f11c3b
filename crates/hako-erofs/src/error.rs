//! The one error type of the crate.

use std::io;

/// Why a layer could not be made an image, or an image not be read. What was
/// written so far is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is broken, or asks for something that is refused.
    #[error("cannot index the layer")]
    Layer(#[from] hako_layer::Error),
    /// The file with the layer's data could not be used.
    #[error("cannot {action} the layer's data")]
    Data {
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The image could not be written.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
    /// More than the format has numbers for (2 TiB of data).
    #[error("{what} is too large for an image")]
    TooLarge {
        /// What it is.
        what: &'static str,
    },
    /// The image could not be read.
    #[error("cannot read the image at offset {offset}")]
    Read {
        /// Where, in bytes.
        offset: u64,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// This is no image, or not one as this crate makes them.
    #[error("this is no image of a layer: {what}")]
    Foreign {
        /// What is different.
        what: &'static str,
    },
    /// The image contradicts itself.
    #[error("the image is damaged at offset {offset}: {what}")]
    Damaged {
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

impl Error {
    /// Wraps the failure of an operation on the data file; for `map_err`.
    pub(crate) fn data(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Data { action, source }
    }

    /// A lower layer's image that cannot be read, on behalf of `path`.
    pub(crate) fn into_lower(self, path: &[u8]) -> hako_layer::Error {
        hako_layer::Error::System {
            action: "look into the lower layers for",
            path: hako_layer::quote(path),
            source: io::Error::other(self),
        }
    }
}
