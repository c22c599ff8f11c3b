//! A request to an image in the store.

use crate::archive::{self, Archive, Context};
use crate::assemble::{self, Basis, Part};
use crate::cache::Cache;
use crate::date;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::options::{Event, Options, Progress, oci_platform};
use crate::package;
use crate::release::{Promise, Release};
use crate::request::Request;
use crate::resolve::{self, Candidate};
use crate::sources;
use crate::universe::{Choice, Member};
use futures_util::{StreamExt, TryStreamExt, stream};
use hako_distribution::http::Http;
use hako_spec::digest::Digest;
use hako_spec::image::{
    Descriptor, History, Image, ImageConfig, Manifest, RootFs, annotation, media_type,
};
use hako_store::{Hold, Store};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// Changes with everything that changes what is made of the same packages.
const RECIPE: &str = "hako-deb 1";

/// Downloads at the same time.
const AT_ONCE: usize = 6;

/// Annotation and label with the request.
pub const REQUEST: &str = "io.hako.deb.request";
/// Annotation and label with the packages: `name=version`, parted by spaces.
pub const PACKAGES: &str = "io.hako.deb.packages";
/// Annotation with the path of the SBOM in the image.
pub const SBOM: &str = "io.hako.sbom.path";

/// An image that was made, or was there already.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The image's name in the store.
    pub name: String,
    /// The manifest.
    pub manifest: Descriptor,
    /// Digest of the config: the image's id.
    pub config: Digest,
    /// The layer; its media type is an uncompressed tar's.
    pub layer: Descriptor,
    /// The layer's diff id (equal to its digest).
    pub diff_id: Digest,
    /// The packages in it, `name` and `version`, sorted.
    pub packages: Vec<(String, String)>,
    /// Whether everything was in the store before.
    pub reused: bool,
}

/// Makes the image of a request and gives it its name
/// ([`Request::image_name`]) in the store.
///
/// # Errors
/// The sources cannot be used, a signature or hash is wrong, the packages
/// cannot be had, or the store cannot be written. The store then has no new
/// name.
pub async fn image(
    request: &Request,
    options: &Options,
    store: &Store,
    http: &Http,
    progress: Progress<'_>,
) -> Result<Built> {
    let architecture = request
        .architecture()
        .unwrap_or(&options.architecture)
        .to_owned();
    let cache = Cache::open(&options.cache)?;
    let fetcher = Fetcher {
        http,
        offline: options.offline,
    };
    let context = Context {
        fetcher,
        cache: &cache,
        options,
        architecture: &architecture,
        progress,
    };
    let mut members = open_all(request, context).await?;
    let plan = match plan(request, &members, &architecture) {
        Err(Error::DamagedIndex { what }) => {
            progress(Event::Warning(format!(
                "{what}: the cached index is damaged and made anew"
            )));
            cache.forget_indexes();
            members = open_all(request, context).await?;
            plan(request, &members, &architecture)?
        }
        other => other?,
    };
    let release = basis(request, &members, &plan);
    let key = key(request, options, &architecture, &plan, release);
    if let Some(built) = reuse(&cache, &key, request, options, store, &plan)? {
        return Ok(built);
    }
    let files = fetch_all(&plan, &members, context).await?;
    progress(Event::Assembling);
    let job = Job {
        request: request.clone(),
        options: options.clone(),
        cache: cache.clone(),
        store: store.clone(),
        architecture,
        release: release.clone(),
        plan,
    };
    let built = tokio::task::spawn_blocking(move || job.run(files))
        .await
        .map_err(|_| Error::Worker("make the image"))??;
    cache.keep_result(&key, built.manifest.digest.as_str())?;
    let limit = options.cache_limit;
    let pruned = tokio::task::spawn_blocking(move || cache.prune(limit)).await;
    pruned.map_err(|_| Error::Worker("tidy the cache"))?;
    Ok(built)
}

