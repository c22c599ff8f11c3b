//! Where credentials are looked for, in which order (containers-auth.json(5)).

use std::path::{Path, PathBuf};

use super::file::{self, Found};
use super::{Credential, helper};
use crate::environment::Environment;
use crate::error::{Error, Result};

/// The longest file that is read, in bytes.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The files and fixed credentials of one user.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    /// Given by the user for one registry: it goes before every file.
    fixed: Option<(String, Credential)>,
    files: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    /// The user named this file: that it is missing is an error.
    named: bool,
    legacy: bool,
}

impl Keychain {
    /// No credentials at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The files of `environment`, or `file` alone when the user named one (as
    /// `--authfile` does, and `$REGISTRY_AUTH_FILE`). Reads nothing yet.
    pub fn new(file: Option<&Path>, environment: &Environment, uid: u32) -> Self {
        let named = file
            .map(Path::to_owned)
            .or_else(|| environment.path("REGISTRY_AUTH_FILE"));
        if let Some(path) = named {
            return Self {
                fixed: None,
                files: vec![Source {
                    path,
                    named: true,
                    legacy: false,
                }],
            };
        }
        let home = environment.home(uid);
        let below = |name: &str| home.as_ref().map(|home| home.join(name));
        let runtime = environment
            .path("XDG_RUNTIME_DIR")
            .map(|path| path.join("containers/auth.json"))
            .or_else(|| Some(PathBuf::from(format!("/run/containers/{uid}/auth.json"))));
        let config = environment
            .path("XDG_CONFIG_HOME")
            .or_else(|| below(".config"));
        let docker = environment
            .path("DOCKER_CONFIG")
            .or_else(|| below(".docker"));
        let places = [
            (runtime, false),
            (config.map(|path| path.join("containers/auth.json")), false),
            (below(".config/containers/auth.json"), false),
            (docker.map(|path| path.join("config.json")), false),
            (below(".docker/config.json"), false),
            (below(".dockercfg"), true),
        ];
        let mut files: Vec<Source> = Vec::new();
        for (path, legacy) in places {
            let Some(path) = path else { continue };
            if !files.iter().any(|source| source.path == path) {
                files.push(Source {
                    path,
                    named: false,
                    legacy,
                });
            }
        }
        Self { fixed: None, files }
    }

    /// With a credential for `registry` that goes before all others (`--creds`).
    #[must_use]
    pub fn with(mut self, registry: &str, credential: Credential) -> Self {
        self.fixed = Some((registry.to_owned(), credential));
        self
    }

    /// The credential for `registry/repository`, if there is one.
    ///
    /// # Errors
    /// A file that is there but unreadable or broken, a helper that fails.
    pub async fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        if let Some((name, credential)) = &self.fixed
            && name == registry
        {
            return Ok(Some(credential.clone()));
        }
        for source in &self.files {
            let Some(bytes) = read(source).await? else {
                continue;
            };
            let broken = |reason| Error::Credentials {
                path: source.path.clone(),
                reason,
            };
            let parse = if source.legacy {
                file::parse_legacy
            } else {
                file::parse
            };
            let parsed = parse(&bytes).map_err(broken)?;
            match parsed.find(registry, repository).map_err(broken)? {
                Some(Found::Credential(credential)) => return Ok(Some(credential)),
                Some(Found::Helper { name, server }) => {
                    if let Some(credential) = helper::get(&name, &server).await? {
                        return Ok(Some(credential));
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }
}

async fn read(source: &Source) -> Result<Option<Vec<u8>>> {
    use std::io::ErrorKind;
    use tokio::io::AsyncReadExt as _;

    let failed = |error| Error::CredentialsFile {
        path: source.path.clone(),
        source: error,
    };
    let opened = match tokio::fs::File::open(&source.path).await {
        Ok(opened) => opened,
        // Where the user named no file, one that is not there or not ours to
        // read (another user's /run) says nothing.
        Err(error)
            if !source.named
                && matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory
                ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    opened
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(failed)?;
    if bytes.len() as u64 > LIMIT {
        let reason = format!("longer than {LIMIT} bytes");
        return Err(Error::Credentials {
            path: source.path.clone(),
            reason,
        });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, registry: &str, user: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:p"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(
            path,
            format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#),
        )
        .unwrap();
    }

    fn user(credential: Option<Credential>) -> Option<String> {
        match credential {
            Some(Credential::Basic { user, .. }) => Some(user),
            _ => None,
        }
    }

    #[tokio::test]
    async fn files_are_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let variables = [
            ("HOME", text(at("home"))),
            ("XDG_RUNTIME_DIR", text(at("run"))),
            ("DOCKER_CONFIG", text(at("docker"))),
        ];
        let environment: Environment = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let keychain = Keychain::new(None, &environment, 12345);
        let find = || async { user(keychain.find("r.example", "a/b").await.unwrap()) };
        assert_eq!(find().await, None);
        for (name, want) in [
            ("home/.docker/config.json", "five"),
            ("docker/config.json", "four"),
            ("home/.config/containers/auth.json", "three"),
            ("run/containers/auth.json", "one"),
        ] {
            write(&at(name), "r.example", want);
            assert_eq!(find().await.as_deref(), Some(want));
        }
        let fixed = Credential::Basic {
            user: "me".to_owned(),
            password: "p".to_owned(),
        };
        let with = keychain.clone().with("r.example", fixed);
        assert_eq!(
            user(with.find("r.example", "a").await.unwrap()).as_deref(),
            Some("me")
        );
        assert_eq!(user(with.find("other.example", "a").await.unwrap()), None);
    }

    #[tokio::test]
    async fn a_named_file_is_the_only_one_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let name = path.to_str().unwrap();
        let environment: Environment = [("REGISTRY_AUTH_FILE", name)].into_iter().collect();
        let keychain = Keychain::new(None, &environment, 0);
        let error = keychain.find("r.example", "x").await.unwrap_err();
        assert!(error.to_string().contains("auth.json"), "{error}");
        write(&path, "r.example", "u");
        assert!(keychain.find("r.example", "x").await.unwrap().is_some());
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(
            keychain.find("r.example", "x").await,
            Err(Error::Credentials { .. })
        ));
    }
}
