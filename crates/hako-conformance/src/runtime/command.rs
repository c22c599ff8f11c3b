//! One command of the runtime, with an end to waiting.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Of what a command prints, this much is kept.
const MOST: u64 = 4 << 20;

/// What a command did.
#[derive(Debug, Clone)]
pub struct Done {
    /// The words after the program: what it was.
    pub what: String,
    /// Its status (128 + the signal's number when one ended it); `None` when it
    /// had to be ended.
    pub status: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it printed as errors.
    pub err: String,
}

impl Done {
    /// Whether it ended by itself, saying that all is well.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == Some(0)
    }

    /// What it was and how it ended, for people.
    #[must_use]
    pub fn told(&self) -> String {
        let status = match self.status {
            Some(status) => format!("status {status}"),
            None => "no end".to_owned(),
        };
        let err = self.err.trim();
        let err: String = err.chars().take(400).collect();
        match err.is_empty() {
            true => format!("'{}': {status}", self.what),
            false => format!("'{}': {status}: {err}", self.what),
        }
    }
}

/// Runs a command in a process group of its own and waits for its end, at most
/// for `patience`; then the group is killed. Its output goes through files in
/// `dir` without names, so that a container that holds on to them delays nobody.
pub(crate) fn finish(command: &mut Command, dir: &Path, patience: Duration) -> io::Result<Done> {
    let what: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let what = what.join(" ");
    let (mut out, mut err) = (nameless(dir)?, nameless(dir)?);
    command.stdin(Stdio::null());
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let status = wait(command, patience)?;
    Ok(Done {
        what,
        status,
        out: text(&mut out)?,
        err: text(&mut err)?,
    })
}

/// As [`finish`], with standard output in the file `path`, which is appended to.
pub(crate) fn finish_into(
    command: &mut Command,
    dir: &Path,
    path: &Path,
    patience: Duration,
) -> io::Result<Done> {
    let what: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let what = what.join(" ");
    let mut err = nameless(dir)?;
    let out = File::options().append(true).create(true).open(path)?;
    command.stdin(Stdio::null());
    command.stdout(out).stderr(err.try_clone()?);
    let status = wait(command, patience)?;
    Ok(Done {
        what,
        status,
        out: fs::read_to_string(path).unwrap_or_default(),
        err: text(&mut err)?,
    })
}

fn wait(command: &mut Command, patience: Duration) -> io::Result<Option<i32>> {
    let mut child = command.process_group(0).spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().or(status.signal().map(|signal| 128 + signal)));
        }
        if start.elapsed() > patience {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn nameless(dir: &Path) -> io::Result<File> {
    tempfile::tempfile_in(dir)
}

fn text(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; sleep 100 & sleep 100"]);
        let done = finish(&mut command, dir.path(), Duration::from_millis(300)).unwrap();
        assert_eq!((done.status, done.is_ok()), (None, false));
        assert_eq!((done.out.as_str(), done.err.as_str()), ("out\n", "err\n"));
        assert!(done.told().ends_with("no end: err"), "{}", done.told());

        let mut command = Command::new("sh");
        command.args(["-c", "kill -9 $$"]);
        let done = finish(&mut command, dir.path(), Duration::from_secs(20)).unwrap();
        assert_eq!(done.status, Some(137));
    }
}
