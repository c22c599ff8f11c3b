//! What `docker save` writes: `manifest.json` lists configs and layers by path.
//!
//! The archive has no OCI manifest; one is made of what is there, the same for
//! the same archive. Configs stay byte for byte, so image ids do too.

use std::collections::HashMap;
use std::io::Read;

use hako_distribution::hash::Hasher;
use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, Image, Manifest, media_type};
use hako_spec::reference::Reference;
use hako_tar::codec::{self, Compression};
use serde::Deserialize;

use super::archive::Archive;
use super::files::{Files as _, is_plain};
use super::layout::DOCUMENT;
use super::{Content, Root, describe};
use crate::error::{Error, Result};

/// The most layers that are looked at.
const LAYERS: usize = 1000;

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "Config")]
    config: String,
    #[serde(default, rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(default, rename = "Layers")]
    layers: Option<Vec<String>>,
}

/// An archive and the image that was chosen of it.
pub(crate) struct DockerArchive {
    archive: Archive,
    root: Root,
    /// Paths by digest.
    blobs: HashMap<Digest, String>,
}

impl DockerArchive {
    /// Reads the archive and hashes the layers of the image.
    pub(crate) fn new(archive: Archive, wanted: Option<&Reference>) -> Result<Self> {
        let item = choose(&archive, wanted)?;
        let mut blobs = HashMap::new();
        for path in item.layers.iter().flatten().chain([&item.config]) {
            if !is_plain(path) {
                return Err(archive.refuse(format!("manifest.json names the file {path:?}")));
            }
        }
        let config = archive.read(&item.config, Image::MAX_LEN as u64)?;
        let config_descriptor = describe(media_type::CONFIG, &config);
        check_name(&archive, &item.config, &config_descriptor.digest)?;
        blobs.insert(config_descriptor.digest.clone(), item.config.clone());
        let mut layers = Vec::new();
        for path in item.layers.iter().flatten() {
            let layer = describe_layer(&archive, path)?;
            blobs.insert(layer.digest.clone(), path.clone());
            layers.push(layer);
        }
        let manifest = Manifest::new(config_descriptor, layers);
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|error| archive.refuse(format!("cannot write its manifest: {error}")))?;
        let descriptor = describe(media_type::MANIFEST, &bytes);
        let names = match wanted {
            Some(reference) => vec![reference.to_string()],
            None => item.tags.unwrap_or_default(),
        };
        Ok(Self {
            archive,
            root: Root {
                descriptor,
                bytes,
                names,
            },
            blobs,
        })
    }
}

impl Content for DockerArchive {
    fn root(&self) -> Result<Root> {
        Ok(self.root.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        match self.blobs.get(&descriptor.digest) {
            Some(path) => Ok(self.archive.stream(path)?.0),
            None => Err(self
                .archive
                .refuse(format!("it has no {}", descriptor.digest))),
        }
    }
}

fn choose(archive: &Archive, wanted: Option<&Reference>) -> Result<Item> {
    if !archive.has("manifest.json") {
        return Err(archive.refuse("not an archive of docker save: no manifest.json".to_owned()));
    }
    let bytes = archive.read("manifest.json", DOCUMENT)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|error| archive.refuse(format!("manifest.json: {error}")))?;
    let all: Vec<String> = items
        .iter()
        .flat_map(|item| item.tags.iter().flatten().take(20).cloned())
        .collect();
    let among = format!("it has {}", all.join(", "));
    let is_wanted = |tag: &String| {
        Reference::parse(tag)
            .map(Reference::or_latest)
            .ok()
            .as_ref()
            == wanted
    };
    let found = match wanted {
        Some(wanted) => items
            .into_iter()
            .find(|item| item.tags.iter().flatten().any(is_wanted))
            .ok_or_else(|| archive.refuse(format!("no image {wanted}; {among}")))?,
        None if items.len() > 1 => {
            return Err(archive.refuse(format!("which image of the archive? {among}")));
        }
        None => items
            .into_iter()
            .next()
            .ok_or_else(|| archive.refuse("the archive has no image".to_owned()))?,
    };
    if found
        .layers
        .as_ref()
        .is_some_and(|layers| layers.len() > LAYERS)
    {
        return Err(archive.refuse(format!("an image with more than {LAYERS} layers")));
    }
    Ok(found)
}

/// A config that is named by a digest must have it.
fn check_name(archive: &Archive, path: &str, digest: &Digest) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".json").unwrap_or(name);
    let is_hex = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && name != digest.hex() {
        return Err(archive.refuse(format!("the config {path} has the digest {digest}")));
    }
    Ok(())
}

fn describe_layer(archive: &Archive, path: &str) -> Result<Descriptor> {
    let failed = |source| Error::File {
        path: archive.path().to_owned(),
        file: path.to_owned(),
        source,
    };
    let (mut reader, size) = archive.stream(path)?;
    let mut hasher = Hasher::sha256();
    let mut head: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        hasher.update(bytes);
        if head.len() < codec::MAGIC {
            head.extend(bytes.iter().take(codec::MAGIC - head.len()));
        }
    }
    let media_type = match codec::detect(&head) {
        Compression::None => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    };
    Ok(Descriptor::new(media_type, hasher.finish(), size))
}
