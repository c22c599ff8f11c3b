//! Where an image is, as a person writes it: containers-transports(5), and
//! `deb:` of our own.

use std::path::PathBuf;

use hako_deb::Request;
use hako_distribution::registries::Registries;
use hako_spec::digest::Digest;
use hako_spec::reference::Reference;

use crate::error::{Error, Result};

/// Which image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The only one.
    Only,
    /// The one with this `org.opencontainers.image.ref.name`.
    Name(String),
    /// The one with this digest.
    Digest(Digest),
}

/// Where an image is.
#[derive(Clone, Debug)]
pub enum Source {
    /// `docker://REFERENCE` or `REFERENCE`: a registry.
    Registry(Reference),
    /// `oci:PATH[:NAME|@DIGEST]`: an OCI image layout in a directory.
    Oci {
        /// The directory.
        path: PathBuf,
        /// Which image.
        choice: Choice,
    },
    /// `oci-archive:PATH[:NAME|@DIGEST]`: an OCI image layout in a tar file.
    OciArchive {
        /// The file, perhaps compressed.
        path: PathBuf,
        /// Which image.
        choice: Choice,
    },
    /// `docker-archive:PATH[:REFERENCE]`: what `docker save` writes.
    DockerArchive {
        /// The file, perhaps compressed.
        path: PathBuf,
        /// Which image, if there are several.
        reference: Option<Reference>,
    },
    /// `dir:PATH`: one image as plain files, as `skopeo copy` writes it.
    Dir {
        /// The directory.
        path: PathBuf,
    },
    /// `deb:PACKAGES`: Debian packages.
    Deb(Request),
}

/// Transports that others have and we do not.
const FOREIGN: [&str; 6] = [
    "docker-daemon",
    "containers-storage",
    "ostree",
    "sif",
    "tarball",
    "oci-daemon",
];

