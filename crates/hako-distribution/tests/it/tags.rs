//! Lists of tags, in pages.

use hako_spec::reference::Reference;

use crate::anonymous;
use crate::server::{Reply, Server};

fn reference(server: &Server) -> Reference {
    Reference::parse(&format!("{}/a/b", server.host())).unwrap()
}

#[tokio::test]
async fn pages_are_followed_in_every_form() {
    let server = Server::start(|ask| match ask.target.as_str() {
        "/v2/a/b/tags/list" => Reply::new(200, r#"{"name":"a/b","tags":["1","2"]}"#)
            .with("Link", "</v2/a/b/tags/list?n=2&last=2>; rel=\"next\""),
        "/v2/a/b/tags/list?n=2&last=2" => {
            Reply::new(200, r#"{"tags":["3"]}"#).with("Link", "<list?last=3>; rel=next")
        }
        "/v2/a/b/tags/list?last=3" => Reply::new(200, r#"{"tags":null}"#),
        _ => Reply::new(404, ""),
    });
    assert_eq!(
        anonymous().tags(&reference(&server)).await.unwrap(),
        ["1", "2", "3"]
    );
}

#[tokio::test]
async fn a_list_does_not_lead_elsewhere_or_in_circles() {
    let other = Server::start(|_| Reply::new(200, r#"{"tags":["evil"]}"#));
    let url = other.url("/v2/a/b/tags/list");
    let server = Server::start(move |_| {
        Reply::new(200, r#"{"tags":["1"]}"#).with("Link", format!("<{url}>; rel=\"next\""))
    });
    let error = anonymous().tags(&reference(&server)).await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    assert!(other.seen().is_empty());
    let server = Server::start(|_| {
        Reply::new(200, r#"{"tags":["1"]}"#).with("Link", "</v2/a/b/tags/list>; rel=\"next\"")
    });
    let error = anonymous().tags(&reference(&server)).await.unwrap_err();
    assert!(error.to_string().contains("same page"), "{error}");
}

#[tokio::test]
async fn nonsense_is_no_list() {
    let server = Server::start(|_| Reply::new(200, "<html>"));
    let error = anonymous().tags(&reference(&server)).await.unwrap_err();
    assert!(error.to_string().contains("not a list of tags"), "{error}");
}
