//! A registry in memory, to be bent by the tests.

use std::collections::HashMap;
use std::sync::Arc;

use hako_distribution::hash::sha256;
use hako_spec::digest::Digest;

use crate::server::{Ask, Reply};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Contents by their path below `/v2/`.
#[derive(Clone, Default)]
pub struct Registry {
    files: HashMap<String, (String, Vec<u8>)>,
}

impl Registry {
    pub fn blob(&mut self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.files.insert(
            path,
            ("application/octet-stream".to_owned(), bytes.to_vec()),
        );
        digest
    }

    /// A manifest by tag and by digest.
    pub fn manifest(&mut self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        for name in [tag, digest.as_str()] {
            let path = format!("/v2/{repository}/manifests/{name}");
            self.files.insert(path, (kind.to_owned(), bytes.to_vec()));
        }
        digest
    }

    pub fn answer(&self, ask: &Ask) -> Reply {
        if ask.target == "/v2/" {
            return Reply::new(200, "{}");
        }
        let Some((kind, bytes)) = self.files.get(&ask.target) else {
            let code = if ask.target.contains("/blobs/") {
                "BLOB"
            } else {
                "MANIFEST"
            };
            let word = code.to_lowercase();
            return Reply::new(
                404,
                format!(r#"{{"errors":[{{"code":"{code}_UNKNOWN","message":"{word} unknown"}}]}}"#),
            );
        };
        let reply = match ask.range() {
            Some(first) if first < bytes.len() => {
                let range = format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, &bytes[first..]).with("Content-Range", range)
            }
            Some(_) => Reply::new(416, ""),
            None => Reply::new(200, bytes.clone()),
        };
        reply
            .with("Content-Type", kind.clone())
            .with("Docker-Content-Digest", sha256(bytes).as_str())
    }

    pub fn serve(self) -> impl Fn(&Ask) -> Reply + Send + Sync + 'static {
        let shared = Arc::new(self);
        move |ask| shared.answer(ask)
    }
}

/// A small valid manifest.
pub fn manifest() -> Vec<u8> {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[]}}"#,
        sha256(b"{}")
    )
    .into_bytes()
}
