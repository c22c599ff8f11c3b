//! Getting a container: by executing the runtime's `create`, or by adopting
//! one whose monitor has died.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use serde_json::Value;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::log::Stream;
use crate::process::Stat;
use crate::record::{Dir, Ended, Init, read_bounded, read_json};
use crate::socket::{Listener, receive_master};
use crate::spawn;
use crate::streams::{Got, Streams, Theirs};

/// Output of hooks and of the runtime itself before the container starts; what
/// goes beyond is dropped.
const MAX_EARLY: usize = 256 << 10;

/// The container's first process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// `None` when it had ended before it could be opened.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Whether this process is its parent, and so the one to reap it.
    pub(crate) is_child: bool,
    pub(crate) start_time: u64,
}

/// A container that is there.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) process: Process,
    pub(crate) streams: Streams,
    /// If it ended at once.
    pub(crate) ended: Option<Ended>,
    /// What came before the container was there.
    pub(crate) early: Vec<(Stream, Vec<u8>)>,
    pub(crate) started_at: Option<String>,
}

/// The runtime's command line up to and with the verb.
pub(crate) fn command(config: &Config, dir: &Dir, verb: &str) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![
        config.runtime.path.clone().into(),
        "--root".into(),
        config.runtime_root.clone().into(),
        "--log".into(),
        dir.path.join("runtime.log").into(),
        "--log-format".into(),
        "json".into(),
    ];
    argv.extend(config.runtime.args.iter().map(OsString::from));
    argv.push(verb.into());
    argv
}

/// A file for what the runtime says on its own streams.
pub(crate) fn error_file(dir: &Dir) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC;
    rustix::fs::openat(dir, "runtime.err", flags, Mode::from_raw_mode(0o600))
        .map_err(Error::path("open", dir.path.join("runtime.err")))
}

/// Forgets what an earlier call of the runtime has said.
pub(crate) fn forget_words(dir: &Dir) {
    let _ = rustix::fs::unlinkat(dir, "runtime.log", AtFlags::empty());
}

/// Why the runtime failed, in its own words: the last error of its log, else
/// the last line of its output, else its exit status.
pub(crate) fn words(dir: &Dir, verb: &str, output: &[u8], ended: Ended) -> Error {
    let log = rustix::fs::openat(
        dir,
        "runtime.log",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|fd| read_bounded(fd, 1 << 20))
    .unwrap_or_default();
    let logged = log
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|entry| {
            let level = entry.get("level").and_then(Value::as_str);
            matches!(level, Some("error" | "fatal" | "panic") | None)
        })
        .filter_map(|entry| Some(entry.get("msg")?.as_str()?.to_owned()))
        .next_back();
    let printed = || {
        let text = String::from_utf8_lossy(output);
        let line = text.lines().map(str::trim).rfind(|l| !l.is_empty())?;
        Some(line.chars().take(2000).collect())
    };
    let message = logged
        .map(|m| m.trim().to_owned())
        .filter(|m| !m.is_empty())
        .or_else(printed)
        .unwrap_or_else(|| match ended {
            Ended::Code(code) => format!("the runtime's {verb} exited with status {code}"),
            Ended::Signal(signal) => format!("the runtime's {verb} was killed by signal {signal}"),
        });
    Error::Runtime {
        message,
        exit: ended.code(),
    }
}

