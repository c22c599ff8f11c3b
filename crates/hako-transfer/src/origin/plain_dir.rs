//! `dir:` as skopeo writes it: `manifest.json`, and blobs named by the hex of
//! their digest beside it (containers-transports(5)).

use std::io::Read;

use hako_spec::image::Descriptor;
use hako_spec::manifest;

use super::files::Files;
use super::layout::{DOCUMENT, reason};
use super::{Content, Root, describe};
use crate::error::Result;

pub(crate) struct PlainDir<F> {
    files: F,
}

impl<F: Files> PlainDir<F> {
    pub(crate) fn new(files: F) -> Self {
        Self { files }
    }
}

impl<F: Files> Content for PlainDir<F> {
    fn root(&self) -> Result<Root> {
        let bytes = self.files.read("manifest.json", DOCUMENT)?;
        let document = manifest::parse(&bytes, None).map_err(|error| {
            self.files
                .refuse(format!("manifest.json: {}", reason(&error)))
        })?;
        let descriptor = describe(document.media_type(), &bytes);
        Ok(Root {
            descriptor,
            bytes,
            names: Vec::new(),
        })
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let hex = descriptor.digest.hex();
        // Manifests below an index have a name of their own.
        match self.files.open(&format!("{hex}.manifest.json")) {
            Ok((reader, _)) => Ok(reader),
            Err(_) => Ok(self.files.stream(hex)?.0),
        }
    }
}
