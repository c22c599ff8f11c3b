//! Platforms: which of an index's manifests runs on which machine.
//!
//! Spellings are normalised and candidates are ranked as containerd does, so
//! that the same image is chosen as by it and by Docker.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::error::shorten;

object! {
    /// An operating system and a processor (image-spec image-index.md, `platform`).
    pub struct Platform {
        /// As Go's GOARCH: `amd64`, `arm64`, …
        pub architecture: String = "architecture" required,
        /// As Go's GOOS: `linux`, …
        pub os: String = "os" required,
        /// Version of the operating system; used on Windows.
        pub os_version: Option<String> = "os.version",
        /// Features of the operating system that the image needs.
        pub os_features: Vec<String> = "os.features",
        /// Processor variant: `v7` of arm, `v3` of amd64.
        pub variant: Option<String> = "variant",
    }
}

impl Platform {
    /// A platform of system, processor and perhaps variant, normalised.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(Into::into),
            ..Platform::default()
        }
        .normalized()
    }

    /// The platform of this process, normalised.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, None)
    }

    /// The same platform in canonical spelling: `aarch64` is `arm64`, `armhf`
    /// is `arm/v7`, the default variant of a processor is none (but arm's,
    /// which is `v7`).
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut platform = self.clone();
        let os = self.os.to_ascii_lowercase();
        platform.os = if os == "macos" { "darwin".into() } else { os };
        let variant = self
            .variant
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        platform.architecture = architecture.into();
        platform.variant = (!variant.is_empty()).then(|| variant.into());
        platform
    }

    /// The platforms that a machine of this platform runs, best first.
    ///
    /// A newer processor runs code for its elders: amd64/v3 runs v2 and v1 and
    /// then 386; arm64 runs older arm64 and then arm/v8 to v5.
    #[must_use]
    pub fn preference(&self) -> Vec<Platform> {
        let want = self.normalized();
        let with = |architecture: &str, variant: &str| {
            let changed = Platform {
                architecture: architecture.into(),
                variant: (!variant.is_empty()).then(|| variant.into()),
                ..want.clone()
            };
            changed.normalized()
        };
        let number = want
            .variant
            .as_deref()
            .and_then(|variant| variant.strip_prefix('v'))
            .and_then(|number| number.parse::<u8>().ok());
        let mut list = vec![want.clone()];
        match (want.architecture.as_str(), number) {
            ("amd64", number) => {
                for older in (1..number.unwrap_or(1).min(9)).rev() {
                    list.push(with("amd64", &format!("v{older}")));
                }
                list.push(with("386", ""));
            }
            ("arm", Some(number)) => {
                for older in (5..number.min(9)).rev() {
                    list.push(with("arm", &format!("v{older}")));
                }
            }
            ("arm64", _) => {
                for older in older_arm64(want.variant.as_deref().unwrap_or("v8")) {
                    list.push(with("arm64", &older));
                }
                for variant in ["v8", "v7", "v6", "v5"] {
                    list.push(with("arm", variant));
                }
            }
            _ => {}
        }
        list
    }
}

/// The variants of arm64 below `variant`, newest first. Armv9.x includes
/// Armv8.(x+5), so the two lines of versions meet.
fn older_arm64(variant: &str) -> Vec<String> {
    let parse = |text: &str| {
        let (major, minor) = text
            .strip_prefix('v')?
            .split_once('.')
            .unwrap_or((text.get(1..)?, "0"));
        Some((major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?))
    };
    let name = |major: u8, minor: u8| match minor {
        0 => format!("v{major}"),
        _ => format!("v{major}.{minor}"),
    };
    let mut list = Vec::new();
    match parse(variant) {
        Some((9, minor)) => {
            let minor = minor.min(9);
            list.extend((0..minor).rev().map(|minor| name(9, minor)));
            list.extend((0..=(minor + 5).min(9)).rev().map(|minor| name(8, minor)));
        }
        Some((8, minor)) => list.extend((0..minor.min(10)).rev().map(|minor| name(8, minor))),
        _ => {}
    }
    list
}

/// How well `have` suits a machine that wants `want`: 0 is exact, more is
/// worse, `None` does not run there.
#[must_use]
pub fn rank(want: &Platform, have: &Platform) -> Option<u32> {
    let have = have.normalized();
    let version_fits = match (&want.os_version, &have.os_version) {
        (Some(want), Some(have)) => want == have,
        _ => true,
    };
    if !version_fits
        || !have
            .os_features
            .iter()
            .all(|need| want.os_features.contains(need))
    {
        return None;
    }
    let found = want.preference().iter().position(|candidate| {
        candidate.os == have.os
            && candidate.architecture == have.architecture
            && candidate.variant == have.variant
    });
    found.and_then(|place| u32::try_from(place).ok())
}

impl fmt::Display for Platform {
    /// `os[(version)]/architecture[/variant]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.os.clone();
        if let Some(version) = &self.os_version {
            text = format!("{text}({version})");
        }
        text = format!("{text}/{}", self.architecture);
        if let Some(variant) = &self.variant {
            text = format!("{text}/{variant}");
        }
        f.pad(&text)
    }
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "macos",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasi",
    "wasip1",
    "windows",
    "zos",
];

