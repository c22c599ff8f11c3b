//! The steps of one pull: from a name to a manifest, to a config, to layers,
//! to a record and names.

use std::sync::Arc;

use bytes::Bytes;
use hako_distribution::{Client, Kind};
use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, Image as Config, Manifest};
use hako_spec::manifest::{self, ManifestKind};
use hako_spec::platform::{Platform, rank};
use hako_spec::reference::Reference;
use hako_store::settings::Originals;
use hako_store::{Hold, Lease};

use crate::error::{Error, Result};
use crate::fetch::{Fetch, Origin, blocking};
use crate::origin::Content;
use crate::origin::archive::Archive;
use crate::origin::directory::Directory;
use crate::origin::docker_archive::DockerArchive;
use crate::origin::layout::Layout;
use crate::origin::plain_dir::PlainDir;
use crate::progress::Event;
use crate::pull::{Context, Options, Pulled};
use crate::select::select;
use crate::source::Source;
use crate::{layers, name, packages, plan};

/// How deep indexes may be nested.
const DEPTH: usize = 4;

/// What is to begin with, and how its bytes were come by.
pub(crate) struct Begin {
    descriptor: Descriptor,
    bytes: Bytes,
    names: Vec<String>,
}

pub(crate) struct Job<'a> {
    source: &'a Source,
    context: &'a Context,
    options: &'a Options,
    want: Option<Platform>,
    fetch: Fetch,
    lease: Arc<Lease>,
}

impl<'a> Job<'a> {
    pub(crate) async fn start(
        source: &'a Source,
        context: &'a Context,
        options: &'a Options,
        want: Option<Platform>,
        lease: Arc<Lease>,
    ) -> Result<Self> {
        let origin = match source {
            Source::Registry(reference) => Origin::Registry {
                client: context.client.clone(),
                reference: reference.clone(),
            },
            Source::Deb(request) => {
                let made = packages::make(request, context, options.platform.as_ref()).await?;
                Origin::Local(Arc::new(made))
            }
            local => {
                let (local, scratch) = (local.clone(), context.store.path("ingest"));
                Origin::Local(blocking(move || open(&local, &scratch)).await?)
            }
        };
        let fetch = Fetch {
            name: source.to_string(),
            origin,
            store: context.store.clone(),
            progress: Arc::clone(&context.progress),
        };
        Ok(Self {
            source,
            context,
            options,
            want,
            fetch,
            lease,
        })
    }

    /// Keeps things from the garbage collection; ask whether they are there
    /// after this.
    async fn hold(&self, holds: Vec<Hold>) -> Result<()> {
        let lease = Arc::clone(&self.lease);
        blocking(move || Ok(lease.hold(&holds)?)).await
    }

    /// The index or manifest that the source stands for; it is in the store
    /// afterwards.
    pub(crate) async fn root(&self) -> Result<Begin> {
        let limit = manifest::MAX_LEN as u64;
        match &self.fetch.origin {
            Origin::Local(content) => {
                let content = Arc::clone(content);
                let root = blocking(move || content.root()).await?;
                self.hold(vec![Hold::Blob(root.descriptor.digest.clone())])
                    .await?;
                let bytes = Bytes::from(root.bytes);
                let mut descriptor = root.descriptor;
                descriptor.data = Some(hako_spec::Base64(bytes.to_vec()));
                let bytes = self.fetch.document("manifest", &descriptor, limit).await?;
                descriptor.data = None;
                Ok(Begin {
                    descriptor,
                    bytes,
                    names: root.names,
                })
            }
            Origin::Registry { client, reference } => {
                // HEAD first: what is here already is not fetched again, and
                // public registries do not count HEAD.
                let resolved = client.resolve(reference).await?;
                self.hold(vec![Hold::Blob(resolved.digest.clone())]).await?;
                let (digest, bytes) = match resolved.fetched {
                    Some(fetched) => (fetched.digest, fetched.bytes),
                    None => match self.fetch.stored(&resolved.digest, limit).await? {
                        Some(bytes) => (resolved.digest, bytes),
                        None => self.fetch_root(client, reference, &resolved.digest).await?,
                    },
                };
                self.hold(vec![Hold::Blob(digest.clone())]).await?;
                self.fetch.keep(digest.clone(), bytes.clone()).await?;
                let document = self.read("manifest", &digest, &bytes, None)?;
                let size = bytes.len() as u64;
                let descriptor = Descriptor::new(document.media_type(), digest, size);
                Ok(Begin {
                    descriptor,
                    bytes,
                    names: Vec::new(),
                })
            }
        }
    }