/// Executes `create` and waits for it. `signals` wakes when a child ends.
pub(crate) fn create(config: &Config, dir: &Dir, signals: &OwnedFd) -> Result<Container> {
    for name in ["pid", "init.json"] {
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
    forget_words(dir);
    let mut argv = command(config, dir, "create");
    argv.push("--bundle".into());
    argv.push(config.bundle.clone().into());
    argv.push("--pid-file".into());
    argv.push(dir.path.join("pid").into());
    let console = match config.terminal {
        true => Some(Listener::bind(dir, "console.sock")?),
        false => None,
    };
    if console.is_some() {
        argv.push("--console-socket".into());
        argv.push(dir.short("console.sock").into());
    }
    argv.extend(config.runtime.create_args.iter().map(OsString::from));
    argv.push(config.id.clone().into());

    let errors = error_file(dir)?;
    let (mut streams, theirs) = match config.terminal {
        true => (Streams::default(), Theirs::quiet(errors.as_fd())?),
        false => Streams::fifos(config, dir)?,
    };
    let runtime = spawn::spawn(&argv, &theirs.borrow())?;
    drop(theirs);
    let mut early = Early::default();
    let mut master = None;
    let ended = loop {
        if let Some((_, status)) = waitpid(Some(runtime), WaitOptions::NOHANG)
            .map_err(Error::system("wait for the runtime"))?
        {
            break Ended::from_wait_status(status.as_raw());
        }
        wait(signals, console.as_ref(), &streams)?;
        while let Ok(Some(_)) = hako_sys::signal::read(signals.as_fd()) {}
        if let Some(stream) = console.as_ref().and_then(Listener::accept) {
            master = Some(receive_master(&stream)?);
        }
        early.read(&mut streams);
    };
    early.read(&mut streams);
    if let Some(console) = &console {
        // The runtime may have been quicker than this loop.
        if let Some(stream) = console.accept().filter(|_| master.is_none()) {
            master = Some(receive_master(&stream)?);
        }
        console.remove(dir);
    }
    if ended != Ended::Code(0) {
        let printed = match config.terminal {
            true => read_back(errors),
            false => early.text(),
        };
        return Err(words(dir, "create", &printed, ended));
    }
    if config.terminal {
        let master =
            master.ok_or_else(|| Error::Protocol("the runtime sent no terminal".to_owned()))?;
        streams = Streams::terminal(config, master)?;
    }
    let (process, ended) = find(dir)?;
    Ok(Container {
        process,
        streams,
        ended,
        early: early.pieces,
        started_at: None,
    })
}

#[derive(Default)]
struct Early {
    pieces: Vec<(Stream, Vec<u8>)>,
    size: usize,
}

impl Early {
    fn read(&mut self, streams: &mut Streams) {
        let mut buffer = [0u8; 8192];
        for output in &mut streams.outputs {
            while let Got::Bytes(n) = output.read(&mut buffer, true) {
                if self.size < MAX_EARLY {
                    self.size += n;
                    let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                    self.pieces.push((output.stream, bytes));
                }
            }
        }
    }

    fn text(&self) -> Vec<u8> {
        let pieces = self.pieces.iter().filter(|(s, _)| *s == Stream::Stderr);
        pieces.flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

fn read_back(errors: OwnedFd) -> Vec<u8> {
    let _ = rustix::fs::seek(&errors, rustix::fs::SeekFrom::Start(0));
    read_bounded(errors, 64 << 10).unwrap_or_default()
}

fn wait(signals: &OwnedFd, console: Option<&Listener>, streams: &Streams) -> Result<()> {
    let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
    if let Some(console) = console {
        fds.push(PollFd::new(&console.socket, PollFlags::IN));
    }
    for output in &streams.outputs {
        fds.push(PollFd::new(&output.fd, PollFlags::IN));
    }
    // Without the last process of the runtime nobody has the FIFOs open, which
    // poll tells at once and for ever; the signal is then due, too.
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(Error::system("wait for the runtime")(e)),
    }
}

/// The process that `create` has left, from its pid file. Its parent is gone,
/// so it is this process' child, unless the runtime arranges things otherwise.
fn find(dir: &Dir) -> Result<(Process, Option<Ended>)> {
    let path = dir.path.join("pid");
    let bad = |why: &str| Error::Protocol(format!("the runtime's pid file {why}"));
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::path("read", &path)(crate::error::errno(&e)))?;
    let raw: i32 = text.trim().parse().map_err(|_| bad("has no number"))?;
    let pid = Pid::from_raw(raw)
        .filter(|p| p.as_raw_pid() > 1)
        .ok_or_else(|| bad("names no process"))?;
    // Opened before anything can reap it: the number cannot be another's.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    let start_time = Stat::read(raw)?.map_or(0, |s| s.start_time);
    let (is_child, ended) = match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(None) => (true, None),
        Ok(Some((_, status))) => (true, Some(Ended::from_wait_status(status.as_raw()))),
        Err(_) => (false, None),
    };
    if !is_child && pidfd.is_none() {
        return Err(bad("names a process that is gone"));
    }
    Ok((
        Process {
            pid,
            pidfd,
            is_child,
            start_time,
        },
        ended,
    ))
}

/// Takes over the container that `init.json` describes. One whose process is
/// gone is given back without a pidfd: its end is all there is to tell.
pub(crate) fn adopt(config: &Config, dir: &Dir) -> Result<Container> {
    let gone = |reason: &str| Error::Gone {
        id: config.id.clone(),
        reason: reason.to_owned(),
    };
    let init: Init =
        read_json(dir, "init.json")?.ok_or_else(|| gone("no init.json says which one"))?;
    let pid = Pid::from_raw(init.pid)
        .filter(|p| p.as_raw_pid() > 1)
        .ok_or_else(|| gone("init.json names none"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    // Compared after opening: from here on the handle is the process'.
    let same = Stat::read(init.pid)?.is_some_and(|s| s.start_time == init.start_time);
    let pidfd = pidfd.filter(|_| same);
    let streams = match (config.terminal, &pidfd) {
        (false, Some(_)) => Streams::reopen(config, dir)?,
        // The master died with the monitor; what a dead container has left in
        // its FIFOs died with it.
        _ => Streams::default(),
    };
    Ok(Container {
        process: Process {
            pid,
            pidfd,
            is_child: false,
            start_time: init.start_time,
        },
        streams,
        ended: None,
        early: Vec::new(),
        started_at: init.started_at,
    })
}

/// How a process ended that is not a child, as far as anybody can tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The kernel has kept it.
    Pidfd(Ended),
    /// Nobody has reaped it yet.
    Proc(Ended),
    /// It may still be told: its parent has not reaped it.
    Later,
    /// Nobody can.
    Never,
}

/// Asks after a process whose pidfd is readable, that is, which has ended.
pub(crate) fn ask(process: &Process) -> Told {
    let Some(pidfd) = &process.pidfd else {
        return Told::Never;
    };
    if let Ok(Some(status)) = hako_sys::pidfd::exit_status(pidfd.as_fd()) {
        return Told::Pidfd(Ended::from_wait_status(status));
    }
    match Stat::read(process.pid.as_raw_pid()) {
        Ok(Some(stat)) if stat.start_time == process.start_time => {
            // Without the right to see it the field is 0, as for success.
            if stat.state == 'Z' && rustix::process::geteuid().is_root() {
                Told::Proc(Ended::from_wait_status(stat.exit_code))
            } else {
                Told::Later
            }
        }
        // Reaped between the two questions: the kernel has kept it now, if it
        // keeps such things.
        _ => match hako_sys::pidfd::exit_status(pidfd.as_fd()) {
            Ok(Some(status)) => Told::Pidfd(Ended::from_wait_status(status)),
            _ => Told::Never,
        },
    }
}

/// Whether the wait for [`Told::Later`] is over.
pub(crate) fn patience_over(since: Instant) -> bool {
    since.elapsed() > std::time::Duration::from_secs(2)
}
