//! Image references, by Docker's rules for familiar names.
//!
//! The grammar is that of the distribution project: `[host[:port]/]path[:tag][@digest]`.
//! The first component is a host when it has a dot, a colon or an upper-case
//! letter, or is `localhost`; without a host the name is Docker Hub's, and one
//! component alone is an official image below `library/`.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::digest::Digest;
use crate::error::shorten;

/// The registry of names without one.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The namespace of Docker Hub's official images.
pub const OFFICIAL_PREFIX: &str = "library/";
/// The tag of references without one.
pub const DEFAULT_TAG: &str = "latest";
/// Longest repository path in bytes.
pub const MAX_REPOSITORY_LEN: usize = 255;
/// Longest tag in bytes.
pub const MAX_TAG_LEN: usize = 128;

/// A fully qualified reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and perhaps port: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub registry: String,
    /// Path in the registry: `library/debian`.
    pub repository: String,
    /// Tag, if one was given.
    pub tag: Option<String>,
    /// Digest, if one was given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference as users write it; `debian` is
    /// `docker.io/library/debian` and has no tag.
    ///
    /// # Errors
    /// [`Error::Reference`] with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::Reference {
            text: shorten(text),
            reason,
        })
    }

    /// The reference with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.into());
        }
        self
    }

    /// `registry/repository`, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// [`Error::Reference`] if `tag` is none.
    pub fn with_tag(&self, tag: &str) -> Result<Self, Error> {
        check_tag(tag).map_err(|reason| Error::Reference {
            text: shorten(tag),
            reason,
        })?;
        Ok(Reference {
            tag: Some(tag.into()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository by digest, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Reference {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The shortest text that means this reference, for lists.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// [`Self::familiar`] without tag and digest.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = match self.repository.strip_prefix(OFFICIAL_PREFIX) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.repository,
        };
        // Shortening must not change the meaning: a first component that
        // looks like a host, or a name that looks like an image id.
        match parse(short) {
            Ok(same) if same.registry == self.registry && same.repository == self.repository => {
                short.to_owned()
            }
            _ => self.name(),
        }
    }

    fn suffix(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|tag| format!(":{tag}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .as_ref()
            .map(|digest| format!("@{digest}"))
            .unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{}/{}{}",
            self.registry,
            self.repository,
            self.suffix()
        ))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

text_field!(Reference);

/// The longest text worth looking at: everything at its longest.
const MAX_LEN: usize = 255 + 6 + 1 + MAX_REPOSITORY_LEN + 1 + MAX_TAG_LEN + 1 + 135;

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() > MAX_LEN {
        return Err(format!("it is longer than {MAX_LEN} bytes"));
    }
    if text.contains("://") {
        return Err("it is a URL; leave out the scheme".into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest
                .parse::<Digest>()
                .map_err(|error| error.to_string())?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A tag's colon stands after the last slash; any other is a port's.
    let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest.get(path_start..).and_then(|last| last.find(':')) {
        Some(colon) => (
            rest.get(..path_start + colon),
            rest.get(path_start + colon + 1..),
        ),
        None => (Some(rest), None),
    };
    let name = name.unwrap_or_default();
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if digest.is_none() && tag.is_none() && is_image_id(name) {
        return Err("64 hexadecimal digits are an image id".into());
    }
    let (registry, repository) = split_registry(name);
    check_registry(registry)?;
    let repository = match registry {
        DEFAULT_REGISTRY if !repository.contains('/') => format!("{OFFICIAL_PREFIX}{repository}"),
        _ => repository.to_owned(),
    };
    check_repository(&repository)?;
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag: tag.map(ToOwned::to_owned),
        digest,
    })
}

fn is_image_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path))
            if host == "localhost"
                || host.contains(['.', ':'])
                || host.bytes().any(|c| c.is_ascii_uppercase()) =>
        {
            (host, path)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() {
        return Err("the tag is empty".into());
    }
    if tag.len() > MAX_TAG_LEN {
        return Err(format!("the tag is longer than {MAX_TAG_LEN} bytes"));
    }
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let starts = tag.bytes().next().is_some_and(word);
    if !starts || !tag.bytes().all(|c| word(c) || matches!(c, b'.' | b'-')) {
        return Err(format!(
            "the tag {tag:?} may have letters, digits and _ . - alone and start with neither . nor -"
        ));
    }
    Ok(())
}

