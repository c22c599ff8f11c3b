//! `cargo xtask bench-runtime`: OCI runtimes beside each other and above the
//! floor (`benches/floor`).
//!
//! The runtimes take turns, so that each round gives a ratio whatever else the
//! machine does. Everything is measured twice: in a loop, and after a pause,
//! since the kernel lets a first caller wait for what a loop has just paid
//! (RCU grace periods).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use super::{bundle, in_own_mounts, median, median_ratio};
use crate::command::{cargo, run};
use crate::{binaries, privilege, workspace};

const HELP: &str = "\
Compare the times of OCI runtimes, and of the work that none can avoid.

Usage: cargo xtask bench-runtime [OPTIONS] [RUNTIME…]

hako-runtime and the floor are built and always measured; RUNTIMEs are others,
by name or path [crun runc]. Needs root and busybox (package busybox-static).
All see the same cgroups: where version 1 is in use, the mount of version 2 is
left out, as crun demands.

Options:
  --runs N        rounds in a loop [100]
  --quiet-runs N  rounds with a pause before each command [30]
  --pause MS      that pause [300]
  --filter WORD   only the works whose names contain WORD
";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Run,
    Create,
    State,
    Exec,
    Delete,
}

impl Work {
    const ALL: [Work; 5] = [
        Work::Run,
        Work::Create,
        Work::State,
        Work::Exec,
        Work::Delete,
    ];

    fn name(self) -> &'static str {
        match self {
            Work::Run => "run true",
            Work::Create => "create",
            Work::State => "state",
            Work::Exec => "exec true",
            Work::Delete => "delete",
        }
    }
}

struct Plan {
    runs: usize,
    quiet_runs: usize,
    pause: Duration,
    filter: String,
    peers: Vec<PathBuf>,
    hako: PathBuf,
    floor: PathBuf,
}

pub(crate) fn main(parser: lexopt::Parser) -> Result<()> {
    let mut words: Vec<_> = std::env::args_os().skip(2).collect();
    let Some(mut plan) = parse(parser)? else {
        print!("{HELP}");
        return Ok(());
    };
    if !privilege::is_root() {
        bail!("the runtimes make cgroups: run this as root");
    }
    if plan.floor.as_os_str().is_empty() {
        plan.hako = binaries::runtime()?;
        run(&mut cargo(["build", "--release", "--package", "floor"]))?;
        plan.floor = workspace::built("release", "floor");
        // The rest in a mount namespace of its own.
        words.extend(["--hako".into(), plan.hako.into()]);
        words.extend(["--floor".into(), plan.floor.into()]);
        return in_own_mounts("bench-runtime", words);
    }
    one_version_of_cgroups()?;
    measure(&plan)
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Plan>> {
    let mut plan = Plan {
        runs: 100,
        quiet_runs: 30,
        pause: Duration::from_millis(300),
        filter: String::new(),
        peers: Vec::new(),
        hako: PathBuf::new(),
        floor: PathBuf::new(),
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("runs") => plan.runs = parser.value()?.parse()?,
            Long("quiet-runs") => plan.quiet_runs = parser.value()?.parse()?,
            Long("pause") => plan.pause = Duration::from_millis(parser.value()?.parse()?),
            Long("filter") => plan.filter = parser.value()?.string()?,
            // From the first process of this command to its second.
            Long("hako") => plan.hako = parser.value()?.into(),
            Long("floor") => plan.floor = parser.value()?.into(),
            Value(peer) => plan.peers.push(peer.into()),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if plan.peers.is_empty() {
        plan.peers = vec!["crun".into(), "runc".into()];
    }
    Ok(Some(plan))
}

fn one_version_of_cgroups() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    let of = |kind: &str| {
        let mark = format!(" - {kind} ");
        let lines = mounts.lines().filter(move |line| line.contains(&mark));
        lines.filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
    };
    if of("cgroup").next().is_none() {
        return Ok(());
    }
    for at in of("cgroup2") {
        rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("unmount {at}"))?;
    }
    Ok(())
}

/// A runtime with a directory for its containers.
struct Runtime {
    name: String,
    program: PathBuf,
    root: PathBuf,
}

impl Runtime {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(words);
        command
    }

    fn call(&self, words: &[&str]) -> Result<Duration> {
        time(&mut self.command(words))
    }
}

/// The bundles: one whose program ends at once, one whose program stays.
struct Ground {
    dir: PathBuf,
    /// A tmpfs, as /run is on most machines, for the runtimes' records.
    state: PathBuf,
    short: String,
    long: String,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.state, rustix::mount::UnmountFlags::DETACH);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Ground {
    fn make(plan: &Plan) -> Result<Self> {
        let dir = PathBuf::from(format!("/run/hako-bench-{}", std::process::id()));
        let ground = Ground {
            short: dir.join("short").display().to_string(),
            long: dir.join("long").display().to_string(),
            state: dir.join("state"),
            dir,
        };
        fs::create_dir_all(&ground.state)?;
        let flags = rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOSUID;
        rustix::mount::mount("tmpfs", &ground.state, "tmpfs", flags, None)
            .with_context(|| format!("mount a tmpfs on {}", ground.state.display()))?;
        let works: [(&String, &[&str]); 2] = [
            (&ground.short, &["/bin/true"]),
            (&ground.long, &["/bin/sleep", "100000"]),
        ];
        for (bundle, args) in works {
            let bundle = Path::new(bundle);
            bundle::make(&plan.hako, bundle, args, None)?;
            time(Command::new(&plan.floor).arg("prepare").arg(bundle))?;
            // That has made the one program of all.
            bundle::edit(bundle, |config| {
                config["process"]["args"] = serde_json::json!(args);
            })?;
        }
        Ok(ground)
    }
}

