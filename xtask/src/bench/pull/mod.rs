//! `cargo xtask bench-pull`: how long it takes until an image of a registry is
//! ready to run, by hako, by others, and by what none can do without.
//!
//! The pullers take turns, each with an empty store, so that every round gives
//! ratios whatever else the machine does.

mod containerd;
mod daemon;
mod image;
mod layout;
mod peer;
mod place;
mod registry;
mod table;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::command::{cargo, run};
use crate::{binaries, privilege, workspace};
use image::Image;
use peer::{Ground, Kind, Own, Peer};
use registry::Registry;
use table::Row;
use tools::Tools;

const HELP: &str = "\
Compare the times of pulling an image until it is ready to run.

Usage: cargo xtask bench-pull [OPTIONS]

The images are root file systems of Debian packages: minbase, and build (more
than 500 MB, with compilers); as one layer and as eight; in gzip and in zstd.
They lie in a docker-registry on loopback, whose files are in the page cache.
Every pull goes into a new ext4 on a loop device (in an emptied directory ext4
would be slow for a minute after the removal); other dirty pages have been
written. Starting servers and making file systems is not measured. Ready to run
means: the files, or what a mount makes them of, are there.

Pullers:
  hako          'hako pull'
  hako+run      that, and 'hako run --network none IMAGE true'
  floor         what none can do without (benches/pull-floor): download, SHA-256
                of the blob, inflate by igzip or zstd, SHA-256 of the archive,
                the archive into one file from start to end, and one syncfs;
                layers at once on all processors. The inflaters are processes:
                it has two copies through pipes that a library would not make
  floor-files   the same, by tar(1) into a directory in place of the file
  igzip|tar     curl | igzip (or zstd) | tar, layer after layer; no hash, no sync
  skopeo+umoci  'skopeo copy' to a layout and 'umoci unpack'
  buildah, podman
                'pull' with the storage driver overlay
  containerd    'ctr images pull' with the snapshotter overlayfs
The last four also as PULLER@SUITE, from a later Debian suite (with igzip, which
containerd 2 uses).

Columns: medians, in parentheses minima. CPU is user and system time of the
puller's processes and its server; registry is that of the registry; peak is
the resident memory of the largest process; hako/wall and hako/CPU are hako's
time by that puller's, as the median of the rounds.

Needs root, loop devices, docker-registry, skopeo and debootstrap; pullers that
are not there are left out, with a line that says so.

Options:
  --work DIR      where images, registry and stores are; kept for the next time
                  [target/hako/bench-pull]
  --runs N        rounds [5]
  --small         only minbase
  --image NAME,…  only images whose names contain one of these
  --only NAME,…   only these pullers, besides hako
  --later SUITE   the suite of later versions, or none [testing]
  --hako PATH     this program, with hako-runtime beside it, in place of what is
                  built
  --json FILE     also write all rounds there
";

struct Plan {
    work: PathBuf,
    runs: usize,
    small: bool,
    images: Vec<String>,
    only: Vec<String>,
    later: Option<String>,
    json: Option<PathBuf>,
    own: Own,
}

