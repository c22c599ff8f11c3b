//! What a person asks for after `deb:`.
//!
//! ```text
//! request = item *("," item)
//! item    = name ["=" version] *( "@" release / ":" architecture )
//! ```
//!
//! A release on the last item counts for every item that has none of its
//! own; an architecture counts for the whole request, wherever it stands.
//! A colon inside a version is an epoch unless what follows it is the name
//! of a Debian architecture. The order of the items means nothing, so the
//! canonical form sorts them: `bash,curl` and `curl,bash` are one image.

use crate::error::{Error, Result};
use crate::relation;
use crate::version::Version;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Debian's architectures, released and in ports.
const ARCHITECTURES: [&str; 24] = [
    "alpha",
    "amd64",
    "arc",
    "arm64",
    "armel",
    "armhf",
    "hppa",
    "hurd-amd64",
    "hurd-i386",
    "i386",
    "ia64",
    "loong64",
    "m68k",
    "mips64el",
    "mipsel",
    "powerpc",
    "ppc64",
    "ppc64el",
    "riscv64",
    "s390x",
    "sh4",
    "sparc64",
    "x32",
    "all",
];

/// The most packages that one request may name.
const MOST_ITEMS: usize = 1000;

/// One package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The package's name, real or virtual.
    pub name: String,
    /// The exact version, where one is asked for.
    pub version: Option<String>,
    /// The release (suite or codename) it must come from.
    pub release: Option<String>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, "={version}")?;
        }
        if let Some(release) = &self.release {
            write!(f, "@{release}")?;
        }
        Ok(())
    }
}

/// A parsed request. `Display` gives the canonical form, which parses to
/// the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for: at least one, sorted, no name twice.
    items: Vec<Item>,
    /// Debian's name of the architecture, if one was given.
    architecture: Option<String>,
}

impl Request {
    /// What is asked for, sorted by name.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The architecture in Debian's words (`amd64`), if one was given.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// The releases that are named, each once, sorted.
    pub fn releases(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self
            .items
            .iter()
            .filter_map(|i| i.release.as_deref())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The name under which the image is stored:
    /// `localhost/deb/<names>:<tag>`.
    ///
    /// The names are joined by `_`. The tag is the release, or `latest`,
    /// and `-<architecture>` if one was given. What a reference cannot say
    /// (a `+` in a name, versions, several releases, more than 128
    /// characters) is kept apart by `-` and the first 12 hex digits of the
    /// canonical request's SHA-256. So two requests have one name only if
    /// they are the same.
    pub fn image_name(&self) -> String {
        let mut lossy = self.items.iter().any(|item| item.version.is_some());
        let mut path = String::new();
        for item in &self.items {
            let (component, exact) = component(&item.name);
            lossy |= !exact;
            if path.len() + component.len() > 128 {
                lossy = true;
                break;
            }
            if !path.is_empty() {
                path.push('_');
            }
            path.push_str(&component);
        }
        if path.is_empty() {
            path.push_str("packages");
        }
        let releases = self.releases();
        let mut tag = match releases.as_slice() {
            [one] if self.items.iter().all(|i| i.release.is_some()) => {
                let fitting: String = one
                    .chars()
                    .map(|c| {
                        if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                            c
                        } else {
                            '_'
                        }
                    })
                    .take(64)
                    .collect();
                lossy |= fitting != *one || fitting == "latest";
                fitting
            }
            [] => "latest".to_owned(),
            _ => {
                lossy = true;
                "mixed".to_owned()
            }
        };
        if let Some(architecture) = &self.architecture {
            // A release may itself end in "-arm64".
            lossy |= tag.contains('-');
            tag.push('-');
            tag.push_str(architecture);
        } else {
            lossy |= ARCHITECTURES
                .iter()
                .any(|a| tag.ends_with(&format!("-{a}")));
        }
        if lossy {
            let hash = Sha256::digest(self.to_string().as_bytes());
            tag.push('-');
            for byte in hash.iter().take(6) {
                tag.push_str(&format!("{byte:02x}"));
            }
        }
        format!("localhost/deb/{path}:{tag}")
    }
}

