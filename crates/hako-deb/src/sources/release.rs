//! `@release`: the sources of another release than the machine's own.
//!
//! Sources that name the release are used as they are. Otherwise each
//! source's archive is asked for the same kind of suite of that release
//! (`bookworm-updates` becomes `trixie-updates`), and the keys of the
//! distribution's archive count besides the source's own, since a source
//! may be limited to the keys of its release.

use super::{SignedBy, Source};
use std::path::{Path, PathBuf};

/// The keyrings in which distributions ship the keys of all their releases.
const ARCHIVE_KEYRINGS: [&str; 3] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
];

/// What follows a release's name in the names of its suites.
const KINDS: [&str; 7] = [
    "-updates",
    "-security",
    "-proposed-updates",
    "-proposed",
    "-backports-sloppy",
    "-backports",
    "/updates",
];

/// Releases that have no suites of other kinds beside them.
const ROLLING: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];

/// The sources for a release, from the configured ones. Empty where no
/// configured source has suites (flat archives alone).
pub fn for_release(configured: &[Source], release: &str) -> Vec<Source> {
    let named: Vec<Source> = configured
        .iter()
        .filter(|source| split(&source.suite).0 == release)
        .cloned()
        .collect();
    if !named.is_empty() {
        return named;
    }
    let keyrings: Vec<PathBuf> = ARCHIVE_KEYRINGS
        .iter()
        .map(PathBuf::from)
        .filter(|p| p.is_file())
        .collect();
    derive(configured, release, &keyrings)
}

fn derive(configured: &[Source], release: &str, keyrings: &[PathBuf]) -> Vec<Source> {
    let mut derived: Vec<Source> = Vec::new();
    for source in configured.iter().filter(|source| !source.is_flat()) {
        let (_, kind) = split(&source.suite);
        if ROLLING.contains(&release) && !kind.is_empty() {
            continue;
        }
        let suite = match kind {
            "/updates" => format!("{release}-security"),
            kind => format!("{release}{kind}"),
        };
        let mut new = Source {
            suite,
            optional: true,
            signed_by: widen(&source.signed_by, keyrings),
            ..source.clone()
        };
        if let Some(same) = derived
            .iter_mut()
            .find(|d| d.uri == new.uri && d.suite == new.suite)
        {
            for component in new.components {
                if !same.components.contains(&component) {
                    same.components.push(component);
                }
            }
            continue;
        }
        new.components.dedup();
        derived.push(new);
    }
    derived
}

/// Adds the archive keyrings. A source that names nobody already trusts the
/// machine's keyrings, which hold them; naming files would narrow it.
fn widen(signed_by: &SignedBy, keyrings: &[PathBuf]) -> SignedBy {
    let mut wide = signed_by.clone();
    if !wide.is_empty() {
        for keyring in keyrings {
            if !wide.files.iter().any(|f| Path::new(f) == keyring) {
                wide.files.push(keyring.clone());
            }
        }
    }
    wide
}

/// A suite's release and kind.
fn split(suite: &str) -> (&str, &str) {
    KINDS
        .iter()
        .find_map(|kind| suite.strip_suffix(kind).map(|release| (release, *kind)))
        .unwrap_or((suite, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::parse_oneline;

    fn sources(text: &str) -> Vec<Source> {
        parse_oneline(Path::new("x.list"), text).unwrap()
    }

    #[test]
    fn a_configured_release_is_used_as_it_is() {
        let all = sources(
            "deb http://d/debian bookworm main\ndeb http://d/debian bookworm-updates main\ndeb http://s bookworm-security main\ndeb http://d/debian sid main\n",
        );
        let found = for_release(&all, "bookworm");
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|s| !s.optional));
        assert_eq!(for_release(&all, "sid").len(), 1);
    }

    #[test]
    fn another_is_derived() {
        let all = sources(
            "deb [signed-by=/k.gpg] http://d/debian bookworm main\ndeb http://d/debian bookworm contrib\ndeb http://d/debian bookworm-updates main\ndeb http://s bullseye/updates main\ndeb http://flat ./\n",
        );
        let found = derive(&all, "trixie", &[PathBuf::from("/archive.gpg")]);
        let names: Vec<_> = found
            .iter()
            .map(|s| (s.uri.as_str(), s.suite.as_str(), s.components.join(" ")))
            .collect();
        assert_eq!(
            names,
            [
                ("http://d/debian", "trixie", "main contrib".to_owned()),
                ("http://d/debian", "trixie-updates", "main".to_owned()),
                ("http://s", "trixie-security", "main".to_owned())
            ]
        );
        assert!(found.iter().all(|s| s.optional));
        assert_eq!(
            found[0].signed_by.files,
            [Path::new("/k.gpg"), Path::new("/archive.gpg")]
        );
        assert!(found[1].signed_by.is_empty());
        let rolling = derive(&all, "sid", &[]);
        assert_eq!(rolling.len(), 1);
    }
}