const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64",
    "ppc64le", "riscv64", "s390x", "sparc64", "wasm",
];

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/architecture[/variant]`, `os(version)/…`, or one of a known
    /// system and a known processor alone (the host's other half is meant).
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::Platform {
            text: shorten(text),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Platform, &'static str> {
    if text.len() > 256 {
        return Err("it is longer than 256 bytes");
    }
    let mut parts = text.split('/');
    let first = parts.next().unwrap_or_default();
    let (second, third) = (parts.next(), parts.next());
    if parts.next().is_some() {
        return Err("it has more parts than os/architecture/variant");
    }
    let (os, version) = match first.split_once('(') {
        Some((os, rest)) => {
            let version = rest
                .strip_suffix(')')
                .ok_or("the version has no closing parenthesis")?;
            (os, Some(version))
        }
        None => (first, None),
    };
    for part in [Some(os), version, second, third].into_iter().flatten() {
        if part.is_empty() {
            return Err("a part is empty");
        }
        if !part
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
        {
            return Err("a part may have letters, digits and _ - . alone");
        }
    }
    let mut platform = match second {
        Some(architecture) => Platform::new(os, architecture, third),
        None if SYSTEMS.contains(&os.to_ascii_lowercase().as_str()) => {
            let host = Platform::host();
            Platform::new(os, &host.architecture, host.variant.as_deref())
        }
        None => {
            let platform = Platform::new(&Platform::host().os, os, None);
            if version.is_some() || !ARCHITECTURES.contains(&platform.architecture.as_str()) {
                return Err("it is neither a known system nor a known processor");
            }
            platform
        }
    };
    platform.os_version = version.map(Into::into);
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_are_normalised() {
        for (text, canonical) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AMD64/V2", "linux/amd64/v2"),
            ("linux/i386", "linux/386"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(platform(text).to_string(), canonical, "{text}");
        }
        let host = Platform::host();
        assert_eq!(platform("linux"), host);
        assert_eq!(platform("arm64").to_string(), format!("{}/arm64", host.os));
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        assert_eq!(host.to_string(), "linux/amd64");
    }

    #[test]
    fn wrong_platforms_are_refused() {
        for text in [
            "",
            "/",
            "linux/",
            "/amd64",
            "linux/amd64/",
            "a/b/c/d",
            "foo",
            "linux/a b",
            "linux/é",
            "linux(1/amd64",
            "linux()/amd64",
            "arm64(1)",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_is_containerds() {
        let list = |text: &str| {
            let names: Vec<_> = platform(text)
                .preference()
                .iter()
                .map(ToString::to_string)
                .collect();
            names.join(" ")
        };
        assert_eq!(list("linux/amd64"), "linux/amd64 linux/386");
        assert_eq!(
            list("linux/amd64/v4"),
            "linux/amd64/v4 linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"
        );
        assert_eq!(
            list("linux/arm/v7"),
            "linux/arm/v7 linux/arm/v6 linux/arm/v5"
        );
        assert_eq!(list("linux/arm/v5"), "linux/arm/v5");
        assert_eq!(
            list("linux/arm64"),
            "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"
        );
        assert!(list("linux/arm64/v9.1").starts_with(
            "linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6 linux/arm64/v8.5 linux/arm64/v8.4"
        ));
        assert_eq!(list("linux/386"), "linux/386");
        assert_eq!(list("linux/s390x"), "linux/s390x");
    }

    #[test]
    fn ranks() {
        let want = platform("linux/arm64");
        assert_eq!(rank(&want, &platform("linux/arm64/v8")), Some(0));
        assert!(rank(&want, &platform("linux/arm/v7")) < rank(&want, &platform("linux/arm/v6")));
        assert_eq!(rank(&want, &platform("linux/amd64")), None);
        assert_eq!(rank(&want, &platform("windows/arm64")), None);
        assert_eq!(
            rank(&platform("linux/arm/v6"), &platform("linux/arm/v7")),
            None
        );
        assert_eq!(
            rank(&platform("linux/amd64"), &platform("linux/amd64/v2")),
            None
        );
        let spelled = Platform {
            os: "linux".into(),
            architecture: "aarch64".into(),
            variant: Some("v8".into()),
            ..Platform::default()
        };
        assert_eq!(rank(&want, &spelled), Some(0));
        assert_eq!(rank(&spelled, &want), Some(0));
        let needs = Platform {
            os_features: vec!["x".into()],
            ..want.clone()
        };
        assert_eq!(rank(&want, &needs), None);
        assert_eq!(rank(&needs, &needs), Some(0));
        assert_eq!(rank(&needs, &want), Some(0));
    }

    #[test]
    fn json_names_have_dots() {
        let text = r#"{"architecture":"amd64","os":"windows","os.version":"10.0","os.features":["win32k"],"features":["sse4"]}"#;
        let read: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(read.os_version.as_deref(), Some("10.0"));
        assert_eq!(read.extra.len(), 1);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*|[a-z0-9/().v]{0,20}") {
            if let Ok(platform) = text.parse::<Platform>() {
                prop_assert_eq!(&platform.to_string().parse::<Platform>().unwrap(), &platform);
                prop_assert_eq!(rank(&platform, &platform), Some(0));
            }
        }

        #[test]
        fn variants_round_trip(
            os in "linux|freebsd|windows", arch in "[a-z0-9_]{1,8}|amd64|arm64|arm|x86_64|aarch64",
            variant in proptest::option::of("v?[0-9]{1,3}(\\.[0-9]{1,3})?|[a-z0-9.]{1,6}")
        ) {
            let platform = Platform::new(&os, &arch, variant.as_deref());
            prop_assert_eq!(&platform.normalized(), &platform);
            prop_assert_eq!(&platform.to_string().parse::<Platform>().unwrap(), &platform);
            prop_assert!(platform.preference().len() < 40);
        }
    }
}
