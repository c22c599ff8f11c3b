//! The files by which others learn what became of a container: `exit.json`
//! and `init.json`, which appear whole by rename, and the append-only
//! `journal`. Nothing is synced to the disk: after a loss of power no
//! container runs, and the boot id says so.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::time::Stamp;

/// How the exit status came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// The monitor was the parent and waited.
    Waited,
    /// The kernel kept it with the pidfd (Linux 6.15).
    Pidfd,
    /// It stood in `/proc` while nobody had reaped the process yet.
    Proc,
    /// It is not known.
    Unknown,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By exit(2), with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    /// Reads a wait status (wait(2)).
    #[must_use]
    pub fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }

    /// The status that a shell would show.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// The contents of `exit.json`, and of the exit message to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The form of this object; 1.
    pub version: u32,
    /// The container.
    pub id: String,
    /// Exit status as a shell shows it, 128 + n for signal n; absent when it
    /// is not known.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container because its memory
    /// limit was reached.
    pub oom_killed: bool,
    /// When it was started; absent for one that never was.
    pub started_at: Option<String>,
    /// When it ended, or when its end was found out.
    pub finished_at: String,
    /// How the status came to be known.
    pub known: Known,
}

/// The contents of `init.json`: what a later monitor needs to adopt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// The form of this object; 1.
    pub version: u32,
    /// The container's first process.
    pub pid: i32,
    /// When it began, in ticks since boot (proc_pid_stat(5)), so that another
    /// process with its number is told apart.
    pub start_time: u64,
    /// When the container was started; absent until it is.
    pub started_at: Option<String>,
}

/// Writes `name` in `dir` so that readers see the old or the new whole.
pub(crate) fn write_json<T: Serialize>(dir: &Dir, name: &str, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec(value).map_err(|source| Error::Json {
        path: dir.path.join(name),
        what: "record",
        source,
    })?;
    text.push(b'\n');
    let temporary = format!(".{name}.new");
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let failed = || Error::path("write", dir.path.join(name));
    let fd =
        rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(0o600)).map_err(failed())?;
    write_all(fd.as_fd(), &text).map_err(failed())?;
    rustix::fs::renameat(dir, &temporary, dir, name).map_err(failed())
}

/// Reads a file written by [`write_json`]; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(dir: &Dir, name: &str) -> Result<Option<T>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.map_err(Error::path("read", dir.path.join(name)))?,
    };
    let text = read_bounded(fd, 1 << 20).map_err(Error::path("read", dir.path.join(name)))?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| Error::Json {
            path: dir.path.join(name),
            what: "record",
            source,
        })
}

/// Reads `exit.json` in a container's directory; `None` as long as it runs.
pub fn read_exit(dir: &Path) -> Result<Option<Exit>> {
    read_json(&Dir::open(dir)?, "exit.json")
}

pub(crate) fn read_bounded(fd: OwnedFd, limit: u64) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let mut file = std::io::Read::take(std::fs::File::from(fd), limit);
    std::io::Read::read_to_end(&mut file, &mut text).map_err(|e| crate::error::errno(&e))?;
    Ok(text)
}

pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// An open directory and its name for messages.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) path: std::path::PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::path("open", path))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// A name for something in here that is short enough for a socket address
    /// and that other processes of this user can use while this one lives.
    pub(crate) fn short(&self, name: &str) -> std::path::PathBuf {
        let plain = self.path.join(name);
        // `sun_path` has 108 bytes with the NUL (unix(7)).
        if plain.as_os_str().len() < 108 {
            return plain;
        }
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.fd);
        format!("/proc/{}/fd/{fd}/{name}", std::process::id()).into()
    }
}

/// The append-only list of what has happened to a container: one JSON object
/// a line with `seq`, `time` and `event`.
#[derive(Debug)]
pub(crate) struct Journal {
    fd: OwnedFd,
    path: std::path::PathBuf,
    next: u64,
}

impl Journal {
    pub(crate) fn open(dir: &Dir) -> Result<Self> {
        let path = dir.path.join("journal");
        let flags =
            OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(dir, "journal", flags, Mode::from_raw_mode(0o600))
            .map_err(Error::path("open", &path))?;
        let size = rustix::fs::fstat(&fd)
            .map_err(Error::path("read", &path))?
            .st_size;
        let size = u64::try_from(size).unwrap_or(0);
        let mut tail = vec![0u8; 8192];
        let from = size.saturating_sub(tail.len() as u64);
        let n = rustix::io::pread(&fd, &mut tail, from).map_err(Error::path("read", &path))?;
        tail.truncate(n);
        let torn = tail.last().is_some_and(|b| *b != b'\n');
        let last = tail
            .split(|b| *b == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter_map(|v| v.get("seq")?.as_u64())
            .next_back();
        let journal = Self {
            fd,
            path,
            next: last.unwrap_or(0) + 1,
        };
        if torn {
            // A writer died in the middle of a line: that line stays alone.
            write_all(journal.fd.as_fd(), b"\n").map_err(Error::path("write", &journal.path))?;
        }
        Ok(journal)
    }

    pub(crate) fn append(&mut self, event: &str, fields: &[(&str, Value)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("seq".to_owned(), self.next.into());
        line.insert("time".to_owned(), Stamp::now().to_string().into());
        line.insert("event".to_owned(), event.into());
        for (key, value) in fields {
            line.insert((*key).to_owned(), value.clone());
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        self.next += 1;
        write_all(self.fd.as_fd(), text.as_bytes()).map_err(Error::path("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        assert_eq!(Ended::from_wait_status(0), Ended::Code(0));
        assert_eq!(Ended::from_wait_status(7 << 8), Ended::Code(7));
        assert_eq!(Ended::from_wait_status(9), Ended::Signal(9));
        assert_eq!(Ended::from_wait_status(0x80 | 6), Ended::Signal(6));
        assert_eq!(Ended::Signal(9).code(), 137);
    }

    #[test]
    fn the_journal_goes_on_counting_and_survives_a_torn_line() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mut journal = Journal::open(&dir).unwrap();
        journal.append("created", &[("pid", 7.into())]).unwrap();
        journal.append("started", &[]).unwrap();
        drop(journal);
        let path = temp.path().join("journal");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"seq\":99,\"ti");
        std::fs::write(&path, &text).unwrap();
        Journal::open(&dir).unwrap().append("exited", &[]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let seqs: Vec<u64> = text
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok()?.get("seq")?.as_u64())
            .collect();
        assert_eq!(seqs, [1, 2, 3], "{text}");
        assert!(text.contains("\"pid\":7"));
    }

    #[test]
    fn records_round_trip() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(read_exit(temp.path()).unwrap(), None);
        let exit = Exit {
            version: 1,
            id: "c1".to_owned(),
            code: Some(137),
            signal: Some(9),
            oom_killed: true,
            started_at: None,
            finished_at: Stamp::now().to_string(),
            known: Known::Pidfd,
        };
        write_json(&Dir::open(temp.path()).unwrap(), "exit.json", &exit).unwrap();
        assert_eq!(read_exit(temp.path()).unwrap(), Some(exit));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        std::fs::write(temp.path().join("exit.json"), "{").unwrap();
        assert!(read_exit(temp.path()).is_err());
    }
}
