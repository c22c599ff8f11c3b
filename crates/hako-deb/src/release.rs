//! Release files: what an archive says of a suite, and the hashes of its
//! indexes. The text must have been verified before it comes here.

use crate::codec::Compression;
use crate::control;
use crate::date;
use crate::sources::{Settings, Source};
use std::collections::HashMap;

/// Most files that a Release may list.
const MOST_FILES: usize = 200_000;

/// What is promised of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the contents.
    pub sha256: [u8; 32],
}

/// A parsed Release file.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// Who makes the archive: `Debian`.
    pub origin: Option<String>,
    /// `stable`, `oldstable-security`, ...
    pub suite: Option<String>,
    /// `bookworm`, `bookworm-security`, ...
    pub codename: Option<String>,
    /// `12.15`
    pub version: Option<String>,
    /// When it was made, in seconds since 1970.
    pub date: Option<u64>,
    /// Until when it may be used.
    pub valid_until: Option<u64>,
    /// Whether files can be had under their hash.
    pub by_hash: bool,
    /// Whether packages come from here only when nothing else has them
    /// (experimental, backports).
    pub not_automatic: bool,
    /// The architectures that have indexes.
    pub architectures: Vec<String>,
    /// Whether packages for all architectures have an index of their own.
    pub separate_all: bool,
    files: HashMap<String, Promise>,
}

/// An index file that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Path below the Release file.
    pub path: String,
    /// Path by hash, where the archive has such.
    pub by_hash: Option<String>,
    /// How it is compressed.
    pub compression: Compression,
    /// Size and hash of the file.
    pub packed: Promise,
    /// Size and hash of what comes out, where the Release lists it.
    pub plain: Option<Promise>,
}

/// Parses 64 hex digits.
pub(crate) fn sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if pair.starts_with('+') {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// Whether a path from an archive stays below where it is put.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && path
            .bytes()
            .all(|c| c > b' ' && c != 127 && !b"?#\\".contains(&c))
}

/// Reads a Release file.
///
/// # Errors
/// The text is not one paragraph, or a date, hash or path in it is malformed.
pub fn parse(text: &str) -> Result<Release, String> {
    let fields = control::single(text).map_err(|e| e.to_string())?;
    let text = |name: &str| fields.get(name).map(str::to_owned);
    let yes = |name: &str| {
        fields
            .get(name)
            .is_some_and(|v| v.eq_ignore_ascii_case("yes"))
    };
    let words = |name: &str| -> Vec<String> {
        control::words(fields.get(name).unwrap_or_default())
            .map(str::to_owned)
            .collect()
    };
    let time = |name: &str| {
        fields
            .get(name)
            .map(|value| {
                date::parse(value).ok_or_else(|| format!("{name}: {value:?} is not a date in UTC"))
            })
            .transpose()
    };
    let architectures = words("Architectures");
    let mut files = HashMap::new();
    for line in control::lines(fields.get("SHA256").unwrap_or_default()).filter(|l| !l.is_empty()) {
        let mut parts = line.split_ascii_whitespace();
        let (hash, size, path) = (parts.next(), parts.next(), parts.next());
        let promise = hash.and_then(sha256).zip(size.and_then(|s| s.parse().ok()));
        let (Some((sha256, size)), Some(path), None) = (promise, path, parts.next()) else {
            return Err(format!("SHA256: {line:?} is not a hash, a size and a path"));
        };
        // Paths that climb are of no use to anybody.
        if is_inside(path)
            && files
                .insert(path.to_owned(), Promise { size, sha256 })
                .is_some()
        {
            return Err(format!("SHA256: {path} is listed twice"));
        }
        if files.len() > MOST_FILES {
            return Err(format!("SHA256: more than {MOST_FILES} files"));
        }
    }
    Ok(Release {
        origin: text("Origin"),
        suite: text("Suite"),
        codename: text("Codename"),
        version: text("Version"),
        date: time("Date")?,
        valid_until: time("Valid-Until")?,
        by_hash: yes("Acquire-By-Hash"),
        not_automatic: yes("NotAutomatic"),
        separate_all: architectures.iter().any(|a| a == "all")
            && !words("No-Support-for-Architecture-all")
                .iter()
                .any(|w| w == "Packages"),
        architectures,
        files,
    })
}

impl Release {
    /// Whether the file is what the source asked for, and of use now.
    /// `now` is in seconds since 1970.
    ///
    /// # Errors
    /// It is of another suite (a signed file of one suite must not pass for
    /// another's), has expired, or is not valid yet.
    pub fn check(&self, source: &Source, now: u64, settings: &Settings) -> Result<(), String> {
        if !source.is_flat() {
            let wanted = source.suite.trim_end_matches("/updates");
            let names: Vec<&str> = self
                .suite
                .iter()
                .chain(&self.codename)
                .map(String::as_str)
                .collect();
            let same = |name: &&str| *name == wanted || *name == source.suite;
            if !names.is_empty() && !names.iter().any(same) {
                return Err(format!(
                    "it is of {}, not of {}",
                    names.join(" or "),
                    source.suite
                ));
            }
        }
        let expires = source
            .check_valid_until
            .unwrap_or(settings.check_valid_until);
        if let Some(until) = self.valid_until.filter(|until| expires && *until < now) {
            return Err(format!(
                "it expired at {} (Valid-Until); set check-valid-until=no in the source for an old snapshot",
                date::rfc3339(until)
            ));
        }
        // apt's default tolerance is ten seconds; clocks of machines without
        // a battery are worse.
        if let Some(made) = self
            .date
            .filter(|made| settings.check_date && *made > now.saturating_add(3600))
        {
            return Err(format!(
                "it was made at {}, which is not yet, by this machine's clock",
                date::rfc3339(made)
            ));
        }
        Ok(())
    }

