//! Where packages come from: the machine's apt sources (sources.list(5)) in
//! both formats, and the few settings of apt.conf(5) that matter here.

mod conf;
mod deb822;
mod oneline;
mod release;

pub use conf::{Settings, parse as parse_settings};
pub use deb822::parse as parse_deb822;
pub use oneline::parse as parse_oneline;
pub use release::for_release;

use crate::error::{Error, Result, io};
use std::path::{Path, PathBuf};

/// Which keys may sign a source's release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignedBy {
    /// Keyring files.
    pub files: Vec<PathBuf>,
    /// Fingerprints (upper-case hex) of keys in the machine's keyrings; a
    /// `!` at the end means that very key and none of its subkeys.
    pub fingerprints: Vec<String>,
    /// Armoured keys that stand in the sources file itself.
    pub embedded: Vec<String>,
}

impl SignedBy {
    /// Whether nothing is said, so that apt's trusted keyrings count.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.fingerprints.is_empty() && self.embedded.is_empty()
    }

    /// Takes one word of a Signed-By: a path or fingerprints.
    fn add(&mut self, word: &str) -> std::result::Result<(), String> {
        if word.starts_with('/') {
            self.files.push(PathBuf::from(word));
            return Ok(());
        }
        let hex = word.strip_suffix('!').unwrap_or(word);
        if (hex.len() == 40 || hex.len() == 64) && hex.bytes().all(|c| c.is_ascii_hexdigit()) {
            self.fingerprints.push(word.to_ascii_uppercase());
            return Ok(());
        }
        Err(format!(
            "{word:?} in Signed-By is neither a path nor a fingerprint"
        ))
    }
}

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Base of the archive, without a slash at the end.
    pub uri: String,
    /// The suite (`bookworm-security`), or for a flat archive the path with
    /// a slash at the end.
    pub suite: String,
    /// The components; none for a flat archive.
    pub components: Vec<String>,
    /// The architectures that the source is limited to; empty means all.
    pub architectures: Vec<String>,
    /// Who may sign.
    pub signed_by: SignedBy,
    /// `trusted=yes` lets an unsigned archive in, `no` refuses every one.
    pub trusted: Option<bool>,
    /// Whether the release's expiry counts, where the source says so.
    pub check_valid_until: Option<bool>,
    /// Whether the archive may be without this suite: for suites that were
    /// derived from another release's.
    pub optional: bool,
    /// File and line that the source comes from, for messages.
    pub origin: String,
}

impl Source {
    /// Whether the archive has no `dists` directory.
    pub fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// Where Release and the indexes are, with a slash at the end.
    pub fn release_url(&self) -> String {
        if self.is_flat() {
            match self.suite.trim_start_matches("./") {
                "" | "/" => format!("{}/", self.uri),
                path => format!("{}/{}", self.uri, path.trim_start_matches('/')),
            }
        } else {
            format!("{}/dists/{}/", self.uri, self.suite)
        }
    }
}

/// Where the sources are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The machine's `/etc/apt`, or another directory laid out like it.
    Apt(PathBuf),
    /// These files (`.sources` is deb822, anything else is one-line).
    Files(Vec<PathBuf>),
}

