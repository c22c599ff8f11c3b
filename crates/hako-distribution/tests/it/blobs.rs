//! Blobs that break off, lie about their length, and never end.

use std::sync::atomic::{AtomicUsize, Ordering};

use hako_distribution::hash::sha256;
use hako_distribution::{Error, Kind, Result};
use hako_spec::reference::Reference;

use crate::anonymous;
use crate::registry::Registry;
use crate::server::{Body, Reply, Server};

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

async fn pull(server: &Server, offset: u64) -> Result<Vec<u8>> {
    pull_sized(server, content().len() as u64, offset).await
}

async fn pull_sized(server: &Server, size: u64, offset: u64) -> Result<Vec<u8>> {
    let reference = Reference::parse(&format!("{}/a/b", server.host())).unwrap();
    let mut download = anonymous().blob(&reference, &sha256(&content()), size, offset)?;
    let mut all = Vec::new();
    while let Some(piece) = download.chunk().await? {
        all.extend_from_slice(&piece);
        assert!(
            all.len() as u64 + offset <= size,
            "a byte too many was handed out"
        );
    }
    assert_eq!(download.position(), offset + all.len() as u64);
    Ok(all)
}

/// Sends at most `piece` bytes a connection, and then breaks it.
fn breaking(piece: usize, ranges: bool) -> Server {
    Server::start(move |ask| {
        let all = content();
        let first = ask.range().filter(|_| ranges).unwrap_or(0);
        let rest = &all[first..];
        let body = Body::Lying(rest.len(), rest[..piece.min(rest.len())].to_vec());
        let status = if first > 0 { 206 } else { 200 };
        let mut reply = Reply::new(status, "").body(body);
        if first > 0 {
            let range = format!("bytes {first}-{}/{}", all.len() - 1, all.len());
            reply = reply.with("Content-Range", range);
        }
        reply
    })
}

#[tokio::test]
async fn a_whole_blob_and_its_end() {
    let mut registry = Registry::default();
    registry.blob("a/b", &content());
    let server = Server::start(registry.serve());
    assert_eq!(pull(&server, 0).await.unwrap(), content());
    assert_eq!(
        pull(&server, 1_000_000).await.unwrap(),
        &content()[1_000_000..]
    );
    let before = server.seen().len();
    assert_eq!(pull(&server, content().len() as u64).await.unwrap(), b"");
    assert_eq!(
        server.seen().len(),
        before,
        "nothing is missing, nothing is asked"
    );
    assert!(pull(&server, content().len() as u64 + 1).await.is_err());
}

#[tokio::test]
async fn a_broken_blob_goes_on_where_it_stopped() {
    let server = breaking(300_000, true);
    assert_eq!(pull(&server, 0).await.unwrap(), content());
    let ranges: Vec<usize> = server.seen().iter().filter_map(|ask| ask.range()).collect();
    assert_eq!(ranges, [300_000, 600_000, 900_000]);
}

#[tokio::test]
async fn a_server_that_ignores_range_is_read_from_the_start() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let all = content();
        let sent = if count.fetch_add(1, Ordering::SeqCst) == 0 {
            700_001
        } else {
            all.len()
        };
        Reply::new(200, "").body(Body::Lying(all.len(), all[..sent].to_vec()))
    });
    assert_eq!(pull(&server, 0).await.unwrap(), content());
    assert_eq!(server.seen().last().unwrap().range(), Some(700_001));
    let server = Server::start(|_| Reply::new(200, content()));
    assert_eq!(
        pull(&server, 1_199_999).await.unwrap(),
        &content()[1_199_999..]
    );
}

#[tokio::test]
async fn a_server_that_never_gets_on_is_given_up() {
    // 100 bytes a connection, from the start again and again.
    let server = breaking(100, false);
    let error = pull(&server, 0).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Network, "{error}");
    assert!(server.seen().len() <= 7, "{}", server.seen().len());
}

#[tokio::test]
async fn a_blob_that_is_shorter_than_promised() {
    let server = Server::start(|ask| match ask.range() {
        None => Reply::new(200, &content()[..1000]),
        Some(_) => Reply::new(416, ""),
    });
    let error = pull(&server, 0).await.unwrap_err();
    assert!(
        matches!(error, Error::Truncated { got: 1000, .. }),
        "{error}"
    );
    assert_eq!(server.seen().len(), 2, "and nobody asks again");
    let server = Server::start(|_| Reply::new(200, &content()[..1000]));
    let error = pull(&server, 0).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Truncated {
                got: 1000,
                want: 1_200_000,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_blob_that_is_longer_than_promised() {
    let size = content().len() as u64 - 1;
    for body in [Body::Whole(content()), Body::Endless(content())] {
        let server = Server::start(move |_| Reply::new(200, "").body(body.clone()));
        let error = pull_sized(&server, size, 0).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_endless_blob_of_unknown_length_stops_at_its_size() {
    let server = Server::start(|_| Reply::new(200, "").body(Body::Endless(vec![0; 65536])));
    let error = pull(&server, 0).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLong {
                limit: 1_200_000,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_blob_with_another_digest_is_refused() {
    let server = Server::start(|_| {
        let mut bytes = content();
        bytes[77] ^= 1;
        Reply::new(200, bytes)
    });
    let error = pull(&server, 0).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    for (range, want) in [
        (
            "bytes 1000-1199999/1200000",
            "byte 1000 when asked for byte 500",
        ),
        ("bytes 500-1199998/1199999", "has 1199999 bytes"),
        ("nonsense", "without saying which"),
    ] {
        let server =
            Server::start(move |_| Reply::new(206, &content()[500..]).with("Content-Range", range));
        let error = pull(&server, 500).await.unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    // Earlier than asked is fine: the rest is dropped.
    let server = Server::start(|_| {
        Reply::new(206, &content()[100..]).with("Content-Range", "bytes 100-1199999/1200000")
    });
    assert_eq!(pull(&server, 500).await.unwrap(), &content()[500..]);
}

#[tokio::test]
async fn a_redirect_to_storage_carries_no_token() {
    let storage = Server::start(|_| Reply::new(200, content()));
    let to = storage.url("/bucket/x?signature=s");
    let server = Server::start(move |ask| match ask.header("authorization") {
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) => Reply::redirect(to.clone()),
    });
    let credential = hako_distribution::auth::Credential::Basic {
        user: "u".to_owned(),
        password: "hunter2".to_owned(),
    };
    let keychain = hako_distribution::auth::Keychain::empty().with(&server.host(), credential);
    let reference = Reference::parse(&format!("{}/a/b", server.host())).unwrap();
    let size = content().len() as u64;
    let mut download = crate::client(keychain)
        .blob(&reference, &sha256(&content()), size, 0)
        .unwrap();
    let mut got = 0;
    while let Some(piece) = download.chunk().await.unwrap() {
        got += piece.len();
    }
    assert_eq!(got as u64, size);
    assert_eq!(storage.seen()[0].header("authorization"), None);
    assert!(
        server
            .seen()
            .iter()
            .any(|ask| ask.header("authorization").is_some())
    );
}
