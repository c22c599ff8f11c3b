//! What a manifest and its config ask for, checked before anything large is
//! fetched.

use std::collections::HashSet;

use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, Image, Manifest, media_type};

/// The most layers an image may have. Peers stop at 127 (the number that an
/// overlay mount takes); images that were made otherwise stay below this too.
pub const LAYERS: usize = 500;

/// A layer to bring.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its place in the image, the base is 0.
    pub index: usize,
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of the plain tar.
    pub diff_id: Digest,
}

/// Checks what the manifest alone tells.
///
/// # Errors
/// Which rule is broken.
pub fn check(manifest: &Manifest) -> Result<(), String> {
    let config = &manifest.config;
    if !media_type::is_config(&config.media_type) {
        let kind = manifest
            .artifact_type
            .as_deref()
            .unwrap_or(&config.media_type);
        return Err(format!("not an image but an artifact of type {kind:?}"));
    }
    if config.size > Image::MAX_LEN as u64 {
        return Err(format!(
            "its config has {} bytes, more than are read",
            config.size
        ));
    }
    if manifest.layers.len() > LAYERS {
        return Err(format!(
            "it has {} layers, more than {LAYERS}",
            manifest.layers.len()
        ));
    }
    for (number, layer) in manifest.layers.iter().enumerate() {
        let kind = &layer.media_type;
        if media_type::layer_compression(kind).is_none() {
            return Err(format!(
                "layer {number} has the unknown media type {kind:?}"
            ));
        }
        // CVE-2020-15157: such a layer makes the client ask a host of the
        // image's choice.
        if media_type::is_nondistributable(kind) && !layer.urls.is_empty() {
            return Err(format!(
                "layer {number} is to be fetched from elsewhere ({}), which is not done",
                layer.urls.first().map(String::as_str).unwrap_or_default()
            ));
        }
    }
    Ok(())
}

/// The layers with their diff ids. A blob that comes twice is one layer to
/// bring for each of its places.
///
/// # Errors
/// The numbers differ, or one blob is to be two different layers.
pub fn layers(manifest: &Manifest, config: &Image) -> Result<Vec<Layer>, String> {
    let (blobs, diff_ids) = (&manifest.layers, &config.rootfs.diff_ids);
    if blobs.len() != diff_ids.len() {
        return Err(format!(
            "the manifest has {} layers, the config {}",
            blobs.len(),
            diff_ids.len()
        ));
    }
    let layers: Vec<Layer> = blobs
        .iter()
        .zip(diff_ids)
        .enumerate()
        .map(|(index, (descriptor, diff_id))| Layer {
            index,
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
        })
        .collect();
    let different: HashSet<_> = layers
        .iter()
        .map(|layer| (&layer.descriptor.digest, &layer.diff_id))
        .collect();
    let blobs: HashSet<_> = layers
        .iter()
        .map(|layer| &layer.descriptor.digest)
        .collect();
    if different.len() != blobs.len() {
        return Err("one layer has two diff ids".to_owned());
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_sha256([byte; 32])
    }

    fn manifest(layers: &[(&str, u8)]) -> Manifest {
        let layer = |(kind, byte): &(&str, u8)| Descriptor::new(kind, digest(*byte), 1);
        Manifest::new(
            Descriptor::new(media_type::CONFIG, digest(0), 2),
            layers.iter().map(layer).collect(),
        )
    }

    fn config(diff_ids: &[u8]) -> Image {
        let ids: Vec<String> = diff_ids
            .iter()
            .map(|byte| format!("{:?}", digest(*byte).as_str()))
            .collect();
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        Image::from_slice(text.as_bytes()).unwrap()
    }

    const L: &str = media_type::LAYER_GZIP;

    #[test]
    fn manifests_that_are_no_images() {
        assert_eq!(
            check(&manifest(&[(L, 1), (media_type::DOCKER_LAYER, 2)])),
            Ok(())
        );
        let error = check(&manifest(&[(L, 1), ("application/x-evil", 2)])).unwrap_err();
        assert!(
            error.contains("layer 1") && error.contains("application/x-evil"),
            "{error}"
        );
        let mut foreign = manifest(&[(media_type::DOCKER_LAYER_FOREIGN_GZIP, 1)]);
        assert_eq!(check(&foreign), Ok(()));
        foreign.layers[0].urls = vec!["http://evil.example/x".to_owned()];
        assert!(
            check(&foreign)
                .unwrap_err()
                .contains("http://evil.example/x")
        );
        let mut artifact = manifest(&[]);
        artifact.config.media_type = media_type::EMPTY.to_owned();
        artifact.artifact_type = Some("application/x-sbom".to_owned());
        assert!(check(&artifact).unwrap_err().contains("application/x-sbom"));
        let mut large = manifest(&[]);
        large.config.size = 1 << 40;
        assert!(check(&large).is_err());
        assert!(check(&manifest(&vec![(L, 1); LAYERS + 1])).is_err());
    }

    #[test]
    fn layers_and_diff_ids_belong_together() {
        let two = manifest(&[(L, 1), (L, 2)]);
        let layers_ok = layers(&two, &config(&[11, 12])).unwrap();
        assert_eq!(layers_ok[1].diff_id, digest(12));
        assert!(
            layers(&two, &config(&[11]))
                .unwrap_err()
                .contains("2 layers, the config 1")
        );
        let same = manifest(&[(L, 1), (L, 1)]);
        assert!(layers(&same, &config(&[11, 11])).is_ok());
        assert!(
            layers(&same, &config(&[11, 12]))
                .unwrap_err()
                .contains("two diff ids")
        );
    }
}
