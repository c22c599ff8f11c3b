//! One package of an index, as far as resolving and fetching need it.

use crate::control;
use crate::relation::{self, Alternatives, Relation};
use crate::release::{is_inside, sha256};
use crate::version::Version;

/// The fields of an index that are kept.
pub(super) const FIELDS: [&str; 14] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Priority",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Provides",
    "Replaces",
    "Filename",
    "Size",
    "SHA256",
];

/// A package that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// `all`, or the architecture.
    pub architecture: String,
    /// Rank of its priority: 0 for `required` to 4 for `extra` and all else.
    pub priority: u8,
    /// What it needs, Pre-Depends first.
    pub depends: Vec<Alternatives>,
    /// What it cannot be together with: Conflicts and Breaks.
    pub conflicts: Vec<Relation>,
    /// The virtual packages that it is, with their versions.
    pub provides: Vec<(String, Option<Version>)>,
    /// Whose files it may take over.
    pub replaces: Vec<Relation>,
    /// Path of the .deb below the archive's base.
    pub filename: String,
    /// Size of the .deb in bytes.
    pub size: u64,
    /// SHA-256 of the .deb.
    pub sha256: [u8; 32],
}

/// Reads a paragraph of an index.
///
/// # Errors
/// A field that is needed is missing or malformed.
pub fn parse_record(text: &str) -> Result<Package, String> {
    let fields = control::single(text).map_err(|e| e.to_string())?;
    let need = |name: &str| {
        fields
            .get(name)
            .ok_or_else(|| format!("the field {name} is missing"))
    };
    let name = need("Package")?;
    let fail =
        |what: &str, why: &dyn std::fmt::Display| format!("package {name}, field {what}: {why}");
    let groups = |field: &str| {
        relation::parse(fields.get(field).unwrap_or_default()).map_err(|e| fail(field, &e))
    };
    let flat = |field: &str| -> Result<Vec<Relation>, String> {
        Ok(groups(field)?.into_iter().flatten().collect())
    };
    if !relation::is_name(name) {
        return Err(fail("Package", &"not a package name"));
    }
    let version = need("Version")?;
    let architecture = need("Architecture")?;
    if !relation::is_architecture(architecture) {
        return Err(fail("Architecture", &"not an architecture"));
    }
    let filename = need("Filename")?;
    let filename = filename.strip_prefix("./").unwrap_or(filename);
    if !is_inside(filename) {
        return Err(fail("Filename", &"not a path below the archive"));
    }
    let mut depends = groups("Pre-Depends")?;
    depends.extend(groups("Depends")?);
    let mut conflicts = flat("Conflicts")?;
    conflicts.extend(flat("Breaks")?);
    let provides = flat("Provides")?
        .into_iter()
        .map(|p| (p.name, p.version.map(|(_, version)| version)))
        .collect();
    Ok(Package {
        name: name.to_owned(),
        version: version.parse().map_err(|e| fail("Version", &e))?,
        architecture: architecture.to_owned(),
        priority: match fields.get("Priority").unwrap_or_default() {
            "required" => 0,
            "important" => 1,
            "standard" => 2,
            "optional" => 3,
            _ => 4,
        },
        depends,
        conflicts,
        provides,
        replaces: flat("Replaces")?,
        filename: filename.to_owned(),
        size: need("Size")?.parse().map_err(|e| fail("Size", &e))?,
        sha256: sha256(need("SHA256")?).ok_or_else(|| fail("SHA256", &"not 64 hex digits"))?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record with what is needed, and further fields.
    pub(crate) fn record(name: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 7\nSHA256: {}\n{more}",
            "0f".repeat(32)
        )
    }

    #[test]
    fn reads_fields() {
        let text = record(
            "a",
            "1:2-3",
            "Priority: required\nPre-Depends: x\nDepends: b | c (>= 1), d\nConflicts: e\nBreaks: f (<< 2)\nProvides: g, h (= 3)\nReplaces: i\n",
        );
        let p = parse_record(&text).unwrap();
        assert_eq!(
            (
                p.depends.len(),
                p.conflicts.len(),
                p.replaces.len(),
                p.priority
            ),
            (3, 2, 1, 0)
        );
        assert_eq!(p.depends[0][0].name, "x");
        assert_eq!(p.provides[1], ("h".to_owned(), Some("3".parse().unwrap())));
    }

    #[test]
    fn refuses_what_would_do_harm() {
        for (from, to) in [
            ("pool/a", "../../a"),
            ("pool/a", "/etc/a"),
            ("pool/a", "http://x/a"),
            ("pool/a", "po?ol/a"),
            ("Size: 7", "Size: -7"),
            ("0f0f", "0g0f"),
            ("Package: a", "Package: ../a"),
            ("Architecture: amd64", "Architecture: a/b"),
            ("Version: 1", "Version: 1_"),
            ("Size", "Sise"),
        ] {
            let text = record("a", "1", "").replacen(from, to, 1);
            assert!(
                parse_record(&text).is_err() || to.starts_with("http"),
                "{to}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(Package: |Version: |Depends: |Filename: |SHA256: |\n|[a-z0-9(]|\\PC){0,40}") {
            let _ = parse_record(&text);
        }
    }
}
