//! Tokens of a registry's token service (distribution's token authentication
//! and OAuth2 specifications; distribution-spec leaves them out of its scope).

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::Credential;
use crate::error::{Error, Result};
use crate::http::{Http, Request, Trust, host_of, is_loopback};

/// The longest answer of a token service, in bytes.
const LIMIT: u64 = 1024 * 1024;
/// How long a token is good when its service does not say (distribution's
/// token specification: for compatibility, at least 60 seconds).
const DEFAULT_LIFE: u64 = 60;

/// The name that we give to token services.
const CLIENT: &str = "hako";

/// A token that a service gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token's text.
    pub value: String,
    /// How long it is good, from the moment that it was asked for.
    pub life: Duration,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(for {:?})", self.life)
    }
}

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The service's address, checked by [`realm`].
    pub realm: Url,
    /// The registry's name at the service.
    pub service: Option<String>,
    /// What the token must allow; several scopes are parted by spaces.
    pub scope: Option<String>,
}

/// The address of a token service that `registry` (the URL that was asked)
/// names, if credentials may be sent there.
///
/// # Errors
/// No URL, another scheme than http and https, credentials in the URL, or plain
/// HTTP where the registry itself is not spoken to so.
pub fn realm(what: &str, text: &str, registry: &Url) -> Result<Url> {
    let refuse = |reason: &str| {
        Err(Error::protocol(
            what,
            format!("the token service {text:?} is not used: {reason}"),
        ))
    };
    let Ok(url) = Url::parse(text) else {
        return refuse("not a URL");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it has credentials in its address");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if registry.scheme() != "http" => {
            refuse("it speaks plain HTTP, unlike the registry")
        }
        // A registry on loopback is plain by default, not by the user's wish:
        // that wish does not reach beyond this machine.
        "http" if is_loopback(registry) && !is_loopback(&url) => {
            refuse("it speaks plain HTTP and is not on this machine")
        }
        "http" => Ok(url),
        _ => refuse("neither http nor https"),
    }
}

/// Asks for a token.
///
/// # Errors
/// Transport errors, refusals ([`Error::Refused`], 401 for wrong credentials),
/// an answer without a token.
pub async fn fetch(
    http: &Http,
    what: &str,
    ask: &Ask,
    credential: Option<&Credential>,
    trust: &Trust,
) -> Result<Token> {
    let what = format!("{what}: token from {}", host_of(&ask.realm));
    let request = match credential {
        Some(Credential::Identity { token }) => refresh(&what, ask, token),
        credential => get(&what, ask, credential)?,
    };
    let answer = http
        .get(&request.trust(trust.clone()))
        .await?
        .bytes(LIMIT)
        .await?;
    parse(&answer).ok_or_else(|| Error::protocol(&what, "the answer holds no token"))
}

fn get(what: &str, ask: &Ask, credential: Option<&Credential>) -> Result<Request> {
    let mut url = ask.realm.clone();
    let user = match credential {
        Some(Credential::Basic { user, .. }) => Some(user),
        _ => None,
    };
    {
        let mut query = url.query_pairs_mut();
        if let Some(user) = user {
            query.append_pair("account", user);
        }
        if let Some(service) = &ask.service {
            query.append_pair("service", service);
        }
        for scope in ask
            .scope
            .iter()
            .flat_map(|scope| scope.split_ascii_whitespace())
        {
            query.append_pair("scope", scope);
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    let mut request = Request::new(what, Method::GET, url);
    if let Some(Credential::Basic { user, password }) = credential {
        request = request.header(AUTHORIZATION, basic(what, user, password)?);
    }
    Ok(request)
}

/// The refresh token grant (RFC 6749, section 6).
fn refresh(what: &str, ask: &Ask, token: &str) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("client_id", CLIENT);
    if let Some(service) = &ask.service {
        form.append_pair("service", service);
    }
    if let Some(scope) = &ask.scope {
        form.append_pair("scope", scope);
    }
    form.append_pair("refresh_token", token);
    let mut request = Request::new(what, Method::POST, ask.realm.clone()).header(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    request.body = Some(Bytes::from(form.finish()));
    request
}

/// The header of basic authentication (RFC 7617).
///
/// # Errors
/// Never for real credentials: base64 is always a header's value.
pub fn basic(what: &str, user: &str, password: &str) -> Result<HeaderValue> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    secret(what, format!("Basic {text}"))
}

/// The header of a bearer token (RFC 6750).
///
/// # Errors
/// A token that cannot stand in a header.
pub fn bearer(what: &str, token: &str) -> Result<HeaderValue> {
    secret(what, format!("Bearer {token}"))
}

fn secret(what: &str, text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::protocol(what, "a token has characters that no header can hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token service's answer: `token` or `access_token`, and its life.
pub fn parse(answer: &[u8]) -> Option<Token> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: Option<serde_json::Value>,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let value = some(answer.token).or_else(|| some(answer.access_token))?;
    let seconds = answer
        .expires_in
        .and_then(|value| value.as_u64())
        .unwrap_or(DEFAULT_LIFE);
    Some(Token {
        value,
        life: Duration::from_secs(seconds.min(24 * 3600)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms() {
        let url = |text: &str| Url::parse(text).unwrap();
        let ok = |text, registry| realm("w", text, &url(registry)).is_ok();
        assert!(ok("https://auth.example/token", "https://r.example/v2/"));
        assert!(ok(
            "https://auth.example/token",
            "http://127.0.0.1:5000/v2/"
        ));
        assert!(ok(
            "http://127.0.0.1:5001/token",
            "http://localhost:5000/v2/"
        ));
        assert!(ok("http://auth.lan/token", "http://r.lan/v2/"));
        assert!(!ok("http://auth.example/token", "https://r.example/v2/"));
        assert!(!ok("http://r.example/token", "https://r.example/v2/"));
        assert!(!ok(
            "http://169.254.169.254/token",
            "http://127.0.0.1:5000/v2/"
        ));
        assert!(!ok("https://u:p@auth.example/", "https://r.example/v2/"));
        assert!(!ok("file:///etc/passwd", "http://r.lan/v2/"));
        assert!(!ok("/token", "https://r.example/v2/"));
    }

    #[test]
    fn answers() {
        let token = |text: &str| parse(text.as_bytes()).map(|t| (t.value, t.life.as_secs()));
        assert_eq!(token(r#"{"token":"a"}"#), Some(("a".to_owned(), 60)));
        assert_eq!(
            token(r#"{"access_token":"b","expires_in":300,"issued_at":"x"}"#),
            Some(("b".to_owned(), 300))
        );
        assert_eq!(
            token(r#"{"token":"","access_token":"b"}"#),
            Some(("b".to_owned(), 60))
        );
        for bad in ["{}", "[]", r#"{"token":7}"#, ""] {
            assert_eq!(token(bad), None, "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            format!("{:?}", basic("w", "user", "hunter2").unwrap()),
            "Sensitive"
        );
        assert!(bearer("w", "a\nb").is_err());
    }
}