fn check_registry(registry: &str) -> Result<(), String> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest
                .split_once(']')
                .ok_or("the registry's address has no closing bracket")?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("[{address}] is not an IPv6 address"));
            }
            if port.is_empty() {
                return Ok(());
            }
            let port = port
                .strip_prefix(':')
                .ok_or("a port must follow the registry's address")?;
            return check_port(port);
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    if host.len() > 255 {
        return Err("the registry's host name is longer than 255 bytes".into());
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    if !host.split('.').all(label) {
        return Err(format!("{host:?} is not a host name"));
    }
    port.map_or(Ok(()), check_port)
}

fn check_port(port: &str) -> Result<(), String> {
    if port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok() {
        return Ok(());
    }
    Err(format!("{port:?} is not a port"))
}

fn check_repository(repository: &str) -> Result<(), String> {
    if repository.len() > MAX_REPOSITORY_LEN {
        return Err(format!(
            "the repository is longer than {MAX_REPOSITORY_LEN} bytes"
        ));
    }
    if repository.bytes().any(|c| c.is_ascii_uppercase()) {
        let familiar = repository
            .strip_prefix(OFFICIAL_PREFIX)
            .unwrap_or(repository);
        return Err(format!(
            "the repository name {familiar:?} must be lower case"
        ));
    }
    for component in repository.split('/') {
        check_component(component)
            .map_err(|rule| format!("the repository component {component:?} {rule}"))?;
    }
    Ok(())
}

