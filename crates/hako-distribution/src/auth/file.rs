//! `auth.json` and docker's `config.json` (containers-auth.json(5)).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Credential;

/// Docker Hub's name in docker's own files.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The parts of the file that we use; the rest is skipped.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct File {
    /// Registry or namespace → secret.
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    /// Registry → helper's name.
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    /// The helper for every other registry.
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Option<String>,
    #[serde(default, rename = "registrytoken")]
    registry_token: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

/// What a file says about a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The credential itself.
    Credential(Credential),
    /// A helper is to be asked.
    Helper {
        /// The helper's name, without `docker-credential-`.
        name: String,
        /// The server's name that the helper knows.
        server: String,
    },
}

/// Reads a file.
///
/// # Errors
/// A sentence that says what is wrong, without any of the file's secrets.
pub fn parse(bytes: &[u8]) -> Result<File, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(File::default());
    }
    // serde_json's text may quote a value of a wrong type: only the place is told.
    serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "not a file of credentials (line {}, column {})",
            error.line(),
            error.column()
        )
    })
}

/// Reads docker's old `.dockercfg`, which is the `auths` object alone.
///
/// # Errors
/// As [`parse`].
pub fn parse_legacy(bytes: &[u8]) -> Result<File, String> {
    let auths = serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "not a file of credentials (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    Ok(File {
        auths,
        ..File::default()
    })
}

impl File {
    /// What the file says about `registry/repository`; the longest matching key
    /// wins, and a helper for the registry goes before stored secrets.
    ///
    /// # Errors
    /// The matching entry is broken.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, String> {
        let helper = |name: &str, server: &str| Found::Helper {
            name: name.to_owned(),
            server: server.to_owned(),
        };
        for key in aliases(registry) {
            if let Some(name) = self.helpers.get(key).filter(|name| !name.is_empty()) {
                let server = if is_hub(registry) { HUB_KEY } else { registry };
                return Ok(Some(helper(name, server)));
            }
        }
        let mut path = Some(repository.trim_matches('/')).filter(|path| !path.is_empty());
        while let Some(prefix) = path {
            if let Some(entry) = self.auths.get(&format!("{registry}/{prefix}"))
                && let Some(found) = entry.credential()?
            {
                return Ok(Some(Found::Credential(found)));
            }
            path = prefix.rsplit_once('/').map(|(parent, _)| parent);
        }
        // Old docker versions wrote URLs as keys: compare by host.
        let wanted = aliases(registry);
        let exact = wanted.iter().find_map(|name| self.auths.get(*name));
        let entry = exact.or_else(|| {
            self.auths
                .iter()
                .find(|(key, _)| host_of_key(key).is_some_and(|host| wanted.contains(&host)))
                .map(|(_, entry)| entry)
        });
        if let Some(entry) = entry
            && let Some(found) = entry.credential()?
        {
            return Ok(Some(Found::Credential(found)));
        }
        if let Some(name) = self.store.as_deref().filter(|name| !name.is_empty()) {
            let server = if is_hub(registry) { HUB_KEY } else { registry };
            return Ok(Some(helper(name, server)));
        }
        Ok(None)
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.identity_token) {
            return Ok(Some(Credential::Identity { token }));
        }
        if let Some(token) = some(&self.registry_token) {
            return Ok(Some(Credential::Bearer { token }));
        }
        if let Some(auth) = some(&self.auth) {
            return decode(&auth).map(Some);
        }
        Ok(match (some(&self.username), some(&self.password)) {
            (Some(user), Some(password)) => Some(Credential::Basic { user, password }),
            _ => None,
        })
    }
}

