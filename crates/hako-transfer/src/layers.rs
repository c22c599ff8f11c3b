//! The layers of one image, in parallel: downloaded, verified, unpacked.
//!
//! A layer is unpacked as far as it has come ([`crate::arriving`]). Downloads
//! are bounded; unpacking begins in rising order, because a layer may
//! wait for those below it ([`hako_snapshot::Stack`]), and those must have
//! begun then.

use std::collections::HashMap;
use std::sync::Arc;

use hako_snapshot::{Error as SnapshotError, LayerKey, Snapshotter, Stack};
use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::arriving::{Arriving, Expected};
use crate::error::{Error, Result};
use crate::fetch::{Fetch, Origin, blocking};
use crate::plan::Layer;
use crate::progress::Event;
use crate::tar::Plain;

pub(crate) struct Job {
    pub(crate) fetch: Fetch,
    pub(crate) snapshotter: Option<Arc<Snapshotter>>,
    /// Compressed layers stay in the store.
    pub(crate) keep: bool,
    pub(crate) downloads: usize,
    pub(crate) layers: Vec<Layer>,
}

pub(crate) struct Brought {
    /// The unpacked layers, the base first.
    pub(crate) keys: Vec<LayerKey>,
    /// Bytes of the unpacked layers; of the blobs if there are no others.
    pub(crate) size: u64,
    pub(crate) is_new: bool,
}

/// What the tasks share.
struct Shared {
    fetch: Fetch,
    snapshotter: Option<Arc<Snapshotter>>,
    keep: bool,
    stack: Stack,
    downloads: Semaphore,
    unpacking: Arc<Semaphore>,
    /// How many layers, the base first, have begun to be unpacked.
    begun: watch::Sender<usize>,
    /// Which layers are ready.
    ready: watch::Sender<Vec<bool>>,
}

/// Lets nobody wait for a layer of a pull that is given up, however it ends.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.stack.abandon();
    }
}

