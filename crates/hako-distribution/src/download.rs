//! A long body that survives broken connections.
//!
//! The server may stop in the middle, ignore `Range`, announce a false length
//! or never stop: the caller sees exactly the bytes that belong at its offset,
//! at most as many as expected, or an error.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use hako_spec::digest::Digest;

use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::http::{Http, Request, Response};

/// After this many bytes a connection has done its work, and the count of
/// failed attempts starts again.
const PROGRESS: u64 = 256 * 1024;

/// Opens the body at an offset, as often as asked.
pub trait Open: Send + Sync {
    /// A successful answer with the body from byte `offset` on: 206, or 200
    /// with the body from its start.
    fn open(&self, offset: u64) -> impl Future<Output = Result<Response>> + Send;

    /// What is being done, for error texts.
    fn what(&self) -> &str;
}

/// Opens with a plain GET, as for a Debian mirror.
#[derive(Clone, Debug)]
pub struct Plain {
    /// The client.
    pub http: Http,
    /// The GET.
    pub request: Request,
}

impl Open for Plain {
    async fn open(&self, offset: u64) -> Result<Response> {
        self.http.get(&self.request.clone().from_byte(offset)).await
    }

    fn what(&self) -> &str {
        &self.request.what
    }
}

/// What is known of the whole body in advance.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Its length in bytes.
    pub size: Option<u64>,
    /// Its digest. It is checked here if the download starts at byte 0; from
    /// another offset the first bytes are not seen here and the caller checks.
    pub digest: Option<Digest>,
    /// The longest body that is taken when `size` is unknown, in bytes.
    pub limit: Option<u64>,
}

/// How often and how fast a broken body is opened again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts without progress before giving up.
    pub attempts: u32,
    /// The first pause; it doubles, with jitter.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(250),
        }
    }
}

/// A body in pieces.
pub struct Download<O> {
    opener: O,
    expected: Expected,
    patience: Patience,
    /// The position of the next byte for the caller.
    position: u64,
    /// Bytes to drop because the server began before `position`.
    skip: u64,
    failures: u32,
    fresh: u64,
    hasher: Option<Hasher>,
    response: Option<Response>,
    done: bool,
}

impl<O: Open> Download<O> {
    /// The body from byte `offset` on. Nothing is sent before the first piece
    /// is asked for.
    pub fn new(opener: O, offset: u64, expected: Expected, patience: Patience) -> Self {
        let hasher = expected
            .digest
            .as_ref()
            .filter(|_| offset == 0)
            .map(Hasher::like);
        Self {
            opener,
            expected,
            patience,
            position: offset,
            skip: 0,
            failures: 0,
            fresh: 0,
            hasher,
            response: None,
            done: false,
        }
    }

    /// The same, with the digest left to the caller, who hashes anyway.
    #[must_use]
    pub fn unhashed(mut self) -> Self {
        self.hasher = None;
        self
    }

    /// How many bytes of the body the caller has, those before its offset
    /// included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes, or nothing when the body is complete and checked.
    ///
    /// # Errors
    /// [`Error::TooLong`] before a byte beyond the expected size is handed out,
    /// [`Error::Truncated`], [`Error::Digest`], and what the opener says.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.done {
                return Ok(None);
            }
            if self.response.is_none() {
                if self.expected.size == Some(self.position) {
                    return self.finish();
                }
                match self.open().await {
                    Ok(response) => self.response = Some(response),
                    // There is nothing at our position: the body is shorter
                    // than it should be, now and later (RFC 9110, 15.5.17).
                    Err(Error::Refused {
                        status: 416, what, ..
                    }) if self.position > 0 => {
                        let want = self.expected.size.unwrap_or(self.position);
                        let got = self.position;
                        return Err(Error::Truncated { what, got, want });
                    }
                    Err(error) => {
                        self.retry(error).await?;
                        continue;
                    }
                }
            }
            let Some(response) = self.response.as_mut() else {
                continue;
            };
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    if let Some(bytes) = self.take(bytes)? {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None) => match self.expected.size {
                    Some(want) if self.position < want => {
                        let what = self.opener.what().to_owned();
                        let got = self.position;
                        self.retry(Error::Truncated { what, got, want }).await?;
                    }
                    _ => return self.finish(),
                },
                Err(error) => self.retry(error).await?,
            }
        }
    }

    async fn open(&mut self) -> Result<Response> {
        let response = self.opener.open(self.position).await?;
        let what = self.opener.what();
        let wrong = |reason: String| Err(Error::protocol(what, reason));
        match response.status().as_u16() {
            200 => self.skip = self.position,
            206 => {
                let Some((first, total)) = response.content_range() else {
                    return wrong("the server sent a part without saying which".to_owned());
                };
                if first > self.position {
                    return wrong(format!(
                        "the server sent byte {first} when asked for byte {}",
                        self.position
                    ));
                }
                if let (Some(total), Some(size)) = (total, self.expected.size)
                    && total != size
                {
                    return wrong(format!("the server has {total} bytes, expected {size}"));
                }
                self.skip = self.position - first;
            }
            status => return wrong(format!("unexpected status {status}")),
        }
        if let (Some(length), Some(limit)) = (response.content_length(), self.limit()) {
            let begin = self.position - self.skip;
            if begin.saturating_add(length) > limit {
                return Err(Error::TooLong {
                    what: what.to_owned(),
                    limit,
                });
            }
        }
        Ok(response)
    }

    fn limit(&self) -> Option<u64> {
        self.expected.size.or(self.expected.limit)
    }

    /// Cuts off what the caller has, and checks the rest against the limit.
    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>> {
        let drop = self.skip.min(bytes.len() as u64);
        self.skip -= drop;
        // `drop` is at most the length, which is a usize.
        let bytes = bytes.split_off(usize::try_from(drop).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            return Ok(None);
        }
        let end = self.position.saturating_add(bytes.len() as u64);
        if let Some(limit) = self.limit()
            && end > limit
        {
            return Err(Error::TooLong {
                what: self.opener.what().to_owned(),
                limit,
            });
        }
        self.position = end;
        self.fresh = self.fresh.saturating_add(bytes.len() as u64);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// Waits before the next attempt, or gives up with `error`.
    async fn retry(&mut self, error: Error) -> Result<()> {
        self.response = None;
        if !error.is_transient() {
            return Err(error);
        }
        if self.fresh >= PROGRESS {
            self.failures = 0;
        }
        self.fresh = 0;
        self.failures += 1;
        if self.failures >= self.patience.attempts.max(1) {
            return Err(error);
        }
        tokio::time::sleep(crate::http::pause(self.patience.pause, self.failures)).await;
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<Bytes>> {
        self.done = true;
        self.response = None;
        if let (Some(hasher), Some(want)) = (self.hasher.take(), &self.expected.digest) {
            let got = hasher.finish();
            if got != *want {
                let what = self.opener.what().to_owned();
                return Err(Error::Digest {
                    what,
                    got,
                    want: want.clone(),
                });
            }
        }
        Ok(None)
    }
}
