//! The container's program: its place in the container, its environment, and
//! the step into it.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hako_spec::runtime::Process;
use hako_sys::{exec, fds, stub};
use rustix::fs::{Access, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::seccomp::Prepared as Filter;
use crate::error::{Context, Error, Kind, Result};
use crate::rootfs::inroot::Root;

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that the last execve(2) needs, made while that is still allowed.
#[derive(Debug)]
pub struct Program {
    stub: OwnedFd,
    /// Where execveat(2) may not be used.
    by_path: Option<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// Descriptors that the caller passes on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Passed {
    /// `--preserve-fds`: this many from 3 on.
    pub preserve: u32,
    /// `LISTEN_FDS`: socket activation, sd_listen_fds(3); included above.
    pub listen: u32,
}

impl Program {
    /// Looks `process.args` up in the root and directory that this process is
    /// in now. `report`: where the stub tells that it could not execute it.
    pub fn prepare(
        process: &Process,
        root: &Root,
        passed: Passed,
        filter: Option<&Filter>,
        report: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let name = process
            .args
            .first()
            .ok_or_else(|| Error::new("process.args is empty: there is nothing to run"))?;
        let mut env = process.env.clone();
        if passed.listen > 0 {
            env.push(format!("LISTEN_FDS={}", passed.listen));
            let pid = rustix::process::getpid().as_raw_nonzero();
            env.push(format!("LISTEN_PID={pid}"));
        }
        last_wins(&mut env);
        // An empty one is none, as for runc.
        env.retain(|e| e != "HOME=");
        if !env.iter().any(|e| e.starts_with("HOME=")) {
            env.push(format!("HOME={}", home(root, process.user.uid)));
        }
        let path = find(name, &env).context(|| format!("exec: {name:?}"))?;
        let strings = |list: &[String], what: &str| {
            list.iter()
                .map(|s| CString::new(s.as_str()))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|_| Error::new(format!("{what} holds a NUL byte")))
        };
        let argv = strings(&process.args, "process.args")?;
        let env = strings(&env, "process.env")?;
        let path = CString::new(path).map_err(|_| Error::new("the path holds a NUL byte"))?;
        let stub = stub::make(&path, report).context(|| "make the exec stub")?;
        let by_path = match filter.is_none_or(Filter::allows_execveat) {
            true => None,
            false => Some(path_of(root, &stub)?),
        };
        Ok(Program {
            stub,
            by_path,
            argv,
            env,
        })
    }

    /// The stub, the file that is executed.
    pub fn stub(&self) -> BorrowedFd<'_> {
        self.stub.as_fd()
    }

    /// The variables that the program gets: those of the process, and HOME.
    pub fn environment(&self) -> &[CString] {
        &self.env
    }

    /// Sees that only descriptors 0 to 2, the passed ones and `report` (which
    /// the stub closes on success) go along. Nothing may be opened after it
    /// that is not close-on-exec.
    pub fn keep_descriptors(&self, passed: Passed, report: Option<BorrowedFd<'_>>) -> Result<()> {
        let first = i32::try_from(passed.preserve).unwrap_or(i32::MAX);
        fds::cloexec_from(first.saturating_add(3)).context(|| "close descriptors")?;
        match report {
            Some(report) => fds::keep_on_exec(report).context(|| "keep a descriptor"),
            None => Ok(()),
        }
    }

    /// Becomes the program; returns why it could not.
    pub fn execute(&self) -> Error {
        let errno = match &self.by_path {
            None => exec::at(self.stub.as_fd(), c"", &self.argv, &self.env),
            Some(path) => exec::path(path, &self.argv, &self.env),
        };
        Error::from(errno).within("execute the stub")
    }
}

/// The stub's name in the container's procfs, for filters that forbid
/// execveat(2). It must be procfs: anything else could have a link of the
/// image's own there.
pub fn path_of(root: &Root, stub: &OwnedFd) -> Result<CString> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    const PROC_ROOT_INODE: u64 = 1;
    let refuse =
        || Error::new("linux.seccomp forbids execveat, and /proc is no procfs to do without");
    let proc = root.handle_nofollow("/proc").map_err(|_| refuse())?;
    let is_proc = rustix::fs::fstatfs(&proc)?.f_type as u64 == PROC_SUPER_MAGIC;
    if !is_proc || rustix::fs::fstat(&proc)?.st_ino != PROC_ROOT_INODE {
        return Err(refuse());
    }
    let path = format!("/proc/self/fd/{}", stub.as_raw_fd());
    CString::new(path).map_err(|_| refuse())
}

