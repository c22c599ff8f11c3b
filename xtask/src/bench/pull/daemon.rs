//! Servers that a measurement starts: ended with it, whatever happens.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Dropping it ends it; so does the end of this program by
/// whatever signal.
#[derive(Debug)]
pub(super) struct Daemon {
    name: String,
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Politely first: containerd has plugins to close.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts a server and waits until `answers` says that it does; what it
    /// prints goes into the file `log`.
    pub(super) fn start(
        command: &Command,
        log: &Path,
        answers: impl Fn() -> bool,
    ) -> Result<Daemon> {
        let name = crate::command::show(command);
        let file = File::create(log).with_context(|| log.display().to_string())?;
        // setpriv(1) becomes the server, and has the kernel end it with us.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("run setpriv (package util-linux)")?;
        let mut daemon = Daemon { name, child };
        let begun = Instant::now();
        while !answers() {
            let ended = daemon.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let text = fs::read_to_string(log).unwrap_or_default();
                bail!("{} does not answer\n{text}", daemon.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Seconds on processors so far, with those of children that have ended.
    pub(super) fn cpu(&self) -> Result<f64> {
        let text = self.proc("stat")?;
        // proc_pid_stat(5): the name may hold anything; utime is field 14.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(4);
        let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// The most memory that it had resident, in bytes.
    pub(super) fn peak(&self) -> Result<u64> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes = kilobytes.with_context(|| format!("no VmHWM of {}", self.name))?;
        Ok(kilobytes.trim().parse::<u64>()?.saturating_mul(1024))
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("{path} of {}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_at_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("up");
        let script = format!("true >{}; while true; do sleep 0.01; done", mark.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let log = dir.path().join("log");
        let daemon = Daemon::start(&command, &log, || mark.exists()).unwrap();
        assert!(daemon.peak().unwrap() > 100_000);
        let (begun, before) = (Instant::now(), daemon.cpu().unwrap());
        while daemon.cpu().unwrap() <= before {
            assert!(begun.elapsed() < PATIENCE, "it uses no time");
        }
        let pid = daemon.child.id();
        drop(daemon);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken; exit 1"]);
        let error = Daemon::start(&command, &log, || false).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