/// Reads all sources for an architecture. What cannot be used (source
/// packages, schemes without a transport) is passed over and named in the
/// second value.
///
/// # Errors
/// A file cannot be read or understood, or nothing is left to use.
pub fn read(from: &From, architecture: &str) -> Result<(Vec<Source>, Vec<String>)> {
    let files = match from {
        From::Files(files) => files.clone(),
        From::Apt(directory) => apt_files(directory)?,
    };
    let mut all = Vec::new();
    let mut passed_over = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path).map_err(io(path, "read"))?;
        let found = if path.extension().is_some_and(|e| e == "sources") {
            parse_deb822(path, &text)?
        } else {
            parse_oneline(path, &text)?
        };
        for mut source in found {
            source.suite = source.suite.replace("$(ARCH)", architecture);
            source.uri = source.uri.replace("$(ARCH)", architecture);
            let limited = !source.architectures.is_empty();
            if limited && !source.architectures.iter().any(|a| a == architecture) {
                continue;
            }
            match source.uri.split_once(':').map(|(scheme, _)| scheme) {
                Some("http" | "https" | "file" | "copy") => all.push(source),
                other => passed_over.push(format!(
                    "{}: there is no transport for {}",
                    source.origin,
                    other.unwrap_or(&source.uri)
                )),
            }
        }
    }
    if all.is_empty() {
        let place = match from {
            From::Apt(directory) => format!("{} has none for {architecture}", directory.display()),
            From::Files(files) => format!(
                "there are none for {architecture} in {}",
                files
                    .iter()
                    .map(|f| f.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        let reason = std::iter::once(place)
            .chain(passed_over)
            .collect::<Vec<_>>()
            .join("; ");
        return Err(Error::NoSources { reason });
    }
    Ok((all, passed_over))
}

/// sources.list and sources.list.d in apt's order: the names that apt
/// accepts (letters, digits, `_`, `-`, `.`), sorted.
fn apt_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let main = directory.join("sources.list");
    if main.exists() {
        files.push(main);
    }
    files.extend(parts(
        &directory.join("sources.list.d"),
        &["list", "sources"],
    )?);
    Ok(files)
}

/// The files of a `.d` directory with one of the extensions, sorted. A
/// missing directory is empty.
pub(crate) fn parts(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io(directory, "list"))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(io(directory, "list"))?.path();
        let name_fits = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| {
            !n.starts_with('.')
                && n.bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c))
        });
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if name_fits && extensions.contains(&extension) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a boolean option, as apt reads it.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

/// Checks what becomes part of a URL: no way out of the archive.
fn check_parts(uri: &str, suite: &str, components: &[String]) -> std::result::Result<(), String> {
    if !uri.contains(':') {
        return Err(format!("{uri:?} is not a URI"));
    }
    let climbs = |text: &str| text.split('/').any(|part| part == "..");
    let strange = |text: &str| {
        text.bytes()
            .any(|c| c <= b' ' || c == 127 || b"?#%\\".contains(&c))
    };
    for part in std::iter::once(suite).chain(components.iter().map(String::as_str)) {
        if part.is_empty() || climbs(part) || strange(part) {
            return Err(format!("{part:?} cannot be a suite or component"));
        }
    }
    if suite.ends_with('/') != components.is_empty() {
        return Err(format!(
            "the suite {suite:?} needs components, or must end in / where there are none"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_directory_like_apt() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path().join("sources.list.d");
        std::fs::create_dir(&d).unwrap();
        std::fs::write(
            dir.path().join("sources.list"),
            "deb http://one.example/debian bookworm main\n",
        )
        .unwrap();
        std::fs::write(
            d.join("b.list"),
            "deb [arch=arm64] http://two.example/ sid main contrib\n",
        )
        .unwrap();
        std::fs::write(d.join("a.sources"), "Types: deb deb-src\nURIs: cdrom:[x]/ https://three.example/$(ARCH)/\nSuites: a b\nComponents: main\n").unwrap();
        std::fs::write(d.join("c.list.disabled"), "nonsense\n").unwrap();
        std::fs::write(d.join(".hidden.list"), "nonsense\n").unwrap();
        let from = From::Apt(dir.path().to_owned());
        let (all, passed_over) = read(&from, "amd64").unwrap();
        let urls: Vec<String> = all.iter().map(Source::release_url).collect();
        assert_eq!(
            urls,
            [
                "http://one.example/debian/dists/bookworm/",
                "https://three.example/amd64/dists/a/",
                "https://three.example/amd64/dists/b/"
            ]
        );
        assert_eq!(passed_over.len(), 2, "{passed_over:?}");
        let (arm, _) = read(&from, "arm64").unwrap();
        assert_eq!(arm.len(), 4);
        let empty = tempfile::tempdir().unwrap();
        let error = read(&From::Apt(empty.path().to_owned()), "amd64").unwrap_err();
        assert!(error.to_string().contains("HAKO_DEB_SOURCES"), "{error}");
    }

    #[test]
    fn flat_archives() {
        let source = |suite: &str| {
            let text = format!("deb file:/srv/repo/ {suite}\n");
            parse_oneline(Path::new("x.list"), &text)
                .unwrap()
                .remove(0)
                .release_url()
        };
        assert_eq!(source("./"), "file:/srv/repo/");
        assert_eq!(source("/"), "file:/srv/repo/");
        assert_eq!(source("stable/"), "file:/srv/repo/stable/");
    }
}