/// Leaves the last of each variable, since getenv(3) finds the first.
fn last_wins(env: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    for entry in env.drain(..).rev() {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        if seen.insert(name) {
            kept.push(entry);
        }
    }
    kept.reverse();
    *env = kept;
}

/// The file that `name` means, as execvp(3) finds it.
fn find(name: &str, env: &[String]) -> Result<String> {
    if name.contains('/') {
        return executable(name)
            .map(|()| name.to_owned())
            .map_err(Error::from_program);
    }
    let path = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = format!("{dir}/{name}");
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    match refused {
        Some(e) => Err(Error::from_program(e)),
        None => Err(Error::of(
            Kind::NotFound,
            "executable file not found in $PATH",
        )),
    }
}

impl Error {
    fn from_program(e: Errno) -> Self {
        let kind = match e {
            Errno::NOENT | Errno::NOTDIR => Kind::NotFound,
            _ => Kind::NotExecutable,
        };
        let text = match e {
            // execve(2) calls it EACCES, and engines look for its words to tell
            // 126 from their own failures.
            Errno::ISDIR => "permission denied: it is a directory".to_owned(),
            _ => Error::from(e).to_string(),
        };
        Error::of(kind, text)
    }
}

fn executable(path: &str) -> rustix::io::Result<()> {
    let meta = rustix::fs::stat(path)?;
    match FileType::from_raw_mode(meta.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile => rustix::fs::access(path, Access::EXEC_OK),
        _ => Err(Errno::ACCESS),
    }
}

/// The home directory of `uid` in the container's `/etc/passwd`; `/` when it
/// does not say.
fn home(root: &Root, uid: u32) -> String {
    let read = || -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = root.open("/etc/passwd", flags, Mode::empty()).ok()?;
        let meta = rustix::fs::fstat(&fd).ok()?;
        if !FileType::from_raw_mode(meta.st_mode).is_file() {
            return None;
        }
        let mut text = Vec::new();
        use std::io::Read as _;
        std::fs::File::from(fd)
            .take(1 << 20)
            .read_to_end(&mut text)
            .ok()?;
        Some(text)
    };
    let text = read().unwrap_or_default();
    home_in(&String::from_utf8_lossy(&text), uid).unwrap_or_else(|| "/".to_owned())
}

fn home_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id: u32 = fields.nth(2)?.parse().ok()?;
        let home = fields.nth(2)?;
        (id == uid && home.starts_with('/')).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_directories() {
        let text =
            "root:x:0:0:root:/root:/bin/sh\nbad\nu:x:1000:1000::/home/u:/bin/sh\nv:x:2:2::rel:";
        assert_eq!(home_in(text, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(text, 1000).as_deref(), Some("/home/u"));
        assert_eq!(home_in(text, 2), None);
        assert_eq!(home_in("", 0), None);
    }

    #[test]
    fn the_last_variable_wins() {
        let mut env = ["A=1", "B=2", "A=3", "C", "B="].map(str::to_owned).to_vec();
        last_wins(&mut env);
        assert_eq!(env, ["A=3", "C", "B="]);
    }

    #[test]
    fn finds_programs() {
        let env = vec!["PATH=/nowhere:/bin:/usr/bin".to_owned()];
        assert_eq!(find("sh", &env).unwrap(), "/bin/sh");
        assert_eq!(find("/bin/sh", &env).unwrap(), "/bin/sh");
        assert_eq!(
            find("no-such-program", &env).unwrap_err().kind,
            Kind::NotFound
        );
        assert_eq!(
            find("/etc/passwd", &env).unwrap_err().kind,
            Kind::NotExecutable
        );
        assert_eq!(find("/etc", &env).unwrap_err().kind, Kind::NotExecutable);
    }
}