pub(crate) async fn bring(job: Job) -> Result<Brought> {
    let diff_ids: Vec<Digest> = job
        .layers
        .iter()
        .map(|layer| layer.diff_id.clone())
        .collect();
    let there = match &job.snapshotter {
        None => vec![None; diff_ids.len()],
        Some(snapshotter) => {
            let (snapshotter, ids) = (Arc::clone(snapshotter), diff_ids.clone());
            blocking(move || Ok(snapshotter.lookup(&ids)?)).await?
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let shared = Arc::new(Shared {
        fetch: job.fetch,
        snapshotter: job.snapshotter,
        keep: job.keep,
        stack: Stack::new(diff_ids),
        downloads: Semaphore::new(job.downloads),
        unpacking: Arc::new(Semaphore::new(threads.max(2))),
        begun: watch::Sender::new(0),
        ready: watch::Sender::new(vec![false; job.layers.len()]),
    });
    let _abandon = Abandon(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    let mut first: HashMap<Digest, usize> = HashMap::new();
    for (layer, there) in job.layers.into_iter().zip(there) {
        let shared = Arc::clone(&shared);
        // A layer that comes again (often an empty one) is brought once.
        let same = first.get(&layer.diff_id).copied();
        first.entry(layer.diff_id.clone()).or_insert(layer.index);
        tasks.spawn(async move {
            let there = match same {
                Some(same) => {
                    shared.wait_until_ready(same).await;
                    shared.snapshotter.is_some()
                }
                None => there.is_some(),
            };
            let index = layer.index;
            let done = shared.layer(layer, there).await?;
            shared.ready.send_modify(|ready| {
                if let Some(ready) = ready.get_mut(index) {
                    *ready = true;
                }
            });
            Ok(if same.is_some() {
                Total { size: 0, ..done }
            } else {
                done
            })
        });
    }
    let mut total = Total {
        size: 0,
        is_new: false,
    };
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended.map_err(Error::Task).and_then(|result| result) {
            Ok(one) => {
                total.size = total.size.saturating_add(one.size);
                total.is_new |= one.is_new;
            }
            Err(error) => {
                // The first error is the cause, the others follow from it.
                if failed.is_none() {
                    failed = Some(error);
                    shared.stack.abandon();
                    tasks.abort_all();
                }
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let keys = match &shared.snapshotter {
        None => Vec::new(),
        Some(_) => shared.stack.keys().unwrap_or_default(),
    };
    Ok(Brought {
        keys,
        size: total.size,
        is_new: total.is_new,
    })
}

struct Total {
    size: u64,
    is_new: bool,
}

impl Shared {
    async fn layer(self: &Arc<Self>, layer: Layer, there: bool) -> Result<Total> {
        let digest = layer.descriptor.digest.clone();
        let progress = &self.fetch.progress;
        let needs_blob = self.keep || self.snapshotter.is_none();
        let mut arriving = None;
        let is_new = if there && !needs_blob {
            progress.event(Event::Exists {
                digest: digest.clone(),
            });
            false
        } else {
            let stored = self.has_blob(&layer.descriptor).await?;
            let direct = !needs_blob && matches!(self.fetch.origin, Origin::Local(_));
            if !stored && !direct {
                arriving = Some(Arc::default());
            }
            !(there && stored)
        };
        let size = self.fetch_and_unpack(&layer, there, arriving).await?;
        if !needs_blob && is_new {
            self.drop_blob(digest.clone()).await?;
        }
        if is_new {
            progress.event(Event::Done { digest });
        }
        Ok(Total { size, is_new })
    }

    /// Both at once: the layer is unpacked as far as it has come. The value is
    /// the size of what is kept, in bytes. `arriving`: it has to be fetched.
    async fn fetch_and_unpack(
        self: &Arc<Self>,
        layer: &Layer,
        there: bool,
        arriving: Option<Arc<Arriving>>,
    ) -> Result<u64> {
        let (blob, expected) = (&layer.descriptor, arriving.clone().map(Expected));
        // It owns what is expected from the start, and so gives it up whenever
        // it is dropped.
        let download = async move {
            if let Some(expected) = expected {
                let _permit = self.downloads.acquire().await;
                self.fetch.blob(blob, expected).await?;
                if self.snapshotter.is_some() {
                    let digest = blob.digest.clone();
                    self.fetch.progress.event(Event::Unpacking { digest });
                }
            }
            Ok(())
        };
        let Some(snapshotter) = self.snapshotter.clone() else {
            return download.await.map(|()| blob.size);
        };
        let unpack = self.unpack(snapshotter, layer, there, arriving.clone());
        tokio::pin!(download, unpack);
        tokio::select! {
            biased;
            fetched = &mut download => match (fetched, unpack.await) {
                (Err(error), Err(_)) => Err(error),
                // Somebody else has made the layer.
                (Err(_), unpacked) if !self.keep => unpacked,
                (fetched, unpacked) => fetched.and(unpacked),
            },
            unpacked = &mut unpack => {
                let is_lost = || arriving.is_some_and(|arriving| arriving.is_lost());
                match &unpacked {
                    // The cause of it, or what is kept besides.
                    Err(_) if is_lost() => download.await.and(unpacked),
                    Ok(_) if self.keep => download.await.and(unpacked),
                    _ => unpacked,
                }
            }
        }
    }

    async fn wait_until_ready(&self, index: usize) {
        let mut ready = self.ready.subscribe();
        // Its sender is in `self`, so the wait can only end well.
        let _ = ready
            .wait_for(|ready| ready.get(index).copied().unwrap_or(true))
            .await;
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let (store, descriptor) = (self.fetch.store.clone(), descriptor.clone());
        blocking(move || Ok(store.blobs().size(&descriptor.digest)? == Some(descriptor.size))).await
    }

    /// The compressed layer is not needed any more. Another pull that is about
    /// to read it at this moment finds the unpacked layer instead.
    async fn drop_blob(&self, digest: Digest) -> Result<()> {
        let store = self.fetch.store.clone();
        blocking(move || Ok(store.blobs().remove(&digest).map(drop)?)).await
    }

    /// Unpacks the layer and gives the size of its files in bytes.
    async fn unpack(
        self: &Arc<Self>,
        snapshotter: Arc<Snapshotter>,
        layer: &Layer,
        there: bool,
        arriving: Option<Arc<Arriving>>,
    ) -> Result<u64> {
        let index = layer.index;
        let mut begun = self.begun.subscribe();
        // Its sender is in `self`, so the wait can only end well.
        let _ = begun.wait_for(|begun| *begun >= index).await;
        let permit = Arc::clone(&self.unpacking).acquire_owned().await;
        self.begun
            .send_modify(|begun| *begun = (*begun).max(index + 1));
        if !there && arriving.is_none() {
            let digest = layer.descriptor.digest.clone();
            self.fetch.progress.event(Event::Unpacking { digest });
        }
        let (shared, layer) = (Arc::clone(self), layer.clone());
        blocking(move || {
            let _permit = permit;
            let result = shared.unpack_now(&snapshotter, &layer, arriving.as_ref());
            if result.is_err() {
                shared.stack.abandon();
            }
            result
        })
        .await
    }

    fn unpack_now(
        &self,
        snapshotter: &Snapshotter,
        layer: &Layer,
        arriving: Option<&Arc<Arriving>>,
    ) -> Result<u64> {
        let failed = |source: crate::error::Cause| Error::Unpack {
            name: self.fetch.name.clone(),
            digest: layer.descriptor.digest.clone(),
            source,
        };
        // Again if the layer turns out to need those below, and if what a former
        // download had left was wrong.
        for _ in 0..3 {
            let before = arriving.map_or(0, |arriving| arriving.attempt());
            let begins_again = |arriving: &Arc<Arriving>| {
                arriving.attempt() > 0 && arriving.begins_again(before.max(1))
            };
            let source = Plain::new(&self.fetch, layer, arriving);
            let unpacked = match snapshotter.unpack(&self.stack, layer.index, source) {
                Err(SnapshotError::NeedsLower { .. }) => continue,
                Err(_) if arriving.is_some_and(begins_again) => continue,
                result => result.map_err(|error| failed(error.into()))?,
            };
            for warning in &unpacked.layer.warnings {
                let text = format!("layer {}: {warning}", layer.descriptor.digest);
                self.fetch.progress.event(Event::Warning { text });
            }
            return Ok(unpacked.layer.bytes);
        }
        Err(failed(
            "it has to wait for the layers below again and again".into(),
        ))
    }
}
