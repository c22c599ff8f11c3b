//! Where the bytes come from, behind one face for all local sources.

pub(crate) mod archive;
pub(crate) mod directory;
pub(crate) mod docker_archive;
pub(crate) mod files;
pub(crate) mod layout;
pub(crate) mod plain_dir;

use std::io::Read;

use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;

use crate::error::Result;

/// A document to begin with.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// What it is; size and digest are those of `bytes`.
    pub(crate) descriptor: Descriptor,
    /// The document.
    pub(crate) bytes: Vec<u8>,
    /// Names that the source gives to the image.
    pub(crate) names: Vec<String>,
}

/// A source on this machine.
pub(crate) trait Content: Send + Sync {
    /// The index or manifest that was chosen.
    fn root(&self) -> Result<Root>;

    /// The bytes that should have the descriptor's digest and size. Nothing of
    /// that is checked yet.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>>;
}

/// The SHA-256 descriptor of a document.
pub(crate) fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, sha256(bytes), bytes.len() as u64)
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    hako_distribution::hash::sha256(bytes)
}
