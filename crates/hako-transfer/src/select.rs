//! Which manifest of an index is the image for a platform.

use hako_spec::image::{Descriptor, Index, media_type};
use hako_spec::platform::{Platform, rank};

/// The best manifest (or nested index) of `index` for `want`, in containerd's
/// order; of equals the first. An entry without a platform is taken only if no
/// other is an image: its config has to tell.
///
/// # Errors
/// The platforms that there are.
pub fn select<'a>(index: &'a Index, want: &Platform) -> Result<&'a Descriptor, Vec<String>> {
    let images = || {
        index.manifests.iter().filter(|entry| {
            // image-spec, image-index.md: unknown media types are no error.
            media_type::is_manifest(&entry.media_type) || media_type::is_index(&entry.media_type)
        })
    };
    let ranked = images()
        .filter_map(|entry| Some((rank(want, entry.platform.as_ref()?)?, entry)))
        .min_by_key(|(rank, _)| *rank);
    if let Some((_, entry)) = ranked {
        return Ok(entry);
    }
    let mut have: Vec<String> = images()
        .filter_map(|entry| entry.platform.as_ref())
        .filter_map(known)
        .collect();
    have.sort();
    have.dedup();
    have.truncate(30);
    let unplaced = images().find(|entry| entry.platform.is_none() && is_image(entry));
    match unplaced {
        Some(entry) if have.is_empty() => Ok(entry),
        _ => Err(have),
    }
}

/// Attestations of BuildKit have the platform `unknown/unknown`.
fn known(platform: &Platform) -> Option<String> {
    (platform.os != "unknown").then(|| platform.to_string())
}

fn is_image(entry: &Descriptor) -> bool {
    entry.artifact_type.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_spec::digest::Digest;

    fn index(entries: &[(&str, Option<&str>)]) -> Index {
        let manifests = entries
            .iter()
            .enumerate()
            .map(|(number, (kind, platform))| {
                let mut digest = [0; 32];
                digest[0] = number as u8;
                let mut entry = Descriptor::new(kind, Digest::from_sha256(digest), 1);
                entry.platform = platform.map(|text| text.parse().unwrap());
                entry
            });
        Index::new(manifests.collect())
    }

    fn chosen(entries: &[(&str, Option<&str>)], want: &str) -> Result<usize, Vec<String>> {
        let index = index(entries);
        let want = want.parse().unwrap();
        let found = select(&index, &want)?.clone();
        Ok(index
            .manifests
            .iter()
            .position(|entry| *entry == found)
            .unwrap())
    }

    const M: &str = media_type::MANIFEST;

    #[test]
    fn the_best_platform_is_chosen() {
        let entries = [
            ("text/plain", Some("linux/amd64")),
            (M, Some("linux/arm/v6")),
            (M, Some("linux/arm/v7")),
            (M, Some("linux/amd64")),
            (M, Some("linux/amd64")),
            (M, Some("unknown/unknown")),
        ];
        assert_eq!(chosen(&entries, "linux/amd64"), Ok(3));
        assert_eq!(chosen(&entries, "linux/arm/v7"), Ok(2));
        assert_eq!(chosen(&entries, "linux/arm/v6"), Ok(1));
        let have = chosen(&entries, "linux/s390x").unwrap_err();
        assert_eq!(have, ["linux/amd64", "linux/arm/v6", "linux/arm/v7"]);
    }

    #[test]
    fn an_entry_without_platform_counts_if_it_is_alone() {
        assert_eq!(
            chosen(&[("text/plain", None), (M, None)], "linux/amd64"),
            Ok(1)
        );
        assert!(chosen(&[(M, None), (M, Some("linux/arm64"))], "linux/amd64").is_err());
        assert!(chosen(&[], "linux/amd64").is_err());
    }
}
