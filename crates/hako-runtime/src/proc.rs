//! The host's procfs by a handle that was opened, and checked, before anything
//! of a container was in sight. Every procfs write of the runtime goes through
//! it, never through a `/proc` that an image or a racing container could have
//! replaced (CVE-2019-16884, CVE-2025-31133, CVE-2025-52881).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::rootfs::inroot::openat2;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// A handle on the host's `/proc`.
#[derive(Debug)]
pub struct Proc(OwnedFd);

impl Proc {
    /// Opens `/proc` and checks that it is procfs.
    pub fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/proc", flags, Mode::empty()).context(|| "open /proc")?;
        let kind = rustix::fs::fstatfs(&fd).context(|| "stat /proc")?.f_type as u64;
        if kind != PROC_SUPER_MAGIC {
            return Err(Error::new("/proc is not procfs"));
        }
        Ok(Proc(fd))
    }

    /// The directory itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn file(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        openat2(self.0.as_fd(), path, flags, Mode::empty(), resolve)
    }

    /// A directory that stands for `/proc`.
    #[cfg(test)]
    pub fn fake(dir: &std::path::Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Proc(rustix::fs::open(dir, flags, Mode::empty()).unwrap())
    }

    /// Whether there is something at `path` below `/proc`.
    pub fn has(&self, path: &str) -> bool {
        self.file(path, OFlags::PATH).is_ok()
    }

    /// Reads the file at `path` below `/proc`.
    pub fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut text = Vec::new();
        std::fs::File::from(self.file(path, OFlags::RDONLY)?).read_to_end(&mut text)?;
        Ok(text)
    }

    /// A namespace of process `pid`, by its name below `ns`.
    pub fn namespace(&self, pid: i32, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // What is there is a magic link and leads to another file system.
        rustix::fs::openat(&self.0, format!("{pid}/ns/{name}"), flags, Mode::empty())
    }

    /// Writes `value` in one write(2) to the file at `path` below `/proc`.
    pub fn write(&self, path: &str, value: &[u8]) -> rustix::io::Result<()> {
        let file = self.file(path, OFlags::WRONLY)?;
        loop {
            match rustix::io::write(&file, value) {
                Err(Errno::INTR) => {}
                other => return other.map(|_| ()),
            }
        }
    }
}

/// Reads a file of procfs that the kernel tells whole in one read(2); the first
/// 4096 bytes of a longer one.
pub fn short(path: &str) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let mut text = vec![0; 4096];
    let length = rustix::io::read(&file, &mut text)?;
    text.truncate(length);
    Ok(text)
}

/// What `/proc/PID/stat` tells about a process that may have been replaced by
/// another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// One letter: `R`, `S`, `D`, `Z`, `X`, …
    pub state: char,
    /// Start time in clock ticks since boot: with the pid it names a process.
    pub start: u64,
    /// It was killed, or exits: nothing can keep it from ending.
    pub dying: bool,
}

impl Identity {
    /// Looks at process `pid`; `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        parse_stat(&short(&format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether the process still runs.
    pub fn alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// proc_pid_stat(5): field 3 is the state, 9 the flags, 22 the start time and 31
/// the pending signals; field 2 may hold anything, also blanks and parentheses.
pub fn parse_stat(text: &[u8]) -> Option<Identity> {
    /// `PF_EXITING` of linux/sched.h.
    const EXITING: u64 = 4;
    const KILL: u64 = 1 << 8;
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    let start = fields.nth(12)?.parse().ok()?;
    // Not on the short lines of tests.
    let pending: u64 = fields.nth(8).map_or(Some(0), |p| p.parse().ok())?;
    Some(Identity {
        state,
        start,
        dying: flags & EXITING != 0 || pending & KILL != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_of_hostile_names() {
        let line = b"42 (a) b) R 1 2 3 4 5 64 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(
            parse_stat(line),
            Some(Identity {
                state: 'R',
                start: 777,
                dying: false
            })
        );
        let exits = b"42 (x) R 1 2 3 4 5 4194564 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert!(parse_stat(exits).unwrap().dying);
        let killed = b"42 (x) S 1 2 3 4 5 64 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21 22 23 24 25 26 27 256 29";
        assert!(parse_stat(killed).unwrap().dying);
        assert_eq!(parse_stat(b"42 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn knows_this_process() {
        let me = Identity::of(std::process::id() as i32).unwrap();
        assert!(me.alive() && me.start > 0);
    }

    #[test]
    fn writes_only_beneath() {
        let proc = Proc::open().unwrap();
        assert_eq!(proc.write("../etc/passwd", b"").unwrap_err(), Errno::XDEV);
        assert!(proc.write("self/root/dev/null", b"x").is_err());
        proc.write("self/comm", b"hako-test").unwrap();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(comm.trim_end(), "hako-test");
        assert_eq!(proc.read("self/comm").unwrap(), b"hako-test\n");
        assert!(proc.read("../etc/passwd").is_err());
    }
}
