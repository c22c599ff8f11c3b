//! An image into the store.

use std::sync::Arc;

use hako_distribution::Client;
use hako_snapshot::{LayerKey, Snapshotter};
use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;
use hako_spec::platform::{Platform, rank};
use hako_spec::reference::Reference;
use hako_store::settings::Originals;
use hako_store::{Hold, Image, Lease, Owner, Store};

use crate::error::{Error, Result};
use crate::fetch::blocking;
use crate::job::Job;
use crate::name;
use crate::policy::Policy;
use crate::progress::{Event, Progress};
use crate::source::Source;

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
    /// Whether the layers are on the disk at the end. If not, the caller sees to
    /// that ([`Snapshotter::settle`]); those that a power loss took before count
    /// as absent.
    pub durable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platform: None,
            when: When::default(),
            name: None,
            originals: None,
            downloads: 4,
            durable: true,
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
    pub lease: Arc<Lease>,
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
    let warned = context.client.warnings().len();
    let job = Job::start(source, context, options, want, Arc::new(lease)).await?;
    let root = job.root().await?;
    let pulled = job.bring(root).await?;
    for text in context.client.warnings().into_iter().skip(warned) {
        context.progress.event(Event::Warning { text });
    }
    Ok(pulled)
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
        let of_target = |manifest: &&Descriptor| manifest.digest == target.digest;
        let manifest = image
            .manifests
            .iter()
            .find(of_target)
            .or_else(|| image.manifests.first())
            .map_or_else(|| target.digest.clone(), |manifest| manifest.digest.clone());
        let names = vec![reference];
        Ok(Some(Pulled {
            image,
            manifest,
            target,
            names,
            layers,
            is_new: false,
            lease: Arc::new(lease),
        }))
    })
    .await
}

/// How well the platform suits; all suit if none is wanted.
fn suits(want: Option<&Platform>, have: &Platform) -> Option<u32> {
    want.map_or(Some(0), |want| rank(want, have))
}
