//! Files of an archive, over HTTP or from a directory of this machine.

use crate::cache::{Cache, check, compare};
use crate::error::{Error, Result, io};
use crate::release::Promise;
use hako_distribution::download::{Download, Expected, Patience, Plain};
use hako_distribution::http::{Http, Request};
use hako_distribution::{Error as HttpError, Kind};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use tempfile::NamedTempFile;

/// Fetches files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) http: &'a Http,
    pub(crate) offline: bool,
}

/// The path of a `file:` or `copy:` URL.
fn local(url: &str) -> Option<PathBuf> {
    let rest = url
        .strip_prefix("file:")
        .or_else(|| url.strip_prefix("copy:"))?;
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        _ => rest,
    };
    Some(PathBuf::from(path))
}

impl Fetcher<'_> {
    fn online(&self, url: &str) -> Result<()> {
        if self.offline {
            return Err(Error::Offline {
                url: url.to_owned(),
            });
        }
        Ok(())
    }

    /// A small file; `None` where the archive has none.
    ///
    /// # Errors
    /// It cannot be fetched, or has more than `limit` bytes.
    pub(crate) async fn small(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if let Some(path) = local(url) {
            let file = match File::open(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                other => other.map_err(io(&path, "open"))?,
            };
            let mut bytes = Vec::new();
            file.take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(io(&path, "read"))?;
            if bytes.len() as u64 > limit {
                return Err(Error::Mismatch {
                    what: url.to_owned(),
                    reason: format!("it has more than {limit} bytes"),
                });
            }
            return Ok(Some(bytes));
        }
        self.online(url)?;
        let request = Request::get("package archive", url).map_err(|e| failed(url, e))?;
        match self.http.bytes(&request, limit).await {
            Ok((_, bytes)) => Ok(Some(bytes.to_vec())),
            Err(HttpError::Refused {
                kind: Kind::NotFound,
                ..
            }) => Ok(None),
            Err(error) => Err(failed(url, error)),
        }
    }

    /// A file of known size and hash, which are checked; `None` where the
    /// archive has none. `progress` is told the bytes so far.
    ///
    /// # Errors
    /// It cannot be fetched, or is not what was promised.
    pub(crate) async fn file(
        &self,
        url: &str,
        promise: &Promise,
        cache: &Cache,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<NamedTempFile>> {
        let mismatch = |reason| Error::Mismatch {
            what: url.to_owned(),
            reason,
        };
        let mut temporary = cache.temporary()?;
        let writing = |e| io("the package cache", "write")(e);
        if let Some(path) = local(url) {
            let mut file = match File::open(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                other => other.map_err(io(&path, "open"))?,
            };
            // Copied first and checked then: the original may change.
            let mut bounded = (&mut file).take(promise.size.saturating_add(1));
            std::io::copy(&mut bounded, temporary.as_file_mut()).map_err(io(&path, "read"))?;
            check(temporary.as_file_mut(), promise).map_err(mismatch)?;
            progress(promise.size);
            return Ok(Some(temporary));
        }
        self.online(url)?;
        let request = Request::get("package archive", url).map_err(|e| failed(url, e))?;
        let opener = Plain {
            http: self.http.clone(),
            request,
        };
        let expected = Expected {
            size: Some(promise.size),
            ..Expected::default()
        };
        let mut download = Download::new(opener, 0, expected, Patience::default());
        let mut hasher = Sha256::new();
        let mut total = 0u64;
        loop {
            match download.chunk().await {
                Ok(Some(bytes)) => {
                    hasher.update(&bytes);
                    total += bytes.len() as u64;
                    temporary.write_all(&bytes).map_err(writing)?;
                    progress(total);
                }
                Ok(None) => break,
                Err(HttpError::Refused {
                    kind: Kind::NotFound,
                    ..
                }) => return Ok(None),
                Err(error) => return Err(failed(url, error)),
            }
        }
        compare(total, hasher.finalize().into(), promise).map_err(mismatch)?;
        Ok(Some(temporary))
    }
}

fn failed(url: &str, source: HttpError) -> Error {
    match source {
        HttpError::Refused { status, .. } => Error::Status {
            url: url.to_owned(),
            status,
        },
        HttpError::TooLong { limit, .. } => Error::Mismatch {
            what: url.to_owned(),
            reason: format!("it has more than {limit} bytes"),
        },
        source => Error::Fetch {
            url: url.to_owned(),
            source: Box::new(source),
        },
    }
}
