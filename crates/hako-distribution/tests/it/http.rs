//! The shared HTTP client alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hako_distribution::http::{Http, Request};
use hako_distribution::{Environment, Error, Kind};
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::server::{Body, Reply, Server};
use crate::{quick_http, quick_options};

fn get(server: &Server, path: &str) -> Request {
    Request::get("get", &server.url(path)).unwrap()
}

fn secret(request: Request) -> Request {
    request.header(AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"))
}

#[tokio::test]
async fn a_request_says_who_asks_and_wants_plain_bytes() {
    let server = Server::start(|_| Reply::new(200, "hello"));
    let (_, body) = quick_http().bytes(&get(&server, "/a?b"), 10).await.unwrap();
    assert_eq!(&body[..], b"hello");
    let ask = &server.seen()[0];
    assert_eq!(ask.target, "/a?b");
    assert!(ask.header("user-agent").unwrap().starts_with("hako/"));
    assert_eq!(ask.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn busy_servers_are_asked_again() {
    for status in [429, 500, 502, 503, 504] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Reply::new(status, "").with("Retry-After", "0"),
            _ => Reply::new(200, "ok"),
        });
        quick_http().get(&get(&server, "/")).await.unwrap();
        assert_eq!(server.seen().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(503, "").with("Retry-After", "1"),
        _ => Reply::new(200, "ok"),
    });
    let start = Instant::now();
    quick_http().get(&get(&server, "/")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_retry_after_is_an_error_at_once() {
    let server = Server::start(|_| Reply::new(429, "").with("Retry-After", "3600"));
    let error = quick_http().get(&get(&server, "/")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::RateLimited);
    assert_eq!(
        error.to_string(),
        "get: too many requests, try again in 3600 s (429)"
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_broken_server_is_given_up() {
    let server = Server::start(|_| Reply::new(500, "<html>oops"));
    let error = quick_http().get(&get(&server, "/")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Server);
    assert_eq!(error.to_string(), "get: internal server error (500)");
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    for (status, kind) in [
        (400, Kind::Refused),
        (401, Kind::Unauthorized),
        (403, Kind::Denied),
        (404, Kind::NotFound),
        (501, Kind::Server),
    ] {
        let server = Server::start(move |_| Reply::new(status, ""));
        let error = quick_http().get(&get(&server, "/")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn secrets_stay_with_their_host() {
    let other = Server::start(|_| Reply::new(200, "elsewhere"));
    let target = other.url("/x");
    let server = Server::start(move |ask| match ask.target.as_str() {
        "/first" => Reply::redirect("/second"),
        _ => Reply::redirect(target.clone()),
    });
    let response = quick_http()
        .get(&secret(get(&server, "/first")))
        .await
        .unwrap();
    assert!(!response.is_same_origin());
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|ask| ask.header("authorization").is_some()));
    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_secret_does_not_come_back_after_a_detour() {
    let home = Server::start(|ask| match ask.target.as_str() {
        "/away" => Reply::redirect(format!("http://localhost:{}/back", port(ask))),
        "/back" => Reply::redirect(format!("http://{}/end", ask.header("x-home").unwrap())),
        _ => Reply::new(200, ""),
    });
    let request = secret(get(&home, "/away")).header(
        "x-home".parse().unwrap(),
        HeaderValue::try_from(home.host()).unwrap(),
    );
    quick_http().get(&request).await.unwrap();
    let sent: Vec<bool> = home
        .seen()
        .iter()
        .map(|ask| ask.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [true, false, false]);
}

fn port(ask: &crate::server::Ask) -> String {
    ask.header("host")
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn harmful_and_endless_redirects_are_refused() {
    for to in [
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "http://u:p@localhost/",
    ] {
        let server = Server::start(move |_| Reply::redirect(to));
        let error = quick_http().get(&get(&server, "/")).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{to}: {error}");
        assert_eq!(server.seen().len(), 1, "{to}");
    }
    let server = Server::start(|_| Reply::redirect("/again"));
    let error = quick_http().get(&get(&server, "/")).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert_eq!(server.seen().len(), 11);
}

#[tokio::test]
async fn a_closed_port_is_told_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let start = Instant::now();
    let options = hako_distribution::http::Options {
        pause: Duration::from_secs(9),
        ..quick_options()
    };
    let request = Request::get("get", &format!("http://127.0.0.1:{port}/")).unwrap();
    let error = Http::new(options).get(&request).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }));
    assert_eq!(
        error.to_string(),
        format!("get: cannot talk to 127.0.0.1:{port}")
    );
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn silence_is_not_waited_for_long() {
    let server = Server::start(|_| Reply::new(200, "").body(Body::Stall(9, b"abc".to_vec())));
    let options = hako_distribution::http::Options {
        stall_timeout: Duration::from_millis(200),
        attempts: 1,
        ..quick_options()
    };
    let error = Http::new(options)
        .bytes(&get(&server, "/"), 100)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    for raw in [
        &b"SSH-2.0-x\r\n"[..],
        b"",
        b"HTTP/9.9 abc\r\n\r\n",
        &[0; 4096],
    ] {
        let server = Server::start(move |_| Reply::new(200, "").body(Body::Raw(raw.to_vec())));
        let error = quick_http().get(&get(&server, "/")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Network, "{raw:?}");
    }
}

#[tokio::test]
async fn bodies_have_limits() {
    let endless = Server::start(|_| Reply::new(200, "").body(Body::Endless(vec![7; 8192])));
    let error = quick_http()
        .bytes(&get(&endless, "/"), 100_000)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::TooLong { limit: 100_000, .. }),
        "{error}"
    );
    let boasting = Server::start(|_| Reply::new(200, "").body(Body::Lying(1 << 40, vec![7])));
    let error = quick_http()
        .bytes(&get(&boasting, "/"), 100)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    // A refusal without end is still just a refusal.
    let refusing = Server::start(|_| Reply::new(404, "").body(Body::Endless(vec![7; 8192])));
    let error = quick_http().get(&get(&refusing, "/")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_broken_document_is_fetched_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Reply::new(200, "").body(Body::Lying(5, b"he".to_vec())),
        _ => Reply::new(200, "hello"),
    });
    let (_, body) = quick_http().bytes(&get(&server, "/"), 10).await.unwrap();
    assert_eq!(&body[..], b"hello");
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_but_not_for_this_machine() {
    let proxy = Server::start(|_| Reply::new(200, "by proxy"));
    let local = Server::start(|_| Reply::new(200, "direct"));
    let url = proxy.url("/");
    let variables = [("http_proxy", url.as_str()), ("no_proxy", "none.example")];
    let environment: Environment = variables.into_iter().collect();
    let options = hako_distribution::http::Options {
        environment,
        attempts: 1,
        connect_timeout: Duration::from_secs(1),
        ..quick_options()
    };
    let http = Http::new(options);
    let request = Request::get("get", "http://registry.example/v2/").unwrap();
    let (_, body) = http.bytes(&request, 100).await.unwrap();
    assert_eq!(&body[..], b"by proxy");
    assert_eq!(proxy.seen()[0].target, "http://registry.example/v2/");
    let (_, body) = http.bytes(&get(&local, "/"), 100).await.unwrap();
    assert_eq!(&body[..], b"direct");
    let request = Request::get("get", "http://none.example:1/").unwrap();
    assert!(http.get(&request).await.is_err());
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn unknown_schemes_are_refused() {
    for url in ["file:///etc/passwd", "ftp://x/", "/x", ""] {
        assert!(
            matches!(Request::get("get", url), Err(Error::Url { .. })),
            "{url}"
        );
    }
}