/// Opens the sources of all releases that are asked for.
async fn open_all(request: &Request, context: Context<'_>) -> Result<Vec<Member>> {
    let (configured, passed_over) = sources::read(&context.options.sources, context.architecture)?;
    for text in passed_over {
        (context.progress)(Event::Warning(text));
    }
    let mut wanted: BTreeSet<Option<&str>> = request
        .items()
        .iter()
        .map(|i| i.release.as_deref())
        .collect();
    if wanted.is_empty() {
        wanted.insert(None);
    }
    let mut all = Vec::new();
    for release in wanted {
        let sources = match release {
            None => configured.clone(),
            Some(release) => sources::for_release(&configured, release),
        };
        if sources.is_empty() {
            return Err(Error::NoSources {
                reason: format!(
                    "none of them can have the release {}",
                    release.unwrap_or_default()
                ),
            });
        }
        all.extend(
            sources
                .into_iter()
                .map(|source| (source, release.map(str::to_owned))),
        );
    }
    let members: Vec<Option<Member>> = stream::iter(all)
        .map(|(source, release)| async move {
            let archive = archive::open(context, &source).await?;
            Ok::<_, Error>(archive.map(|archive| Member { archive, release }))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let members: Vec<Member> = members.into_iter().flatten().collect();
    for release in request.releases() {
        if !members
            .iter()
            .any(|m| m.release.as_deref() == Some(release))
        {
            return Err(Error::Unresolvable(format!(
                "no configured archive has the release {release}"
            )));
        }
    }
    Ok(members)
}

/// Chooses the packages.
fn plan(request: &Request, members: &[Member], architecture: &str) -> Result<Vec<Candidate>> {
    let choice = Choice::new(members);
    let goals = choice.goals(request)?;
    let found = resolve::resolve(&choice, &goals, architecture)?;
    Ok(found
        .iter()
        .map(|candidate| (**candidate).clone())
        .collect())
}

/// The release that the image is called after: that of the first package
/// that was asked for, in its base suite where updates are separate.
fn basis<'a>(request: &Request, members: &'a [Member], plan: &[Candidate]) -> &'a Release {
    let asked = request
        .items()
        .iter()
        .find_map(|item| plan.iter().find(|c| c.package.name == item.name));
    let own = asked.or(plan.first()).and_then(|c| members.get(c.origin));
    let main = own.and_then(|own| {
        let codename = own.archive.release.codename.as_deref()?;
        let base = codename.split('-').next()?;
        members
            .iter()
            .map(|m| &m.archive)
            .find(|a: &&Archive| a.release.codename.as_deref() == Some(base))
    });
    static NOTHING: std::sync::LazyLock<Release> = std::sync::LazyLock::new(Release::default);
    main.or(own.map(|m| &m.archive))
        .map_or(&NOTHING, |archive| &archive.release)
}

/// What decides the image's bytes.
fn key(
    request: &Request,
    options: &Options,
    architecture: &str,
    plan: &[Candidate],
    release: &Release,
) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    add(RECIPE);
    add(&request.to_string());
    add(architecture);
    add(&format!("{:?}", options.epoch));
    add(&format!(
        "{:?}",
        (&release.origin, &release.codename, &release.version)
    ));
    for candidate in plan {
        add(&crate::release::hex(&candidate.package.sha256));
    }
    hasher.finalize().into()
}

/// The image that was made of these packages before, if it is still whole.
fn reuse(
    cache: &Cache,
    key: &[u8; 32],
    request: &Request,
    options: &Options,
    store: &Store,
    plan: &[Candidate],
) -> Result<Option<Built>> {
    let failed = |e: hako_store::Error| Error::Store(Box::new(e));
    let Some(digest) = cache
        .result(key)
        .and_then(|text| text.parse::<Digest>().ok())
    else {
        return Ok(None);
    };
    // First hold, then look: a collection may be running.
    let lease = store
        .leases()
        .temporary(options.owner, "deb")
        .map_err(failed)?;
    lease.hold(&[Hold::Blob(digest.clone())]).map_err(failed)?;
    let Some(image) = store.images().by_manifest(&digest).map_err(failed)? else {
        return Ok(None);
    };
    let manifest = image.manifests.iter().find(|m| m.digest == digest);
    let (Some(manifest), [layer]) = (manifest, image.layers.as_slice()) else {
        return Ok(None);
    };
    let blobs = store.blobs();
    for (digest, size) in [
        (&manifest.digest, Some(manifest.size)),
        (&image.id, None),
        (&layer.descriptor.digest, Some(layer.descriptor.size)),
    ] {
        let found = blobs.size(digest).map_err(failed)?;
        if found.is_none() || (size.is_some() && found != size) {
            return Ok(None);
        }
    }
    let name = request.image_name();
    store
        .names()
        .set(options.owner, &name, manifest)
        .map_err(failed)?;
    Ok(Some(Built {
        name,
        manifest: manifest.clone(),
        config: image.id.clone(),
        layer: layer.descriptor.clone(),
        diff_id: layer.diff_id.clone(),
        packages: names(plan),
        reused: true,
    }))
}

