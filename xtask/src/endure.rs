//! `cargo xtask endure`: many containers at once, and a runtime that is killed
//! in the middle of its work.
//!
//! Afterwards nothing of them may be left: no record, no cgroup, no mount, no
//! process. The processes are known by a variable of their environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::prelude::*;

use crate::bench::bundle;
use crate::{binaries, privilege};

const HELP: &str = "\
Try a runtime's endurance, and that nothing is left behind.

Usage: cargo xtask endure [OPTIONS]

Needs root and busybox (package busybox-static).

Options:
  --runtime PATH   another runtime than hako-runtime as built here
  --containers N   containers created, started, exec'd into, killed and deleted [1000]
  --runs N         containers whose program ends at once [10000]
  --kills N        commands of the runtime that are killed at a random moment [200]
  --jobs N         at the same time [16]
  --seed N         of the random moments [1]
";

/// A command that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Plan {
    runtime: PathBuf,
    containers: usize,
    runs: usize,
    kills: usize,
    jobs: usize,
    seed: u64,
}

pub(crate) fn main(parser: lexopt::Parser) -> Result<()> {
    let Some(mut plan) = parse(parser)? else {
        print!("{HELP}");
        return Ok(());
    };
    if !privilege::is_root() {
        bail!("the runtime makes cgroups: run this as root");
    }
    if plan.runtime.as_os_str().is_empty() {
        plan.runtime = binaries::runtime()?;
    }
    let ground = Ground::make(&plan)?;
    let steps: [(&str, usize, &Work<'_>); 3] = [
        ("lives of containers", plan.containers, &|n| ground.life(n)),
        ("runs of true", plan.runs, &|n| ground.run(n)),
        ("commands killed", plan.kills, &|n| ground.killed(n)),
    ];
    for (what, count, work) in steps {
        let start = Instant::now();
        each(count, plan.jobs, work)?;
        ground
            .nothing_left()
            .with_context(|| format!("after {count} {what}"))?;
        println!(
            "{count} {what}, {} at a time: {:.1?}, nothing left",
            plan.jobs,
            start.elapsed()
        );
    }
    Ok(())
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Plan>> {
    let mut plan = Plan {
        runtime: PathBuf::new(),
        containers: 1000,
        runs: 10_000,
        kills: 200,
        jobs: 16,
        seed: 1,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("runtime") => plan.runtime = parser.value()?.into(),
            Long("containers") => plan.containers = parser.value()?.parse()?,
            Long("runs") => plan.runs = parser.value()?.parse()?,
            Long("kills") => plan.kills = parser.value()?.parse()?,
            Long("jobs") => plan.jobs = parser.value()?.parse()?,
            Long("seed") => plan.seed = parser.value()?.parse()?,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(plan.jobs > 0, "--jobs must be at least 1");
    Ok(Some(plan))
}

/// What is done with one number.
type Work<'a> = dyn Fn(usize) -> Result<()> + Sync + 'a;

/// Does the work `count` times on `jobs` threads; the first failure ends it.
fn each(count: usize, jobs: usize, work: &Work<'_>) -> Result<()> {
    let next = AtomicUsize::new(0);
    let one = || -> Result<()> {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return Ok(());
            }
            if let Err(error) = work(n) {
                next.store(count, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(one)).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread panicked"),
        });
        // All are waited for.
        results.fold(Ok(()), Result::and)
    })
}

