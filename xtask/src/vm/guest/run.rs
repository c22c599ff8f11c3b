//! Runs the suites: every test is a process of its own, as cargo-nextest does
//! it, so that one that hangs or dies is one that failed. Only the checks of
//! the tester of runtimes share processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::suite::{self, Ended};
use super::{Port, boot};
use crate::vm::plan::{Event, PATH, Plan, Suite, Test};

const OUTPUTS: &str = "/run/hako-vm";
const CGROUPS: &str = "/sys/fs/cgroup";
/// The suite of what is looked at from outside of the others.
const VM: &str = "vm";

pub(super) fn main() -> Result<()> {
    let port = Port::open()?;
    match suites(&port) {
        Ok(()) => port.tell(&Event::Done),
        Err(error) => port.tell(&Event::Error(format!("{error:#}"))),
    }
}

fn suites(port: &Port) -> Result<()> {
    boot::enter_session()?;
    let plan = fs::read(PATH).with_context(|| format!("read {PATH}"))?;
    let plan: Plan = serde_json::from_slice(&plan).with_context(|| format!("parse {PATH}"))?;
    fs::create_dir_all(OUTPUTS).with_context(|| format!("create {OUTPUTS}"))?;
    let controllers = Path::new(CGROUPS).join("cgroup.controllers");
    let controllers = fs::read_to_string(&controllers)
        .with_context(|| format!("read {}", controllers.display()))?;
    port.tell(&Event::Up {
        kernel: rustix::system::uname().release().to_string_lossy().into(),
        controllers: controllers.trim().to_owned(),
    })?;
    let before = Leftovers::now()?;
    for suite in &plan.suites {
        run(port, &plan, suite)?;
    }
    port.tell(&Event::Suite {
        name: VM.to_owned(),
        tests: 1,
    })?;
    port.tell(&Event::Test(before.check()?))
}

fn run(port: &Port, plan: &Plan, suite: &Suite) -> Result<()> {
    let (mut tests, mut left_out) = (Vec::new(), Vec::new());
    for test in suite::list(suite)? {
        let name = format!("{}::{test}", suite.name);
        if !plan.filters.is_empty() && !plan.filters.iter().any(|f| name.contains(f)) {
            continue;
        }
        match suite.left_out.iter().find(|(s, _)| test.starts_with(s)) {
            Some((_, reason)) => left_out.push((name, reason.clone())),
            None => tests.push((name, test)),
        }
    }
    if tests.is_empty() && left_out.is_empty() {
        return Ok(());
    }
    port.tell(&Event::Suite {
        name: suite.name.clone(),
        tests: tests.len(),
    })?;
    for (name, reason) in left_out {
        port.tell(&Event::LeftOut { name, reason })?;
    }
    let parts: Vec<_> = tests.chunks(suite::at_once(&suite.kind)).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let limit = Duration::from_secs(plan.test_timeout);
            let ended = finish(suite, part, limit)?;
            for event in suite::events(&suite.kind, part, &ended) {
                port.tell(&event)?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_) => bail!("a worker has panicked"),
            }
        }
        Ok(())
    })
}

/// Runs one process of a suite.
fn finish(suite: &Suite, tests: &[suite::Name], limit: Duration) -> Result<Ended> {
    let name = tests.first().map_or("none", |(name, _)| name);
    let path = Path::new(OUTPUTS).join(name.replace('/', "_"));
    let output = || format!("output of {name}");
    let file = File::create(&path).with_context(output)?;
    let start = Instant::now();
    let mut child = suite::command(suite, tests)
        .stdin(Stdio::null())
        .stdout(file.try_clone().with_context(output)?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| format!("run {}", suite.program))?;
    let mut status = None;
    while status.is_none() && start.elapsed() < limit {
        status = child.try_wait().with_context(output)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    if status.is_none() {
        // Its children may not be in the group; they are for the leftovers.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().with_context(output)?;
    }
    let text = fs::read(&path).with_context(output)?;
    fs::remove_file(&path).with_context(output)?;
    Ok(Ended {
        status,
        output: text,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// What tests could leave behind on a machine.
struct Leftovers {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    cgroups: BTreeSet<String>,
}

impl Leftovers {
    fn now() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
        let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
        Ok(Leftovers {
            mounts: mounts.lines().filter_map(point).collect(),
            links: names("/sys/class/net", false)?,
            cgroups: cgroups()?,
        })
    }

    /// A test that all tests together must pass.
    fn check(&self) -> Result<Test> {
        let now = Self::now()?;
        let mut left: Vec<String> = Vec::new();
        let new = |was: &BTreeSet<String>, is: &BTreeSet<String>| {
            is.difference(was).cloned().collect::<Vec<_>>()
        };
        left.extend(
            new(&self.mounts, &now.mounts)
                .iter()
                .map(|m| format!("mount {m}")),
        );
        left.extend(
            new(&self.links, &now.links)
                .iter()
                .map(|l| format!("interface {l}")),
        );
        left.extend(
            new(&self.cgroups, &now.cgroups)
                .iter()
                .map(|c| format!("cgroup {c}")),
        );
        Ok(Test {
            name: format!("{VM}::nothing_is_left_behind"),
            failure: (!left.is_empty()).then(|| "something is left behind".to_owned()),
            seconds: 0.0,
            output: left.join("\n"),
        })
    }
}

/// The cgroups at the top, and the units of systemd.
fn cgroups() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for dir in [CGROUPS.to_owned(), format!("{CGROUPS}/system.slice")] {
        if Path::new(&dir).exists() {
            let names = names(&dir, true)?;
            found.extend(names.into_iter().map(|name| format!("{dir}/{name}")));
        }
    }
    Ok(found)
}

fn names(dir: &str, dirs_only: bool) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {dir}"))? {
        let entry = entry.with_context(|| format!("read {dir}"))?;
        if !dirs_only || entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}
