//! Keys of annotations (image-spec annotations.md).

/// When the image was built, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// Contact of the responsible people.
pub const AUTHORS: &str = "org.opencontainers.image.authors";
/// Where to read more.
pub const URL: &str = "org.opencontainers.image.url";
/// Where the documentation is.
pub const DOCUMENTATION: &str = "org.opencontainers.image.documentation";
/// Where the source code is.
pub const SOURCE: &str = "org.opencontainers.image.source";
/// Version of the packaged software.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Revision of the packaged software's source.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// Who distributes it.
pub const VENDOR: &str = "org.opencontainers.image.vendor";
/// SPDX licence expression.
pub const LICENSES: &str = "org.opencontainers.image.licenses";
/// A tag or name, on the descriptors of a layout's `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Human-readable title.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Human-readable description.
pub const DESCRIPTION: &str = "org.opencontainers.image.description";
/// Digest of the image that this one is based on.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Fully qualified reference of the image that this one is based on.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// containerd's full name of an image in a layout that it exports.
pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
