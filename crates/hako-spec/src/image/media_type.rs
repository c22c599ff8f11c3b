//! Media types, OCI's (image-spec media-types.md) and Docker's (distribution,
//! image manifest version 2 schema 2).

/// OCI descriptor.
pub const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
/// OCI layout marker, the file `oci-layout`.
pub const LAYOUT_HEADER: &str = "application/vnd.oci.layout.header.v1+json";
/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The two bytes `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// OCI artifact manifest of 1.1's release candidates; withdrawn.
pub const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// OCI layer, plain tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI layer that must not be pushed elsewhere, plain tar; deprecated.
pub const LAYER_NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// OCI layer that must not be pushed elsewhere, gzip; deprecated.
pub const LAYER_NONDISTRIBUTABLE_GZIP: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
/// OCI layer that must not be pushed elsewhere, zstd; deprecated.
pub const LAYER_NONDISTRIBUTABLE_ZSTD: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";

/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest, schema 1; obsolete.
pub const DOCKER_MANIFEST_V1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker manifest, schema 1, signed; obsolete.
pub const DOCKER_MANIFEST_V1_SIGNED: &str =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, plain tar.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd, as BuildKit writes it.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker layer that must not be pushed elsewhere, plain tar.
pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker layer that must not be pushed elsewhere, gzip.
pub const DOCKER_LAYER_FOREIGN_GZIP: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// Docker layer that must not be pushed elsewhere, zstd.
pub const DOCKER_LAYER_FOREIGN_ZSTD: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd";

/// What a client that reads images sends as `Accept`.
pub const ACCEPT_MANIFESTS: &[&str] = &[MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// Plain tar.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// How a layer of this media type is compressed; `None` if it is no layer's.
#[must_use]
pub fn layer_compression(media_type: &str) -> Option<LayerCompression> {
    Some(match media_type {
        LAYER | LAYER_NONDISTRIBUTABLE | DOCKER_LAYER | DOCKER_LAYER_FOREIGN => {
            LayerCompression::None
        }
        LAYER_GZIP
        | LAYER_NONDISTRIBUTABLE_GZIP
        | DOCKER_LAYER_GZIP
        | DOCKER_LAYER_FOREIGN_GZIP => LayerCompression::Gzip,
        LAYER_ZSTD
        | LAYER_NONDISTRIBUTABLE_ZSTD
        | DOCKER_LAYER_ZSTD
        | DOCKER_LAYER_FOREIGN_ZSTD => LayerCompression::Zstd,
        _ => return None,
    })
}

/// Whether a layer of this media type must not be pushed elsewhere.
#[must_use]
pub fn is_nondistributable(media_type: &str) -> bool {
    media_type.starts_with(LAYER_NONDISTRIBUTABLE) || media_type.starts_with(DOCKER_LAYER_FOREIGN)
}

/// Whether this is an index's media type, OCI's or Docker's.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_INDEX)
}

/// Whether this is a manifest's media type, OCI's or Docker's.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Whether this is an image configuration's media type, OCI's or Docker's.
#[must_use]
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// Whether this is a media type of Docker's own.
#[must_use]
pub fn is_docker(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.")
}
