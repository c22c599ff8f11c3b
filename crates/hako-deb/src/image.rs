//! A request to an image in the store.

mod make;
mod open;

use crate::archive::Context;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::openpgp::Rings;
use crate::options::{Event, Options, Progress};
use crate::release::Release;
use crate::request::Request;
use crate::resolve::Candidate;
use hako_distribution::http::Http;
use hako_spec::digest::Digest;
use hako_spec::image::Descriptor;
use hako_store::{Hold, Store};
use sha2::{Digest as _, Sha256};

/// Changes with everything that changes what is made of the same packages.
const RECIPE: &str = "hako-deb 1";

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
    let architecture = architecture(request, options);
    let cache = Cache::open(&options.cache)?;
    let context = Context {
        fetcher: Fetcher {
            http,
            offline: options.offline,
        },
        cache: &cache,
        options,
        architecture: &architecture,
        progress,
        rings: &Rings::default(),
    };
    let (members, plan) = open::choose(request, context).await?;
    let release = open::basis(request, &members, &plan);
    let key = key(request, options, &architecture, &plan, release);
    if let Some(built) = reuse(&cache, &key, request, options, store, &plan)? {
        return Ok(built);
    }
    let files = open::fetch_all(&plan, &members, context).await?;
    progress(Event::Assembling);
    let job = make::Job {
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

/// A package that an image would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `all`, or the architecture.
    pub architecture: String,
    /// Bytes of the package file.
    pub size: u64,
    /// Where it would be fetched from.
    pub url: String,
}

/// Says which packages a request's image would have, sorted by name, and
/// makes nothing but entries of the cache.
///
/// # Errors
/// As [`image`], up to the choice of the packages.
pub async fn plan(
    request: &Request,
    options: &Options,
    http: &Http,
    progress: Progress<'_>,
) -> Result<Vec<Planned>> {
    let architecture = architecture(request, options);
    let cache = Cache::open(&options.cache)?;
    let context = Context {
        fetcher: Fetcher {
            http,
            offline: options.offline,
        },
        cache: &cache,
        options,
        architecture: &architecture,
        progress,
        rings: &Rings::default(),
    };
    let (members, plan) = open::choose(request, context).await?;
    let planned = plan.iter().map(|candidate| Planned {
        name: candidate.package.name.clone(),
        version: candidate.package.version.to_string(),
        architecture: candidate.package.architecture.clone(),
        size: candidate.package.size,
        url: open::url(candidate, &members),
    });
    Ok(planned.collect())
}

fn architecture(request: &Request, options: &Options) -> String {
    request
        .architecture()
        .unwrap_or(&options.architecture)
        .to_owned()
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