    /// The index of a component (`None` for a flat archive) and
    /// architecture, in the best compression that can be read.
    pub fn index(&self, component: Option<&str>, architecture: &str) -> Option<IndexFile> {
        let base = match component {
            Some(component) => format!("{component}/binary-{architecture}/Packages"),
            None => "Packages".to_owned(),
        };
        // Debian's suites list the path without the leading "main/" part of
        // a component such as "updates/main" on the security archive.
        let short = component
            .and_then(|c| c.strip_prefix("updates/"))
            .map(|c| format!("{c}/binary-{architecture}/Packages"));
        [Some(base), short].into_iter().flatten().find_map(|base| {
            let plain = self.files.get(&base).copied();
            [
                Compression::Xz,
                Compression::Zstd,
                Compression::Gzip,
                Compression::None,
            ]
            .into_iter()
            .find_map(|compression| {
                let path = format!("{base}{}", compression.suffix());
                let packed = *self.files.get(&path)?;
                let by_hash = self.by_hash.then(|| {
                    let directory = path.rsplit_once('/').map_or("", |(d, _)| d);
                    let slash = if directory.is_empty() { "" } else { "/" };
                    format!("{directory}{slash}by-hash/SHA256/{}", hex(&packed.sha256))
                });
                Some(IndexFile {
                    path,
                    by_hash,
                    compression,
                    packed,
                    plain,
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::parse_oneline;
    use proptest::prelude::*;
    use std::path::Path;

    fn text() -> String {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        format!(
            "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nVersion: 12.15\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\nArchitectures: all amd64\nMD5Sum:\n 00 1 x\nSHA256:\n {a} 100 main/binary-amd64/Packages\n {b} 10 main/binary-amd64/Packages.gz\n {b} 9 ../../evil\n"
        )
    }

    fn source(suite: &str) -> Source {
        parse_oneline(Path::new("x"), &format!("deb http://x {suite} main\n"))
            .unwrap()
            .remove(0)
    }

    #[test]
    fn reads_fields_and_files() {
        let release = parse(&text()).unwrap();
        assert_eq!(release.codename.as_deref(), Some("bookworm"));
        assert!(release.by_hash && !release.not_automatic && !release.separate_all);
        let index = release.index(Some("main"), "amd64").unwrap();
        assert_eq!(index.path, "main/binary-amd64/Packages.gz");
        assert_eq!(
            index.by_hash.unwrap(),
            format!("main/binary-amd64/by-hash/SHA256/{}", "cd".repeat(32))
        );
        assert_eq!((index.packed.size, index.plain.unwrap().size), (10, 100));
        assert!(release.index(Some("main"), "arm64").is_none());
        assert!(!release.files.contains_key("../../evil"));
    }

    #[test]
    fn checks_suite_and_time() {
        let release = parse(&text()).unwrap();
        let made = release.date.unwrap();
        let settings = Settings::default();
        for suite in ["bookworm", "oldstable"] {
            release.check(&source(suite), made + 10, &settings).unwrap();
        }
        let error = release.check(&source("sid"), made, &settings).unwrap_err();
        assert!(error.contains("not of sid"), "{error}");
        let late = made + 8 * 86_400;
        assert!(
            release
                .check(&source("bookworm"), late, &settings)
                .unwrap_err()
                .contains("expired")
        );
        let lax = Settings {
            check_valid_until: false,
            ..settings
        };
        release.check(&source("bookworm"), late, &lax).unwrap();
        let mut own = source("bookworm");
        own.check_valid_until = Some(true);
        assert!(release.check(&own, late, &lax).is_err());
        assert!(
            release
                .check(&source("bookworm"), made - 7200, &settings)
                .unwrap_err()
                .contains("not yet")
        );
    }

    #[test]
    fn refuses_malformed_fields() {
        for (from, to) in [
            ("Sat, 11 Jul 2026 10:16:37 UTC", "yesterday"),
            (" 100 main", " x main"),
            ("abab", "abag"),
            ("Suite:", "Suite"),
        ] {
            assert!(parse(&text().replace(from, to)).is_err(), "{to}");
        }
        let twice = text().replace("Packages.gz", "Packages");
        assert!(parse(&twice).unwrap_err().contains("twice"));
        assert!(parse(&format!("{}\n\nSuite: sid\n", text())).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(SHA256:|Date:|Suite: |\n| |[0-9a-f]{64}|[a-z/.]|\\PC){0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn hex_round_trips(bytes: [u8; 32]) {
            prop_assert_eq!(sha256(&hex(&bytes)), Some(bytes));
        }
    }
}
