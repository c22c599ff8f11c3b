//! The work that no puller can avoid, for an image in a registry that listens
//! on this machine: each layer is downloaded, hashed, inflated and hashed
//! again, and one file is written from its start to its end; at last the file
//! system is synced. Pullers are measured as ratios to it (`cargo xtask
//! bench-pull`).
//!
//! `igzip` and `zstd` inflate, as processes: the fastest that a distribution
//! has. So two copies through pipes are in it that a library would not make.
//! Layers are worked on at once, as many as there are processors, the largest
//! first; the three steps of one run at once, too.

mod http;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Bytes that are read, hashed and written at once; also a pipe's size.
const PIECE: usize = 1024 * 1024;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [form, registry, name, dir] = &args[..] else {
        bail!("usage: pull-floor tars|files IP:PORT NAME DIR");
    };
    let files = match form.as_str() {
        "tars" => false,
        "files" => true,
        other => bail!("{other} is neither tars nor files"),
    };
    let image = Image {
        registry: registry.parse().context("the registry's address")?,
        name: name.clone(),
    };
    let dir = Path::new(dir);
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let layers = Mutex::new(image.layers()?);
    let work = || -> Result<()> {
        while let Some(layer) = layers.lock().ok().and_then(|mut layers| layers.pop()) {
            let place = dir.join(layer.diff_id.replace(':', "-"));
            image
                .bring(&layer, &place, files)
                .with_context(|| format!("layer {}", layer.digest))?;
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(joined)
    })?;
    rustix::fs::syncfs(File::open(dir)?).context("sync the file system")
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread has panicked"),
    }
}

struct Image {
    registry: SocketAddr,
    name: String,
}

struct Layer {
    digest: String,
    size: u64,
    diff_id: String,
    /// The program that inflates it.
    inflater: &'static str,
}

impl Image {
    fn blob(&self, digest: &str) -> String {
        format!("/v2/{}/blobs/{digest}", self.name)
    }

    /// The layers, the largest last.
    fn layers(&self) -> Result<Vec<Layer>> {
        let document = |path: &str| -> Result<Value> {
            let (mut body, _) = http::get(self.registry, path)?;
            let mut text = Vec::new();
            body.read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        let manifest = document(&format!("/v2/{}/manifests/latest", self.name))?;
        let word = |value: &Value, what: &str| -> Result<String> {
            let word = value.as_str().with_context(|| format!("no {what}"))?;
            Ok(word.to_owned())
        };
        let config = word(&manifest["config"]["digest"], "config")?;
        let config = document(&self.blob(&config))?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        let mut layers = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| {
                let kind = word(&layer["mediaType"], "media type")?;
                Ok(Layer {
                    digest: word(&layer["digest"], "digest")?,
                    size: layer["size"].as_u64().context("no size")?,
                    diff_id: word(&config["rootfs"]["diff_ids"][index], "diff id")?,
                    inflater: match kind.rsplit_once(['+', '.']) {
                        Some((_, "gzip")) => "igzip",
                        Some((_, "zstd")) => "zstd",
                        _ => bail!("nothing to inflate {kind} with"),
                    },
                })
            })
            .collect::<Result<Vec<_>>>()?;
        layers.sort_by_key(|layer| layer.size);
        Ok(layers)
    }

    /// Brings a layer into the file `place`, or its files into the directory
    /// `place`.
    fn bring(&self, layer: &Layer, place: &Path, files: bool) -> Result<()> {
        let mut inflater = Command::new(layer.inflater);
        inflater.args(["-d", "-c"]).stdin(Stdio::piped());
        let mut inflater = inflater
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", layer.inflater))?;
        let input = inflater.stdin.take().context("no pipe")?;
        let output = inflater.stdout.take().context("no pipe")?;
        widen(&input)?;
        widen(&output)?;
        let [digest, diff_id] = std::thread::scope(|scope| -> Result<_> {
            let download = scope.spawn(|| {
                let (body, size) = http::get(self.registry, &self.blob(&layer.digest))?;
                ensure!(size == layer.size, "{size} bytes, not {}", layer.size);
                pump(body, input)
            });
            let inflated = match files {
                true => extract(output, place),
                false => pump(output, File::create(place)?),
            };
            Ok([joined(download)?, inflated?])
        })?;
        ended(layer.inflater, &mut inflater)?;
        ensure!(digest == layer.digest, "its digest is {digest}");
        ensure!(diff_id == layer.diff_id, "its diff id is {diff_id}");
        Ok(())
    }
}

/// Unpacks an archive with tar(1) and returns its digest.
fn extract(archive: impl Read, place: &Path) -> Result<String> {
    fs::create_dir(place)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--preserve-permissions", "--numeric-owner"])
        .args(["--xattrs", "--xattrs-include=*", "--directory"])
        .arg(place);
    let mut tar = tar.stdin(Stdio::piped()).spawn().context("run tar")?;
    let input = tar.stdin.take().context("no pipe")?;
    widen(&input)?;
    let digest = pump(archive, input)?;
    ended("tar", &mut tar)?;
    Ok(digest)
}

fn widen(pipe: impl AsFd) -> Result<()> {
    rustix::pipe::fcntl_setpipe_size(pipe, PIECE).context("widen a pipe")?;
    Ok(())
}

fn ended(program: &str, child: &mut Child) -> Result<()> {
    let status = child.wait()?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// Copies everything and returns its digest.
fn pump(mut from: impl Read, mut to: impl Write) -> Result<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece)?;
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hash.update(bytes);
        to.write_all(bytes)?;
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("sha256:{hex}"))
}
