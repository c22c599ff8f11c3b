//! Blobs (end-2), from the first place that has them, resumed when broken.

use hako_spec::digest::Digest;
use hako_spec::reference::Reference;
use reqwest::Method;

use super::Client;
use crate::download::{Download, Expected, Open, Patience};
use crate::error::{Error, Result};
use crate::http::Response;
use crate::registries::Place;

/// A blob at a registry and its mirrors: what a [`Download`] opens.
pub struct Blob {
    client: Client,
    what: String,
    digest: Digest,
    places: Vec<Place>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl Open for Blob {
    async fn open(&self, offset: u64) -> Result<Response> {
        first!(self.client, &self.what, &self.places, |place| self
            .open_at(place, offset))
    }

    fn what(&self) -> &str {
        &self.what
    }
}

impl Blob {
    async fn open_at(&self, place: &Place, offset: u64) -> Result<Response> {
        let path = format!("/v2/{}/blobs/{}", place.repository, self.digest);
        let asked = self
            .client
            .ask(&self.what, place, Method::GET, &path, |request| {
                request.from_byte(offset)
            });
        asked.await?.success().await
    }
}

impl Client {
    /// The bytes of the blob `digest` of the reference's repository from byte
    /// `offset` on; exactly `size` bytes in all.
    ///
    /// From offset 0 the digest is checked before the end is reported. From
    /// another offset the caller holds the first bytes, and checks.
    ///
    /// # Errors
    /// A blocked registry, an offset beyond the size. Nothing is sent
    /// before the first piece is asked for.
    pub fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Download<Blob>> {
        let what = format!(
            "pull {}/{}: blob {digest}",
            reference.registry, reference.repository
        );
        if offset > size {
            return Err(Error::protocol(&what, format!("it has no byte {offset}")));
        }
        let mut places = self.places(&what, reference)?;
        places.retain(|place| place.has_digests);
        let options = self.http().options();
        let patience = Patience {
            attempts: options.attempts,
            pause: options.pause,
        };
        let expected = Expected {
            size: Some(size),
            digest: Some(digest.clone()),
            limit: None,
        };
        let blob = Blob {
            client: self.clone(),
            what,
            digest: digest.clone(),
            places,
        };
        Ok(Download::new(blob, offset, expected, patience))
    }
}
