//! How an image is made from packages.

use crate::openpgp::Directories;
use crate::sources::{From, Settings};
use hako_store::Owner;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How an image is made from packages.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the sources are read from.
    pub sources: From,
    /// The keyrings of sources that name none.
    pub keyrings: Directories,
    /// What apt's configuration says of expired releases.
    pub settings: Settings,
    /// The directory of the cache, `<root>/deb`.
    pub cache: PathBuf,
    /// Most bytes that the cache keeps after an image is made.
    pub cache_limit: u64,
    /// A release that was fetched less than this ago is used unasked.
    pub max_age: Duration,
    /// Whether releases are fetched anew whatever their age.
    pub refresh: bool,
    /// Whether nothing may be fetched; any age will do then.
    pub offline: bool,
    /// Debian's name of the architecture where the request has none.
    pub architecture: String,
    /// Time of the image in seconds since 1970, and the latest time of its
    /// files (`SOURCE_DATE_EPOCH`). Without it, it is the latest time of a
    /// file in the packages, so that the same packages give the same image.
    pub epoch: Option<u64>,
    /// Most bytes that all packages together may unpack to.
    pub unpacked_limit: u64,
    /// Whose name the image gets.
    pub owner: Owner,
}

impl Options {
    /// The machine's own sources and settings, with the cache below the
    /// store's root.
    ///
    /// `HAKO_DEB_SOURCES` (files, parted by `:`) takes the place of the
    /// machine's sources, `HAKO_DEB_KEYRINGS` that of its keyrings, and
    /// `SOURCE_DATE_EPOCH` sets the image's time.
    ///
    /// # Errors
    /// apt's configuration cannot be read.
    pub fn machine(root: &Path, owner: Owner) -> crate::Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let paths = |name: &str| -> Option<Vec<PathBuf>> {
            Some(std::env::split_paths(&variable(name)?).collect())
        };
        let apt = Path::new("/etc/apt");
        let epoch = variable("SOURCE_DATE_EPOCH").and_then(|text| text.to_str()?.parse().ok());
        Ok(Self {
            sources: paths("HAKO_DEB_SOURCES")
                .map_or_else(|| From::Apt(apt.to_owned()), From::Files),
            keyrings: paths("HAKO_DEB_KEYRINGS")
                .map_or_else(Directories::default, |trusted| Directories { trusted }),
            settings: Settings::read(apt)?,
            epoch,
            ..Self::new(root, owner)
        })
    }

    /// Sources and keyrings of `/etc/apt`, default settings, and the cache
    /// below the store's root; nothing is read.
    pub fn new(root: &Path, owner: Owner) -> Self {
        Self {
            sources: From::Apt(PathBuf::from("/etc/apt")),
            keyrings: Directories::default(),
            settings: Settings::default(),
            cache: root.join("deb"),
            cache_limit: 1 << 30,
            max_age: Duration::from_secs(3600),
            refresh: false,
            offline: false,
            architecture: host_architecture().to_owned(),
            epoch: None,
            unpacked_limit: 16 << 30,
            owner,
        }
    }
}

/// This machine's architecture in Debian's words.
fn host_architecture() -> &'static str {
    debian_architecture(std::env::consts::ARCH)
}

fn debian_architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        "mips64" => "mips64el",
        "loongarch64" => "loong64",
        same => same,
    }
}

/// Architecture and variant in the words of the image-spec (Go's GOARCH and
/// GOARM).
pub(crate) fn oci_platform(debian: &str) -> (&str, Option<&'static str>) {
    match debian {
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v5")),
        "i386" => ("386", None),
        "ppc64el" => ("ppc64le", None),
        "mips64el" => ("mips64le", None),
        "mipsel" => ("mipsle", None),
        same => (same, None),
    }
}

/// What happens while an image is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A release is fetched.
    Release {
        /// Its URL.
        url: String,
    },
    /// An index is fetched: so many bytes of so many.
    Index {
        /// Its URL.
        url: String,
        /// Bytes so far.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// It is decided which packages make the image.
    Resolved {
        /// How many they are.
        packages: usize,
        /// Bytes that are to be fetched.
        fetch: u64,
    },
    /// A package is fetched: so many bytes of so many.
    Package {
        /// Its name.
        name: String,
        /// Bytes so far.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// The layer is put together.
    Assembling,
    /// Something that a person should know.
    Warning(String),
}

/// Takes events.
pub type Progress<'a> = &'a (dyn Fn(Event) + Send + Sync);