/// `base64(user:password)`.
fn decode(auth: &str) -> Result<Credential, String> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let bytes = LENIENT
        .decode(auth.trim())
        .map_err(|_| "an auth value is not base64".to_owned())?;
    let text = String::from_utf8(bytes).map_err(|_| "an auth value is not text".to_owned())?;
    let (user, password) = text
        .split_once(':')
        .ok_or_else(|| "an auth value lacks its colon".to_owned())?;
    // Docker pads the password with zero bytes.
    let password = password.trim_end_matches('\0');
    Ok(Credential::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// Whether `registry` is one of Docker Hub's names.
fn is_hub(registry: &str) -> bool {
    matches!(
        registry,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

/// The names under which a registry's credentials may be stored.
fn aliases(registry: &str) -> Vec<&str> {
    if is_hub(registry) {
        vec!["docker.io", "index.docker.io", HUB_KEY]
    } else {
        vec![registry]
    }
}

/// `https://host/v1/` → `host`; a namespace key has no host of its own here.
fn host_of_key(key: &str) -> Option<&str> {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    match rest {
        Some(rest) => rest.split('/').next(),
        None => key
            .strip_suffix("/v1/")
            .or_else(|| key.strip_suffix("/v2/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Option<Found> {
        Some(Found::Credential(Credential::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }))
    }

    #[test]
    fn the_longest_key_wins() {
        // base64 of a:1, b:2, c:3
        let file = parse(
            br#"{"auths":{"r.example":{"auth":"YToxCg=="},"r.example/team":{"auth":"Yjoy"},
                "r.example/team/app":{"auth":"Yzoz"}}}"#,
        )
        .unwrap();
        assert_eq!(file.find("r.example", "team/app").unwrap(), basic("c", "3"));
        assert_eq!(
            file.find("r.example", "team/app/x").unwrap(),
            basic("c", "3")
        );
        assert_eq!(
            file.find("r.example", "team/application").unwrap(),
            basic("b", "2")
        );
        assert_eq!(file.find("r.example", "x").unwrap(), basic("a", "1\n"));
        assert_eq!(file.find("r.example.evil.com", "team/app").unwrap(), None);
        assert_eq!(file.find("example", "team/app").unwrap(), None);
        assert_eq!(file.find("r.example:5000", "team/app").unwrap(), None);
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io/v1/",
        ] {
            let file = parse(format!(r#"{{"auths":{{"{key}":{{"auth":"YTox"}}}}}}"#).as_bytes());
            let found = file.unwrap().find("docker.io", "library/debian").unwrap();
            assert_eq!(found, basic("a", "1"), "{key}");
        }
        let file = parse(br#"{"auths":{"https://r.example/v2/":{"auth":"YTox"}}}"#).unwrap();
        assert_eq!(file.find("r.example", "x").unwrap(), basic("a", "1"));
    }

    #[test]
    fn helpers_and_tokens() {
        let file = parse(
            br#"{"auths":{"r.example":{"auth":"YTox"},"t.example":{"identitytoken":"T","auth":"YTox"},
                "e.example":{}},
                "credHelpers":{"r.example":"pass"},"credsStore":"secretservice","HttpHeaders":{}}"#,
        )
        .unwrap();
        let helper = |name: &str, server: &str| {
            Some(Found::Helper {
                name: name.to_owned(),
                server: server.to_owned(),
            })
        };
        assert_eq!(
            file.find("r.example", "x").unwrap(),
            helper("pass", "r.example")
        );
        assert_eq!(
            file.find("t.example", "x").unwrap(),
            Some(Found::Credential(Credential::Identity {
                token: "T".to_owned()
            }))
        );
        assert_eq!(
            file.find("e.example", "x").unwrap(),
            helper("secretservice", "e.example")
        );
        assert_eq!(
            file.find("docker.io", "x").unwrap(),
            helper("secretservice", HUB_KEY)
        );
    }

    #[test]
    fn broken_files_tell_no_secret() {
        for text in [
            r#"{"auths":{"r":{"auth":["hunter2"]}}}"#,
            "hunter2",
            "[\"hunter2\"]",
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for auth in ["%%%", "YWJj", "//8="] {
            let file = parse(format!(r#"{{"auths":{{"r":{{"auth":"{auth}"}}}}}}"#).as_bytes());
            assert!(file.unwrap().find("r", "x").is_err(), "{auth}");
        }
        assert!(parse(b" \n").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, registry: String, repository: String) {
            if let Ok(file) = parse(&bytes) {
                let _ = file.find(&registry, &repository);
            }
            let text = format!(
                r#"{{"auths":{{{}:{{"auth":"YTox"}}}}}}"#,
                serde_json::to_string(&registry).unwrap()
            );
            let _ = parse(text.as_bytes()).unwrap().find(&registry, &repository);
        }
    }
}