/// `[a-z0-9]+` joined by one of `.`, `_`, `__` and any number of `-`.
fn check_component(component: &str) -> Result<(), &'static str> {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if component.is_empty() {
        return Err("is empty");
    }
    if !component
        .chars()
        .all(|c| alphanumeric(c) || matches!(c, '.' | '_' | '-'))
    {
        return Err("may have lower-case letters, digits and . _ - alone");
    }
    if !component.starts_with(alphanumeric) || !component.ends_with(alphanumeric) {
        return Err("must start and end with a letter or digit");
    }
    let separators = component
        .split(alphanumeric)
        .filter(|between| !between.is_empty());
    for separator in separators {
        if !matches!(separator, "." | "_" | "__") && separator.bytes().any(|c| c != b'-') {
            return Err("has separators in a row other than __ and dashes");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn familiar_names() {
        for (text, full, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("library/debian", "docker.io/library/debian", "debian"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            (
                "index.docker.io/debian",
                "docker.io/library/debian",
                "debian",
            ),
            ("docker.io/a/b/c", "docker.io/a/b/c", "a/b/c"),
            ("a/b/c/d", "docker.io/a/b/c/d", "a/b/c/d"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/app", "localhost/app", "localhost/app"),
            (
                "localhost:5000/app:1",
                "localhost:5000/app:1",
                "localhost:5000/app:1",
            ),
            ("localhost", "docker.io/library/localhost", "localhost"),
            ("ghcr.io/a/b", "ghcr.io/a/b", "ghcr.io/a/b"),
            ("host:5000/a", "host:5000/a", "host:5000/a"),
            ("Host/a", "Host/a", "Host/a"),
            ("[::1]:5000/a:t", "[::1]:5000/a:t", "[::1]:5000/a:t"),
            ("[fe80::1]/a", "[fe80::1]/a", "[fe80::1]/a"),
            ("127.0.0.1/a", "127.0.0.1/a", "127.0.0.1/a"),
            (
                "a__b/c-d.e/f---g",
                "docker.io/a__b/c-d.e/f---g",
                "a__b/c-d.e/f---g",
            ),
            (
                "my_app:v1_2.3-x",
                "docker.io/library/my_app:v1_2.3-x",
                "my_app:v1_2.3-x",
            ),
            (
                "docker.io/localhost/a",
                "docker.io/localhost/a",
                "docker.io/localhost/a",
            ),
            ("docker.io/x.y/a", "docker.io/x.y/a", "docker.io/x.y/a"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
        }
    }

    #[test]
    fn tag_and_digest() {
        let digest = format!("sha256:{HEX}");
        let both = Reference::parse(&format!("debian:12@{digest}")).unwrap();
        assert_eq!(both.tag.as_deref(), Some("12"));
        assert_eq!(both.digest.as_ref().unwrap().as_str(), digest);
        assert_eq!(both.familiar(), format!("debian:12@{digest}"));
        let alone = Reference::parse(&format!("localhost:5000/a@{digest}")).unwrap();
        assert_eq!(
            (alone.registry.as_str(), alone.tag.as_ref()),
            ("localhost:5000", None)
        );
        assert_eq!(alone.clone().or_latest(), alone);
        assert_eq!(
            Reference::parse("a").unwrap().or_latest().to_string(),
            "docker.io/library/a:latest"
        );
        assert_eq!(
            both.with_tag("x").unwrap().to_string(),
            "docker.io/library/debian:x"
        );
        assert!(both.with_tag("x:y").is_err());
    }

    #[test]
    fn a_name_that_looks_like_an_id_keeps_its_namespace() {
        assert!(Reference::parse(HEX).is_err());
        let long = Reference::parse(&format!("library/{HEX}")).unwrap();
        assert_eq!(long.familiar(), format!("docker.io/library/{HEX}"));
        assert_eq!(Reference::parse(&long.familiar()).unwrap(), long);
    }

    #[test]
    fn wrong_references_say_why() {
        let long_tag = format!("a:{}", "t".repeat(129));
        let long_name = "a".repeat(256);
        let long_digest = format!("a@sha256:{HEX}0");
        for (text, reason) in [
            ("", "empty"),
            ("Debian", "\"Debian\" must be lower case"),
            ("docker.io/A/b", "must be lower case"),
            ("a:", "the tag is empty"),
            ("a:.x", "the tag \".x\""),
            ("a:-x", "the tag"),
            ("a:b:c", "the tag \"b:c\""),
            ("a:b c", "the tag"),
            (long_tag.as_str(), "longer than 128"),
            (long_name.as_str(), "longer than 255"),
            ("a/", "\"\" is empty"),
            ("/a", "\"\" is empty"),
            ("a//b", "is empty"),
            ("-a", "must start"),
            ("a-", "must start and end"),
            ("a..b", "separators"),
            ("a._b", "separators"),
            ("a___b", "separators"),
            ("a b", "lower-case letters, digits"),
            ("a\n", "lower-case letters, digits"),
            ("ä", "lower-case letters, digits"),
            ("../a", "\"..\" is not a host name"),
            ("a/../b", "must start"),
            ("http://a/b", "scheme"),
            ("host:port/a", "not a port"),
            ("host:65536/a", "not a port"),
            ("host:/a", "not a port"),
            ("host.:80/a", "not a host name"),
            ("a__b.c/d", "not a host name"),
            ("-host.x/a", "not a host name"),
            ("[::1/a", "bracket"),
            ("[zz.]/a", "IPv6"),
            ("[::1]x/a", "port"),
            ("a@", "no colon"),
            ("a@sha256:12", "64 hexadecimal"),
            (long_digest.as_str(), "64 hexadecimal"),
            ("a@md5:0123", "neither sha256"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_limits_are_inclusive() {
        assert!(Reference::parse(&format!("x.y/{}:{}", "a".repeat(255), "t".repeat(128))).is_ok());
        assert!(Reference::parse(&format!("docker.io/{}", "a".repeat(248))).is_err());
        assert!(Reference::parse(&format!("docker.io/{}", "a".repeat(247))).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*|[a-zA-Z0-9:/@.\\[\\]_-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }

        #[test]
        fn round_trips(
            host in "(localhost|[a-z]{1,5}\\.[a-z]{2,3}|[A-Z]{3}|\\[::[0-9a-f]{1,4}\\])(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,8}((/|__|\\.|-{1,3}|_)[a-z0-9]{1,8}){0,4}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            value in proptest::option::of(any::<[u8; 32]>()),
        ) {
            let reference = Reference {
                registry: host,
                repository: path,
                tag,
                digest: value.map(Digest::from_sha256),
            };
            prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            let json = serde_json::to_string(&reference).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Reference>(&json).unwrap(), &reference);
        }
    }
}
