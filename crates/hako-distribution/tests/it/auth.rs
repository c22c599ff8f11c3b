//! Challenges, tokens, and who gets to see a password.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hako_distribution::Kind;
use hako_distribution::auth::{Credential, Keychain};
use hako_distribution::hash::sha256;
use hako_spec::reference::Reference;

use crate::registry::{MANIFEST, Registry, manifest};
use crate::server::{Ask, Reply, Server};
use crate::{anonymous, client};

/// base64 of `user:hunter2`.
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

fn password() -> Credential {
    Credential::Basic {
        user: "user".to_owned(),
        password: "hunter2".to_owned(),
    }
}

fn keychain(server: &Server, credential: Credential) -> Keychain {
    Keychain::empty().with(&server.host(), credential)
}

fn reference(server: &Server) -> Reference {
    Reference::parse(&format!("{}/a/b:1", server.host())).unwrap()
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.manifest("a/b", "1", MANIFEST, &manifest());
    registry.blob("a/b", b"blob");
    registry
}

/// A registry that wants `Bearer token-N` as the token service last gave it.
fn guarded(realm: String, valid: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    let registry = registry();
    Server::start(move |ask| {
        let token = ask
            .header("authorization")
            .and_then(|text| text.strip_prefix("Bearer "));
        if token.is_some_and(&valid) {
            return registry.answer(ask);
        }
        Reply::new(
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        )
        .with(
            "WWW-Authenticate",
            format!(r#"Bearer realm="{realm}",service="reg",scope="repository:a/b:pull""#),
        )
    })
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_again() {
    let service = Server::start(|_| Reply::new(200, r#"{"token":"t1","expires_in":300}"#));
    let server = guarded(service.url("/token"), |token| token == "t1");
    let client = client(keychain(&server, password()));
    for _ in 0..3 {
        client.manifest(&reference(&server)).await.unwrap();
    }
    let asks = service.seen();
    assert_eq!(asks.len(), 1);
    assert_eq!(
        asks[0].target,
        "/token?account=user&service=reg&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(asks[0].header("authorization"), Some(BASIC));
    // The password itself is for the token service.
    assert!(
        server
            .seen()
            .iter()
            .all(|ask| ask.header("authorization") != Some(BASIC))
    );
}

#[tokio::test]
async fn many_requests_at_once_fetch_one_token() {
    let service = Server::start(|_| Reply::new(200, r#"{"access_token":"t1"}"#));
    let server = guarded(service.url("/token"), |token| token == "t1");
    let client = anonymous();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (client, reference) = (client.clone(), reference(&server));
            tokio::spawn(async move { client.manifest(&reference).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(service.seen().len(), 1);
    assert_eq!(service.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_ends_is_renewed() {
    let given = Arc::new(AtomicUsize::new(0));
    let (count, good) = (Arc::clone(&given), given);
    let service = Server::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::new(200, format!(r#"{{"token":"t{number}","expires_in":3600}}"#))
    });
    // Only the newest token is good; the test makes it old by asking elsewhere.
    let server = guarded(service.url("/token"), move |token| {
        token == format!("t{}", good.load(Ordering::SeqCst))
    });
    let ours = anonymous();
    ours.manifest(&reference(&server)).await.unwrap();
    anonymous().manifest(&reference(&server)).await.unwrap();
    ours.manifest(&reference(&server)).await.unwrap();
    assert_eq!(service.seen().len(), 3);
}

#[tokio::test]
async fn a_useless_token_is_not_asked_for_again_and_again() {
    let service = Server::start(|_| Reply::new(200, r#"{"token":"bad"}"#));
    let server = guarded(service.url("/token"), |_| false);
    let error = anonymous().manifest(&reference(&server)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!("pull {}: authentication required (401)", reference(&server))
    );
    assert_eq!(service.seen().len(), 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let service = Server::start(|ask: &Ask| match ask.method.as_str() {
        "POST" => Reply::new(200, r#"{"access_token":"t1"}"#),
        _ => Reply::new(405, ""),
    });
    let server = guarded(service.url("/token"), |token| token == "t1");
    let identity = Credential::Identity {
        token: "refresh me".to_owned(),
    };
    client(keychain(&server, identity))
        .manifest(&reference(&server))
        .await
        .unwrap();
    let ask = &service.seen()[0];
    let body = String::from_utf8(ask.body.clone()).unwrap();
    for part in [
        "grant_type=refresh_token",
        "refresh_token=refresh+me",
        "service=reg",
        "client_id=",
    ] {
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(
        ask.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
}

#[tokio::test]
async fn basic_authentication() {
    let registry = registry();
    let server = Server::start(move |ask| match ask.header("authorization") {
        Some(BASIC) => registry.answer(ask),
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    client(keychain(&server, password()))
        .manifest(&reference(&server))
        .await
        .unwrap();
    let wrong = Credential::Basic {
        user: "user".to_owned(),
        password: "guess".to_owned(),
    };
    for keychain in [Keychain::empty(), keychain(&server, wrong)] {
        let error = client(keychain)
            .manifest(&reference(&server))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthorized);
        assert!(error.to_string().ends_with("unauthorized (401)"), "{error}");
    }
}

#[tokio::test]
async fn wrong_passwords_at_the_token_service() {
    let service =
        Server::start(|_| Reply::new(401, r#"{"details":"incorrect username or password"}"#));
    let server = guarded(service.url("/token"), |_| true);
    let _ = server;
    let server = guarded(service.url("/token"), |_| false);
    let error = client(keychain(&server, password()))
        .manifest(&reference(&server))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(
        error.to_string().contains("incorrect username or password"),
        "{error}"
    );
}

#[tokio::test]
async fn passwords_of_other_registries_stay_here() {
    let service = Server::start(|_| Reply::new(200, r#"{"token":"t1"}"#));
    let server = guarded(service.url("/token"), |token| token == "t1");
    // The same host on another port is another registry.
    let other = Keychain::empty().with("127.0.0.1:1", password());
    client(other).manifest(&reference(&server)).await.unwrap();
    assert_eq!(service.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_strange_realm_is_refused_before_anything_is_sent() {
    for realm in [
        "http://169.254.169.254/token",
        "file:///etc/passwd",
        "http://auth.example/",
        "x",
    ] {
        let server = guarded(realm.to_owned(), |_| false);
        let error = client(keychain(&server, password()))
            .manifest(&reference(&server))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("token service"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_target_cannot_ask_for_the_password() {
    let thief = Server::start(|ask| match ask.header("authorization") {
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"give\""),
        Some(_) => Reply::new(200, manifest()).with("Content-Type", MANIFEST),
    });
    let to = thief.url("/v2/a/b/manifests/1");
    let server = Server::start(move |_| Reply::redirect(to.clone()));
    let keychain = keychain(&server, password()).with(&server.host(), password());
    let error = client(keychain)
        .manifest(&reference(&server))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(
        thief
            .seen()
            .iter()
            .all(|ask| ask.header("authorization").is_none())
    );
}

#[tokio::test]
async fn a_token_service_that_redirects_does_not_leak() {
    let thief = Server::start(|_| Reply::new(200, r#"{"token":"t1"}"#));
    let to = thief.url("/steal");
    let service = Server::start(move |_| Reply::redirect(to.clone()));
    let server = guarded(service.url("/token"), |token| token == "t1");
    client(keychain(&server, password()))
        .manifest(&reference(&server))
        .await
        .unwrap();
    assert_eq!(thief.seen()[0].header("authorization"), None);
    // A refresh token is in the body, so its request is not redirected at all.
    let identity = Credential::Identity {
        token: "refresh".to_owned(),
    };
    let error = client(keychain(&server, identity))
        .manifest(&reference(&server))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(thief.seen().len(), 1);
}

#[tokio::test]
async fn blobs_are_authenticated_like_manifests() {
    let service = Server::start(|_| Reply::new(200, r#"{"token":"t1"}"#));
    let server = guarded(service.url("/token"), |token| token == "t1");
    let mut blob = anonymous()
        .blob(&reference(&server), &sha256(b"blob"), 4, 0)
        .unwrap();
    assert_eq!(&blob.chunk().await.unwrap().unwrap()[..], b"blob");
    assert_eq!(blob.chunk().await.unwrap(), None);
}
