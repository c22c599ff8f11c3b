//! `policy.json` (containers-policy.json(5)): which images may come in at all.
//!
//! `insecureAcceptAnything` and `reject` are honoured. Requirements that need
//! a signature refuse the image, because it cannot be checked here: that is
//! the safe side of what the user asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hako_distribution::Environment;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::source::Source;

/// The longest file, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    path: PathBuf,
    rules: Option<Rules>,
}

#[derive(Clone, Debug, Deserialize)]
struct Rules {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
}

impl Policy {
    /// A policy that accepts everything.
    pub fn accept() -> Self {
        Self::default()
    }

    /// The user's file, else the machine's, else everything is accepted.
    ///
    /// # Errors
    /// A file that is unreadable or broken.
    pub fn load(environment: &Environment, uid: u32) -> Result<Self> {
        let config = environment
            .path("XDG_CONFIG_HOME")
            .or_else(|| environment.home(uid).map(|home| home.join(".config")));
        let user = config.map(|config| config.join("containers/policy.json"));
        for path in user
            .into_iter()
            .chain([PathBuf::from("/etc/containers/policy.json")])
        {
            match Self::read(&path) {
                Err(Error::PolicyFile { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        Ok(Self::accept())
    }

    /// The policy in the file `path`.
    ///
    /// # Errors
    /// A file that is missing, unreadable or broken.
    pub fn read(path: &Path) -> Result<Self> {
        use std::io::Read as _;
        let failed = |source| Error::PolicyFile {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(LIMIT).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(path, &bytes)
    }

    /// The policy in `bytes`, which came from `path`.
    ///
    /// # Errors
    /// [`Error::PolicyFile`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let failed = |error: serde_json::Error| Error::PolicyFile {
            path: path.to_owned(),
            source: error.into(),
        };
        let rules = Some(serde_json::from_slice(bytes).map_err(failed)?);
        Ok(Self {
            path: path.to_owned(),
            rules,
        })
    }

    /// Whether `source` may come in.
    ///
    /// # Errors
    /// [`Error::Policy`] with the reason.
    pub fn check(&self, source: &Source) -> Result<()> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        // Packages have signatures of their own, which are checked.
        let Some((transport, scopes)) = scopes(source) else {
            return Ok(());
        };
        let rejected = |reason: &str| {
            Err(Error::Policy {
                name: source.to_string(),
                path: self.path.clone(),
                reason: reason.to_owned(),
            })
        };
        let transport = rules.transports.get(transport);
        let requirements = transport
            .and_then(|known| {
                let scoped = scopes.iter().find_map(|scope| known.get(scope));
                scoped.or_else(|| known.get(""))
            })
            .unwrap_or(&rules.default);
        if requirements.is_empty() {
            return rejected("it lists no requirements");
        }
        for requirement in requirements {
            match requirement.kind.as_str() {
                "insecureAcceptAnything" => {}
                "reject" => return rejected("images from there are rejected"),
                kind @ ("signedBy" | "sigstoreSigned" | "signedBaseLayer") => {
                    return rejected(&format!(
                        "it requires {kind}, and such signatures cannot be checked here"
                    ));
                }
                kind => return rejected(&format!("it has the unknown requirement {kind:?}")),
            }
        }
        Ok(())
    }
}

/// The transport's name and the scopes to look up, the closest first.
fn scopes(source: &Source) -> Option<(&'static str, Vec<String>)> {
    match source {
        Source::Registry(reference) => {
            let mut scopes = vec![reference.to_string()];
            let mut name = reference.name();
            while let Some((parent, _)) = name.clone().rsplit_once('/') {
                scopes.push(name);
                name = parent.to_owned();
            }
            let host = name.split(':').next().unwrap_or_default().to_owned();
            scopes.push(name);
            let mut domain = host.as_str();
            while let Some((_, parent)) = domain.split_once('.') {
                scopes.push(format!("*.{parent}"));
                domain = parent;
            }
            Some(("docker", scopes))
        }
        Source::Oci { path, .. } => Some(("oci", paths(path))),
        Source::OciArchive { path, .. } => Some(("oci-archive", paths(path))),
        Source::DockerArchive { path, .. } => Some(("docker-archive", paths(path))),
        Source::Dir { path } => Some(("dir", paths(path))),
        Source::Deb(_) => None,
    }
}

fn paths(path: &Path) -> Vec<String> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors()
        .map(|path| path.display().to_string())
        .filter(|path| path != "/" && !path.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_distribution::registries::Registries;

    fn check(policy: &str, source: &str) -> Result<(), String> {
        let policy = Policy::parse(Path::new("/p.json"), policy.as_bytes()).unwrap();
        let source = Source::parse(source, &Registries::default()).unwrap();
        policy.check(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn the_closest_scope_decides() {
        let policy = r#"{
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {
                    "": [{"type": "reject"}],
                    "good.example": [{"type": "insecureAcceptAnything"}],
                    "good.example/bad": [{"type": "reject"}],
                    "*.sub.example": [{"type": "insecureAcceptAnything"}],
                    "docker.io/library/debian:12": [{"type": "insecureAcceptAnything"}],
                    "signed.example": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]
                },
                "oci": {"/nowhere/images": [{"type": "insecureAcceptAnything"}]}
            }
        }"#;
        for good in [
            "good.example/x",
            "good.example/badly/x:1",
            "a.b.sub.example:5000/x",
            "debian:12",
            "oci:/nowhere/images/x:1",
        ] {
            assert_eq!(check(policy, good), Ok(()), "{good}");
        }
        for bad in [
            "good.example/bad/x",
            "debian:11",
            "sub.example/x",
            "oci:/nowhere:1",
            "dir:/x",
        ] {
            assert!(
                check(policy, bad).unwrap_err().contains("rejected"),
                "{bad}"
            );
        }
        let error = check(policy, "signed.example/x:1").unwrap_err();
        assert!(
            error.contains("signedBy") && error.contains("/p.json"),
            "{error}"
        );
    }

    #[test]
    fn broken_policies_accept_nothing() {
        for text in ["", "{}", "[]", r#"{"default": "x"}"#] {
            assert!(
                Policy::parse(Path::new("/p"), text.as_bytes()).is_err(),
                "{text}"
            );
        }
        assert!(check(r#"{"default": []}"#, "x").is_err());
        assert!(check(r#"{"default": [{"type": "new"}]}"#, "x").is_err());
    }
}
