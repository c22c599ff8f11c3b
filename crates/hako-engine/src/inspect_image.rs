//! An image as `docker image inspect` describes it: scripts read these names.

use hako_spec::image::Image as Document;
use hako_store::Resolved;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// The image as an object with Docker's names.
    ///
    /// Errors: those of reading its configuration.
    pub fn inspect_image(&self, found: &Resolved) -> Result<Value> {
        let image = &found.image;
        let bytes = self
            .store
            .blobs()
            .read(&image.id, Document::MAX_LEN as u64)?;
        let document = Document::from_slice(&bytes)?;
        let raw: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let names = self.names_of(&image.id)?;
        let tags: Vec<String> = names
            .iter()
            .filter(|(name, _)| name.tag.is_some())
            .map(|(name, _)| name.familiar())
            .collect();
        let mut digests: Vec<String> = names
            .iter()
            .map(|(name, target)| format!("{}@{}", name.familiar_name(), target.digest))
            .collect();
        digests.dedup();
        let layers: Vec<String> = image.diff_ids().iter().map(ToString::to_string).collect();
        let get = |name: &str| raw.get(name).cloned().unwrap_or_default();
        Ok(json!({
            "Id": image.id.to_string(),
            "RepoTags": tags,
            "RepoDigests": digests,
            "Parent": "",
            "Comment": "",
            "Created": image.created,
            "Author": document.author.unwrap_or_default(),
            "Config": get("config"),
            "Architecture": image.platform.architecture,
            "Variant": image.platform.variant.clone().unwrap_or_default(),
            "Os": image.platform.os,
            "Size": image.size,
            "GraphDriver": { "Name": self.snapshotter()?.backend()?.backend.as_str() },
            "RootFS": { "Type": "layers", "Layers": layers },
            "Metadata": {
                "LastTagTime": jiff::Timestamp::from_nanosecond(i128::from(image.pulled))
                    .map(|t| t.to_string())
                    .unwrap_or_default(),
            },
            "History": get("history"),
            "Descriptor": names.first().map(|(_, target)| target),
        }))
    }
}