    /// The document by digest, or by tag from registries that tell a digest
    /// and then do not know it.
    async fn fetch_root(
        &self,
        client: &Client,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<(Digest, Bytes)> {
        let by_digest = reference.with_digest(digest.clone());
        let fetched = match client.manifest(&by_digest).await {
            Err(error) if error.kind() == Kind::NotFound && reference.digest.is_none() => {
                client.manifest(reference).await?
            }
            result => result?,
        };
        Ok((fetched.digest, fetched.bytes))
    }

    fn read(
        &self,
        what: &'static str,
        digest: &Digest,
        bytes: &[u8],
        media_type: Option<&str>,
    ) -> Result<ManifestKind> {
        manifest::parse(bytes, media_type).map_err(|source| Error::Document {
            name: self.fetch.name.clone(),
            what,
            digest: digest.clone(),
            source,
        })
    }

    /// Goes from an index down to the manifest for the platform.
    async fn manifest(&self, begin: &Begin) -> Result<(Descriptor, Manifest)> {
        let mut descriptor = begin.descriptor.clone();
        let mut bytes = begin.bytes.clone();
        let mut seen = Vec::new();
        for _ in 0..=DEPTH {
            let kind = Some(descriptor.media_type.as_str());
            let index = match self.read("manifest", &descriptor.digest, &bytes, kind)? {
                ManifestKind::Manifest(manifest) => return Ok((descriptor, *manifest)),
                ManifestKind::Index(index) => index,
            };
            seen.push(descriptor.digest.clone());
            let want = self.want.clone().unwrap_or_else(Platform::host);
            let found = select(&index, &want).cloned();
            descriptor = found.map_err(|have| Error::Platform {
                name: self.fetch.name.clone(),
                want: want.to_string(),
                have,
            })?;
            if seen.contains(&descriptor.digest) {
                return Err(self.fetch.image_error("its index contains itself"));
            }
            self.hold(vec![Hold::Blob(descriptor.digest.clone())])
                .await?;
            bytes = self
                .fetch
                .document("manifest", &descriptor, manifest::MAX_LEN as u64)
                .await?;
        }
        Err(self
            .fetch
            .image_error(format!("its indexes are nested more than {DEPTH} deep")))
    }

    /// The config, and whether it is for the platform.
    async fn config(&self, manifest: &Manifest) -> Result<Config> {
        let digest = &manifest.config.digest;
        let limit = Config::MAX_LEN as u64;
        let bytes = self
            .fetch
            .document("config", &manifest.config, limit)
            .await?;
        let config = Config::from_slice(&bytes).map_err(|source| Error::Document {
            name: self.fetch.name.clone(),
            what: "config",
            digest: digest.clone(),
            source,
        })?;
        if let Some(want) = &self.want
            && rank(want, &config.platform()).is_none()
        {
            return Err(Error::Platform {
                name: self.fetch.name.clone(),
                want: want.to_string(),
                have: vec![config.platform().to_string()],
            });
        }
        Ok(config)
    }

    pub(crate) async fn bring(self, begin: Begin) -> Result<Pulled> {
        let (descriptor, manifest) = self.manifest(&begin).await?;
        plan::check(&manifest).map_err(|reason| self.fetch.image_error(reason))?;
        let mut holds = vec![Hold::Blob(manifest.config.digest.clone())];
        holds.extend(
            manifest
                .layers
                .iter()
                .map(|layer| Hold::Blob(layer.digest.clone())),
        );
        self.hold(holds).await?;
        let config = self.config(&manifest).await?;
        let layers =
            plan::layers(&manifest, &config).map_err(|reason| self.fetch.image_error(reason))?;
        let holds: Vec<Hold> = layers
            .iter()
            .map(|layer| Hold::Layer(layer.diff_id.to_string()))
            .collect();
        self.hold(holds).await?;
        self.context.progress.event(Event::Resolved {
            digest: begin.descriptor.digest.clone(),
            layers: layers.len(),
        });
        let originals = match self.options.originals {
            Some(originals) => originals,
            None => {
                let store = self.context.store.clone();
                blocking(move || Ok(store.settings().originals()?)).await?
            }
        };
        // hako-deb knows an image as made by its layer in the store.
        let keep = originals == Originals::Keep || matches!(self.source, Source::Deb(_));
        let durable = self.options.durable || keep;
        if !durable {
            // Without its layers an image is pulled again, without its documents
            // it is nothing. Now, as there is not much else to be written.
            let store = self.context.store.clone();
            let documents = [&begin.descriptor, &descriptor, &manifest.config]
                .map(|document| document.digest.clone());
            blocking(move || Ok(store.blobs().sync(&documents)?)).await?;
        }
        let brought = layers::bring(layers::Job {
            fetch: self.fetch.clone(),
            snapshotter: self.context.snapshotter.clone(),
            keep,
            downloads: self.options.downloads.max(1),
            layers,
        })
        .await?;
        self.finish(begin, descriptor, &manifest, (brought, durable))
            .await
    }

    /// The image's record and names; the names come last.
    async fn finish(
        self,
        begin: Begin,
        descriptor: Descriptor,
        manifest: &Manifest,
        (brought, durable): (layers::Brought, bool),
    ) -> Result<Pulled> {
        let names = match &self.options.name {
            Some(name) => vec![name.clone()],
            None => name::names(self.source, &begin.names, &manifest.config.digest),
        };
        let (store, owner, lease) = (self.context.store.clone(), self.context.owner, self.lease);
        let snapshotter = self.context.snapshotter.clone();
        let snapshotter = snapshotter.filter(|_| durable);
        blocking(move || {
            if let Some(snapshotter) = snapshotter {
                snapshotter.settle(&brought.keys)?;
            }
            let before = store.images().by_manifest(&descriptor.digest)?.is_some();
            let image = store.images().record(&descriptor, brought.size)?;
            let mut target = begin.descriptor;
            target.platform = None;
            for name in &names {
                store.names().set(owner, &name.to_string(), &target)?;
            }
            Ok(Pulled {
                image,
                manifest: descriptor.digest,
                target,
                names,
                layers: brought.keys,
                is_new: brought.is_new || !before,
                lease,
            })
        })
        .await
    }
}

fn open(source: &Source, scratch: &std::path::Path) -> Result<Arc<dyn Content>> {
    Ok(match source {
        Source::Oci { path, choice } => {
            Arc::new(Layout::new(Directory::open(path)?, choice.clone()))
        }
        Source::OciArchive { path, choice } => {
            Arc::new(Layout::new(Archive::open(path, scratch)?, choice.clone()))
        }
        Source::DockerArchive { path, reference } => Arc::new(DockerArchive::new(
            Archive::open(path, scratch)?,
            reference.as_ref(),
        )?),
        Source::Dir { path } => Arc::new(PlainDir::new(Directory::open(path)?)),
        Source::Registry(_) | Source::Deb(_) => {
            return Err(Error::Source {
                text: source.to_string(),
                reason: "not a source on this machine".to_owned(),
            });
        }
    })
}
