//! Resolving and fetching manifests from honest and other registries.

use hako_distribution::hash::sha256;
use hako_distribution::{Error, Kind};
use hako_spec::reference::Reference;

use crate::anonymous;
use crate::registry::{MANIFEST, Registry, manifest};
use crate::server::{Body, Reply, Server};

fn reference(server: &Server, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", server.host())).unwrap()
}

fn honest() -> Server {
    let mut registry = Registry::default();
    registry.manifest("a/b", "1", MANIFEST, &manifest());
    Server::start(registry.serve())
}

#[tokio::test]
async fn a_tag_is_resolved_and_fetched() {
    let server = honest();
    let client = anonymous();
    let resolved = client.resolve(&reference(&server, "a/b:1")).await.unwrap();
    assert_eq!(resolved.digest, sha256(&manifest()));
    assert_eq!(
        (resolved.media_type.as_str(), resolved.fetched),
        (MANIFEST, None)
    );
    let by_digest = reference(&server, "a/b").with_digest(resolved.digest.clone());
    for reference in [reference(&server, "a/b:1"), by_digest] {
        let fetched = client.manifest(&reference).await.unwrap();
        assert_eq!(
            (&fetched.digest, &fetched.bytes[..]),
            (&resolved.digest, &manifest()[..])
        );
    }
    let accept = server
        .seen()
        .last()
        .unwrap()
        .header("accept")
        .unwrap()
        .to_owned();
    for kind in [
        "oci.image.index.v1",
        "manifest.list.v2",
        "oci.image.manifest.v1",
    ] {
        assert!(accept.contains(kind), "{accept}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_one_line() {
    let server = honest();
    let host = server.host();
    let error = anonymous()
        .resolve(&reference(&server, "x:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        format!("pull {host}/x:1: manifest unknown (404)")
    );
    let gone = reference(&server, "a/b").with_digest(sha256(b"gone"));
    let error = anonymous().manifest(&gone).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_registry_without_head_or_digest_is_asked_by_get() {
    for status in [405, 200] {
        let server = Server::start(move |ask| {
            let status = if ask.method == "HEAD" { status } else { 200 };
            Reply::new(status, manifest()).with("Content-Type", MANIFEST)
        });
        let resolved = anonymous()
            .resolve(&reference(&server, "x:1"))
            .await
            .unwrap();
        assert_eq!(resolved.digest, sha256(&manifest()));
        assert_eq!(resolved.fetched.unwrap().bytes, manifest());
    }
}

#[tokio::test]
async fn content_that_is_not_its_digest_is_refused() {
    // By tag, contradicting its own header.
    let server = Server::start(|_| {
        Reply::new(200, manifest())
            .with("Content-Type", MANIFEST)
            .with("Docker-Content-Digest", sha256(b"other").as_str())
    });
    let error = anonymous()
        .manifest(&reference(&server, "x:1"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    // By digest, with a header that agrees with the request.
    let wanted = sha256(b"wanted");
    let error = anonymous()
        .manifest(&reference(&server, "x").with_digest(wanted))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn confusing_documents_are_refused() {
    let digest = sha256(b"{}");
    let config = format!(
        r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}}"#
    );
    let index = "application/vnd.oci.image.index.v1+json";
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let plain = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
    for (kind, body) in [
        // Header and document disagree.
        (docker, String::from_utf8(manifest()).unwrap()),
        (index, plain.clone()),
        // Two documents in one.
        (
            MANIFEST,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
        ),
        (
            index,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
        ),
        (
            MANIFEST,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[]}}"#),
        ),
        (
            MANIFEST,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"Layers":[]}}"#),
        ),
        // Old or no documents.
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
        ),
        ("text/html", "<html>login here</html>".to_owned()),
        (MANIFEST, String::new()),
        (MANIFEST, "[]".to_owned()),
        (MANIFEST, "[".repeat(100_000)),
    ] {
        let text = body.clone();
        let server =
            Server::start(move |_| Reply::new(200, body.clone()).with("Content-Type", kind));
        let error = anonymous()
            .manifest(&reference(&server, "x:1"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Manifest { .. }),
            "{kind} {text:.80}: {error:?}"
        );
    }
    // A parameter changes nothing.
    let server = Server::start(move |_| {
        Reply::new(200, plain.clone()).with("Content-Type", format!("{MANIFEST}; charset=utf-8"))
    });
    anonymous()
        .manifest(&reference(&server, "x:1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn manifests_have_a_limit() {
    for body in [
        Body::Endless(vec![b' '; 65536]),
        Body::Lying(5 << 20, vec![b' ']),
    ] {
        let server = Server::start(move |_| {
            Reply::new(200, "")
                .with("Content-Type", MANIFEST)
                .body(body.clone())
        });
        let error = anonymous()
            .manifest(&reference(&server, "x:1"))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLong {
                    limit: 4_194_304,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_last() {
    let broken = Server::start(|_| Reply::new(404, ""));
    let server = honest();
    let text = format!(
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry]]\nprefix = \"bad.example\"\nblocked = true\n",
        server.host(),
        broken.host()
    );
    let client = crate::with_registries(&text);
    let name = Reference::parse("r.example/a/b:1").unwrap();
    assert_eq!(
        client.manifest(&name).await.unwrap().digest,
        sha256(&manifest())
    );
    assert!(!broken.seen().is_empty());
    let blocked = Reference::parse("bad.example/a:1").unwrap();
    let error = client.manifest(&blocked).await.unwrap_err();
    assert!(error.to_string().contains("blocked"), "{error}");
}

#[tokio::test]
async fn warnings_are_kept_for_the_user() {
    let server = Server::start(|_| {
        Reply::new(200, manifest())
            .with("Content-Type", MANIFEST)
            .with("Warning", "299 - \"this tag goes away\"")
    });
    let client = anonymous();
    for _ in 0..2 {
        client.manifest(&reference(&server, "x:1")).await.unwrap();
    }
    assert_eq!(
        client.warnings(),
        [format!("{}: this tag goes away", server.host())]
    );
}

#[tokio::test]
async fn a_mirror_that_is_down_is_not_waited_for_again() {
    let silent = Server::start(|_| Reply::new(200, "").body(Body::Raw(Vec::new())));
    let server = honest();
    let text = format!(
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        server.host(),
        silent.host()
    );
    let client = crate::with_registries(&text);
    let name = Reference::parse("r.example/a/b:1").unwrap();
    client.manifest(&name).await.unwrap();
    let tries = silent.seen().len();
    assert!(tries > 0);
    client.manifest(&name).await.unwrap();
    assert_eq!(silent.seen().len(), tries);
}
