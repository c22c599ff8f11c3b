//! HTTPS: who is trusted, and what happens where nobody can be.

use std::net::TcpStream;
use std::sync::Arc;

use hako_distribution::client::Options;
use hako_distribution::http::{Http, Request, Trust};
use hako_distribution::{Client, Environment, Error, Kind};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::{Ask, Reply, Server, Stream};
use crate::{quick_http, quick_options};

/// A server with a certificate of its own for `localhost` and 127.0.0.1, and
/// that certificate as PEM.
fn secure(answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> (Server, String) {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream: TcpStream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
        let stream: Box<dyn Stream> = Box::new(rustls::StreamOwned::new(connection, stream));
        Some(stream)
    };
    (Server::wrapped(answer, wrap), made.cert.pem())
}

fn get(server: &Server) -> Request {
    Request::get("get", &format!("https://{}/", server.host())).unwrap()
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_unless_asked() {
    let (server, pem) = secure(|_| Reply::new(200, "ok"));
    let error = quick_http().get(&get(&server)).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 0);
    quick_http()
        .get(&get(&server).trust(Trust::Anybody))
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    std::fs::write(&path, pem).unwrap();
    let trust = Trust::With {
        authorities: vec![path],
        identity: None,
    };
    quick_http().get(&get(&server).trust(trust)).await.unwrap();
}

#[tokio::test]
async fn a_bundle_of_the_environment_is_honoured() {
    let (server, pem) = secure(|_| Reply::new(200, "ok"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.pem");
    std::fs::write(&path, pem).unwrap();
    let environment: Environment = [("SSL_CERT_FILE", path.to_str().unwrap())]
        .into_iter()
        .collect();
    let options = hako_distribution::http::Options {
        environment,
        ..quick_options()
    };
    Http::new(options).get(&get(&server)).await.unwrap();
}

#[tokio::test]
async fn a_missing_bundle_matters_for_https_alone() {
    let (server, _) = secure(|_| Reply::new(200, "ok"));
    let plain = Server::start(|_| Reply::new(200, "ok"));
    let environment: Environment = [("SSL_CERT_FILE", "/nonexistent/bundle.pem")]
        .into_iter()
        .collect();
    let options = hako_distribution::http::Options {
        environment,
        ..quick_options()
    };
    let http = Http::new(options);
    http.get(&Request::get("get", &plain.url("/")).unwrap())
        .await
        .unwrap();
    let error = http.get(&get(&server)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);
    let text = error.to_string();
    assert!(
        text.contains("ca-certificates") && text.contains("/nonexistent/bundle.pem"),
        "{text}"
    );
}

#[tokio::test]
async fn https_is_not_left_for_http() {
    let plain = Server::start(|_| Reply::new(200, "ok"));
    let to = plain.url("/");
    let (server, _) = secure(move |_| Reply::redirect(to.clone()));
    let request = get(&server)
        .trust(Trust::Anybody)
        .header(AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"));
    let error = quick_http().get(&request).await.unwrap_err();
    assert!(
        error.to_string().contains("from https to plain http"),
        "{error}"
    );
    assert_eq!(plain.seen().len(), 0);
}

#[tokio::test]
async fn a_registry_on_loopback_may_speak_either() {
    let plain = Server::start(|_| Reply::new(200, "{}"));
    crate::anonymous().ping(&plain.host()).await.unwrap();

    let (server, pem) = secure(|_| Reply::new(200, "{}"));
    // It speaks TLS: then its certificate counts.
    let error = crate::anonymous().ping(&server.host()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls, "{error}");
    let options = Options {
        insecure: true,
        ..Options::default()
    };
    Client::new(quick_http(), options)
        .ping(&server.host())
        .await
        .unwrap();

    let home = tempfile::tempdir().unwrap();
    let certs = home
        .path()
        .join(".config/containers/certs.d")
        .join(server.host());
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::write(certs.join("ca.crt"), pem).unwrap();
    let environment: Environment = [("HOME", home.path().to_str().unwrap())]
        .into_iter()
        .collect();
    let options = Options {
        environment,
        ..Options::default()
    };
    Client::new(quick_http(), options)
        .ping(&server.host())
        .await
        .unwrap();
}