impl Source {
    /// Reads a source. Names without a registry are looked up among the
    /// aliases of `registries`, and are Docker Hub's otherwise.
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Reference`].
    pub fn parse(text: &str, registries: &Registries) -> Result<Self> {
        let bad = |reason: &str| Error::Source {
            text: shorten(text),
            reason: reason.to_owned(),
        };
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(Self::Registry(reference(text, registries)?));
        };
        match transport {
            "docker" => match rest.strip_prefix("//") {
                Some(rest) => Ok(Self::Registry(reference(rest, registries)?)),
                // An image called `docker` with a tag.
                None => Ok(Self::Registry(reference(text, registries)?)),
            },
            "oci" => {
                let (path, choice) = path_and_choice(rest).map_err(|reason| bad(&reason))?;
                Ok(Self::Oci { path, choice })
            }
            "oci-archive" => {
                let (path, choice) = path_and_choice(rest).map_err(|reason| bad(&reason))?;
                Ok(Self::OciArchive { path, choice })
            }
            "docker-archive" => {
                let (path, name) = match rest.split_once(':') {
                    Some((path, name)) => (path, Some(name)),
                    None => (rest, None),
                };
                let path = checked(path).map_err(|reason| bad(&reason))?;
                let reference = name.map(|name| reference(name, &Registries::default()));
                Ok(Self::DockerArchive {
                    path,
                    reference: reference.transpose()?,
                })
            }
            "dir" => Ok(Self::Dir {
                path: checked(rest).map_err(|reason| bad(&reason))?,
            }),
            "deb" => {
                let request = rest
                    .parse()
                    .map_err(|error: hako_deb::Error| Error::Packages {
                        name: shorten(text),
                        source: error.into(),
                    })?;
                Ok(Self::Deb(request))
            }
            transport if FOREIGN.contains(&transport) => {
                Err(bad(&format!("the transport {transport} is not supported")))
            }
            "http" | "https" => Err(bad("an image is named without http:// or https://")),
            _ => Ok(Self::Registry(reference(text, registries)?)),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let chosen = |choice: &Choice| match choice {
            Choice::Only => String::new(),
            Choice::Name(name) => format!(":{name}"),
            Choice::Digest(digest) => format!("@{digest}"),
        };
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Oci { path, choice } => write!(f, "oci:{}{}", path.display(), chosen(choice)),
            Self::OciArchive { path, choice } => {
                write!(f, "oci-archive:{}{}", path.display(), chosen(choice))
            }
            Self::DockerArchive { path, reference } => {
                write!(f, "docker-archive:{}", path.display())?;
                reference
                    .as_ref()
                    .map_or(Ok(()), |reference| write!(f, ":{reference}"))
            }
            Self::Dir { path } => write!(f, "dir:{}", path.display()),
            Self::Deb(request) => write!(f, "deb:{request}"),
        }
    }
}

fn reference(text: &str, registries: &Registries) -> Result<Reference> {
    Ok(registries
        .reference(text)
        .map_err(Error::Reference)?
        .or_latest())
}

/// `PATH`, `PATH:NAME`, `PATH@DIGEST`; a path has no colon (containers-transports(5)).
fn path_and_choice(text: &str) -> Result<(PathBuf, Choice), String> {
    if let Some((path, digest)) = text.rsplit_once('@')
        && let Ok(digest) = digest.parse()
    {
        return Ok((checked(path)?, Choice::Digest(digest)));
    }
    match text.split_once(':') {
        None => Ok((checked(text)?, Choice::Only)),
        Some((_, "")) => Err("the name after the colon is empty".to_owned()),
        Some((path, name)) => Ok((checked(path)?, Choice::Name(name.to_owned()))),
    }
}

fn checked(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if path.contains('\0') {
        return Err("the path has a NUL".to_owned());
    }
    Ok(PathBuf::from(path))
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        Source::parse(text, &Registries::default())
            .unwrap()
            .to_string()
    }

    #[test]
    fn forms() {
        for (text, want) in [
            ("debian", "docker.io/library/debian:latest"),
            ("docker", "docker.io/library/docker:latest"),
            ("docker:27", "docker.io/library/docker:27"),
            ("docker://debian:12", "docker.io/library/debian:12"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"),
            ("oci:/a/b", "oci:/a/b"),
            ("oci:b:1", "oci:b:1"),
            (
                "oci:/a/b:docker.io/library/x:1",
                "oci:/a/b:docker.io/library/x:1",
            ),
            ("oci-archive:/a.tar:x", "oci-archive:/a.tar:x"),
            ("docker-archive:/a.tar", "docker-archive:/a.tar"),
            (
                "docker-archive:/a.tar:x",
                "docker-archive:/a.tar:docker.io/library/x:latest",
            ),
            ("dir:/a", "dir:/a"),
            ("oci/x:1", "docker.io/oci/x:1"),
        ] {
            assert_eq!(show(text), want, "{text}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            show(&format!("oci:/a/b@{digest}")),
            format!("oci:/a/b@{digest}")
        );
        assert_eq!(
            show(&format!("x@{digest}")),
            format!("docker.io/library/x@{digest}")
        );
        assert!(matches!(
            Source::parse("deb:bash,coreutils", &Registries::default()),
            Ok(Source::Deb(_))
        ));
    }

    #[test]
    fn what_is_no_source() {
        for text in [
            "",
            "oci:",
            "oci::x",
            "oci:x:",
            "dir:",
            "docker-archive:",
            "docker://",
            "deb:",
            "docker-daemon:x:1",
            "https://example.com/x",
            "A",
            "oci-archive:",
            "dir:a\0b",
        ] {
            let error = Source::parse(text, &Registries::default());
            assert!(error.is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            for prefix in ["", "oci:", "docker-archive:", "docker://", "dir:", "deb:"] {
                let _ = Source::parse(&format!("{prefix}{text}"), &Registries::default());
            }
        }
    }
}
