//! The names of unpacked layers.
//!
//! A layer that is the same whatever lies below it is named after its diff id
//! and shared by all images that have it. A layer that took something from the
//! layers below (the attributes of a directory that its archive does not
//! describe, a hard link to a lower file) is named after the chain id
//! (image-spec config.md, "Layer ChainID"), which stands for it with all below.

use std::fmt;

use hako_spec::digest::Digest;
use hako_store::Hasher;
use serde::{Deserialize, Serialize};

/// The name of an unpacked layer: a directory under `layers/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerKey(String);

impl LayerKey {
    /// A layer that depends on nothing below.
    pub(crate) fn alone(diff_id: &Digest) -> LayerKey {
        LayerKey(format!("{}-{}", diff_id.algorithm(), diff_id.hex()))
    }

    /// A layer that depends on the layers below.
    pub(crate) fn chain(chain_id: &Digest) -> LayerKey {
        LayerKey(format!("chain-{}-{}", chain_id.algorithm(), chain_id.hex()))
    }

    /// A whole root file system up to a layer, for plain copies.
    pub(crate) fn plain(chain_id: &Digest) -> LayerKey {
        LayerKey(format!("plain-{}-{}", chain_id.algorithm(), chain_id.hex()))
    }

    /// The key that a directory's name is.
    pub(crate) fn parse(name: &str) -> Option<LayerKey> {
        let digest = name
            .strip_prefix("chain-")
            .or_else(|| name.strip_prefix("plain-"));
        let (algorithm, hex) = digest.unwrap_or(name).split_once('-')?;
        format!("{algorithm}:{hex}").parse::<Digest>().ok()?;
        Some(LayerKey(name.to_owned()))
    }

    /// The key as text, which is the directory's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The chain ids of a stack of layers, the base first: that of the base is its
/// diff id, and each other's is the digest of the one below, a space and the
/// diff id (image-spec config.md, "Layer ChainID").
#[must_use]
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => {
                let mut hasher = Hasher::like(diff_id);
                hasher.update(below.as_str().as_bytes());
                hasher.update(b" ");
                hasher.update(diff_id.as_str().as_bytes());
                hasher.finish()
            }
        };
        chain.push(id);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_of_two() {
        let ids: Vec<Digest> = [
            "sha256:c6f988f4874bb0add23a778f753c65efe992244e148a1d2ec2a8b664fb66bbd1",
            "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let chain = chain_ids(&ids);
        assert_eq!(chain[0], ids[0]);
        // printf '%s %s' A B | sha256sum
        assert_eq!(
            chain[1].hex(),
            "c3191d32a37d7159b2e30830937d2e30268ad6c375a773a8994911a3aba9b93f"
        );
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn names_of_keys() {
        let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        for key in [
            LayerKey::alone(&digest),
            LayerKey::chain(&digest),
            LayerKey::plain(&digest),
        ] {
            assert_eq!(LayerKey::parse(key.as_str()), Some(key));
        }
        for bad in ["", "x", "sha256-0a", "../..", "chain-", "plain-sha256-"] {
            assert_eq!(LayerKey::parse(bad), None, "{bad:?}");
        }
    }
}
