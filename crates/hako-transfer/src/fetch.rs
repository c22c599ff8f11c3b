//! Documents and blobs from their source into the store, verified.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use hako_distribution::Client;
use hako_distribution::hash;
use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, media_type};
use hako_spec::reference::Reference;
use hako_store::{BlobWriter, Error as StoreError, Ingest, Store};
use tokio::sync::mpsc;

use crate::arriving::{Arriving, Expected};
use crate::error::{Error, Result};
use crate::origin::Content;
use crate::progress::{Event, Progress};

/// Pieces of a download that wait for the disk.
const QUEUE: usize = 64;
/// Bytes read at once from a local source.
const PIECE: usize = 256 * 1024;

/// Where the bytes of one image come from.
#[derive(Clone)]
pub(crate) enum Origin {
    Registry {
        client: Client,
        reference: Reference,
    },
    Local(Arc<dyn Content>),
}

/// What a fetch needs.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) store: Store,
    pub(crate) progress: Arc<dyn Progress>,
}

/// Runs `work` where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::Task)?
}

impl Fetch {
    pub(crate) fn image_error(&self, reason: impl Into<String>) -> Error {
        Error::Image {
            name: self.name.clone(),
            reason: reason.into(),
        }
    }

    /// A document of at most `limit` bytes; it is in the store afterwards.
    pub(crate) async fn document(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes> {
        let digest = &descriptor.digest;
        if descriptor.size > limit {
            return Err(self.image_error(format!(
                "{what} {digest} has {} bytes, more than {limit}",
                descriptor.size
            )));
        }
        if let Some(bytes) = self.stored(digest, limit).await? {
            self.check(what, descriptor, &bytes)?;
            return Ok(bytes);
        }
        let bytes = match (&descriptor.data, &self.origin) {
            // image-spec, descriptor.md: `data` is a copy, to be verified.
            (Some(data), _) => Bytes::from(data.0.clone()),
            (None, Origin::Registry { client, reference }) => {
                let of_manifests = media_type::is_manifest(&descriptor.media_type)
                    || media_type::is_index(&descriptor.media_type);
                if of_manifests {
                    client
                        .manifest(&reference.with_digest(digest.clone()))
                        .await?
                        .bytes
                } else {
                    let mut download = client.blob(reference, digest, descriptor.size, 0)?;
                    let mut all = Vec::new();
                    while let Some(piece) = download.chunk().await? {
                        all.extend_from_slice(&piece);
                    }
                    all.into()
                }
            }
            (None, Origin::Local(content)) => {
                let (content, wanted) = (Arc::clone(content), descriptor.clone());
                let (size, name) = (descriptor.size, self.name.clone());
                blocking(move || {
                    let mut all = Vec::new();
                    let reader = content.open(&wanted)?;
                    // One byte more tells that there is more.
                    reader
                        .take(size.saturating_add(1))
                        .read_to_end(&mut all)
                        .map_err(|source| Error::File {
                            path: name.into(),
                            file: wanted.digest.to_string(),
                            source,
                        })?;
                    Ok(all.into())
                })
                .await?
            }
        };
        self.check(what, descriptor, &bytes)?;
        self.keep(digest.clone(), bytes.clone()).await?;
        Ok(bytes)
    }

    /// A document that is in the store already.
    pub(crate) async fn stored(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        let (store, digest) = (self.store.clone(), digest.clone());
        blocking(move || match store.blobs().read(&digest, limit) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(StoreError::BlobUnknown(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// Puts verified bytes into the store.
    pub(crate) async fn keep(&self, digest: Digest, bytes: Bytes) -> Result<()> {
        let store = self.store.clone();
        blocking(move || {
            if let Ingest::Writer(mut writer) = store.blobs().writer(&digest, bytes.len() as u64)? {
                writer.restart()?;
                writer.write_bytes(&bytes)?;
                writer.commit()?;
            }
            Ok(())
        })
        .await
    }

    fn check(&self, what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let digest = &descriptor.digest;
        if bytes.len() as u64 != descriptor.size {
            return Err(self.image_error(format!(
                "{what} {digest} has {} bytes, its descriptor says {}",
                bytes.len(),
                descriptor.size
            )));
        }
        hash::check(bytes, digest)
            .map_err(|got| self.image_error(format!("{what} {digest} has the digest {got}")))
    }

    /// Brings a layer's blob into the store, from where a former attempt
    /// stopped. Who expects it can follow.
    pub(crate) async fn blob(&self, descriptor: &Descriptor, expected: Expected) -> Result<()> {
        self.bring_blob(descriptor, &expected.0).await?;
        expected.0.arrived();
        Ok(())
    }

    async fn bring_blob(&self, descriptor: &Descriptor, arriving: &Arc<Arriving>) -> Result<()> {
        let digest = &descriptor.digest;
        for attempt in 0.. {
            let (store, wanted) = (self.store.clone(), descriptor.clone());
            let ingest =
                blocking(move || Ok(store.blobs().writer(&wanted.digest, wanted.size)?)).await?;
            let Ingest::Writer(writer) = ingest else {
                return Ok(());
            };
            let resumed = writer.offset() > 0;
            self.progress.event(Event::LayerStart {
                digest: digest.clone(),
                size: descriptor.size,
                offset: writer.offset(),
            });
            let result = match &self.origin {
                Origin::Registry { client, reference } => {
                    self.download(client, reference, writer, arriving).await
                }
                Origin::Local(content) => {
                    let content = Arc::clone(content);
                    self.copy(content, descriptor, writer, arriving).await
                }
            };
            match result {
                // What lay there from a former attempt was wrong; it is gone.
                Err(Error::Store(StoreError::DigestMismatch { .. })) if resumed && attempt == 0 => {
                }
                result => return result,
            }
        }
        Ok(())
    }

    async fn download(
        &self,
        client: &Client,
        reference: &Reference,
        writer: Box<BlobWriter>,
        arriving: &Arc<Arriving>,
    ) -> Result<()> {
        let digest = writer.digest().clone();
        // The writer hashes what comes; once is enough.
        let download = client.blob(reference, &digest, writer.size(), writer.offset())?;
        let mut download = download.unhashed();
        // The disk and the hash have a thread of their own.
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let arriving = Arc::clone(arriving);
        let writing = tokio::task::spawn_blocking(move || {
            let mut writer = writer;
            arriving.begin(writer.reader()?, writer.offset());
            while let Some(piece) = receiver.blocking_recv() {
                writer.write_bytes(&piece)?;
                arriving.advance(writer.offset());
            }
            Ok::<_, StoreError>(writer)
        });
        let received = loop {
            match download.chunk().await {
                Ok(Some(piece)) => {
                    let bytes = piece.len() as u64;
                    if sender.send(piece).await.is_err() {
                        break Ok(());
                    }
                    self.progress.event(Event::LayerProgress {
                        digest: digest.clone(),
                        bytes,
                    });
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(sender);
        let writer = writing.await.map_err(Error::Task)??;
        match received {
            Ok(()) => blocking(move || Ok(writer.commit()?)).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn copy(
        &self,
        content: Arc<dyn Content>,
        descriptor: &Descriptor,
        mut writer: Box<BlobWriter>,
        arriving: &Arc<Arriving>,
    ) -> Result<()> {
        let (descriptor, name) = (descriptor.clone(), self.name.clone());
        let arriving = Arc::clone(arriving);
        let progress = Arc::clone(&self.progress);
        blocking(move || {
            writer.restart()?;
            arriving.begin(writer.reader()?, 0);
            let mut reader = content.open(&descriptor)?;
            let mut buffer = vec![0; PIECE];
            loop {
                let count = match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(source) => {
                        let file = descriptor.digest.to_string();
                        return Err(Error::File {
                            path: name.into(),
                            file,
                            source,
                        });
                    }
                };
                writer.write_bytes(buffer.get(..count).unwrap_or_default())?;
                arriving.advance(writer.offset());
                let (digest, bytes) = (descriptor.digest.clone(), count as u64);
                progress.event(Event::LayerProgress { digest, bytes });
            }
            Ok(writer.commit()?)
        })
        .await
    }
}
