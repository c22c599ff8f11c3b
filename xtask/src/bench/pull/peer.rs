//! The pullers, each as the commands of one pull, and what a pull takes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use hako_sys::usage::{self, Usage};

use super::containerd;
use super::daemon::Daemon;
use super::image::{Compression, Image};
use super::place::Store;
use super::registry::Registry;
use super::tools::Tools;
use crate::command::show;

/// A way to get an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hako,
    HakoRun,
    FloorTars,
    FloorFiles,
    Pipes,
    Umoci,
    Buildah,
    Podman,
    Containerd,
}

impl Kind {
    pub(super) const ALL: [Kind; 9] = [
        Kind::Hako,
        Kind::HakoRun,
        Kind::FloorTars,
        Kind::FloorFiles,
        Kind::Pipes,
        Kind::Umoci,
        Kind::Buildah,
        Kind::Podman,
        Kind::Containerd,
    ];

    /// The name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Hako => "hako",
            Kind::HakoRun => "hako+run",
            Kind::FloorTars => "floor",
            Kind::FloorFiles => "floor-files",
            Kind::Pipes => "igzip|tar",
            Kind::Umoci => "skopeo+umoci",
            Kind::Buildah => "buildah",
            Kind::Podman => "podman",
            Kind::Containerd => "containerd",
        }
    }

    /// The programs that it needs; the last one's version is told.
    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Kind::Hako | Kind::HakoRun => &[],
            Kind::FloorTars => &["zstd", "igzip"],
            Kind::FloorFiles => &["tar", "zstd", "igzip"],
            Kind::Pipes => &["bash", "curl", "zstd", "tar", "igzip"],
            Kind::Umoci => &["skopeo", "umoci"],
            Kind::Buildah => &["buildah"],
            Kind::Podman => &["podman"],
            Kind::Containerd => &["ctr", "containerd"],
        }
    }

    /// Whether another version of it is a peer of its own.
    pub(super) fn is_foreign(self) -> bool {
        matches!(
            self,
            Kind::Umoci | Kind::Buildah | Kind::Podman | Kind::Containerd
        )
    }
}

/// One that is measured.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) tools: Tools,
}

/// The programs of this tree.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) hako: PathBuf,
    pub(super) floor: PathBuf,
}

/// What all pullers work with.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) own: Own,
    pub(super) registry: Registry,
    /// The work directory.
    pub(super) dir: PathBuf,
    /// The place of stores ([`super::place::prepare`]).
    pub(super) stores: PathBuf,
}

/// What a pull has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// Seconds from the first command's start to the last one's end.
    pub(super) wall: f64,
    /// Seconds on processors, of the puller and its server.
    pub(super) cpu: f64,
    /// Seconds on processors, of the registry.
    pub(super) registry: f64,
    /// Bytes that the largest of the puller's processes had resident.
    pub(super) peak: u64,
}

impl Peer {
    /// Pulls the image into an empty store, which is not there afterwards. What
    /// was written before is on the disk when the time starts.
    pub(super) fn pull(&self, ground: &Ground, image: &Image) -> Result<Taken> {
        let store = Store::make(&ground.dir, &ground.stores)?;
        // Dropped before the store, which it uses.
        let server = match self.kind {
            Kind::Containerd => Some(containerd::start(&self.tools, &store.path)?),
            _ => None,
        };
        let steps = self.steps(ground, image, &store.path)?;
        rustix::fs::sync();
        let of_server = |what: fn(&Daemon) -> Result<f64>| server.as_ref().map_or(Ok(0.0), what);
        let before = (of_server(Daemon::cpu)?, ground.registry.cpu()?);
        let begun = Instant::now();
        let mut used = Usage::default();
        for mut step in steps {
            let one = run(&mut step, &ground.dir.join("log"))?;
            used.cpu = used.cpu.saturating_add(one.cpu);
            used.peak = used.peak.max(one.peak);
        }
        let wall = begun.elapsed().as_secs_f64();
        let peak = server.as_ref().map_or(Ok(0), Daemon::peak)?;
        Ok(Taken {
            wall,
            cpu: used.cpu.as_secs_f64() + of_server(Daemon::cpu)? - before.0,
            registry: ground.registry.cpu()? - before.1,
            peak: used.peak.max(peak),
        })
    }

