//! The OCI distribution specification's client side.

/// The first success of a future for each of the places. The registry itself
/// comes last, and its error is the one that counts.
macro_rules! first {
    ($client:expr, $what:expr, $places:expr, |$place:ident| $one:expr) => {{
        let mut result = Err($crate::Error::protocol($what, "there is no place to ask"));
        for $place in $client.alive($places) {
            result = $one.await;
            match &result {
                Ok(_) => break,
                Err(error) => $client.note($place, error),
            }
        }
        result
    }};
}

mod blob;
mod endpoint;
pub mod link;
mod manifest;
mod session;
mod tags;
mod warnings;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use hako_spec::reference::Reference;
use reqwest::Method;
use url::Url;

pub use blob::Blob;
pub use manifest::{ACCEPT, Fetched, MANIFEST_LIMIT, Resolved};

use crate::auth::Keychain;
use crate::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::http::{Http, Request, Response};
use crate::registries::{Place, Registries};

/// How the client finds registries and proves who it is.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Credentials.
    pub keychain: Keychain,
    /// Mirrors, blocked registries and the like.
    pub registries: Registries,
    /// Certificates are not checked and plain HTTP is allowed, for every
    /// registry (`--tls-verify=false`).
    pub insecure: bool,
    /// The environment (`HOME` for certificates of single registries).
    pub environment: Environment,
}

/// A client of registries; clones share connections, tokens and findings.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    options: Options,
    endpoints: endpoint::Endpoints,
    sessions: session::Sessions,
    warnings: warnings::Warnings,
    /// Mirrors that could not be reached: they are not waited for again.
    dead: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client; opens and reads nothing yet.
    pub fn new(http: Http, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                http,
                options,
                endpoints: endpoint::Endpoints::default(),
                sessions: session::Sessions::default(),
                warnings: warnings::Warnings::default(),
                dead: Mutex::default(),
            }),
        }
    }

    /// The HTTP client underneath.
    pub fn http(&self) -> &Http {
        &self.inner.http
    }

    /// What registries told us to tell the user, each sentence once
    /// (distribution-spec, Warnings).
    pub fn warnings(&self) -> Vec<String> {
        self.inner.warnings.all()
    }

    /// Whether a registry is there and lets us in (end-1).
    ///
    /// # Errors
    /// What it refuses with, or why it cannot be reached.
    pub async fn ping(&self, registry: &str) -> Result<()> {
        let what = format!("ping {registry}");
        let place = Place::primary(registry, "", false);
        let response = self
            .ask(&what, &place, Method::GET, "/v2/", |request| request)
            .await?;
        response.success().await.map(drop)
    }

    /// The places to ask for `reference`, in order; the registry itself is last.
    fn places(&self, what: &str, reference: &Reference) -> Result<Vec<Place>> {
        let places = self.inner.options.registries.places(reference);
        places.map_err(|reason| Error::protocol(what, reason))
    }

    /// The places without the mirrors that are known to be dead.
    fn alive<'p>(&self, places: &'p [Place]) -> Vec<&'p Place> {
        let dead = self
            .inner
            .dead
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = places.len().saturating_sub(1);
        let alive = |(at, place): (usize, &'p Place)| {
            (at == last || !dead.contains(&place.registry)).then_some(place)
        };
        places.iter().enumerate().filter_map(alive).collect()
    }

    fn note(&self, place: &Place, error: &Error) {
        if error.kind() == Kind::Network {
            let mut dead = self
                .inner
                .dead
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            dead.insert(place.registry.clone());
        }
    }

    /// Sends a request to a place, with authentication; any status is an answer.
    async fn ask(
        &self,
        what: &str,
        place: &Place,
        method: Method,
        path: &str,
        prepare: impl FnOnce(Request) -> Request,
    ) -> Result<Response> {
        let inner = &*self.inner;
        let endpoint = inner
            .endpoints
            .get(&inner.http, &inner.options, place, what)
            .await?;
        let bad = |_| Error::protocol(what, format!("cannot build the address of {path}"));
        let url = endpoint.base.join(path).map_err(bad)?;
        self.ask_url(what, place, &endpoint, method, url, prepare)
            .await
    }

    async fn ask_url(
        &self,
        what: &str,
        place: &Place,
        endpoint: &endpoint::Endpoint,
        method: Method,
        url: Url,
        prepare: impl FnOnce(Request) -> Request,
    ) -> Result<Response> {
        let inner = &*self.inner;
        let request = Request::new(what, method, url).trust(endpoint.trust.clone());
        let request = prepare(request);
        let keychain = &inner.options.keychain;
        let response = inner
            .sessions
            .send(&inner.http, keychain, place, endpoint, request)
            .await?;
        inner.warnings.note(place, response.headers());
        Ok(response)
    }
}
