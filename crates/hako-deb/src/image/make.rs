//! From the packages' files to an image in the store; no network.

use super::{Built, PACKAGES, REQUEST, SBOM, names};
use crate::assemble::{self, Basis, Part};
use crate::cache::Cache;
use crate::date;
use crate::error::{Error, Result};
use crate::options::{Options, oci_platform};
use crate::package;
use crate::release::Release;
use crate::request::Request;
use crate::resolve::Candidate;
use hako_spec::digest::Digest;
use hako_spec::image::{
    Descriptor, History, Image, ImageConfig, Manifest, RootFs, annotation, media_type,
};
use hako_store::Store;
use std::collections::BTreeMap;
use std::fs::File;

/// The part that needs no network.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) options: Options,
    pub(super) cache: Cache,
    pub(super) store: Store,
    pub(super) architecture: String,
    pub(super) release: Release,
    pub(super) plan: Vec<Candidate>,
}

impl Job {
    pub(super) fn run(self, files: Vec<File>) -> Result<Built> {
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
