//! Reading manifests from outside, so strictly that no two readers can differ.
//!
//! A registry's answer is one of four document kinds, named by the
//! Content-Type, by the document's `mediaType` and by its shape. Where these
//! disagree, or where a document has the shape of two kinds, one digest would
//! mean different images to different clients (CVE-2021-41190,
//! GHSA-77vh-xpmg-72qh): such documents are refused.

use crate::image::{Descriptor, Index, Manifest, media_type};
use crate::object::{self, Field, Object};
use crate::platform::Platform;
use crate::{Error, Map, Value, strict};

/// Longest manifest in bytes that is read (distribution-spec, "Pushing Manifests").
pub const MAX_LEN: usize = 4 << 20;

/// A manifest of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// A list of manifests.
    Index(Box<Index>),
    /// One image or artifact.
    Manifest(Box<Manifest>),
}

impl ManifestKind {
    /// The document's own media type, or OCI's if it does not say.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            ManifestKind::Index(index) => index.media_type(),
            ManifestKind::Manifest(manifest) => manifest.media_type(),
        }
    }
}

/// Reads a manifest or index.
///
/// `content_type` is the HTTP header's or the descriptor's, which must not
/// contradict the document; parameters are ignored, and so are the generic
/// `application/json` and `application/octet-stream`.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Json`], and [`Error::Manifest`] for everything
/// that is ambiguous, obsolete or not a manifest.
pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<ManifestKind, Error> {
    let what = "manifest";
    if bytes.len() > MAX_LEN {
        return Err(Error::TooLarge {
            what,
            size: bytes.len(),
            limit: MAX_LEN,
        });
    }
    let json = |source| Error::Json { what, source };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = strict::value(&mut reader).and_then(|value| reader.end().map(|()| value));
    let Value::Object(document) = value.map_err(json)? else {
        return Err(refuse("it is not a JSON object"));
    };
    let kind = kind(&document, content_type)?;
    let document = Value::Object(document);
    match kind {
        Kind::Index => {
            let mut index = Index::read(document).map_err(json)?;
            no_case_variants::<Index>(&mut index, "")?;
            for (place, descriptor) in index.manifests.iter_mut().enumerate() {
                check_descriptor(descriptor, &format!("manifests[{place}]"))?;
            }
            check_subject(index.subject.as_mut())?;
            Ok(ManifestKind::Index(Box::new(index)))
        }
        Kind::Manifest => {
            let mut manifest = Manifest::read(document).map_err(json)?;
            no_case_variants::<Manifest>(&mut manifest, "")?;
            check_descriptor(&mut manifest.config, "config")?;
            for (place, descriptor) in manifest.layers.iter_mut().enumerate() {
                check_descriptor(descriptor, &format!("layers[{place}]"))?;
            }
            check_subject(manifest.subject.as_mut())?;
            Ok(ManifestKind::Manifest(Box::new(manifest)))
        }
    }
}

enum Kind {
    Index,
    Manifest,
}

fn refuse(reason: impl Into<String>) -> Error {
    Error::Manifest {
        reason: reason.into(),
    }
}

fn kind(document: &Map, content_type: Option<&str>) -> Result<Kind, Error> {
    if is_schema_1(document, content_type) {
        return Err(refuse(
            "it has Docker's schema 1, which is obsolete: push the image again with a newer tool",
        ));
    }
    for name in [
        "schemaVersion",
        "mediaType",
        "manifests",
        "config",
        "layers",
        "blobs",
    ] {
        let folded = object::fold(name);
        if let Some(other) = document
            .keys()
            .find(|key| *key != name && object::fold(key) == folded)
        {
            return Err(refuse(format!(
                "it has the key {other:?}, which some read as {name:?}"
            )));
        }
    }
    match document.get("schemaVersion").map(Value::as_u64) {
        Some(Some(2)) => {}
        Some(_) => return Err(refuse("schemaVersion is not 2")),
        None => return Err(refuse("it has no schemaVersion")),
    }
    let has = |key| document.contains_key(key);
    let shape = match (has("manifests"), has("config") || has("layers")) {
        (true, true) => {
            return Err(refuse("it has both manifests and config or layers"));
        }
        (true, false) => Kind::Index,
        (false, true) => Kind::Manifest,
        (false, false) if has("blobs") => {
            return Err(refuse("it is an OCI artifact manifest, which 1.1 withdrew"));
        }
        (false, false) => return Err(refuse("it has neither manifests nor layers")),
    };
    if has("blobs") || has("fsLayers") {
        return Err(refuse("it has the fields of two kinds of manifest"));
    }
    let own = match document.get("mediaType") {
        None | Some(Value::Null) => None,
        Some(Value::String(own)) if own.is_empty() => None,
        Some(Value::String(own)) => Some(own.as_str()),
        Some(_) => return Err(refuse("mediaType is not a string")),
    };
    let given = content_type.map(essence);
    let given = given.as_deref().filter(|given| !is_generic(given));
    if let (Some(own), Some(given)) = (own, given)
        && own != given
    {
        return Err(refuse(format!(
            "its mediaType is {own:?} but it was given as {given:?}"
        )));
    }
    if own.is_none() && given.is_some_and(media_type::is_docker) {
        return Err(refuse(
            "it was given as a Docker manifest but has no mediaType",
        ));
    }
    for said in [own, given].into_iter().flatten() {
        let fits = match shape {
            Kind::Index => media_type::is_index(said),
            Kind::Manifest => media_type::is_manifest(said),
        };
        if !fits {
            return Err(refuse(
                match (media_type::is_index(said), media_type::is_manifest(said)) {
                    (false, false) => format!("the media type {said:?} is not a manifest's"),
                    _ => format!("the media type {said:?} does not fit its fields"),
                },
            ));
        }
    }
    Ok(shape)
}

fn is_schema_1(document: &Map, content_type: Option<&str>) -> bool {
    let v1 = [
        media_type::DOCKER_MANIFEST_V1,
        media_type::DOCKER_MANIFEST_V1_SIGNED,
    ];
    let given = content_type.is_some_and(|given| v1.contains(&essence(given).as_str()));
    given || document.get("schemaVersion").and_then(Value::as_u64) == Some(1)
}

/// A media type without parameters, in lower case (RFC 9110 section 8.3.1).
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn is_generic(given: &str) -> bool {
    matches!(
        given,
        "" | "application/json" | "application/octet-stream" | "text/plain"
    )
}

fn no_case_variants<T: Object>(object: &mut T, path: &str) -> Result<(), Error> {
    match object::case_variant::<T>(object.extra()) {
        None => Ok(()),
        Some((other, name)) => {
            let place = if path.is_empty() {
                String::new()
            } else {
                format!(" in {path}")
            };
            Err(refuse(format!(
                "it has the key {other:?}{place}, which some read as {name:?}"
            )))
        }
    }
}

fn check_descriptor(descriptor: &mut Descriptor, path: &str) -> Result<(), Error> {
    no_case_variants(descriptor, path)?;
    if descriptor.media_type.is_empty() {
        return Err(refuse(format!("{path} has no mediaType")));
    }
    if let Some(data) = &descriptor.data
        && u64::try_from(data.0.len()) != Ok(descriptor.size)
    {
        return Err(refuse(format!(
            "{path}.data is not as long as {path}.size says"
        )));
    }
    match &mut descriptor.platform {
        Some(platform) => no_case_variants::<Platform>(platform, &format!("{path}.platform")),
        None => Ok(()),
    }
}

fn check_subject(subject: Option<&mut Descriptor>) -> Result<(), Error> {
    subject.map_or(Ok(()), |subject| check_descriptor(subject, "subject"))
}