/// A package name as part of a path component (distribution-spec: runs of
/// `[a-z0-9]` with single separators between them), and whether nothing
/// was lost.
fn component(name: &str) -> (String, bool) {
    let mut out = String::with_capacity(name.len());
    let mut exact = true;
    for c in name.chars() {
        match c {
            '+' => {
                exact = false;
                out.push('p');
            }
            '.' if out.ends_with(['.', '-']) || out.is_empty() => exact = false,
            '-' if out.ends_with('.') || out.is_empty() => exact = false,
            c => out.push(c),
        }
    }
    let trimmed = out.trim_end_matches(['.', '-']);
    exact &= trimmed.len() == out.len();
    (trimmed.to_owned(), exact)
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = match self.releases().as_slice() {
            [one] if self.items.iter().all(|i| i.release.is_some()) => Some((*one).to_owned()),
            _ => None,
        };
        // A release on the last item spreads to the items without one, so
        // a mixture ends in an item that has its own and is not last.
        let mut items: Vec<&Item> = self.items.iter().collect();
        if shared.is_none() {
            items.sort_by_key(|i| (i.release.is_none(), i.name.clone()));
        }
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if shared.is_some() {
                let bare = Item {
                    release: None,
                    ..(*item).clone()
                };
                write!(f, "{bare}")?;
            } else {
                write!(f, "{item}")?;
            }
        }
        if let Some(release) = shared {
            write!(f, "@{release}")?;
        }
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        Ok(())
    }
}

impl FromStr for Request {
    type Err = Error;

    /// Parses a request; a leading `deb:` is taken off.
    fn from_str(text: &str) -> Result<Self> {
        let prefix = if text.starts_with("deb:") { 4 } else { 0 };
        let body = text.get(prefix..).unwrap_or_default();
        let fail = |at: usize, reason: String| Error::Request {
            request: text.to_owned(),
            reason,
            at: text.get(..at).map_or(at, |head| head.chars().count()) + 1,
        };
        if body.is_empty() {
            return Err(fail(prefix, "no package is named".to_owned()));
        }
        let mut items: Vec<(Item, usize)> = Vec::new();
        let mut architecture: Option<String> = None;
        let mut at = prefix;
        for part in body.split(',') {
            if items.len() >= MOST_ITEMS {
                return Err(fail(at, format!("more than {MOST_ITEMS} packages")));
            }
            let (item, own) =
                parse_item(part).map_err(|(offset, reason)| fail(at + offset, reason))?;
            match (&architecture, own) {
                (Some(a), Some(b)) if *a != b => {
                    return Err(fail(
                        at,
                        format!("an image has one architecture, not both {a} and {b}"),
                    ));
                }
                (None, Some(b)) => architecture = Some(b),
                _ => {}
            }
            items.push((item, at));
            at += part.len() + 1;
        }
        let shared = items.last().and_then(|(i, _)| i.release.clone());
        for (item, _) in &mut items {
            if item.release.is_none() {
                item.release.clone_from(&shared);
            }
        }
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        items.dedup_by(|(a, _), (b, _)| a == b);
        for pair in items.windows(2) {
            if let [(a, _), (b, at)] = pair
                && a.name == b.name
            {
                return Err(fail(
                    *at,
                    format!("{} is asked for twice, as {a} and as {b}", a.name),
                ));
            }
        }
        Ok(Self {
            items: items.into_iter().map(|(item, _)| item).collect(),
            architecture,
        })
    }
}

type At<T> = std::result::Result<T, (usize, String)>;

/// One item; errors carry the byte offset in it.
fn parse_item(text: &str) -> At<(Item, Option<String>)> {
    let end = text.find(['=', '@', ':']).unwrap_or(text.len());
    let name = text.get(..end).unwrap_or_default();
    if name.is_empty() {
        return Err((0, "a package name is missing".to_owned()));
    }
    if !relation::is_name(name) {
        return Err((
            0,
            format!("{name:?} is not a package name (lower case, digits, '+', '-', '.')"),
        ));
    }
    let mut item = Item {
        name: name.to_owned(),
        version: None,
        release: None,
    };
    let mut architecture = None;
    let mut at = end;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let mut chars = rest.chars();
        let sign = chars.next().unwrap_or_default();
        let value = chars.as_str();
        let length = match sign {
            '=' => version_end(value),
            _ => value.find(['@', ':', '=']).unwrap_or(value.len()),
        };
        let value = value.get(..length).unwrap_or_default();
        match sign {
            '=' if item.version.is_none() && at == end => {
                let version: Version = value.parse().map_err(|e| (at + 1, format!("{e}")))?;
                item.version = Some(version.as_str().to_owned());
            }
            '=' => return Err((at, "a version stands directly after its package".to_owned())),
            '@' if item.release.is_some() => return Err((at, "a second release".to_owned())),
            '@' => {
                if !is_release(value) {
                    return Err((at + 1, format!("{value:?} is not the name of a release")));
                }
                item.release = Some(value.to_owned());
            }
            _ if architecture.is_some() => return Err((at, "a second architecture".to_owned())),
            _ => {
                if !ARCHITECTURES.contains(&value) || value == "all" {
                    return Err((
                        at + 1,
                        format!(
                            "{value:?} is not an architecture of Debian (such as amd64, arm64)"
                        ),
                    ));
                }
                architecture = Some(value.to_owned());
            }
        }
        at += 1 + length;
    }
    Ok((item, architecture))
}

