//! Rules for single files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::source;

/// Longer files are to be split.
const MOST_LINES: usize = 800;

/// Directories that hold nothing of ours.
const SKIPPED: [&str; 6] = [
    "target",
    ".git",
    "corpus",
    "artifacts",
    "book",
    "node_modules",
];

/// Kinds of files that are read.
const TEXT: [&str; 9] = ["rs", "toml", "md", "c", "json", "yml", "yaml", "txt", "sh"];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    walk(root, root, &mut findings)?;
    findings.sort();
    Ok(findings)
}

fn walk(root: &Path, dir: &Path, findings: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", dir.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry
            .file_type()
            .with_context(|| format!("look at {}", path.display()))?;
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(root, &path, findings)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !kind.is_file() || !extension.is_some_and(|extension| TEXT.contains(&extension)) {
            continue;
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // Test data, or gone since the directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let place = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        findings.extend(file(&place, &text));
    }
    Ok(())
}

/// The findings in one file.
fn file(place: &str, text: &str) -> Vec<String> {
    let mut findings = words(place, text);
    if !place.ends_with(".rs") {
        return findings;
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        findings.push(format!(
            "{place}: {lines} lines; split what is longer than {MOST_LINES}"
        ));
    }
    let is_root = ["/src/lib.rs", "/src/main.rs"]
        .iter()
        .any(|end| place.ends_with(end));
    if is_root && !text.starts_with("//!") {
        findings.push(format!(
            "{place}: begins without //! that says why the crate exists"
        ));
    }
    let code = source::code(text);
    for (number, line) in code.lines().enumerate() {
        let at = format!("{place}:{}", number + 1);
        if !place.starts_with("crates/hako-sys/") && has_word(line, "unsafe") {
            findings.push(format!("{at}: unsafe outside of hako-sys"));
        }
        if ["todo!", "unimplemented!", "dbg!"]
            .iter()
            .any(|word| line.contains(word))
        {
            findings.push(format!("{at}: unfinished code"));
        }
    }
    findings
}

/// Words that have no place in any file. They are put together here so that
/// this file does not hold them.
fn words(place: &str, text: &str) -> Vec<String> {
    let notes = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
    ];
    let strangers = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/sh", "ared"),
        concat!("Co-authored", "-by"),
    ];
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = format!("{place}:{}", number + 1);
        if let Some(word) = notes.iter().find(|word| has_word(line, word)) {
            findings.push(format!("{at}: {word}: do it now or leave it out"));
        }
        if let Some(word) = strangers.iter().find(|word| line.contains(**word)) {
            findings.push(format!("{at}: {word} does not belong here"));
        }
    }
    findings
}

/// Whether the word stands alone, not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRATE: &str = "crates/hako-x/src/a.rs";

    #[test]
    fn words_stand_alone() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(has_word("(unsafe)", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("myunsafe", "unsafe"));
    }

    #[test]
    fn unsafe_only_in_hako_sys_and_only_as_code() {
        let text = "fn a() { unsafe { b() } }\n";
        assert_eq!(
            file(CRATE, text),
            [format!("{CRATE}:1: unsafe outside of hako-sys")]
        );
        assert!(file("crates/hako-sys/src/a.rs", text).is_empty());
        assert!(
            file(
                CRATE,
                "// unsafe\nconst A: &str = \"unsafe\";\n/* unsafe */\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn long_files_and_missing_heads() {
        assert!(file(CRATE, &"x\n".repeat(800)).is_empty());
        assert_eq!(file(CRATE, &"x\n".repeat(801)).len(), 1);
        assert_eq!(file("crates/hako-x/src/lib.rs", "mod a;\n").len(), 1);
        assert!(file("crates/hako-x/src/lib.rs", "//! Why.\nmod a;\n").is_empty());
    }

    #[test]
    fn notes_to_oneself_and_strange_paths() {
        let note = format!("// {}: later\n", concat!("TO", "DO"));
        assert_eq!(file(CRATE, &note).len(), 1);
        assert_eq!(file("README.md", &note).len(), 1);
        assert!(file(CRATE, &format!("let a = \"tmp{}\";\n", "X".repeat(6))).is_empty());
        assert_eq!(file(CRATE, "fn a() { todo!() }\n").len(), 1);
        assert_eq!(
            file(
                "docs/a.md",
                &format!("see {}/x\n", concat!("/wo", "rk/main"))
            )
            .len(),
            1
        );
    }
}
