//! The deb822 format of sources: paragraphs with Types, URIs, Suites,
//! Components and options.

use super::{SignedBy, Source, boolean, check_parts};
use crate::control;
use crate::error::{Error, Result};
use std::path::Path;

const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Reads a `.sources` file; `path` is for messages alone. Paragraphs that
/// are not enabled, or of source packages alone, give nothing.
///
/// # Errors
/// A paragraph is malformed, with its line.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for paragraph in control::paragraphs(text) {
        let paragraph = paragraph.map_err(|e| Error::Sources {
            path: path.to_owned(),
            line: e.line,
            reason: e.reason.to_owned(),
        })?;
        let fail = |reason| Error::Sources {
            path: path.to_owned(),
            line: paragraph.line(),
            reason,
        };
        let origin = format!("{}:{}", path.display(), paragraph.line());
        sources.extend(one(&paragraph, &origin).map_err(fail)?);
    }
    Ok(sources)
}

fn one(
    paragraph: &control::Paragraph<'_>,
    origin: &str,
) -> std::result::Result<Vec<Source>, String> {
    let list = |name: &str| -> Vec<String> {
        let value = paragraph.get(name).unwrap_or_default();
        control::words(value).map(str::to_owned).collect()
    };
    let yes_or_no = |name: &str| match paragraph.get(name) {
        None => Ok(None),
        Some(value) => boolean(value)
            .map(Some)
            .ok_or_else(|| format!("{name}: {value:?} is neither yes nor no")),
    };
    if yes_or_no("Enabled")? == Some(false) {
        return Ok(Vec::new());
    }
    let types = list("Types");
    if let Some(other) = types.iter().find(|t| *t != "deb" && *t != "deb-src") {
        return Err(format!("Types: {other:?} is neither deb nor deb-src"));
    }
    for needed in ["Types", "URIs", "Suites"] {
        if list(needed).is_empty() {
            return Err(format!("{needed} is missing"));
        }
    }
    if !types.iter().any(|t| t == "deb") {
        return Ok(Vec::new());
    }
    let template = Source {
        uri: String::new(),
        suite: String::new(),
        components: list("Components"),
        architectures: list("Architectures"),
        signed_by: signed_by(paragraph.get("Signed-By").unwrap_or_default())?,
        trusted: yes_or_no("Trusted")?,
        check_valid_until: yes_or_no("Check-Valid-Until")?,
        optional: false,
        origin: origin.to_owned(),
    };
    let mut sources = Vec::new();
    for uri in list("URIs") {
        for suite in list("Suites") {
            check_parts(&uri, &suite, &template.components)?;
            sources.push(Source {
                uri: uri.trim_end_matches('/').to_owned(),
                suite,
                ..template.clone()
            });
        }
    }
    Ok(sources)
}

/// Paths and fingerprints, or an armoured key in the following lines, where
/// a lone dot stands for an empty line.
fn signed_by(value: &str) -> std::result::Result<SignedBy, String> {
    let mut signed_by = SignedBy::default();
    if value.contains(ARMOUR) {
        let lines: Vec<&str> = control::lines(value)
            .map(|line| if line == "." { "" } else { line })
            .collect();
        signed_by
            .embedded
            .push(lines.join("\n").trim_start().to_owned() + "\n");
        return Ok(signed_by);
    }
    for word in control::words(value)
        .flat_map(|word| word.split(','))
        .filter(|w| !w.is_empty())
    {
        signed_by.add(word)?;
    }
    Ok(signed_by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_paragraphs() {
        let text = "Types: deb\n# http://old.example\nURIs: http://a.example/debian\n http://b.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/x.gpg\nArchitectures: amd64 arm64\n\n\
            Enabled: no\nTypes: deb\nURIs: http://c\nSuites: x\nComponents: main\n\n\
            Types: deb-src\nURIs: http://d\nSuites: x\nComponents: main\n\n\
            Types: deb\nURIs: http://e\nSuites: ./\nTrusted: yes\nCheck-Valid-Until: no\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let all = parse(Path::new("x.sources"), text).unwrap();
        assert_eq!(all.len(), 5);
        assert_eq!(all[0].uri, "http://a.example/debian");
        assert_eq!(
            (all[3].uri.as_str(), all[3].suite.as_str()),
            ("http://b.example/debian", "bookworm-updates")
        );
        assert_eq!(
            all[0].signed_by.files,
            [Path::new("/usr/share/keyrings/x.gpg")]
        );
        let last = &all[4];
        assert_eq!(
            (last.trusted, last.check_valid_until),
            (Some(true), Some(false))
        );
        assert_eq!(
            last.signed_by.embedded,
            ["-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"]
        );
    }

    #[test]
    fn errors_have_the_line() {
        for (text, part) in [
            ("\nTypes: deb\nURIs: http://x\n", "Suites is missing"),
            ("\nTypes: rpm\nURIs: http://x\nSuites: x\n", "neither deb"),
            ("\nTypes: deb\nURIs: http://x\nSuites: x\n", "components"),
            (
                "\nTypes: deb\nURIs: http://x\nSuites: x/../y\nComponents: main\n",
                "suite",
            ),
            (
                "\nTypes: deb\nURIs: x\nSuites: x\nComponents: main\n",
                "not a URI",
            ),
            (
                "\nTypes: deb\nURIs: http://x\nSuites: x\nComponents: main\nEnabled: maybe\n",
                "Enabled",
            ),
            (
                "\nTypes: deb\nURIs: http://x\nSuites: x\nComponents: main\nSigned-By: key\n",
                "fingerprint",
            ),
        ] {
            let error = parse(Path::new("x.sources"), text).unwrap_err().to_string();
            assert!(
                error.contains("line 2") && error.contains(part),
                "{text:?}: {error}"
            );
        }
        let error = parse(Path::new("x.sources"), "Types: deb\nnonsense\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "(Types: |deb|URIs: |http://x/|Suites: |Components: |Signed-By: |Enabled: |\n|\n |#|[a-z./]|\\PC){0,30}") {
            let _ = parse(Path::new("x.sources"), &text);
        }
    }
}
