//! Manifests and indexes: resolved, fetched, hashed (end-3).

use bytes::Bytes;
use hako_spec::digest::Digest;
use hako_spec::manifest::ManifestKind;
use hako_spec::reference::Reference;
use reqwest::Method;
use reqwest::header::{ACCEPT as ACCEPT_HEADER, HeaderValue};

use super::Client;
use crate::error::{Error, Kind, Result};
use crate::hash;
use crate::http::Response;
use crate::registries::Place;

/// The longest manifest, in bytes (distribution-spec, Pushing Manifests: a
/// registry should take at least 4 MiB; peers stop there).
pub const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;

/// What we take, the best first.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a name means at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// Its media type, as the registry says; may be empty.
    pub media_type: String,
    /// The document itself, if it had to be fetched to learn its digest.
    pub fetched: Option<Fetched>,
}

/// A manifest or index whose bytes have the digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The digest that was asked for, or SHA-256 if a tag was.
    pub digest: Digest,
    /// The media type on which registry and document agree.
    pub media_type: String,
    /// The document as it came.
    pub bytes: Bytes,
    /// The document as read, which means one thing only.
    pub document: ManifestKind,
}

impl Client {
    /// The digest that `reference` stands for now. A digest in the reference is
    /// the answer, and nothing is sent. A reference without tag means `latest`.
    ///
    /// # Errors
    /// Refusals and transport errors.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        if let Some(digest) = &reference.digest {
            let (digest, media_type) = (digest.clone(), String::new());
            return Ok(Resolved {
                digest,
                media_type,
                fetched: None,
            });
        }
        let what = format!("pull {reference}");
        let tag = reference.tag.as_deref().unwrap_or("latest");
        let places: Vec<Place> = self
            .places(&what, reference)?
            .into_iter()
            .filter(|place| place.has_tags)
            .collect();
        first!(self, &what, &places, |place| self
            .resolve_at(&what, place, tag))
    }

    async fn resolve_at(&self, what: &str, place: &Place, tag: &str) -> Result<Resolved> {
        let path = format!("/v2/{}/manifests/{tag}", place.repository);
        let head = self.ask(what, place, Method::HEAD, &path, accept).await?;
        let digest = head
            .header("docker-content-digest")
            .and_then(|text| text.parse().ok());
        if let Some(digest) = digest
            && head.status().is_success()
        {
            return Ok(Resolved {
                digest,
                media_type: media_type(&head),
                fetched: None,
            });
        }
        // An answer to HEAD has no words, and some registries do not know HEAD
        // or leave the digest out: GET tells everything.
        let fetched = self.fetch_at(what, place, tag, None).await?;
        let (digest, media_type) = (fetched.digest.clone(), fetched.media_type.clone());
        Ok(Resolved {
            digest,
            media_type,
            fetched: Some(fetched),
        })
    }

    /// The manifest or index that `reference` names: by digest if it has one,
    /// else by tag.
    ///
    /// # Errors
    /// Refusals and transport errors, more than [`MANIFEST_LIMIT`] bytes, a
    /// digest that does not fit, a media type that contradicts the document.
    pub async fn manifest(&self, reference: &Reference) -> Result<Fetched> {
        let what = format!("pull {reference}");
        let mut places = self.places(&what, reference)?;
        if reference.digest.is_none() {
            places.retain(|place| place.has_tags);
        }
        let tag = reference.tag.as_deref().unwrap_or("latest");
        let want = reference.digest.as_ref();
        first!(self, &what, &places, |place| self
            .fetch_at(&what, place, tag, want))
    }

    async fn fetch_at(
        &self,
        what: &str,
        place: &Place,
        tag: &str,
        want: Option<&Digest>,
    ) -> Result<Fetched> {
        let name = want.map_or(tag, Digest::as_str);
        let path = format!("/v2/{}/manifests/{name}", place.repository);
        let mut attempt = 1;
        loop {
            let response = self.ask(what, place, Method::GET, &path, accept).await?;
            let response = response.success().await?;
            let media_type = media_type(&response);
            let told: Option<Digest> = response
                .header("docker-content-digest")
                .and_then(|text| text.parse().ok());
            let bytes = match response.bytes(MANIFEST_LIMIT).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == Kind::Network && attempt < 3 => {
                    attempt += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            return check(what, bytes, &media_type, want, told.as_ref());
        }
    }
}

fn accept(request: crate::http::Request) -> crate::http::Request {
    request.header(ACCEPT_HEADER, HeaderValue::from_static(ACCEPT))
}

/// The `Content-Type` without parameters, which clients SHOULD ignore
/// (distribution-spec, Pulling manifests).
fn media_type(response: &Response) -> String {
    let value = response.header("content-type").unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Holds the bytes against everything that was said of them.
fn check(
    what: &str,
    bytes: Bytes,
    media_type: &str,
    want: Option<&Digest>,
    told: Option<&Digest>,
) -> Result<Fetched> {
    // By digest: the content must have that digest. By tag: what the registry
    // says of it must be true (distribution-spec, Pulling manifests); then
    // SHA-256 names it.
    if let Some(claim) = want.or(told) {
        hash::check(&bytes, claim).map_err(|got| Error::Digest {
            what: what.to_owned(),
            got,
            want: claim.clone(),
        })?;
    }
    let digest = want.cloned().unwrap_or_else(|| hash::sha256(&bytes));
    // CVE-2021-41190: a document that different readers take for different
    // things is nobody's.
    let document =
        hako_spec::manifest::parse(&bytes, Some(media_type)).map_err(|source| Error::Manifest {
            what: what.to_owned(),
            source,
        })?;
    let media_type = document.media_type().to_owned();
    Ok(Fetched {
        digest,
        media_type,
        bytes,
        document,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

    fn document(media_type: &str) -> Bytes {
        let config = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"{}"}}"#,
            hash::sha256(b"{}")
        );
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[]}}"#)
            .into()
    }

    #[test]
    fn types_must_agree() {
        let take = |header: &str| check("w", document(OCI), header, None, None);
        assert_eq!(take(OCI).unwrap().media_type, OCI);
        assert_eq!(take("").unwrap().media_type, OCI);
        assert!(matches!(take(DOCKER), Err(Error::Manifest { .. })));
        let html = check("w", Bytes::from_static(b"<html>"), OCI, None, None);
        assert!(matches!(html, Err(Error::Manifest { .. })));
    }

    #[test]
    fn digests_are_checked() {
        let bytes = document(OCI);
        let right = hash::sha256(&bytes);
        let wrong = hash::sha256(b"");
        let take = |want: Option<&Digest>, told| check("w", bytes.clone(), OCI, want, told);
        assert_eq!(take(None, None).unwrap().digest, right);
        assert_eq!(take(Some(&right), Some(&wrong)).unwrap().digest, right);
        assert!(matches!(
            take(None, Some(&wrong)),
            Err(Error::Digest { .. })
        ));
        assert!(matches!(
            take(Some(&wrong), None),
            Err(Error::Digest { .. })
        ));
    }
}
