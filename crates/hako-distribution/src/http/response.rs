//! An answer whose body is read in pieces and within limits.

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use url::Url;

use super::host_of;
use crate::error::{Error, Kind, Result};

/// How much of a refusal's body is read for the server's words, in bytes.
const REFUSAL_LIMIT: u64 = 64 * 1024;
/// How much of the server's words is shown, in characters.
const WORDS: usize = 300;

/// The answer to a [`super::Request`].
#[derive(Debug)]
pub struct Response {
    what: String,
    url: Url,
    asked: Url,
    inner: reqwest::Response,
}

impl Response {
    pub(super) fn new(what: &str, url: Url, inner: reqwest::Response, asked: Url) -> Self {
        Self {
            what: what.to_owned(),
            url,
            asked,
            inner,
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Where the answer came from, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the answer came from the scheme, host and port that were asked.
    pub fn is_same_origin(&self) -> bool {
        self.url.origin() == self.asked.origin()
    }

    /// The announced length of the body, if any. It may lie.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// First byte and total length of a partial answer (206).
    pub fn content_range(&self) -> Option<(u64, Option<u64>)> {
        parse_content_range(self.headers().get(CONTENT_RANGE)?.to_str().ok()?)
    }

    /// The next piece of the body, or nothing at its end.
    ///
    /// # Errors
    /// Transport errors, also when the body ends before its announced length.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.inner
            .chunk()
            .await
            .map_err(|source| Error::transport(&self.what, &host_of(&self.url), source))
    }

    /// The whole body, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::TooLong`] as soon as that is known; transport errors.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes> {
        let too_long = |what: &str| Error::TooLong {
            what: what.to_owned(),
            limit,
        };
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_long(&self.what));
        }
        let mut all = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if (all.len() as u64).saturating_add(piece.len() as u64) > limit {
                return Err(too_long(&self.what));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// The answer itself if it is a success, else the error that it tells.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn success(self) -> Result<Self> {
        if self.status().is_success() {
            Ok(self)
        } else {
            Err(self.refusal().await)
        }
    }

    /// The error that this answer tells, with the server's own words.
    pub async fn refusal(self) -> Error {
        let (what, status) = (self.what.clone(), self.status());
        let wait = self
            .header("retry-after")
            .map(|text| text.trim().to_owned());
        let body = self.bytes(REFUSAL_LIMIT).await.unwrap_or_default();
        let mut detail = registry_words(&body)
            .or_else(|| status.canonical_reason().map(str::to_lowercase))
            .unwrap_or_else(|| "refused".to_owned());
        if let Some(seconds) = wait.and_then(|text| text.parse::<u32>().ok()) {
            detail.push_str(&format!(", try again in {seconds} s"));
        }
        Error::Refused {
            what,
            kind: kind(status),
            detail,
            status: status.as_u16(),
        }
    }
}

/// The class of a status.
fn kind(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 => Kind::Unauthorized,
        403 => Kind::Denied,
        404 | 410 => Kind::NotFound,
        429 => Kind::RateLimited,
        500..=599 => Kind::Server,
        _ => Kind::Refused,
    }
}

/// The words in a registry's error document (distribution-spec, Error Codes),
/// or those of a token service; shortened, without control characters.
pub fn registry_words(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |value: &serde_json::Value, name: &str| {
        value
            .get(name)?
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let words = match document.get("errors").and_then(|errors| errors.as_array()) {
        Some(errors) => {
            let words: Vec<String> = errors
                .iter()
                .take(3)
                .filter_map(|error| {
                    text(error, "message").or_else(|| {
                        text(error, "code").map(|code| code.to_lowercase().replace('_', " "))
                    })
                })
                .collect();
            words.join("; ")
        }
        None => text(&document, "error_description")
            .or_else(|| text(&document, "details"))
            .or_else(|| text(&document, "error"))
            .or_else(|| text(&document, "message"))?,
    };
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS)
        .collect();
    let words = words.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

/// `bytes 5-9/10` → (5, Some(10)) (RFC 9110, section 14.4).
pub fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_registries_and_token_services() {
        let cases: [(&[u8], Option<&str>); 7] = [
            (
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                Some("manifest unknown"),
            ),
            (
                br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
                Some("name unknown"),
            ),
            (
                br#"{"details":"incorrect username or password"}"#,
                Some("incorrect username or password"),
            ),
            (br#"{"error":"x\u001b[31my"}"#, Some("x [31my")),
            (b"<html>", None),
            (br#"{"errors":[]}"#, None),
            (br#"{"errors":7}"#, None),
        ];
        for (body, want) in cases {
            assert_eq!(registry_words(body).as_deref(), want);
        }
    }

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 0-0/*"), Some((0, None)));
        for bad in [
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes */10",
            "5-9/10",
            "bytes -1-2/3",
            "",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