pub(crate) fn main(parser: lexopt::Parser) -> Result<()> {
    let mut words: Vec<_> = std::env::args_os().skip(2).collect();
    let Some(plan) = parse(parser)? else {
        print!("{HELP}");
        return Ok(());
    };
    if !privilege::is_root() {
        bail!("root file systems are made and unpacked: run this as root");
    }
    if !plan.own.floor.as_os_str().is_empty() {
        return measure(&plan);
    }
    fs::create_dir_all(&plan.work).with_context(|| plan.work.display().to_string())?;
    if plan.own.hako.as_os_str().is_empty() {
        let hako = binaries::release()?.place(&plan.work.join("bin"))?;
        words.extend(["--hako".into(), hako.into()]);
    }
    run(&mut cargo([
        "build",
        "--release",
        "--package",
        "pull-floor",
    ]))?;
    let floor = workspace::built("release", "pull-floor");
    words.extend(["--floor".into(), floor.into()]);
    super::in_own_mounts("bench-pull", words)
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Plan>> {
    let mut plan = Plan {
        work: workspace::target_dir().join("hako/bench-pull"),
        runs: 5,
        small: false,
        images: Vec::new(),
        only: Vec::new(),
        later: Some("testing".to_owned()),
        json: None,
        own: Own {
            hako: PathBuf::new(),
            floor: PathBuf::new(),
        },
    };
    let list = |value: std::ffi::OsString| -> Result<Vec<String>> {
        let value = value.string()?;
        Ok(value.split(',').map(str::to_owned).collect())
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("work") => plan.work = std::path::absolute(parser.value()?).context("--work")?,
            Long("runs") => plan.runs = parser.value()?.parse()?,
            Long("small") => plan.small = true,
            Long("image") => plan.images = list(parser.value()?)?,
            Long("only") => plan.only = list(parser.value()?)?,
            Long("later") => {
                let suite = parser.value()?.string()?;
                plan.later = (suite != "none").then_some(suite);
            }
            Long("hako") => {
                plan.own.hako = std::path::absolute(parser.value()?).context("--hako")?;
            }
            Long("json") => plan.json = Some(parser.value()?.into()),
            // From the first process of this command to its second.
            Long("floor") => plan.own.floor = parser.value()?.into(),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.runs == 0 {
        bail!("--runs must be at least 1");
    }
    let known = |name: &String| {
        let plain = name.split('@').next();
        Kind::ALL.iter().any(|kind| plain == Some(kind.name()))
    };
    if let Some(name) = plan.only.iter().find(|name| !known(name)) {
        bail!("--only: no puller is called {name} ('cargo xtask bench-pull --help')");
    }
    Ok(Some(plan))
}

/// Whether the puller is among the names: without a suite all versions are.
fn is_named(only: &[String], kind: Kind, mark: &str) -> bool {
    only.iter().any(|name| match name.find('@') {
        None => name == kind.name(),
        Some(at) => name.split_at(at) == (kind.name(), mark),
    })
}

fn measure(plan: &Plan) -> Result<()> {
    let dir = plan.work.as_path();
    let lock = fs::File::create(dir.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another measurement uses {}", dir.display()))?;
    let images = image::all(plan.small, &plan.images, dir);
    if images.is_empty() {
        bail!("--image: no image has such a name");
    }
    image::make(&images, dir)?;
    let ground = Ground {
        own: plan.own.clone(),
        registry: Registry::start(dir)?,
        dir: dir.to_owned(),
        stores: place::prepare(dir)?,
    };
    for image in &images {
        ground.registry.push(image)?;
    }
    let peers = peers(plan, &ground.stores);
    println!("{} rounds, registry's files in the page cache", plan.runs);
    let mut results = Vec::new();
    for image in &images {
        let rows = rounds(plan.runs, &peers, &ground, image)?;
        table::print(&rows);
        results.push(table::json(image, &rows));
    }
    if let Some(file) = &plan.json {
        let text = serde_json::to_vec_pretty(&results)?;
        fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// hako and those of the others that are wanted and can be had.
fn peers(plan: &Plan, stores: &Path) -> Vec<Peer> {
    let wanted = |kind: Kind, mark: &str| {
        kind == Kind::Hako || plan.only.is_empty() || is_named(&plan.only, kind, mark)
    };
    let mut sets = vec![Tools::default()];
    if let Some(suite) = &plan.later {
        let mark = format!("@{suite}");
        if Kind::ALL
            .iter()
            .any(|kind| kind.is_foreign() && wanted(*kind, &mark))
        {
            match Tools::later(suite, &plan.work, stores) {
                Ok(tools) => sets.push(tools),
                Err(error) => println!("left out: the pullers{mark}: {error:#}"),
            }
        }
    }
    let mut peers = Vec::new();
    for (later, tools) in sets.iter().enumerate() {
        let mark = tools.mark();
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| later == 0 || kind.is_foreign());
        for kind in kinds.filter(|kind| wanted(*kind, &mark)) {
            let name = format!("{}{mark}", kind.name());
            let mut programs = kind.programs().iter();
            if let Some(missing) = programs.find(|program| !tools.has(program)) {
                println!("left out: {name}: {missing} is not installed");
                continue;
            }
            let program = match kind.programs().last() {
                Some(program) => (*program).to_owned(),
                None => plan.own.hako.display().to_string(),
            };
            peers.push(Peer {
                kind,
                name,
                version: tools.version(&program),
                tools: tools.clone(),
            });
        }
    }
    peers
}

/// One row for each puller; one that fails is left out of this image.
fn rounds(runs: usize, peers: &[Peer], ground: &Ground, image: &Image) -> Result<Vec<Row>> {
    let layers = image.layers()?;
    let size: u64 = layers.iter().map(|layer| layer.size).sum();
    println!(
        "\n{}: {} layers, {:.1} MB compressed",
        image.name,
        layers.len(),
        size as f64 / 1e6
    );
    registry::warm(&ground.dir.join("registry"))?;
    let mut rows: Vec<(&Peer, Row)> = peers.iter().map(|peer| (peer, Row::new(peer))).collect();
    for round in 1..=runs {
        let mut failed = Vec::new();
        for (peer, row) in &mut rows {
            match peer.pull(ground, image) {
                Ok(taken) => {
                    eprintln!("round {round}: {}: {:.2} s", peer.name, taken.wall);
                    row.rounds.push(taken);
                }
                Err(error) if peer.kind == Kind::Hako => return Err(error),
                Err(error) => {
                    println!("left out: {}: {error:#}", peer.name);
                    failed.push(peer.name.clone());
                }
            }
        }
        rows.retain(|(peer, _)| !failed.contains(&peer.name));
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let plan = |args: &[&str]| parse(lexopt::Parser::from_args(args));
        assert!(plan(&["--runs", "0"]).is_err());
        assert!(plan(&["--only", "hako,nobody"]).is_err());
        let plan = plan(&["--only=podman,floor", "--later=none", "--work", "w"]);
        let plan = plan.unwrap().unwrap();
        assert!(plan.work.is_absolute() && plan.later.is_none());
        assert_eq!(plan.only, ["podman", "floor"]);
    }

    #[test]
    fn pullers_are_named_with_and_without_their_suite() {
        let named = |word: &str, mark: &str| is_named(&[word.to_owned()], Kind::Podman, mark);
        assert!(named("podman", "") && named("podman", "@testing"));
        assert!(named("podman@testing", "@testing") && !named("podman@sid", "@testing"));
        assert!(!named("podman@testing", ""));
        assert!(!named("buildah", "") && !is_named(&["floor-files".into()], Kind::FloorTars, ""));
    }
}
