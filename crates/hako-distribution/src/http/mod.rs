//! The one HTTP client of the project.
//!
//! [`Http`] adds to a connection pool what every download needs: our resolver,
//! proxies from the environment, limits in time, retries that cannot do harm,
//! and redirects that carry no secrets elsewhere. It is cheap to make: nothing
//! is read or opened before the first request, and the certificate bundle not
//! before the first HTTPS request.

mod pool;
mod redirect;
mod request;
mod response;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use url::Url;

pub use crate::tls::Trust;
pub(crate) use pool::is_loopback;
pub use request::Request;
pub use response::{Response, parse_content_range, registry_words};
pub use retry::parse_retry_after;
pub(crate) use retry::pause;

use crate::environment::Environment;
use crate::error::{Error, Result};

/// The name that we give to servers.
pub const USER_AGENT: &str = concat!("hako/", env!("CARGO_PKG_VERSION"));

/// Limits of the client.
#[derive(Clone, Debug)]
pub struct Options {
    /// For name lookup, TCP and TLS together. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest silence between two reads. Default 30 s.
    pub stall_timeout: Duration,
    /// How often an idempotent request is sent at most. Default 5.
    pub attempts: u32,
    /// The first pause between attempts; it doubles, with jitter. Default 250 ms.
    pub pause: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one is an error at
    /// once. Default 30 s.
    pub longest_wait: Duration,
    /// How many redirects are followed. Default 10.
    pub redirects: u32,
    /// The environment with `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`.
    pub environment: Environment,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_millis(250),
            longest_wait: crate::error::LONGEST_WAIT,
            redirects: 10,
            environment: Environment::current(),
        }
    }
}

/// The shared client; clones share one pool of connections.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    pool: pool::Pool,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Http {
    /// A client; opens and reads nothing yet.
    pub fn new(options: Options) -> Self {
        let pool = pool::Pool::new(&options);
        Self {
            inner: Arc::new(Inner { options, pool }),
        }
    }

    /// The client's limits.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Sends a request, follows redirects, tries again what may be tried again,
    /// and returns the last answer whatever its status (except redirects). A
    /// `Retry-After` beyond the limit ends the attempts.
    ///
    /// # Errors
    /// Transport errors and refused redirects.
    pub async fn send(&self, request: &Request) -> Result<Response> {
        let options = self.options();
        let idempotent = matches!(request.method, Method::GET | Method::HEAD);
        let mut attempt = 1;
        loop {
            let result = self.follow(request).await;
            if !idempotent || attempt >= request.attempts.unwrap_or(options.attempts).max(1) {
                return result;
            }
            let pause = match &result {
                Ok(response) => match retry::asked(response.status(), response.headers()) {
                    retry::Asked::No => return result,
                    retry::Asked::Yes(None) => retry::pause(options.pause, attempt),
                    retry::Asked::Yes(Some(wait)) if wait <= options.longest_wait => wait,
                    retry::Asked::Yes(Some(_)) => return result,
                },
                Err(error) if error.is_transient() => retry::pause(options.pause, attempt),
                Err(_) => return result,
            };
            drop(result);
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// GETs `url` and returns the answer if it is a success (2xx).
    ///
    /// # Errors
    /// As [`Http::send`], and [`Error::Refused`] for every other status.
    pub async fn get(&self, request: &Request) -> Result<Response> {
        self.send(request).await?.success().await
    }

    /// GETs a body of at most `limit` bytes; a body that breaks off is fetched
    /// again.
    ///
    /// # Errors
    /// As [`Http::get`], and [`Error::TooLong`].
    pub async fn bytes(&self, request: &Request, limit: u64) -> Result<(HeaderMap, bytes::Bytes)> {
        let mut attempt = 1;
        loop {
            let response = self.get(request).await?;
            let headers = response.headers().clone();
            match response.bytes(limit).await {
                Ok(bytes) => return Ok((headers, bytes)),
                Err(error) if error.is_transient() && attempt < self.options().attempts => {
                    tokio::time::sleep(retry::pause(self.options().pause, attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One attempt: the request and the redirects that follow from it.
    async fn follow(&self, request: &Request) -> Result<Response> {
        let options = self.options();
        let what = request.what.as_str();
        let mut url = request.url.clone();
        let mut method = request.method.clone();
        let mut headers = request.headers.clone();
        let mut body = request.body.clone();
        for _ in 0..=options.redirects {
            let response = self
                .once(what, &method, &url, &headers, body.clone(), request)
                .await?;
            let Some(location) = redirect::location(response.status(), response.headers()) else {
                return Ok(Response::new(what, url, response, request.url.clone()));
            };
            if !matches!(method, Method::GET | Method::HEAD) {
                // What is sent with other methods is meant for one server.
                return Err(redirect::refused(
                    what,
                    &url,
                    "a request that changes something",
                ));
            }
            let next = redirect::target(what, &url, location)?;
            if next.origin() != url.origin() {
                // distribution-spec, API: clients MUST NOT forward
                // Authorization across host boundaries.
                headers.remove(AUTHORIZATION);
            }
            if response.status() == reqwest::StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
                body = None;
            }
            url = next;
        }
        Err(redirect::refused(what, &request.url, "too often"))
    }

    async fn once(
        &self,
        what: &str,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<bytes::Bytes>,
        request: &Request,
    ) -> Result<reqwest::Response> {
        // The trust that was chosen for the registry says nothing about
        // another host that it redirects to.
        let trust = match &request.trust {
            Trust::With { .. } if url.origin() != request.url.origin() => &Trust::System,
            trust => trust,
        };
        let client = self.inner.pool.client(url, trust, what).await?;
        let mut builder = client
            .request(method.clone(), url.clone())
            .headers(headers.clone());
        if let Some(body) = body {
            builder = builder.body(body);
        }
        if let Some(timeout) = request.timeout {
            builder = builder.timeout(timeout);
        }
        builder
            .send()
            .await
            .map_err(|source| Error::transport(what, &host_of(url), source))
    }
}

/// Host and port of a URL as people write them.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn making_a_client_is_cheap() {
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            let _ = Http::new(Options::default());
        }
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
}
