//! The directory form of images (image-spec image-layout.md).

use crate::{Error, object};

object! {
    /// The file `oci-layout`.
    pub struct Layout {
        /// Version of the layout.
        pub version: String = "imageLayoutVersion" required,
    }
}

impl Layout {
    /// Name of the marker file.
    pub const FILE: &'static str = "oci-layout";
    /// Name of the entry point.
    pub const INDEX_FILE: &'static str = "index.json";
    /// Name of the directory of blobs, with a directory per algorithm.
    pub const BLOBS_DIR: &'static str = "blobs";
    /// The version that is written.
    pub const VERSION: &'static str = "1.0.0";

    /// The marker for a new layout.
    #[must_use]
    pub fn current() -> Self {
        Layout {
            version: Self::VERSION.into(),
            ..Layout::default()
        }
    }

    /// Reads the marker and checks that its major version is 1.
    ///
    /// # Errors
    /// [`Error::Json`]; [`Error::Image`] for another major version.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let what = "image layout marker";
        let limit = 64 << 10;
        if bytes.len() > limit {
            return Err(Error::TooLarge {
                what,
                size: bytes.len(),
                limit,
            });
        }
        let layout: Layout = object::from_slice(bytes, what)?;
        if layout.version.split('.').next() != Some("1") {
            return Err(Error::Image {
                reason: format!("the layout's version is {:?}, not 1.x", layout.version),
            });
        }
        Ok(layout)
    }
}
