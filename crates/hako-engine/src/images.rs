//! Images by what users call them: looked up, brought, listed, named, removed.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hako_distribution::auth::Keychain;
use hako_distribution::client::Options as ClientOptions;
use hako_distribution::http::Http;
use hako_distribution::registries::Registries;
use hako_distribution::{Client, Environment};
use hako_snapshot::{LayerKey, Snapshotter};
use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;
use hako_spec::platform::{Platform, rank};
use hako_spec::reference::Reference;
use hako_store::gc::Freed;
use hako_store::names::Filter;
use hako_store::{Image, Owner, Resolved};
use hako_transfer::{Context, Options, Policy, Progress, Pulled, Source};

use crate::containers;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::record::Phase;

/// Starts a program that goes on when this one ends.
fn spawn_apart(program: &str, arguments: &[String]) -> std::io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // If this one goes on for longer.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// The result of what hako-transfer does.
type Transfer<T> = std::result::Result<T, hako_transfer::Error>;

/// How an image is brought.
#[derive(Debug, Clone, Default)]
pub struct Bring {
    /// Where credentials are, if not in the usual places.
    pub authfile: Option<PathBuf>,
    /// Take plain HTTP and certificates that cannot be checked.
    pub insecure: bool,
    /// Platform, registry policy and name.
    pub options: hako_transfer::Options,
}

/// A line of a list of images.
#[derive(Debug, Clone)]
pub struct ListedImage {
    /// The name; none: nothing but a container or the garbage collector's
    /// patience keeps it.
    pub reference: Option<Reference>,
    /// The index or manifest that the name stands for.
    pub target: Option<Descriptor>,
    /// The image.
    pub image: Image,
}

/// What came of the removal of an image.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Content that is gone. What is younger than some minutes is left to the
    /// next collection.
    pub freed: Freed,
}

impl Engine {
    /// Reads what a user calls an image: a reference, by the short names of
    /// `registries.conf`, or `deb:…`, `oci:…` and so on.
    ///
    /// Errors: [`hako_transfer::Error::Source`] and a broken `registries.conf`.
    pub fn source(&self, text: &str) -> Transfer<Source> {
        Source::parse(text, &self.registries()?)
    }

    fn registries(&self) -> Transfer<Registries> {
        Ok(Registries::load(&Environment::current(), self.uid())?)
    }

    /// The user whose files are read.
    fn uid(&self) -> u32 {
        match self.places().owner {
            Owner::Cli(uid) => uid,
            _ => 0,
        }
    }

    /// The image in the store that `text` means: a name, an id or its start,
    /// or a source that gives its images names. A layout or an archive means
    /// none: what is in it may have changed.
    ///
    /// Errors: [`hako_store::Error::ImageUnknown`] and its like.
    pub fn image(&self, text: &str, platform: Option<&Platform>) -> Result<Resolved> {
        let want = platform.cloned().unwrap_or_else(Platform::host);
        let resolve = |text: &str| -> Result<Resolved> {
            Ok(self
                .store
                .images()
                .resolve(Some(self.places.owner), text, &want)?)
        };
        let unknown = || Error::Store(hako_store::Error::ImageUnknown(text.to_owned()));
        match self.source(text) {
            Ok(Source::Registry(reference)) => match resolve(text) {
                Err(Error::Store(hako_store::Error::ImageUnknown(_))) => {
                    resolve(&reference.to_string()).map_err(|e| match e {
                        Error::Store(hako_store::Error::ImageUnknown(_)) => unknown(),
                        other => other,
                    })
                }
                other => other,
            },
            Ok(Source::Deb(request)) => resolve(&request.image_name()).map_err(|_| unknown()),
            Ok(_) => Err(unknown()),
            Err(_) => resolve(text),
        }
    }

    /// Whether all layers of an image are ready for containers.
    pub fn is_whole(&self, image: &Image) -> Result<bool> {
        Ok(self.snapshotter()?.has(&image.diff_ids())?.is_some())
    }

    /// Brings the image of `source` into the store.
    ///
    /// Errors: all of hako-transfer's.
    pub async fn bring(
        &self,
        source: &Source,
        how: &Bring,
        progress: Arc<dyn Progress>,
    ) -> Transfer<Pulled> {
        let environment = Environment::current();
        let uid = self.uid();
        let client = Client::new(
            Http::default(),
            ClientOptions {
                keychain: Keychain::new(how.authfile.as_deref(), &environment, uid),
                registries: Registries::load(&environment, uid)?,
                insecure: how.insecure,
                environment: environment.clone(),
            },
        );
        let snapshotter = Arc::new(self.open_snapshotter()?);
        let context = Context {
            store: self.store.clone(),
            snapshotter: Some(Arc::clone(&snapshotter)),
            client: client.clone(),
            policy: Policy::load(&environment, uid)?,
            progress: Arc::clone(&progress),
            owner: self.places.owner,
            packages: None,
        };
        let options = Options {
            durable: self.places.internal.is_empty(),
            ..how.options.clone()
        };
        let pulled = hako_transfer::pull(source, &context, &options).await;
        for text in client.warnings() {
            progress.event(hako_transfer::Event::Warning { text });
        }
        if let Ok(pulled) = &pulled {
            self.settle_later(&snapshotter, &pulled.layers)?;
        }
        pulled
    }