struct Ground {
    dir: PathBuf,
    runtime: PathBuf,
    /// Name of every container begins with it.
    mark: String,
    seed: u64,
    short: PathBuf,
    long: PathBuf,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Ground {
    fn make(plan: &Plan) -> Result<Self> {
        let mark = format!("hako-endure-{}", std::process::id());
        let dir = Path::new("/run").join(&mark);
        let ground = Ground {
            runtime: plan.runtime.clone(),
            seed: plan.seed,
            short: dir.join("short"),
            long: dir.join("long"),
            mark,
            dir,
        };
        let env = format!("HAKO_ENDURE={}", ground.mark);
        bundle::make(&ground.runtime, &ground.short, &["/bin/true"], Some(&env))?;
        bundle::make(
            &ground.runtime,
            &ground.long,
            &["/bin/sleep", "100000"],
            Some(&env),
        )?;
        Ok(ground)
    }

    fn start(&self, words: &[&str]) -> Result<(Child, PathBuf)> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        // A file and not a pipe: a created container keeps it open.
        let errors = self.dir.join(format!("errors-{n}"));
        let child = Command::new(&self.runtime)
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors)?)
            .spawn()
            .with_context(|| self.runtime.display().to_string())?;
        Ok((child, errors))
    }

    fn call(&self, words: &[&str]) -> Result<()> {
        let (mut child, errors) = self.start(words)?;
        let begun = Instant::now();
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                bail!("{words:?} hangs");
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let text = fs::read_to_string(&errors).unwrap_or_default();
        fs::remove_file(&errors)?;
        ensure!(status.success(), "{words:?}: {status}: {text}");
        Ok(())
    }

    fn life(&self, n: usize) -> Result<()> {
        let id = format!("{}-life-{n}", self.mark);
        let bundle = self.long.display().to_string();
        self.call(&["create", "--bundle", &bundle, &id])?;
        self.call(&["start", &id])?;
        self.call(&["exec", &id, "/bin/true"])?;
        self.call(&["kill", &id, "KILL"])?;
        // It may still be on its way out.
        let begun = Instant::now();
        loop {
            match self.call(&["delete", &id]) {
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn run(&self, n: usize) -> Result<()> {
        let id = format!("{}-run-{n}", self.mark);
        self.call(&["run", "--bundle", &self.short.display().to_string(), &id])
    }

    /// Kills one command of a container's life at a random moment.
    fn killed(&self, n: usize) -> Result<()> {
        let id = format!("{}-killed-{n}", self.mark);
        let bundle = self.long.display().to_string();
        let create = ["create", "--bundle", &bundle, &id];
        let detached = ["run", "--detach", "--bundle", &bundle, &id];
        let lives: [&[&[&str]]; 7] = [
            &[&create],
            &[&detached],
            &[&create, &["start", &id]],
            &[&detached, &["exec", &id, "/bin/true"]],
            &[&detached, &["kill", &id, "KILL"]],
            &[&detached, &["pause", &id]],
            &[&detached, &["delete", "--force", &id]],
        ];
        let random = scramble(self.seed.wrapping_mul(1_000_003).wrapping_add(n as u64));
        let life = lives[random as usize % lives.len()];
        let Some((last, before)) = life.split_last() else {
            return Ok(());
        };
        for words in before {
            self.call(words)?;
        }
        let (mut child, errors) = self.start(last)?;
        // As long as such a command takes when as many others run.
        std::thread::sleep(Duration::from_micros((random >> 32) % 40_000));
        child.kill()?;
        child.wait()?;
        fs::remove_file(&errors)?;
        self.call(&["delete", "--force", &id])
            .with_context(|| format!("after {last:?} was killed"))
    }

    /// The kernel takes its time to let processes go.
    fn nothing_left(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let left = self.left()?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(5),
                "left behind: {}",
                left.join(", ")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(self.dir.join("state")).into_iter().flatten() {
            let entry = entry?;
            // What hako-runtime keeps for all containers.
            if !entry.file_name().as_encoded_bytes().starts_with(b"#") {
                left.push(entry.path().display().to_string());
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        for line in mounts.lines() {
            let (left_half, right) = line.split_once(" - ").unwrap_or((line, ""));
            let at = left_half.split(' ').nth(4).unwrap_or_default();
            if at.starts_with(&self.dir.display().to_string()) {
                left.push(format!("mount {at}"));
            }
            if right.starts_with("cgroup") {
                let ours = fs::read_dir(at).into_iter().flatten().flatten();
                let ours = ours.filter(|e| e.file_name().to_string_lossy().starts_with(&self.mark));
                left.extend(ours.map(|entry| entry.path().display().to_string()));
            }
        }
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            let variable = format!("HAKO_ENDURE={}", self.mark);
            if environment
                .split(|b| *b == 0)
                .any(|v| v == variable.as_bytes())
            {
                left.push(format!("process {}", path.display()));
            }
        }
        Ok(left)
    }
}

/// SplitMix64: enough for moments that nobody has chosen.
fn scramble(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_worked_on_once_and_the_first_failure_ends_it() {
        let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
        each(100, 7, &|n| {
            done[n].fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        let begun = AtomicUsize::new(0);
        let result = each(1_000_000, 2, &|n| {
            begun.fetch_add(1, Ordering::Relaxed);
            ensure!(n != 10, "ten");
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "ten");
        assert!(begun.load(Ordering::Relaxed) < 1_000_000);
    }

    #[test]
    fn bad_command_lines_are_told() {
        let plan = |args: &[&str]| parse(lexopt::Parser::from_args(args));
        assert!(plan(&["--jobs", "0"]).is_err());
        assert!(plan(&["extra"]).is_err());
        assert!(plan(&["--help"]).unwrap().is_none());
    }
}