fn measure(plan: &Plan) -> Result<()> {
    let ground = Ground::make(plan)?;
    let own = Runtime {
        name: "hako-runtime".to_owned(),
        program: plan.hako.clone(),
        root: ground.state.join("hako"),
    };
    let peers = plan.peers.iter().enumerate().map(|(n, program)| Runtime {
        name: program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        program: program.clone(),
        root: ground.state.join(n.to_string()),
    });
    let runtimes: Vec<Runtime> = std::iter::once(own).chain(peers).collect();
    fs::create_dir(ground.state.join("floor"))?;
    println!("medians in ms (lowest), ratios as medians of the rounds");
    for work in Work::ALL {
        if !work.name().contains(&plan.filter) {
            continue;
        }
        for (rounds, pause) in [(plan.runs, Duration::ZERO), (plan.quiet_runs, plan.pause)] {
            if rounds == 0 {
                continue;
            }
            let how = match pause.is_zero() {
                true => "in a loop".to_owned(),
                false => format!("after {} ms of quiet", pause.as_millis()),
            };
            println!("\n{}, {how}, {rounds} rounds", work.name());
            let rows = rounds_of(plan, &ground, &runtimes, work, rounds, pause)?;
            print(&rows);
        }
    }
    Ok(())
}

type Rows = Vec<(String, Vec<f64>)>;

/// One row of milliseconds for each runtime, the floor first where it has one.
fn rounds_of(
    plan: &Plan,
    ground: &Ground,
    runtimes: &[Runtime],
    work: Work,
    rounds: usize,
    pause: Duration,
) -> Result<Rows> {
    let mut floor = Vec::new();
    let mut rows: Rows = runtimes
        .iter()
        .map(|r| (r.name.clone(), Vec::new()))
        .collect();
    let lasting = matches!(work, Work::State | Work::Exec);
    if lasting {
        for runtime in runtimes {
            runtime.call(&["create", "--bundle", &ground.long, "bench-long"])?;
            runtime.call(&["start", "bench-long"])?;
        }
    }
    for round in 0..rounds.saturating_add(2) {
        let keep = |row: &mut Vec<f64>, taken: Duration| {
            // The first two warm up.
            if round >= 2 {
                row.push(taken.as_secs_f64() * 1000.0);
            }
        };
        if work == Work::Run {
            std::thread::sleep(pause);
            let mut command = Command::new(&plan.floor);
            command
                .args(["run", &ground.short])
                .arg(ground.state.join("floor"));
            keep(&mut floor, time(&mut command)?);
        }
        for (runtime, (_, row)) in runtimes.iter().zip(&mut rows) {
            let id = format!("bench-{round}");
            keep(row, once(runtime, ground, work, &id, pause)?);
        }
    }
    if lasting {
        for runtime in runtimes {
            runtime.call(&["delete", "--force", "bench-long"])?;
        }
    }
    if work == Work::Run {
        rows.insert(0, ("floor".to_owned(), floor));
    }
    Ok(rows)
}

/// Does the work once, with what must be there before and what is left after
/// not measured.
fn once(
    runtime: &Runtime,
    ground: &Ground,
    work: Work,
    id: &str,
    pause: Duration,
) -> Result<Duration> {
    let measured = |words: &[&str]| {
        std::thread::sleep(pause);
        runtime.call(words)
    };
    match work {
        Work::Run => measured(&["run", "--bundle", &ground.short, id]),
        Work::State => measured(&["state", "bench-long"]),
        Work::Exec => measured(&["exec", "bench-long", "/bin/true"]),
        Work::Create => {
            let taken = measured(&["create", "--bundle", &ground.long, id])?;
            runtime.call(&["delete", "--force", id])?;
            Ok(taken)
        }
        Work::Delete => {
            runtime.call(&["create", "--bundle", &ground.short, id])?;
            runtime.call(&["start", id])?;
            let begun = Instant::now();
            loop {
                let output = runtime.command(&["state", id]).output()?;
                if String::from_utf8_lossy(&output.stdout).contains("stopped") {
                    break;
                }
                if begun.elapsed() > Duration::from_secs(10) {
                    bail!("{}: the container does not stop", runtime.name);
                }
            }
            measured(&["delete", id])
        }
    }
}

/// Files instead of pipes for its output: a created container keeps them open.
fn time(command: &mut Command) -> Result<Duration> {
    let shown = format!("{command:?}");
    let path = std::env::temp_dir().join(format!("hako-bench-{}.err", std::process::id()));
    let errors = fs::File::create(&path)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    let start = Instant::now();
    let status = command.status().with_context(|| shown.clone())?;
    let taken = start.elapsed();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path);
    if !status.success() {
        bail!("{shown}: {status}\n{text}");
    }
    Ok(taken)
}

fn print(rows: &[(String, Vec<f64>)]) {
    for (name, row) in rows {
        let middle = median(row);
        let lowest = row.iter().copied().fold(f64::INFINITY, f64::min);
        let others: Vec<String> = rows
            .iter()
            .filter(|(other, _)| other != name)
            .map(|(other, to)| format!("{:.2} × {other}", median_ratio(row, to)))
            .collect();
        println!(
            "{name:>14} {middle:8.2} ({lowest:.2})  {}",
            others.join(", ")
        );
    }
}
