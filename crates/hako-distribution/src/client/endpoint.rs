//! Where a registry is: scheme, host, and how its certificate is judged.
//!
//! A registry is spoken to over HTTPS. Plain HTTP is for this machine
//! (localhost, 127.0.0.0/8, ::1) and for registries that the user calls
//! insecure, and there too only where nothing speaks TLS on the port.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use super::Options;
use crate::error::{Error, Result};
use crate::http::{Http, Request, Trust, is_loopback};
use crate::registries::Place;

/// How long a port on loopback may take to answer a TLS greeting.
const PROBE: Duration = Duration::from_secs(3);

/// A registry's address.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Scheme, host and port.
    pub(super) base: Url,
    pub(super) trust: Trust,
}

type Cell = Arc<OnceCell<Endpoint>>;

/// What was found out about registries so far.
#[derive(Default)]
pub(super) struct Endpoints {
    known: Mutex<HashMap<(String, bool), Cell>>,
}

impl Endpoints {
    pub(super) async fn get(
        &self,
        http: &Http,
        options: &Options,
        place: &Place,
        what: &str,
    ) -> Result<Endpoint> {
        let insecure = options.insecure || place.insecure;
        let key = (place.registry.clone(), insecure);
        let cell = Arc::clone(self.known.lock().await.entry(key).or_default());
        cell.get_or_try_init(|| find(http, options, &place.registry, insecure, what))
            .await
            .cloned()
    }
}

async fn find(
    http: &Http,
    options: &Options,
    registry: &str,
    insecure: bool,
    what: &str,
) -> Result<Endpoint> {
    // Docker Hub's name is not the name of its registry.
    let host = match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        host => host,
    };
    let https = base("https", host)?;
    let trust = if insecure {
        Trust::Anybody
    } else {
        trust_of(options, registry)
    };
    if !insecure && !is_loopback(&https) {
        return Ok(Endpoint { base: https, trust });
    }
    let speaks_tls = match probe(http, &https, what).await {
        Ok(()) => true,
        Err(Error::Tls { source, .. }) => !is_plain(&source),
        // Names and proxies that do not work do not work with HTTP either, and
        // the request itself tells so better.
        Err(_) => false,
    };
    if speaks_tls {
        return Ok(Endpoint { base: https, trust });
    }
    Ok(Endpoint {
        base: base("http", host)?,
        trust,
    })
}

fn base(scheme: &str, host: &str) -> Result<Url> {
    let bad = |reason: &str| Error::Url {
        url: host.to_owned(),
        reason: reason.to_owned(),
    };
    let url =
        Url::parse(&format!("{scheme}://{host}/")).map_err(|error| bad(&error.to_string()))?;
    let plain = url.path() == "/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url)
    } else {
        Err(bad("not a host with an optional port"))
    }
}

/// One small request with a TLS greeting that trusts nobody: nothing secret is
/// sent, and a certificate proves that TLS is spoken.
async fn probe(http: &Http, base: &Url, what: &str) -> Result<()> {
    let mut request = Request::new(what, Method::GET, base.clone()).trust(Trust::Nobody);
    request.timeout = Some(PROBE);
    request.attempts = Some(1);
    http.send(&request).await.map(drop)
}

/// Whether the TLS failure says that the other side speaks no TLS.
fn is_plain(error: &reqwest::Error) -> bool {
    matches!(
        crate::error::tls_cause(error),
        Some(rustls::Error::InvalidMessage(_) | rustls::Error::PeerMisbehaved(_))
    )
}

/// Certificates for one registry (containers-certs.d(5)): in the first of the
/// directories that exists, `*.crt` are authorities, `*.cert` and `*.key` are
/// ours.
fn trust_of(options: &Options, registry: &str) -> Trust {
    let home = options
        .environment
        .path("HOME")
        .map(|home| home.join(".config/containers/certs.d"));
    let shared = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    home.into_iter()
        .chain(shared)
        .find_map(|directory| certificates(&directory.join(registry)))
        .unwrap_or(Trust::System)
}

fn certificates(directory: &Path) -> Option<Trust> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let with = |extension: &str| {
        let files = files
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == extension));
        files.cloned().collect::<Vec<_>>()
    };
    let authorities = with("crt");
    let identity = with("cert")
        .into_iter()
        .map(|certificate| (certificate.with_extension("key"), certificate))
        .find(|(key, _)| files.contains(key))
        .map(|(key, certificate)| (certificate, key));
    if authorities.is_empty() && identity.is_none() {
        return Some(Trust::System);
    }
    Some(Trust::With {
        authorities,
        identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(
            base("https", "r.example:5000").unwrap().as_str(),
            "https://r.example:5000/"
        );
        assert_eq!(
            base("http", "[::1]:5000").unwrap().as_str(),
            "http://[::1]:5000/"
        );
        for bad in ["", "a/b", "u@h", "u:p@h", "h?q", "h#f", "h:99999", "h h"] {
            assert!(base("https", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn certificates_of_a_registry() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(certificates(&dir.path().join("none")), None);
        for name in ["ca.crt", "client.cert", "client.key", "orphan.cert"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        assert_eq!(
            certificates(dir.path()),
            Some(Trust::With {
                authorities: vec![at("ca.crt")],
                identity: Some((at("client.cert"), at("client.key"))),
            })
        );
    }
}