/// Where a version ends: at a release, at a colon that an architecture
/// follows, or at the end.
fn version_end(text: &str) -> usize {
    text.char_indices()
        .find(|(i, c)| match c {
            '@' => true,
            ':' => {
                let rest = text.get(i + 1..).unwrap_or_default();
                let word = rest.split('@').next().unwrap_or(rest);
                ARCHITECTURES.contains(&word)
            }
            _ => false,
        })
        .map_or(text.len(), |(i, _)| i)
}

/// Whether a text can name a release. It becomes part of a URL.
pub(crate) fn is_release(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= 64
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.~+".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        text.parse::<Request>()
            .map_or_else(|e| format!("error: {e}"), |r| r.to_string())
    }

    #[test]
    fn syntax() {
        for (text, expected) in [
            ("busybox", "busybox"),
            ("deb:busybox", "busybox"),
            ("curl,bash,coreutils", "bash,coreutils,curl"),
            ("bash,bash", "bash"),
            ("bash@bookworm", "bash@bookworm"),
            ("bash:arm64", "bash:arm64"),
            ("bash:arm64@sid", "bash@sid:arm64"),
            ("bash@sid:arm64", "bash@sid:arm64"),
            ("b,a@trixie", "a,b@trixie"),
            ("b@sid,a@trixie", "a@trixie,b@sid"),
            ("b@sid,a", "b@sid,a"),
            (
                "busybox=1:1.35.0-4+deb12u1:amd64",
                "busybox=1:1.35.0-4+deb12u1:amd64",
            ),
            ("busybox=1:1.35.0-4@bookworm", "busybox=1:1.35.0-4@bookworm"),
            ("a:arm64,b", "a,b:arm64"),
            ("libstdc++6", "libstdc++6"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
            assert_eq!(canonical(&canonical(text)), expected, "{text} again");
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, part, at) in [
            ("", "no package", 1),
            ("deb:", "no package", 5),
            ("bash,,curl", "missing", 6),
            ("Bash", "not a package name", 1),
            ("bash@", "release", 6),
            ("bash@../x", "release", 6),
            ("bash:risc", "not an architecture", 6),
            ("bash:all", "not an architecture", 6),
            ("bash=", "empty", 6),
            ("bash@sid=1", "directly after", 9),
            ("bash@sid@sid", "second release", 9),
            ("a:arm64,b:amd64", "one architecture", 9),
            ("a=1,a=2", "twice", 5),
        ] {
            let Err(Error::Request {
                reason, at: found, ..
            }) = text.parse::<Request>()
            else {
                panic!("{text} is accepted")
            };
            assert!(reason.contains(part), "{text}: {reason}");
            assert_eq!(found, at, "{text}: {reason}");
        }
    }

    #[test]
    fn image_names() {
        let name = |text: &str| text.parse::<Request>().unwrap().image_name();
        assert_eq!(name("busybox"), "localhost/deb/busybox:latest");
        assert_eq!(
            name("curl,bash@bookworm"),
            "localhost/deb/bash_curl:bookworm"
        );
        assert_eq!(name("bash:arm64"), "localhost/deb/bash:latest-arm64");
        assert!(name("libstdc++6").starts_with("localhost/deb/libstdcpp6:latest-"));
        let different = [
            "g++",
            "gpp",
            "g+p",
            "a=1",
            "a=2",
            "a",
            "a@latest",
            "a@sid,b",
            "a,b@sid",
            "a@x-arm64",
            "a@x:arm64",
        ];
        let names: std::collections::BTreeSet<_> = different.iter().map(|t| name(t)).collect();
        assert_eq!(names.len(), different.len(), "{names:?}");
        let many: Vec<String> = (0..200).map(|i| format!("package{i}")).collect();
        assert!(name(&many.join(",")).len() < 200);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(deb:)?([a-z0-9+.@:=,~-]|arm64|\\PC){0,30}") {
            if let Ok(request) = text.parse::<Request>() {
                let again: Request = request.to_string().parse().unwrap();
                prop_assert_eq!(&again, &request);
                let name = request.image_name();
                let (path, tag) = name.rsplit_once(':').unwrap();
                prop_assert!(tag.len() <= 128 && path.len() <= 255);
                prop_assert!(path.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"/_.-".contains(&c)), "{}", path);
                prop_assert!(!path.contains("__") && !path.contains("..") , "{}", path);
            }
        }
    }
}
