//! Connection pools, made when first needed.
//!
//! Requests differ in how they judge certificates and in whether they go
//! through a proxy; each combination is a pool of its own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::Client;
use tokio::sync::{Mutex, OnceCell};
use url::{Host, Url};

use super::{Options, USER_AGENT};
use crate::dns::Resolver;
use crate::error::{Error, Result};
use crate::tls::{self, Trust};

/// What makes two pools different.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// None for plain HTTP.
    trust: Option<Trust>,
    /// Whether proxies are left out.
    direct: bool,
}

pub(super) struct Pool {
    resolver: Arc<Resolver>,
    proxies: Vec<(Scheme, String)>,
    no_proxy: Option<String>,
    bundle: tls::Bundle,
    connect_timeout: std::time::Duration,
    stall_timeout: std::time::Duration,
    clients: Mutex<HashMap<Key, Arc<OnceCell<Client>>>>,
}

#[derive(Clone, Copy)]
enum Scheme {
    Http,
    Https,
    All,
}

impl Pool {
    pub(super) fn new(options: &Options) -> Self {
        let variable = |names: [&str; 2]| {
            names
                .iter()
                .find_map(|name| options.environment.get(name)?.to_str().map(str::to_owned))
        };
        // HTTP_PROXY in capitals is left alone where a CGI's client could set
        // it (https://httpoxy.org).
        let cgi = options.environment.get("REQUEST_METHOD").is_some();
        let http = variable(["http_proxy", if cgi { "http_proxy" } else { "HTTP_PROXY" }]);
        let https = variable(["https_proxy", "HTTPS_PROXY"]);
        let all = variable(["all_proxy", "ALL_PROXY"]);
        let proxies = [
            (Scheme::Http, http),
            (Scheme::Https, https),
            (Scheme::All, all),
        ]
        .into_iter()
        .filter_map(|(scheme, proxy)| Some((scheme, proxy?)))
        .collect();
        Self {
            resolver: Arc::new(Resolver::new()),
            proxies,
            no_proxy: variable(["no_proxy", "NO_PROXY"]),
            bundle: tls::Bundle::new(&options.environment),
            connect_timeout: options.connect_timeout,
            stall_timeout: options.stall_timeout,
            clients: Mutex::default(),
        }
    }

    /// The client to ask `url` with.
    pub(super) async fn client(&self, url: &Url, trust: &Trust, what: &str) -> Result<Client> {
        let secure = url.scheme() == "https";
        // A proxy may sit on the other side of HTTPS even for an http:// URL.
        let direct = self.proxies.is_empty() || is_loopback(url);
        let key = Key {
            trust: (secure || !direct).then(|| trust.clone()),
            direct,
        };
        let cell = Arc::clone(self.clients.lock().await.entry(key.clone()).or_default());
        cell.get_or_try_init(|| async { self.build(&key, what) })
            .await
            .cloned()
    }

    fn build(&self, key: &Key, what: &str) -> Result<Client> {
        tls::install_provider();
        let trust = key.trust.as_ref().unwrap_or(&Trust::Nobody);
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.stall_timeout)
            .http2_adaptive_window(true)
            .dns_resolver(Arc::clone(&self.resolver))
            .tls_backend_preconfigured(tls::config(trust, &self.bundle, what)?)
            .no_proxy();
        if !key.direct {
            for (scheme, proxy) in &self.proxies {
                let made = match scheme {
                    Scheme::Http => reqwest::Proxy::http(proxy),
                    Scheme::Https => reqwest::Proxy::https(proxy),
                    Scheme::All => reqwest::Proxy::all(proxy),
                };
                // The text may hold a password: keep it out of the error.
                let made = made.map_err(|_| Error::Url {
                    url: "proxy".to_owned(),
                    reason: "the proxy in the environment is no URL".to_owned(),
                })?;
                let exceptions = self
                    .no_proxy
                    .as_deref()
                    .and_then(reqwest::NoProxy::from_string);
                builder = builder.proxy(made.no_proxy(exceptions));
            }
        }
        builder.build().map_err(|source| Error::Setup {
            source: source.into(),
        })
    }
}

/// Whether the URL's host is this machine by its very name (`localhost`,
/// 127.0.0.0/8, ::1). Such requests never go through a proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_matter_of_the_name() {
        for (url, want) in [
            ("http://localhost:5000/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:1/", true),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), want, "{url}");
        }
    }
}
