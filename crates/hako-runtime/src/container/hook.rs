//! Hooks (config.md, "POSIX-platform Hooks"): programs that are told the
//! container's state on their standard input.
//!
//! A hook is executed through the sealed stub, because that of `startContainer`
//! is a file of the image (CVE-2019-5736). Its input and output never block it
//! or its time limit: they are served together with the wait for its end, which
//! is the end of its process, whatever that left in the background.

use std::ffi::{CString, OsStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hako_spec::runtime::{Hook, State};
use hako_sys::clone::{Forked, exit_now, fork};
use hako_sys::{exec, fds, signal, stub};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::last::Last;
use super::program::path_of;
use crate::error::{Context, Error, Kind, Result};
use crate::log;
use crate::proc::Proc;
use crate::rootfs::inroot::Root;

/// As much of a failing hook's output is shown, from its end.
const SHOWN: usize = 4096;

/// Where hooks start, and the environment of those that have none of their
/// own: both are left open by the specification, and are what hooks written for
/// runc and crun count on.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// In this directory, or the runtime's own, with the runtime's environment.
    Runtime(Option<&'a Path>),
    /// In the current directory, with the environment of the process, and with
    /// its rights.
    Container(&'a Inside<'a>),
}

/// What a hook that is a file of the image is executed with: it must not have
/// more rights than the program of the same image.
#[derive(Debug)]
pub struct Inside<'a> {
    /// The program's last steps.
    pub last: &'a Last<'a>,
    /// The host's procfs.
    pub proc: &'a Proc,
    /// The container's root.
    pub root: &'a Root,
}

impl Inside<'_> {
    /// Gives this process, a hook's, the rights of the program. The value is
    /// the path of `stub` where the filter lets nobody execute a descriptor.
    fn enter(&self, stub: &OwnedFd) -> Result<Option<CString>> {
        let by_path = match self.last.filter {
            Some((filter, ..)) if !filter.allows_execveat() => Some(path_of(self.root, stub)?),
            _ => None,
        };
        self.last.as_hook(self.proc, stub.as_fd())?;
        Ok(by_path)
    }
}

impl Start<'_> {
    /// Whether the stub can tell its failure.
    fn reports(&self) -> bool {
        match self {
            Start::Runtime(_) => true,
            Start::Container(inside) => {
                let filter = inside.last.filter;
                filter.is_none_or(|(filter, ..)| filter.allows_report())
            }
        }
    }

    fn dir(&self) -> Option<&Path> {
        match self {
            Start::Runtime(dir) => *dir,
            Start::Container(_) => None,
        }
    }

    fn environment(&self) -> Vec<OsString> {
        match self {
            Start::Runtime(_) => std::env::vars_os()
                .map(|(name, value)| [name, value].join(OsStr::new("=")))
                .collect(),
            Start::Container(inside) => {
                let copy = |e: &CString| OsString::from_vec(e.as_bytes().to_vec());
                inside.last.program.environment().iter().map(copy).collect()
            }
        }
    }
}

/// Runs `hooks` in order; the first that fails stops the rest.
pub fn run(name: &str, hooks: &[Hook], state: &State, start: Start<'_>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(state)?;
    let files = files(state, start)?;
    for (at, hook) in hooks.iter().enumerate() {
        one(hook, &text, start, &files)
            .map_err(|e| Error::of(Kind::Hook, e.to_string()))
            .context(|| format!("error running {name} hook #{at}: {}", hook.path))?;
    }
    Ok(())
}

/// Runs every one of `hooks`; those that fail are warnings (poststop).
pub fn run_all(name: &str, hooks: &[Hook], state: &State) {
    let dir = Some(Path::new(&state.bundle)).filter(|d| d.is_dir());
    for one in hooks {
        if let Err(e) = run(name, std::slice::from_ref(one), state, Start::Runtime(dir)) {
            log::warn(&e.to_string());
        }
    }
}

/// Where crun's annotations want what the host's hooks write, standard output
/// and errors; what they say elsewhere is told if they fail.
fn files(state: &State, start: Start<'_>) -> Result<[Option<OwnedFd>; 2]> {
    let open = |key: &str| -> Result<Option<OwnedFd>> {
        let path = state.annotations.get(key);
        let Some(path) = path.filter(|_| matches!(start, Start::Runtime(_))) else {
            return Ok(None);
        };
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::RWXU);
        Ok(Some(file.context(|| format!("annotation {key}: {path}"))?))
    };
    Ok([open("run.oci.hooks.stdout")?, open("run.oci.hooks.stderr")?])
}

