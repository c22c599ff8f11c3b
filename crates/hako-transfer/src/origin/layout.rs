//! An OCI image layout (image-spec, image-layout.md), in a directory or in an
//! archive.

use std::io::Read;

use hako_spec::image::{Descriptor, Index, Layout as Marker, media_type};
use hako_spec::manifest::{self, ManifestKind};

use super::files::Files;
use super::{Content, Root};
use crate::error::Result;
use crate::source::Choice;

/// The annotation that names an image of a layout (image-spec, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's annotation for the full name.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// The longest document, in bytes.
pub(crate) const DOCUMENT: u64 = manifest::MAX_LEN as u64;

/// A layout and the image that was chosen of it.
pub(crate) struct Layout<F> {
    files: F,
    choice: Choice,
}

impl<F: Files> Layout<F> {
    pub(crate) fn new(files: F, choice: Choice) -> Self {
        Self { files, choice }
    }

    fn index(&self) -> Result<Index> {
        let refuse = |error: hako_spec::Error| self.files.refuse(reason(&error));
        let marker = self.files.read(Marker::FILE, 4096)?;
        Marker::from_slice(&marker).map_err(refuse)?;
        let bytes = self.files.read(Marker::INDEX_FILE, DOCUMENT)?;
        match manifest::parse(&bytes, Some(media_type::INDEX)).map_err(refuse)? {
            ManifestKind::Index(index) => Ok(*index),
            ManifestKind::Manifest(_) => {
                Err(self.files.refuse("index.json is not an index".to_owned()))
            }
        }
    }

    /// The entry of index.json that the user means.
    fn chosen(&self, index: &Index) -> Result<Descriptor> {
        let name = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
        let images: Vec<&Descriptor> = index
            .manifests
            .iter()
            .filter(|entry| is_document(entry))
            .collect();
        let found = match &self.choice {
            Choice::Digest(digest) => images.iter().find(|entry| entry.digest == *digest),
            // Two entries of one name are allowed; peers take the last one
            // written, which is the last in the list.
            Choice::Name(wanted) => images.iter().rev().find(|entry| {
                name(entry).as_deref() == Some(wanted)
                    || entry.annotations.get(IMAGE_NAME) == Some(wanted)
            }),
            Choice::Only => match images.as_slice() {
                [] => return Err(self.files.refuse("the layout has no image".to_owned())),
                [_] => images.first(),
                _ => None,
            },
        };
        found.map(|entry| (*entry).clone()).ok_or_else(|| {
            let mut names: Vec<String> = images.iter().filter_map(|entry| name(entry)).collect();
            names.sort();
            names.dedup();
            names.truncate(20);
            let among = if names.is_empty() {
                "its images have no names".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            self.files.refuse(match &self.choice {
                Choice::Only => format!("which image of the layout? {among}"),
                Choice::Name(name) => format!("no image {name:?}; {among}"),
                Choice::Digest(digest) => format!("no image {digest}; {among}"),
            })
        })
    }
}

impl<F: Files> Content for Layout<F> {
    fn root(&self) -> Result<Root> {
        let index = self.index()?;
        // Several unnamed entries with platforms are one image (an index that
        // was not written into a blob of its own).
        let platforms = index.manifests.len() > 1
            && self.choice == Choice::Only
            && index
                .manifests
                .iter()
                .all(|entry| entry.platform.is_some() && !entry.annotations.contains_key(REF_NAME));
        if platforms {
            let bytes = self.files.read(Marker::INDEX_FILE, DOCUMENT)?;
            let descriptor = super::describe(media_type::INDEX, &bytes);
            return Ok(Root {
                descriptor,
                bytes,
                names: Vec::new(),
            });
        }
        let entry = self.chosen(&index)?;
        let bytes = self.files.read(&blob_path(&entry), DOCUMENT)?;
        let names = [IMAGE_NAME, REF_NAME]
            .iter()
            .filter_map(|key| entry.annotations.get(*key).cloned())
            .collect();
        let mut descriptor = Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size);
        descriptor.platform = entry.platform;
        Ok(Root {
            descriptor,
            bytes,
            names,
        })
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        Ok(self.files.stream(&blob_path(descriptor))?.0)
    }
}

/// `blobs/<algorithm>/<hex>`; a digest has no other characters.
fn blob_path(descriptor: &Descriptor) -> String {
    let digest = &descriptor.digest;
    format!(
        "{}/{}/{}",
        Marker::BLOBS_DIR,
        digest.algorithm().as_str(),
        digest.hex()
    )
}

fn is_document(entry: &Descriptor) -> bool {
    media_type::is_manifest(&entry.media_type) || media_type::is_index(&entry.media_type)
}

/// The error with its cause, which a text within an error has no place for.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", reason(source)),
        None => error.to_string(),
    }
}
