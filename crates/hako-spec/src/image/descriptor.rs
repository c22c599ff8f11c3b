//! Descriptors, manifests and indexes (image-spec descriptor.md, manifest.md,
//! image-index.md).

use std::collections::BTreeMap;

use super::media_type;
use crate::Base64;
use crate::digest::Digest;
use crate::platform::Platform;

object! {
    /// What a blob is, how long, and its digest.
    pub struct Descriptor {
        /// Media type of the blob.
        pub media_type: String = "mediaType" required,
        /// Digest of its bytes.
        pub digest: Digest = "digest" required,
        /// Length in bytes.
        pub size: u64 = "size" required,
        /// Other places to get it from.
        pub urls: Vec<String> = "urls",
        /// Anything, by reverse-domain key.
        pub annotations: BTreeMap<String, String> = "annotations",
        /// The blob itself; to be verified as any other copy.
        pub data: Option<Base64> = "data",
        /// In an index: where the manifest's image runs.
        pub platform: Option<Platform> = "platform",
        /// In an index: type of an artifact.
        pub artifact_type: Option<String> = "artifactType",
    }

    /// A list of manifests for platforms, or of anything.
    pub struct Index {
        /// 2.
        pub schema_version: u32 = "schemaVersion" required,
        /// OCI's or Docker's; OCI's may be absent.
        pub media_type: Option<String> = "mediaType",
        /// Type of an artifact.
        pub artifact_type: Option<String> = "artifactType",
        /// The manifests.
        pub manifests: Vec<Descriptor> = "manifests" required,
        /// Manifest that this one refers to.
        pub subject: Option<Descriptor> = "subject",
        /// Anything, by reverse-domain key.
        pub annotations: BTreeMap<String, String> = "annotations",
    }

    /// One image: configuration and layers.
    pub struct Manifest {
        /// 2.
        pub schema_version: u32 = "schemaVersion" required,
        /// OCI's or Docker's; OCI's may be absent.
        pub media_type: Option<String> = "mediaType",
        /// Type of an artifact.
        pub artifact_type: Option<String> = "artifactType",
        /// The configuration.
        pub config: Descriptor = "config" required,
        /// Layers, the base first.
        pub layers: Vec<Descriptor> = "layers" required,
        /// Manifest that this one refers to.
        pub subject: Option<Descriptor> = "subject",
        /// Anything, by reverse-domain key.
        pub annotations: BTreeMap<String, String> = "annotations",
    }
}

impl Descriptor {
    /// A descriptor with the three fields that each has.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            ..Descriptor::default()
        }
    }
}

impl Index {
    /// An OCI index of these manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Index {
            schema_version: 2,
            media_type: Some(media_type::INDEX.into()),
            manifests,
            ..Index::default()
        }
    }

    /// Its own media type, or OCI's if it does not say.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media_type::INDEX)
    }
}

impl Manifest {
    /// An OCI manifest of this configuration and these layers.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.into()),
            config,
            layers,
            ..Manifest::default()
        }
    }

    /// Its own media type, or OCI's if it does not say.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media_type::MANIFEST)
    }

    /// Whether it describes an image that can be run, and not an artifact of
    /// another kind (image-spec manifest.md "Guidelines for Artifact Usage").
    #[must_use]
    pub fn is_image(&self) -> bool {
        media_type::is_config(&self.config.media_type)
    }
}
