//! Runs the suites: every test is a process of its own, as cargo-nextest does
//! it, so that one that hangs or dies is one that failed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Port, boot};
use crate::vm::plan::{Event, OUTPUT_MAX, PATH, Plan, Suite, Test};

const OUTPUTS: &str = "/run/hako-vm";
const CGROUPS: &str = "/sys/fs/cgroup";

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
    port.tell(&Event::Test(before.check()?))
}

fn run(port: &Port, plan: &Plan, suite: &Suite) -> Result<()> {
    let mut tests = Vec::new();
    for test in list(suite)? {
        let name = format!("{}::{test}", suite.name);
        if !plan.filters.is_empty() && !plan.filters.iter().any(|f| name.contains(f)) {
            continue;
        }
        match suite.left_out.iter().find(|(s, _)| test.starts_with(s)) {
            Some((_, reason)) => port.tell(&Event::LeftOut {
                name,
                reason: reason.clone(),
            })?,
            None => tests.push((name, test)),
        }
    }
    if tests.is_empty() {
        return Ok(());
    }
    port.tell(&Event::Suite {
        name: suite.name.clone(),
        tests: tests.len(),
    })?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let limit = Duration::from_secs(plan.test_timeout);
            port.tell(&Event::Test(one(suite, name, test, limit)?))?;
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

/// The names of a suite's tests.
fn list(suite: &Suite) -> Result<Vec<String>> {
    let out = Command::new(&suite.program)
        .args(["--list", "--format", "terse"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", suite.program))?;
    if !out.status.success() {
        bail!("{} --list: {}", suite.program, out.status);
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let names = text.lines().filter_map(|l| l.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

fn one(suite: &Suite, name: &str, test: &str, limit: Duration) -> Result<Test> {
    let path = Path::new(OUTPUTS).join(name.replace('/', "_"));
    let output = || format!("output of {name}");
    let file = File::create(&path).with_context(output)?;
    let start = Instant::now();
    let mut child = Command::new(&suite.program)
        .args([test, "--exact", "--nocapture", "--include-ignored"])
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
    let failure = failure(status, &text);
    Ok(Test {
        name: name.to_owned(),
        seconds: start.elapsed().as_secs_f64(),
        output: match failure {
            Some(_) => end(&text),
            None => String::new(),
        },
        failure,
    })
}

/// Why a test failed. One that has not run is no success, either.
fn failure(status: Option<ExitStatus>, output: &[u8]) -> Option<String> {
    match status {
        None => Some("takes too long".to_owned()),
        Some(status) if !status.success() => Some(status.to_string()),
        Some(_) => {
            let text = String::from_utf8_lossy(output);
            (!text.contains("1 passed") && !text.contains("1 tests, failed: []"))
                .then(|| "has not run".to_owned())
        }
    }
}

/// The last part of a long output.
fn end(text: &[u8]) -> String {
    let from = text.len().saturating_sub(OUTPUT_MAX);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
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
            name: "vm::nothing_is_left_behind".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn what_counts_as_success() {
        let ended = |raw| Some(ExitStatus::from_raw(raw));
        let good = b"test result: ok. 1 passed; 0 failed; 0 ignored";
        assert_eq!(failure(ended(0), good), None);
        assert_eq!(
            failure(ended(0), b"test x ... ok\n1 tests, failed: []\n"),
            None
        );
        let none = b"test result: ok. 0 passed; 0 failed; 1 ignored";
        assert_eq!(failure(ended(0), none).unwrap(), "has not run");
        assert_eq!(failure(ended(101 << 8), good).unwrap(), "exit status: 101");
        assert_eq!(failure(None, good).unwrap(), "takes too long");
    }

    #[test]
    fn the_end_of_long_output() {
        let text = [vec![b'a'; OUTPUT_MAX], b"end".to_vec()].concat();
        assert_eq!(end(&text).len(), OUTPUT_MAX);
        assert!(end(&text).ends_with("aend"));
    }
}
