//! Authentication of requests, and tokens kept for the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use crate::auth::challenge::{self, Challenge};
use crate::auth::{Credential, Keychain, token};
use crate::error::{Error, Result};
use crate::http::{Http, Request, Response};
use crate::registries::Place;

/// Shares a header between the requests of one repository.
type Slot = Arc<Mutex<Option<Held>>>;

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    /// When it is renewed without waiting for the registry to refuse it.
    until: Option<Instant>,
}

impl Held {
    fn is_good(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// The headers held, by registry and repository.
#[derive(Default)]
pub(super) struct Sessions {
    slots: Mutex<HashMap<(String, String), Slot>>,
}

impl Sessions {
    /// Sends `request`; answers one challenge of the registry on the way.
    pub(super) async fn send(
        &self,
        http: &Http,
        keychain: &Keychain,
        place: &Place,
        endpoint: &Endpoint,
        request: Request,
    ) -> Result<Response> {
        let key = (endpoint.base.to_string(), place.repository.clone());
        let slot = Arc::clone(self.slots.lock().await.entry(key).or_default());
        let held = slot.lock().await.clone().filter(Held::is_good);
        let response = http.send(&with(&request, held.as_ref())).await?;
        // Only the registry itself may ask for its credentials, not a host
        // that it redirected to.
        if response.status() != StatusCode::UNAUTHORIZED || !response.is_same_origin() {
            return Ok(response);
        }
        let mut slot = slot.lock().await;
        let renewed = slot.clone().filter(|new| {
            new.is_good() && held.as_ref().is_none_or(|old| old.header != new.header)
        });
        let header = match renewed {
            // Another request answered the challenge while we waited.
            Some(held) => Some(held),
            None => {
                *slot = None;
                let found = answer(http, keychain, place, endpoint, &request, &response).await?;
                slot.clone_from(&found);
                found
            }
        };
        drop(slot);
        match header {
            Some(held) => http.send(&with(&request, Some(&held))).await,
            None => Ok(response),
        }
    }
}

fn with(request: &Request, held: Option<&Held>) -> Request {
    let request = request.clone();
    match held {
        Some(held) => request.header(AUTHORIZATION, held.header.clone()),
        None => request,
    }
}

/// The header that answers the registry's challenge, if we have an answer.
async fn answer(
    http: &Http,
    keychain: &Keychain,
    place: &Place,
    endpoint: &Endpoint,
    request: &Request,
    refused: &Response,
) -> Result<Option<Held>> {
    let what = request.what.as_str();
    let challenges: Vec<Challenge> = refused
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(challenge::parse)
        .collect();
    let credential = keychain.find(&place.registry, &place.repository).await?;
    if let Some(Credential::Bearer { token }) = &credential {
        return Ok(Some(Held {
            header: token::bearer(what, token)?,
            until: None,
        }));
    }
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer {
            realm,
            service,
            scope,
            ..
        } => Some((realm, service, scope)),
        Challenge::Basic => None,
    });
    if let Some((realm, service, scope)) = bearer {
        let realm = token::realm(what, realm, &request.url)?;
        let scope = scope.clone().or_else(|| {
            (!place.repository.is_empty()).then(|| format!("repository:{}:pull", place.repository))
        });
        // The registry's own certificates count for its own host alone.
        let same = realm.origin() == endpoint.base.origin();
        let trust = match &endpoint.trust {
            crate::http::Trust::With { .. } if !same => crate::http::Trust::System,
            trust => trust.clone(),
        };
        let ask = token::Ask {
            realm,
            service: service.clone(),
            scope,
        };
        let start = Instant::now();
        let token = token::fetch(http, what, &ask, credential.as_ref(), &trust).await?;
        return Ok(Some(Held {
            header: token::bearer(what, &token.value)?,
            // Renew a little early: the registry's clock counts.
            until: start.checked_add(token.life.mul_f64(0.9)),
        }));
    }
    if challenges.contains(&Challenge::Basic) {
        return match &credential {
            Some(Credential::Basic { user, password }) => Ok(Some(Held {
                header: token::basic(what, user, password)?,
                until: None,
            })),
            Some(_) => Err(Error::protocol(
                what,
                "the registry asks for a password, and only a token is stored for it",
            )),
            None => Ok(None),
        };
    }
    Ok(None)
}