fn one(
    hook: &Hook,
    state: &[u8],
    start: Start<'_>,
    [out, err]: &[Option<OwnedFd>; 2],
) -> Result<()> {
    let strings = |list: Vec<OsString>| {
        list.into_iter()
            .map(|s| CString::new(s.into_vec()))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| Error::new("an argument holds a NUL byte"))
    };
    let path = CString::new(hook.path.as_str()).map_err(|_| Error::new("NUL in the path"))?;
    let own = |list: &[String]| list.iter().map(OsString::from).collect::<Vec<_>>();
    let mut argv = strings(own(&hook.args))?;
    if argv.is_empty() {
        argv.push(path.clone());
    }
    let env = strings(match hook.env.is_empty() {
        true => start.environment(),
        false => own(&hook.env),
    })?;
    let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
    let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (report, errors) = pipe_with(PipeFlags::CLOEXEC)?;
    let told = start.reports().then_some(errors.as_fd());
    let stub = stub::make(&path, told).context(|| "make the exec stub")?;
    match fork(0, None).context(|| "fork")? {
        Forked::Child => {
            let stdio = [
                &stdin,
                out.as_ref().unwrap_or(&stdout),
                err.as_ref().unwrap_or(&stdout),
            ];
            let errno = become_hook(&stub, stdio, told, start, &argv, &env);
            let _ = rustix::io::write(&errors, &errno.raw_os_error().to_ne_bytes());
            exit_now(126)
        }
        Forked::Parent { pidfd, .. } => {
            drop((stdin, stdout, errors, stub));
            let limit = hook.timeout.and_then(|s| u64::try_from(s).ok());
            serve(&pidfd, input, &output, &report, state, limit)
        }
    }
}

/// Returns only on failure.
fn become_hook(
    stub: &OwnedFd,
    stdio: [&OwnedFd; 3],
    report: Option<BorrowedFd<'_>>,
    start: Start<'_>,
    argv: &[CString],
    env: &[CString],
) -> Errno {
    let prepare = || -> rustix::io::Result<()> {
        if let Some(dir) = start.dir() {
            // As runc's and crun's hooks, which find the bundle there.
            let _ = rustix::process::chdir(dir);
        }
        rustix::stdio::dup2_stdin(stdio[0])?;
        rustix::stdio::dup2_stdout(stdio[1])?;
        rustix::stdio::dup2_stderr(stdio[2])?;
        fds::cloexec_from(3)?;
        report.map_or(Ok(()), fds::keep_on_exec)?;
        signal::reset()
    };
    if let Err(e) = prepare() {
        return e;
    }
    let by_path = match start {
        Start::Runtime(_) => None,
        Start::Container(inside) => inside.enter(stub).unwrap_or_else(|e| {
            // This is the pipe by which its output is told.
            let _ = writeln!(std::io::stderr(), "{e}");
            exit_now(126)
        }),
    };
    match by_path {
        None => exec::at(stub.as_fd(), c"", argv, env),
        Some(path) => exec::path(&path, argv, env),
    }
}

/// Feeds the hook, listens to it and waits for its end.
fn serve(
    pidfd: &OwnedFd,
    input: OwnedFd,
    output: &OwnedFd,
    report: &OwnedFd,
    state: &[u8],
    limit: Option<u64>,
) -> Result<()> {
    rustix::io::ioctl_fionbio(&input, true)?;
    rustix::io::ioctl_fionbio(output, true)?;
    let end = limit.and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
    let mut input = Some(input);
    let mut rest = state;
    let mut said = Said::default();
    let mut open = true;
    loop {
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(output, PollFlags::IN));
        }
        if let Some(input) = &input {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|d| Timespec::try_from(d).unwrap_or_default());
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                let _ = signal::send(pidfd.as_fd(), 9);
                super::launch::reap(pidfd);
                let seconds = limit.unwrap_or_default();
                return Err(Error::new(format!(
                    "no end within its timeout of {seconds} s{said}"
                )));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ended = fds.first().is_some_and(|f| !f.revents().is_empty());
        if let Some(fd) = &input {
            match rustix::io::write(fd, rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // A hook need not read its input.
                Err(_) => rest = &[],
            }
            if rest.is_empty() {
                input = None;
            }
        }
        open = open && said.hear(output);
        if ended {
            break;
        }
    }
    let mut errno = [0; 4];
    if rustix::io::read(report, &mut errno) == Ok(4) {
        super::launch::reap(pidfd);
        return Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno)).into());
    }
    let status = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    match status.as_ref().map(outcome) {
        Some(None) => Ok(()),
        Some(Some(text)) => Err(Error::new(format!("{text}{said}"))),
        None => Err(Error::new("its end was not seen")),
    }
}

/// Nothing for success.
fn outcome(status: &WaitIdStatus) -> Option<String> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, Some(31)) => Some("killed by signal 31: bad system call".to_owned()),
        (None, Some(signal)) => Some(format!("killed by signal {signal}")),
        (None, None) => Some("ended in an unknown way".to_owned()),
    }
}

/// The end of what a hook has written.
#[derive(Default)]
struct Said(Vec<u8>);

impl Said {
    /// Reads what is there; false when there will be no more.
    fn hear(&mut self, from: &OwnedFd) -> bool {
        let mut buffer = [0; SHOWN];
        loop {
            match rustix::io::read(from, &mut buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    self.0
                        .extend_from_slice(buffer.get(..n).unwrap_or_default());
                    let surplus = self.0.len().saturating_sub(SHOWN);
                    self.0.drain(..surplus);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        match text.trim() {
            "" => Ok(()),
            text => write!(f, ", output: {text}"),
        }
    }
}
