//! Who something in the store belongs to.
//!
//! Every name, container, volume and lease has an owner; each front lists and
//! removes its own, so the kubelet's garbage collection never touches a
//! person's images. Blobs and layers are shared by all.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// An owner. Its text form is `cli:<uid>`, `cri`, `build` or `registry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A person at the command line (or the Docker API), by user id.
    Cli(u32),
    /// The kubelet, through CRI.
    Cri,
    /// The builder's cache.
    Build,
    /// The registry server.
    Registry,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Cli(uid) => write!(f, "cli:{uid}"),
            Owner::Cri => f.write_str("cri"),
            Owner::Build => f.write_str("build"),
            Owner::Registry => f.write_str("registry"),
        }
    }
}

impl FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Owner, Error> {
        let owner = match text {
            "cri" => Some(Owner::Cri),
            "build" => Some(Owner::Build),
            "registry" => Some(Owner::Registry),
            _ => text
                .strip_prefix("cli:")
                .and_then(|uid| uid.parse().ok())
                .map(Owner::Cli),
        };
        owner
            .filter(|owner| owner.to_string() == text)
            .ok_or_else(|| Error::Text {
                what: "owner",
                text: text.to_owned(),
                why: "it is none of cli:<uid>, cri, build and registry",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for owner in [
            Owner::Cli(0),
            Owner::Cli(u32::MAX),
            Owner::Cri,
            Owner::Build,
            Owner::Registry,
        ] {
            assert_eq!(owner.to_string().parse::<Owner>().unwrap(), owner);
        }
        for bad in [
            "",
            "cli",
            "cli:",
            "cli:-1",
            "cli:+1",
            "cli:01",
            "cli:4294967296",
            "CRI",
        ] {
            assert!(bad.parse::<Owner>().is_err(), "{bad:?}");
        }
    }
}
