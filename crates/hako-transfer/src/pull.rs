//! An image into the store.

use std::sync::Arc;

use bytes::Bytes;
use hako_distribution::{Client, Kind};
use hako_snapshot::{LayerKey, Snapshotter};
use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, Image as Config, Manifest};
use hako_spec::manifest::{self, ManifestKind};
use hako_spec::platform::{Platform, rank};
use hako_spec::reference::Reference;
use hako_store::settings::Originals;
use hako_store::{Hold, Image, Lease, Owner, Store};

use crate::error::{Error, Result};
use crate::fetch::{Fetch, Origin, blocking};
use crate::layers;
use crate::origin::Content;
use crate::origin::archive::Archive;
use crate::origin::directory::Directory;
use crate::origin::docker_archive::DockerArchive;
use crate::origin::layout::Layout;
use crate::origin::plain_dir::PlainDir;
use crate::policy::Policy;
use crate::progress::{Event, Progress};
use crate::select::select;
use crate::source::Source;
use crate::{name, packages, plan};

/// How deep indexes may be nested.
const DEPTH: usize = 4;

/// What a pull works with; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Where the image goes.
    pub store: Store,
    /// Where its layers are unpacked; without one they are kept as blobs.
    pub snapshotter: Option<Arc<Snapshotter>>,
    /// The way to registries.
    pub client: Client,
    /// Which images may come in.
    pub policy: Policy,
    /// Who listens.
    pub progress: Arc<dyn Progress>,
    /// Whose image it becomes.
    pub owner: Owner,
    /// How `deb:` images are made, if not from this machine's own sources.
    pub packages: Option<hako_deb::Options>,
}

/// Whether a registry or a Debian mirror is asked. Files of this machine are
/// always read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Always; what is there already is not downloaded again.
    #[default]
    Always,
    /// Only if the store has no image of the name for the platform.
    Missing,
    /// Never.
    Never,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// The platform, if not this machine's.
    pub platform: Option<Platform>,
    /// Whether a registry or a Debian mirror is asked. Files of this machine are
    /// always read.
    pub when: When,
    /// The name that the image gets, if not its own.
    pub name: Option<Reference>,
    /// Whether compressed layers are kept, if not as the store's settings say.
    pub originals: Option<Originals>,
    /// How many layers are downloaded at once.
    pub downloads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platform: None,
            when: When::default(),
            name: None,
            originals: None,
            downloads: 4,
        }
    }
}

/// An image that is in the store.
#[derive(Debug)]
pub struct Pulled {
    /// The image; its id is the config's digest.
    pub image: Image,
    /// The manifest of the image.
    pub manifest: Digest,
    /// What the names stand for: the index, or the manifest if there was none.
    pub target: Descriptor,
    /// The names that the image has got; not empty.
    pub names: Vec<Reference>,
    /// The unpacked layers, the base first; empty without a snapshotter.
    pub layers: Vec<LayerKey>,
    /// Whether something was brought that was not there before.
    pub is_new: bool,
    /// Keeps the image from the garbage collection as long as this value lives.
    pub lease: Lease,
}

/// Brings the image of `source` into the store.
///
/// # Errors
/// Every [`Error`]; the store's names are as they were then, and what was
/// brought and verified so far is used by the next attempt.
pub async fn pull(source: &Source, context: &Context, options: &Options) -> Result<Pulled> {
    let want = match (&options.platform, source) {
        (Some(platform), _) => Some(platform.clone()),
        // The request itself says which processor it is for.
        (None, Source::Deb(_)) => None,
        (None, _) => Some(Platform::host()),
    };
    if options.when != When::Always
        && let Some(name) = options.name.clone().or_else(|| name::known(source))
    {
        match (present(context, &name, want.as_ref()).await?, options.when) {
            (Some(pulled), _) => return Ok(pulled),
            (None, When::Never) => {
                return Err(Error::Absent {
                    name: source.to_string(),
                });
            }
            (None, _) => {}
        }
    }
    // Nothing of a refused image is even looked at.
    context.policy.check(source)?;
    context.progress.event(Event::Resolving {
        name: source.to_string(),
    });
    let (store, owner) = (context.store.clone(), context.owner);
    let lease = blocking(move || Ok(store.leases().temporary(owner, "pull")?)).await?;
    let mut job = Job::start(source, context, options, want, lease).await?;
    let root = job.root().await?;
    job.bring(root).await
}

