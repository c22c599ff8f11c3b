//! What the runtime may weigh: it starts several times a container, and each
//! crate in it is code that runs before the container's own isolation does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::command::{cargo, output};

/// Bytes of the stripped binary.
const MOST_BYTES: u64 = 2_000_000;
/// Crates that are linked, itself not counted.
const MOST_CRATES: usize = 30;
/// Crates that must not be in it, with the reason.
const BANNED: [(&str, &str); 5] = [
    (
        "clap",
        "lexopt parses the command line at a tenth of the size",
    ),
    ("oci-spec", "hako-spec keeps unknown fields"),
    ("regex", "larger than the runtime"),
    ("tokio", "the runtime has one thread"),
    ("tracing", "the runtime writes runc's log format itself"),
];

/// Checks the crates that are linked into the runtime: build scripts and
/// procedural macros leave nothing in it.
pub(super) fn crates() -> Result<Vec<String>> {
    let edges = ["--edges", "normal,no-proc-macro"];
    let shape = ["--prefix", "none", "--format", "{p}"];
    let tree = output(
        cargo(["tree", "--package", "hako-runtime"])
            .args(edges)
            .args(shape),
    )?;
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "hako-runtime")
        .collect();
    eprintln!(
        "hako-runtime links {} crates of at most {MOST_CRATES}",
        names.len()
    );
    Ok(findings(&names))
}

fn findings(names: &BTreeSet<&str>) -> Vec<String> {
    let mut findings = Vec::new();
    if names.len() > MOST_CRATES {
        let list = names.iter().copied().collect::<Vec<_>>().join(" ");
        let count = names.len();
        findings.push(format!(
            "hako-runtime: {count} crates, at most {MOST_CRATES}: {list}"
        ));
    }
    for (name, reason) in BANNED.iter().filter(|(name, _)| names.contains(name)) {
        findings.push(format!("hako-runtime: links {name}: {reason}"));
    }
    findings
}

/// Checks the size of the runtime's binary.
pub(super) fn size(runtime: &Path) -> Result<Vec<String>> {
    let metadata =
        fs::metadata(runtime).with_context(|| format!("look at {}", runtime.display()))?;
    let bytes = metadata.len();
    eprintln!("hako-runtime has {bytes} bytes of at most {MOST_BYTES}");
    let too_large = bytes > MOST_BYTES;
    Ok(too_large
        .then(|| format!("hako-runtime: {bytes} bytes, at most {MOST_BYTES}"))
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_and_the_wrong_ones() {
        let names: Vec<String> = (0..31).map(|number| format!("crate-{number}")).collect();
        let few: BTreeSet<&str> = names.iter().take(30).map(String::as_str).collect();
        assert!(findings(&few).is_empty());
        let many: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(findings(&many).len(), 1);
        assert!(findings(&BTreeSet::from(["tokio"]))[0].contains("one thread"));
    }

    #[test]
    fn too_large() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MOST_BYTES).unwrap();
        assert!(size(file.path()).unwrap().is_empty());
        file.as_file().set_len(MOST_BYTES + 1).unwrap();
        assert_eq!(size(file.path()).unwrap().len(), 1);
    }
}