fn names(plan: &[Candidate]) -> Vec<(String, String)> {
    plan.iter()
        .map(|c| (c.package.name.clone(), c.package.version.to_string()))
        .collect()
}

/// The packages' files, in the plan's order.
async fn fetch_all(
    plan: &[Candidate],
    members: &[Member],
    context: Context<'_>,
) -> Result<Vec<File>> {
    let promise = |candidate: &Candidate| Promise {
        size: candidate.package.size,
        sha256: candidate.package.sha256,
    };
    let cached: Vec<Option<File>> = plan
        .iter()
        .map(|c| context.cache.package(&promise(c)))
        .collect();
    let missing = plan.iter().zip(&cached).filter(|(_, file)| file.is_none());
    (context.progress)(Event::Resolved {
        packages: plan.len(),
        fetch: missing.map(|(c, _)| c.package.size).sum(),
    });
    stream::iter(plan.iter().zip(cached))
        .map(|(candidate, cached)| async move {
            if let Some(file) = cached {
                return Ok(file);
            }
            let package = &candidate.package;
            let base = members
                .get(candidate.origin)
                .map(|m| m.archive.source.uri.as_str());
            let url = format!("{}/{}", base.unwrap_or_default(), package.filename);
            let tell = |done| {
                (context.progress)(Event::Package {
                    name: package.name.clone(),
                    done,
                    total: package.size,
                });
            };
            let promise = promise(candidate);
            let fetched = context
                .fetcher
                .file(&url, &promise, context.cache, &tell)
                .await?;
            let file = fetched.ok_or(Error::Status { url, status: 404 })?;
            context.cache.keep_package(&promise, file)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The part that needs no network.
struct Job {
    request: Request,
    options: Options,
    cache: Cache,
    store: Store,
    architecture: String,
    release: Release,
    plan: Vec<Candidate>,
}

impl Job {
    fn run(self, files: Vec<File>) -> Result<Built> {
        let parts = self.unpack(files)?;
        let basis = Basis {
            release: &self.release,
            architecture: &self.architecture,
            epoch: self.options.epoch,
        };
        let assembled = assemble::assemble(&parts, &basis)?;
        let failed = |e: hako_store::Error| Error::Store(Box::new(e));
        let limit = self.options.unpacked_limit.saturating_add(1 << 30);
        let layer = assemble::write(&assembled, &parts, &self.store, limit)?;
        let created = date::rfc3339(assembled.created);
        let config = self.config(&assembled.tree, &created, &layer.digest);
        let blobs = self.store.blobs();
        let bytes = encode(&config)?;
        let config = Descriptor::new(
            media_type::CONFIG,
            blobs.put(&bytes).map_err(failed)?,
            bytes.len() as u64,
        );
        let layer_descriptor = Descriptor::new(media_type::LAYER, layer.digest.clone(), layer.size);
        let mut manifest = Manifest::new(config.clone(), vec![layer_descriptor.clone()]);
        manifest.annotations = self.labels();
        manifest
            .annotations
            .insert(annotation::CREATED.to_owned(), created);
        manifest
            .annotations
            .insert(SBOM.to_owned(), format!("/{}", assemble::SBOM_PATH));
        let bytes = encode(&manifest)?;
        let manifest = Descriptor::new(
            media_type::MANIFEST,
            blobs.put(&bytes).map_err(failed)?,
            bytes.len() as u64,
        );
        self.store
            .images()
            .record(&manifest, layer.contents)
            .map_err(failed)?;
        let name = self.request.image_name();
        self.store
            .names()
            .set(self.options.owner, &name, &manifest)
            .map_err(failed)?;
        Ok(Built {
            name,
            manifest,
            config: config.digest,
            layer: layer_descriptor,
            diff_id: layer.digest,
            packages: names(&self.plan),
            reused: false,
        })
    }

    /// Takes all packages apart, some at a time.
    fn unpack(&self, files: Vec<File>) -> Result<Vec<Part>> {
        let workers = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(8);
        let queue: Vec<(usize, &Candidate, File)> = self
            .plan
            .iter()
            .zip(files)
            .enumerate()
            .map(|(i, (c, f))| (i, c, f))
            .rev()
            .collect();
        // The largest first would be best; the order of the result is fixed
        // by the numbers whatever the threads do.
        let queue = std::sync::Mutex::new(queue);
        let left = std::sync::atomic::AtomicU64::new(self.options.unpacked_limit);
        let mut done: Vec<(usize, Part)> = Vec::new();
        std::thread::scope(|scope| {
            let job = || {
                let mut mine = Vec::new();
                loop {
                    let next = queue.lock().ok().and_then(|mut q| q.pop());
                    let Some((number, candidate, file)) = next else {
                        return Ok::<_, Error>(mine);
                    };
                    mine.push((number, self.unpack_one(candidate, file, &left)?));
                }
            };
            let jobs: Vec<_> = (0..workers).map(|_| scope.spawn(job)).collect();
            for job in jobs {
                done.extend(
                    job.join()
                        .map_err(|_| Error::Worker("unpack a package"))??,
                );
            }
            Ok::<_, Error>(())
        })?;
        done.sort_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, part)| part).collect())
    }

    fn unpack_one(
        &self,
        candidate: &Candidate,
        file: File,
        left: &std::sync::atomic::AtomicU64,
    ) -> Result<Part> {
        use std::sync::atomic::Ordering::Relaxed;
        let spool = self.cache.anonymous()?;
        let deb = package::read(file, &candidate.package, spool, left.load(Relaxed))?;
        let size: u64 = deb
            .entries
            .iter()
            .map(|entry| match entry.content {
                package::Content::File { size, .. } => size,
                _ => 0,
            })
            .sum();
        left.fetch_update(Relaxed, Relaxed, |now| now.checked_sub(size))
            .map_err(|_| Error::Malformed {
                what: self.request.to_string(),
                reason: format!(
                    "the packages unpack to more than {} bytes",
                    self.options.unpacked_limit
                ),
            })?;
        Ok(Part {
            candidate: candidate.clone(),
            deb,
            requested: self
                .request
                .items()
                .iter()
                .any(|item| item.name == candidate.package.name),
        })
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let packages: Vec<String> = names(&self.plan)
            .into_iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        let mut labels = BTreeMap::new();
        labels.insert(REQUEST.to_owned(), self.request.to_string());
        labels.insert(PACKAGES.to_owned(), packages.join(" "));
        if let Some(origin) = &self.release.origin {
            labels.insert(annotation::VENDOR.to_owned(), origin.clone());
        }
        labels
    }

    fn config(&self, tree: &assemble::Tree, created: &str, diff_id: &Digest) -> Image {
        let (architecture, variant) = oci_platform(&self.architecture);
        let shell = ["bash", "sh"]
            .into_iter()
            .find(|shell| tree.contains(&format!("usr/bin/{shell}")));
        Image {
            created: Some(created.to_owned()),
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
            config: Some(ImageConfig {
                env: vec![
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                ],
                cmd: shell.map(str::to_owned).into_iter().collect(),
                labels: self.labels(),
                ..ImageConfig::default()
            }),
            rootfs: RootFs::new(vec![diff_id.clone()]),
            history: vec![History {
                created: Some(created.to_owned()),
                created_by: Some(format!("deb:{}", self.request)),
                ..History::default()
            }],
            ..Image::default()
        }
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Store(Box::new(e)))
}
