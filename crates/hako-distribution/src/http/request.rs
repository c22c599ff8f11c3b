//! A request, as data: it can be sent again.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, RANGE};
use url::Url;

use crate::error::{Error, Result};
use crate::tls::Trust;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is being done, for error texts: `pull host/x:1`.
    pub what: String,
    /// The method.
    pub method: Method,
    /// The address; http or https.
    pub url: Url,
    /// Further headers.
    pub headers: HeaderMap,
    /// The body, for methods that have one.
    pub body: Option<Bytes>,
    /// How the server's certificate is judged.
    pub trust: Trust,
    /// A limit for the whole exchange, body included.
    pub timeout: Option<Duration>,
    /// How often it is sent at most, if not as often as the client's
    /// [`super::Options`] say.
    pub attempts: Option<u32>,
}

impl Request {
    /// A request without a body.
    pub fn new(what: impl Into<String>, method: Method, url: Url) -> Self {
        let mut headers = HeaderMap::new();
        // What is hashed is what is stored: no server may compress on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Self {
            what: what.into(),
            method,
            url,
            headers,
            body: None,
            trust: Trust::System,
            timeout: None,
            attempts: None,
        }
    }

    /// A GET of `url`, which must be absolute and http or https.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn get(what: impl Into<String>, url: &str) -> Result<Self> {
        let bad = |reason: &str| Error::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let parsed = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad("neither http nor https"));
        }
        Ok(Self::new(what, Method::GET, parsed))
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a list of accepted media types.
    #[must_use]
    pub fn accept(self, value: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(value))
    }

    /// From byte `offset` to the end (RFC 9110, section 14); 0 asks for all.
    #[must_use]
    pub fn from_byte(mut self, offset: u64) -> Self {
        self.headers.remove(RANGE);
        if offset > 0
            && let Ok(value) = HeaderValue::try_from(format!("bytes={offset}-"))
        {
            self.headers.insert(RANGE, value);
        }
        self
    }

    /// With another judgement of certificates.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }
}