/// The image that the store has under this name for this platform, complete.
async fn present(
    context: &Context,
    reference: &Reference,
    want: Option<&Platform>,
) -> Result<Option<Pulled>> {
    let (context, reference, want) = (context.clone(), reference.clone(), want.cloned());
    blocking(move || {
        let store = &context.store;
        let lease = store.leases().temporary(context.owner, "pull")?;
        let Some(name) = store.names().get(context.owner, &reference.to_string())? else {
            return Ok(None);
        };
        let target = name.target;
        lease.hold(&[Hold::Blob(target.digest.clone())])?;
        let best = store
            .images()
            .below(&target.digest)?
            .into_iter()
            .filter_map(|image| Some((suits(want.as_ref(), &image.platform)?, image)))
            .min_by_key(|(rank, _)| *rank);
        let Some((_, image)) = best else {
            return Ok(None);
        };
        lease.hold(&[Hold::Blob(image.id.clone())])?;
        let layers = match &context.snapshotter {
            None => Vec::new(),
            Some(snapshotter) => match snapshotter.has(&image.diff_ids())? {
                Some(keys) => keys,
                // Its layers were lost (a power loss): it has to be brought again.
                None => return Ok(None),
            },
        };
        let manifest = image
            .manifests
            .first()
            .map_or_else(|| target.digest.clone(), |manifest| manifest.digest.clone());
        let names = vec![reference];
        Ok(Some(Pulled {
            image,
            manifest,
            target,
            names,
            layers,
            is_new: false,
            lease,
        }))
    })
    .await
}

/// How well the platform suits; all suit if none is wanted.
fn suits(want: Option<&Platform>, have: &Platform) -> Option<u32> {
    want.map_or(Some(0), |want| rank(want, have))
}

/// What is to begin with, and how its bytes were come by.
struct Begin {
    descriptor: Descriptor,
    bytes: Bytes,
    names: Vec<String>,
}

struct Job<'a> {
    source: &'a Source,
    context: &'a Context,
    options: &'a Options,
    want: Option<Platform>,
    fetch: Fetch,
    lease: Lease,
}

impl<'a> Job<'a> {
    async fn start(
        source: &'a Source,
        context: &'a Context,
        options: &'a Options,
        want: Option<Platform>,
        lease: Lease,
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
    fn hold(&self, holds: &[Hold]) -> Result<()> {
        Ok(self.lease.hold(holds)?)
    }

    /// The index or manifest that the source stands for; it is in the store
    /// afterwards.
    async fn root(&mut self) -> Result<Begin> {
        let limit = manifest::MAX_LEN as u64;
        match &self.fetch.origin {
            Origin::Local(content) => {
                let content = Arc::clone(content);
                let root = blocking(move || content.root()).await?;
                self.hold(&[Hold::Blob(root.descriptor.digest.clone())])?;
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
                self.hold(&[Hold::Blob(resolved.digest.clone())])?;
                let (digest, bytes) = match resolved.fetched {
                    Some(fetched) => (fetched.digest, fetched.bytes),
                    None => match self.fetch.stored(&resolved.digest, limit).await? {
                        Some(bytes) => (resolved.digest, bytes),
                        None => self.fetch_root(client, reference, &resolved.digest).await?,
                    },
                };
                self.hold(&[Hold::Blob(digest.clone())])?;
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
            self.hold(&[Hold::Blob(descriptor.digest.clone())])?;
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

    async fn bring(self, begin: Begin) -> Result<Pulled> {
        let (descriptor, manifest) = self.manifest(&begin).await?;
        plan::check(&manifest).map_err(|reason| self.fetch.image_error(reason))?;
        let mut holds = vec![Hold::Blob(manifest.config.digest.clone())];
        holds.extend(
            manifest
                .layers
                .iter()
                .map(|layer| Hold::Blob(layer.digest.clone())),
        );
        self.hold(&holds)?;
        let config = self.config(&manifest).await?;
        let layers =
            plan::layers(&manifest, &config).map_err(|reason| self.fetch.image_error(reason))?;
        let holds: Vec<Hold> = layers
            .iter()
            .map(|layer| Hold::Layer(layer.diff_id.to_string()))
            .collect();
        self.hold(&holds)?;
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
        let brought = layers::bring(layers::Job {
            fetch: self.fetch.clone(),
            snapshotter: self.context.snapshotter.clone(),
            // hako-deb knows an image as made by its layer in the store.
            keep: originals == Originals::Keep || matches!(self.source, Source::Deb(_)),
            downloads: self.options.downloads.max(1),
            layers,
        })
        .await?;
        self.finish(begin, descriptor, &manifest, brought).await
    }

    /// The image's record and names; the names come last.
    async fn finish(
        self,
        begin: Begin,
        descriptor: Descriptor,
        manifest: &Manifest,
        brought: layers::Brought,
    ) -> Result<Pulled> {
        let names = match &self.options.name {
            Some(name) => vec![name.clone()],
            None => name::names(self.source, &begin.names, &manifest.config.digest),
        };
        let (store, owner, lease) = (self.context.store.clone(), self.context.owner, self.lease);
        let snapshotter = self.context.snapshotter.clone();
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
