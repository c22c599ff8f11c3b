//! The plain tar of a layer: from the store, out of its download, or straight
//! from a local source.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;

use hako_distribution::hash::Hasher;
use hako_spec::digest::Digest;
use hako_spec::image::media_type::{LayerCompression, layer_compression};
use hako_store::Error as StoreError;
use hako_tar::codec::{self, Compression, Decoder};

use crate::arriving::Arriving;
use crate::fetch::{Fetch, Origin};
use crate::plan::Layer;

/// Buffer before the decoder, in bytes.
const BUFFER: usize = 256 * 1024;

type Source = Box<dyn Read + Send>;

/// A layer, decompressed. Nothing is opened before the first byte is asked for,
/// and the end is reported only after the compressed bytes were seen to have
/// the layer's digest.
pub(crate) struct Plain<'a> {
    fetch: &'a Fetch,
    layer: &'a Layer,
    arriving: Option<&'a Arc<Arriving>>,
    state: State,
}

enum State {
    Closed,
    Open(Box<Decoder<BufReader<Source>>>),
    Ended,
}

impl<'a> Plain<'a> {
    /// `arriving`: the layer's blob, if it is on its way.
    pub(crate) fn new(
        fetch: &'a Fetch,
        layer: &'a Layer,
        arriving: Option<&'a Arc<Arriving>>,
    ) -> Self {
        Self {
            fetch,
            layer,
            arriving,
            state: State::Closed,
        }
    }

    fn open(&self) -> io::Result<Decoder<BufReader<Source>>> {
        let mut source = BufReader::with_capacity(BUFFER, self.source()?);
        let head = source.fill_buf()?;
        codec::decoder(compression(self.layer, head), source)
    }

    /// The blob: as it comes, else of the store, else of a local source.
    fn source(&self) -> io::Result<Source> {
        let wanted = &self.layer.descriptor;
        if let Some(arriving) = self.arriving
            && let Some(follow) = arriving.follow()?
        {
            return Ok(Box::new(follow));
        }
        match self
            .fetch
            .store
            .blobs()
            .open_sized(&wanted.digest, wanted.size)
        {
            Ok(reader) => Ok(Box::new(reader)),
            Err(StoreError::BlobUnknown(_)) => match &self.fetch.origin {
                Origin::Local(content) => {
                    let inner = content.open(wanted).map_err(io::Error::other)?;
                    Ok(Box::new(Checked::new(
                        inner,
                        wanted.digest.clone(),
                        wanted.size,
                    )))
                }
                Origin::Registry { .. } => Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("blob {} has gone", wanted.digest),
                )),
            },
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Peers go by the first bytes, whatever the media type says. But a layer that
/// is called plain, and whose digest is its diff id, is plain even if its first
/// file has a strange name.
fn compression(layer: &Layer, head: &[u8]) -> Compression {
    let plain = layer_compression(&layer.descriptor.media_type) == Some(LayerCompression::None)
        && layer.descriptor.digest == layer.diff_id;
    if plain {
        Compression::None
    } else {
        codec::detect(head)
    }
}

impl Read for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Closed => self.state = State::Open(Box::new(self.open()?)),
                State::Ended => return Ok(0),
                State::Open(mut decoder) => {
                    let count = match decoder.read(buffer) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                            self.state = State::Open(decoder);
                            continue;
                        }
                        result => result?,
                    };
                    if count > 0 {
                        self.state = State::Open(decoder);
                        return Ok(count);
                    }
                    // Whatever lies behind the compressed stream belongs to the
                    // blob: its end is where the digest is checked.
                    io::copy(&mut decoder.into_inner(), &mut io::sink())?;
                    return Ok(0);
                }
            }
        }
    }
}

/// A reader that fails at its end unless size and digest are right, and as soon
/// as there is a byte too many.
struct Checked {
    inner: Source,
    digest: Digest,
    size: u64,
    seen: u64,
    hasher: Option<Hasher>,
}

impl Checked {
    fn new(inner: Source, digest: Digest, size: u64) -> Self {
        let hasher = Some(Hasher::like(&digest));
        Self {
            inner,
            digest,
            size,
            seen: 0,
            hasher,
        }
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if count > 0 {
            self.seen = self.seen.saturating_add(count as u64);
            if self.seen > self.size {
                return wrong(format!(
                    "blob {} has more than {} bytes",
                    self.digest, self.size
                ));
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(buffer.get(..count).unwrap_or_default());
            }
        } else if !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            if self.seen < self.size {
                return wrong(format!(
                    "blob {} has {} bytes instead of {}",
                    self.digest, self.seen, self.size
                ));
            }
            let got = hasher.finish();
            if got != self.digest {
                return wrong(format!("blob {} has the digest {got}", self.digest));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::sha256;

    fn read(bytes: &'static [u8], digest: Digest, size: u64) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        let mut checked = Checked::new(Box::new(bytes), digest, size);
        checked
            .read_to_end(&mut all)
            .map_err(|error| error.to_string())?;
        Ok(all)
    }

    #[test]
    fn the_end_is_checked() {
        let digest = sha256(b"layer");
        assert_eq!(read(b"layer", digest.clone(), 5).unwrap(), b"layer");
        assert!(
            read(b"layer", digest.clone(), 4)
                .unwrap_err()
                .contains("more than 4")
        );
        assert!(
            read(b"laye", digest.clone(), 5)
                .unwrap_err()
                .contains("4 bytes instead of 5")
        );
        assert!(
            read(b"lazer", digest, 5)
                .unwrap_err()
                .contains("has the digest")
        );
    }

    #[test]
    fn a_plain_layer_may_begin_like_a_compressed_one() {
        use hako_spec::image::{Descriptor, media_type};
        let head = [0x1f, 0x8b, 0x08, 0];
        let digest = sha256(b"x");
        let layer = |kind: &str, diff_id: Digest| Layer {
            index: 0,
            descriptor: Descriptor::new(kind, digest.clone(), 1),
            diff_id,
        };
        let plain = layer(media_type::LAYER, digest.clone());
        assert_eq!(compression(&plain, &head), Compression::None);
        let lying = layer(media_type::LAYER, sha256(b"y"));
        assert_eq!(compression(&lying, &head), Compression::Gzip);
        let unpacked = layer(media_type::LAYER_GZIP, digest.clone());
        assert_eq!(compression(&unpacked, b"usr/"), Compression::None);
    }
}