    /// Has a process of its own bring layers to the disk, which nobody has to
    /// wait for: those that a power loss takes before are pulled again.
    fn settle_later(&self, snapshotter: &Snapshotter, layers: &[LayerKey]) -> Transfer<()> {
        if !snapshotter.is_unsettled(layers) {
            return Ok(());
        }
        let started = match self.internal("settle").split_first() {
            Some((program, rest)) => spawn_apart(program, rest).is_ok(),
            None => false,
        };
        if !started {
            snapshotter.settle(layers)?;
        }
        Ok(())
    }

    /// Brings all layers to the disk for good (`hako internal settle`).
    ///
    /// Errors: those of syncfs(2).
    pub fn settle_layers(&self) -> Result<()> {
        Ok(self.snapshotter()?.settle_all()?)
    }

    /// This owner's images, one entry a name, the newest image first; with
    /// `all` also those without a name.
    pub fn images(&self, all: bool) -> Result<Vec<ListedImage>> {
        let host = Platform::host();
        let images = self.store.images();
        let mut list = Vec::new();
        let mut named = std::collections::BTreeSet::new();
        for name in self.store.names().list(&Filter::default())? {
            let below = images.below(&name.target.digest)?;
            named.extend(below.iter().map(|image| image.id.clone()));
            let best = below
                .into_iter()
                .min_by_key(|i| (rank(&host, &i.platform).unwrap_or(u32::MAX), -i.pulled));
            if name.owner == self.places.owner
                && let Some(image) = best
            {
                let reference = Some(Reference::parse(&name.reference)?);
                list.push(ListedImage {
                    reference,
                    target: Some(name.target),
                    image,
                });
            }
        }
        if all {
            let rest = images
                .list(None)?
                .into_iter()
                .filter(|i| !named.contains(&i.id));
            list.extend(rest.map(|image| ListedImage {
                reference: None,
                target: None,
                image,
            }));
        }
        list.sort_by(|a, b| {
            let created = b.image.created.cmp(&a.image.created);
            created.then_with(|| a.reference.cmp(&b.reference))
        });
        Ok(list)
    }

    /// This owner's names of the image.
    pub fn names_of(&self, image: &Digest) -> Result<Vec<(Reference, Descriptor)>> {
        let filter = Filter {
            owner: Some(self.places.owner),
            ..Filter::default()
        };
        let mut names = Vec::new();
        for name in self.store.names().list(&filter)? {
            let below = self.store.images().below(&name.target.digest)?;
            if below.iter().any(|i| i.id == *image) {
                names.push((Reference::parse(&name.reference)?, name.target));
            }
        }
        Ok(names)
    }

    /// Gives an image one more name.
    ///
    /// Errors: [`Error::Invalid`] for a new name with a digest, and those of
    /// [`Engine::image`].
    pub fn tag(&self, text: &str, new: &str) -> Result<Reference> {
        let found = self.image(text, None)?;
        let reference = Reference::parse(new)?.or_latest();
        if reference.digest.is_some() {
            return Err(Error::invalid(
                "image name",
                new,
                "a new name cannot have a digest",
            ));
        }
        let target = match &found.name {
            Some(name) => Some(name.target.clone()),
            None => found.image.manifests.first().cloned(),
        };
        let target = target.ok_or_else(|| hako_store::Error::ImageUnknown(text.to_owned()))?;
        self.store
            .names()
            .set(self.places.owner, &reference.to_string(), &target)?;
        Ok(reference)
    }

    /// Removes a name of an image, or all of them when an id was given, and
    /// what nothing else needs then.
    ///
    /// Errors: [`Error::Unsupported`] for the last name of an image that a
    /// container uses, or an id with several names, unless `force`.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Removed> {
        let found = self.image(text, None)?;
        let names = self.names_of(&found.image.id)?;
        let going: Vec<Reference> = match &found.name {
            Some(name) => vec![Reference::parse(&name.reference)?],
            None => names.iter().map(|(name, _)| name.clone()).collect(),
        };
        let busy = |why: String| Err(Error::Unsupported(format!("image {text} {why}")));
        if !force {
            let mut repositories: Vec<String> = going.iter().map(Reference::name).collect();
            repositories.dedup();
            if repositories.len() > 1 {
                return busy(format!(
                    "has {} names: remove them by name, or use --force",
                    going.len()
                ));
            }
            if going.len() == names.len()
                && let Some(id) = self.user_of(&found.image.id)?
            {
                return busy(format!(
                    "is used by container {id}: remove it first, or use --force"
                ));
            }
        }
        for name in &going {
            self.store
                .names()
                .remove(self.places.owner, &name.to_string())?;
        }
        let freed = self.collect(&hako_store::gc::Options::default())?;
        Ok(Removed {
            untagged: going,
            freed,
        })
    }

    /// A container of this owner that uses the image, by its short id.
    fn user_of(&self, image: &Digest) -> Result<Option<String>> {
        let all = containers::list(self.database()?, self.places.owner)?;
        let user = all
            .iter()
            .find(|c| c.record.image == *image && c.state.phase != Phase::Removing);
        Ok(user.map(|c| c.short_id().to_owned()))
    }

    /// Removes content that nothing refers to.
    pub fn collect(&self, options: &hako_store::gc::Options) -> Result<Freed> {
        let snapshotter = self.snapshotter()?;
        Ok(self.store.gc(options, &[&snapshotter])?)
    }

    /// Removes this owner's names of images that no container uses.
    pub fn untag_unused(&self) -> Result<Vec<Reference>> {
        let mut gone = Vec::new();
        for listed in self.images(false)? {
            if let Some(name) = listed.reference
                && self.user_of(&listed.image.id)?.is_none()
            {
                self.store
                    .names()
                    .remove(self.places.owner, &name.to_string())?;
                gone.push(name);
            }
        }
        Ok(gone)
    }
}