    /// The commands of a pull, one after the other.
    fn steps(&self, ground: &Ground, image: &Image, store: &Path) -> Result<Vec<Command>> {
        let (own, registry) = (&ground.own, &ground.registry);
        let reference = registry.reference(image);
        let docker = format!("docker://{reference}");
        let root = store.join("root");
        let hako = |words: &[&str]| {
            let mut command = Command::new(&own.hako);
            command.arg("--root").arg(&root);
            command.arg("--runroot").arg(store.join("run"));
            command.args(words).arg(&reference);
            command
        };
        let pull = || hako(&["pull", "--quiet", "--tls-verify=false"]);
        let engine = |program: &str, words: &[&str], name: &str| {
            let mut command = self.tools.command(program);
            command.arg("--root").arg(&root);
            command.arg("--runroot").arg(store.join("run"));
            command.args(words).args(["--storage-driver", "overlay"]);
            command.args(["pull", "--quiet", "--tls-verify=false", name]);
            command
        };
        let floor = |form: &str| {
            let mut command = Command::new(&own.floor);
            command.args([form, &registry.host.to_string(), &image.name]);
            command.arg(&root);
            command
        };
        Ok(match self.kind {
            Kind::Hako => vec![pull()],
            Kind::HakoRun => {
                let mut first = hako(&["run", "--rm", "--network", "none"]);
                first.arg("true");
                vec![pull(), first]
            }
            Kind::FloorTars => vec![floor("tars")],
            Kind::FloorFiles => vec![floor("files")],
            Kind::Pipes => vec![pipes(registry, image, &root)?],
            Kind::Umoci => {
                let layout = format!("{}:latest", store.join("layout").display());
                let mut copy = self.tools.command("skopeo");
                copy.args(["copy", "--quiet", "--src-tls-verify=false", &docker]);
                copy.arg(format!("oci:{layout}"));
                let mut unpack = self.tools.command("umoci");
                unpack.args(["unpack", "--image", &layout]).arg(&root);
                vec![copy, unpack]
            }
            Kind::Buildah => vec![engine("buildah", &[], &docker)],
            Kind::Podman => {
                let tmp = store.join("tmp").display().to_string();
                let words = ["--tmpdir", &tmp, "--events-backend", "none"];
                vec![engine("podman", &words, &docker)]
            }
            Kind::Containerd => vec![containerd::pull(&self.tools, store, &reference)],
        })
    }
}

/// Layer after layer through pipes into one directory: nothing is hashed,
/// nothing is synced.
fn pipes(registry: &Registry, image: &Image, root: &Path) -> Result<Command> {
    let inflate = match image.compression {
        Compression::Gzip => "igzip -dc",
        Compression::Zstd => "zstd -dc",
    };
    let script = format!(
        "set -e -o pipefail; mkdir \"$0\"; for url; do curl --silent --fail \"$url\" | {inflate} | \
         tar --extract --preserve-permissions --numeric-owner --xattrs '--xattrs-include=*' \
         --directory \"$0\"; done"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).arg(root);
    for layer in image.layers()? {
        let blob = format!("{}/blobs/{}", image.name, layer.digest);
        command.arg(format!("http://{}/v2/{blob}", registry.host));
    }
    Ok(command)
}

/// Runs a command to its end; what it prints is told if it fails.
fn run(command: &mut Command, log: &Path) -> Result<Usage> {
    let file = File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?);
    let child = command.stderr(file).spawn();
    let child = child.with_context(|| format!("run {}", show(command)))?;
    let (status, usage) = usage::wait(child).context("wait for a puller")?;
    if !status.success() {
        let text = fs::read_to_string(log).unwrap_or_default();
        bail!("{}: {status}\n{}", show(command), text.trim_end());
    }
    Ok(usage)
}
