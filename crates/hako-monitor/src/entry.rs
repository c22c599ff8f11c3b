//! From the command line to the loop: leaving the caller's session, cgroup and
//! descriptors behind, becoming the reaper of what the runtime leaves, and
//! telling the caller what has become of it.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hako_cgroup::{Cgroup, CgroupPath, Devices, Host, Join, Options, Permission};
use hako_spec::runtime::Resources;
use hako_sys::clone::{Forked, exit_now, fork};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::config::Config;
use crate::container::{self, Container, Process};
use crate::error::{Error, Result};
use crate::log::Logger;
use crate::monitor::{Monitor, Phase};
use crate::recent::Recent;
use crate::record::{Dir, Journal};
use crate::socket::Listener;
use crate::spawn;
use crate::streams::Streams;
use crate::time::Stamp;

/// Size of the buffer through which output goes.
const BUFFER: usize = 32 << 10;

/// What the monitor writes to the descriptor of `--ready-fd`, as one line of
/// JSON, when it is in charge or has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// The container is created.
    Created {
        /// Its first process.
        pid: i32,
    },
    /// The container is taken over.
    Adopted {
        /// Its first process.
        pid: i32,
        /// Whether it still runs; if not, `exit.json` follows.
        running: bool,
    },
    /// Nothing came of it.
    Error {
        /// One line.
        message: String,
        /// The runtime's exit status, where it was the runtime that failed.
        exit: i32,
    },
}

struct Args {
    config: PathBuf,
    ready: Option<OwnedFd>,
    foreground: bool,
}

const USAGE: &str = "usage: hako-monitor --config FILE [--ready-fd N] [--foreground]";

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args> {
    let mut config = None;
    let mut ready = None;
    let mut foreground = false;
    let mut args = args.into_iter();
    let usage = |what: String| Error::Usage(format!("{what}; {USAGE}"));
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| usage(format!("{} needs a value", arg.to_string_lossy())))
        };
        match arg.to_str() {
            Some("--config") => config = Some(PathBuf::from(value()?)),
            Some("--ready-fd") => {
                let number = value()?;
                let fd = number
                    .to_str()
                    .and_then(|n| n.parse().ok())
                    .ok_or_else(|| usage("--ready-fd needs a number".to_owned()))?;
                ready = Some(
                    hako_sys::fds::inherit(fd)
                        .map_err(Error::system("use the ready descriptor"))?,
                );
            }
            Some("--foreground") => foreground = true,
            _ => return Err(usage(format!("unknown argument {}", arg.to_string_lossy()))),
        }
    }
    Ok(Args {
        config: config.ok_or_else(|| usage("--config is missing".to_owned()))?,
        ready,
        foreground,
    })
}

/// The monitor as a program; `args` are without its name.
///
/// It goes on in the background, in a session and, if so configured, a cgroup
/// of its own, and the calling process ends at once: with 0, whatever comes;
/// the outcome is told on the ready descriptor. With `--foreground` it stays.
/// The process must not have threads.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args = match parse(args) {
        Ok(args) => args,
        Err(e) => {
            // There is nowhere else to say this.
            let _ = writeln!(std::io::stderr(), "hako-monitor: {}", e.line());
            return 2;
        }
    };
    let ready = args.ready;
    close_others(ready.as_ref());
    let prepared = Config::read(&args.config).and_then(|config| {
        let join = own_cgroup(&config)?;
        Ok((config, join))
    });
    let (config, join) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => return fail(ready.as_ref(), None, &e),
    };
    if !args.foreground {
        match fork(0, join.as_ref().and_then(Join::v2_dir)) {
            Ok(Forked::Child) => {
                let status = work(config, join.as_ref(), ready);
                // What is open is the kernel's to close.
                exit_now(i32::from(status));
            }
            Ok(Forked::Parent { .. }) => return 0,
            Err(e) => {
                let e = Error::system("go into the background")(e);
                return fail(ready.as_ref(), None, &e);
            }
        }
    }
    work(config, join.as_ref(), ready)
}

/// Opens the monitor's own cgroup, to be entered by the new process itself.
fn own_cgroup(config: &Config) -> Result<Option<Join>> {
    let Some(path) = &config.cgroup else {
        return Ok(None);
    };
    let attempt = || {
        let host = Host::detect()?;
        let options = Options {
            permission: Permission::Ignore,
            devices: Devices::Skip,
        };
        let place = CgroupPath::parse(path)?;
        Cgroup::create(&host, &place, &Resources::default(), &options)?.join()
    };
    attempt().map(Some).map_err(|source| Error::Cgroup {
        path: path.clone(),
        source,
    })
}

fn work(config: Config, join: Option<&Join>, ready: Option<OwnedFd>) -> u8 {
    let dir = match Dir::open(&config.dir) {
        Ok(dir) => dir,
        Err(e) => return fail(ready.as_ref(), None, &e),
    };
    match begin(config, join, &dir, ready.as_ref()) {
        Ok(mut monitor) => {
            drop(ready);
            match monitor.run() {
                Ok(()) => 0,
                Err(e) => fail(None, Some(&dir), &e),
            }
        }
        Err(e) => fail(ready.as_ref(), Some(&dir), &e),
    }
}

fn fail(ready: Option<&OwnedFd>, dir: Option<&Dir>, e: &Error) -> u8 {
    let exit = match e {
        Error::Runtime { exit, .. } => *exit,
        _ => 1,
    };
    let message = e.line();
    if let Some(dir) = dir {
        complain(dir, &message);
    }
    report(ready, &Ready::Error { message, exit });
    1
}

fn report(ready: Option<&OwnedFd>, what: &Ready) {
    let Some(fd) = ready else {
        return;
    };
    let mut line = serde_json::to_vec(what).unwrap_or_default();
    line.push(b'\n');
    // Who does not want to know is not told.
    let _ = crate::record::write_all(fd.as_fd(), &line);
}

/// Adds a line to `monitor.log` in the container's directory, for what there
/// is nobody else to tell.
pub(crate) fn complain(dir: &Dir, what: &str) {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::openat(dir, "monitor.log", flags, Mode::from_raw_mode(0o600)) {
        let line = format!("{} {what}\n", Stamp::now());
        let _ = crate::record::write_all(fd.as_fd(), line.as_bytes());
    }
}

/// What the caller left open besides, an end of somebody's pipe perhaps, would
/// stay open as long as the container: closes all from 3 on but `keep`.
fn close_others(keep: Option<&OwnedFd>) {
    let keep = keep.map(AsRawFd::as_raw_fd);
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<i32> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers {
        if number > 2 && Some(number) != keep {
            // The directory just read is among them, closed already.
            let _ = hako_sys::fds::close_inherited(number);
        }
    }
}

/// Cuts the ties to the caller.
fn detach(join: Option<&Join>) -> Result<()> {
    if let Some(join) = join {
        join.enter_self().map_err(|refused| Error::Cgroup {
            path: "of the monitor".to_owned(),
            source: join.describe(refused),
        })?;
    }
    // EPERM: already a leader, in the foreground.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let null = spawn::null()?;
    let streams = || -> Result<(), Errno> {
        rustix::stdio::dup2_stdin(null.as_fd())?;
        rustix::stdio::dup2_stdout(null.as_fd())?;
        rustix::stdio::dup2_stderr(null.as_fd())
    };
    streams().map_err(Error::system("let go of the terminal"))?;
    // Any pid makes this process the reaper of its descendants.
    rustix::process::set_child_subreaper(Some(Pid::INIT))
        .map_err(Error::system("become the reaper of orphans"))
}

fn begin(
    config: Config,
    join: Option<&Join>,
    dir: &Dir,
    ready: Option<&OwnedFd>,
) -> Result<Monitor> {
    detach(join)?;
    let signals = hako_sys::signal::block_all().map_err(Error::system("block signals"))?;
    let run_dir = Dir::open(&config.run_dir)?;
    let lock = lock(&run_dir, config.adopt)?;
    let mut journal = Journal::open(dir)?;
    let mut logger = Logger::open(&config.log)?;
    let container = if config.adopt {
        container::adopt(&config, &run_dir)?
    } else {
        match container::create(&config, &run_dir, &signals) {
            Ok(container) => container,
            Err(e) => {
                let _ = journal.append("create-failed", &[("message", e.line().into())]);
                return Err(e);
            }
        }
    };
    let listener = Listener::bind(&run_dir, "monitor.sock")?;
    let pid = container.process.pid.as_raw_pid();
    let running = container.process.pidfd.is_some();
    if config.adopt {
        journal.append(
            "adopted",
            &[("pid", pid.into()), ("running", running.into())],
        )?;
        logger.gap(match (running, config.terminal) {
            (false, _) => "the monitor died, and then the container",
            (true, true) => {
                "the monitor died, and the terminal with it: nothing of it is kept from here on"
            }
            (true, false) => "the monitor died, this one has taken over",
        });
    } else {
        journal.append("created", &[("pid", pid.into())])?;
    }
    let mut monitor = Monitor {
        config,
        dir: Dir::open(&dir.path)?,
        run_dir,
        signals,
        listener,
        lock: Some(lock),
        journal,
        logger,
        recent: Recent::default(),
        process: Process {
            pid: container.process.pid,
            pidfd: None,
            is_child: false,
            start_time: 0,
        },
        streams: Streams::default(),
        stdin: Vec::new(),
        stdin_ends: false,
        oom: None,
        conns: Vec::new(),
        next_conn: 0,
        phase: Phase::Created { start: None },
        started_at: None,
        end: None,
        asking: None,
        exit: None,
        buffer: vec![0; BUFFER],
    };
    take(&mut monitor, container);
    report(
        ready,
        &match monitor.config.adopt {
            true => Ready::Adopted { pid, running },
            false => Ready::Created { pid },
        },
    );
    Ok(monitor)
}

fn take(monitor: &mut Monitor, container: Container) {
    monitor.take(container);
    if !monitor.config.adopt {
        monitor.write_init();
    }
}

/// How long the kernel may take to let go of a killed monitor's lock: its socket
/// is closed a moment before.
const DYING: Duration = Duration::from_secs(2);

/// One monitor a container: the lock dies with its holder, which a successor
/// waits for.
fn lock(run_dir: &Dir, adopt: bool) -> Result<OwnedFd> {
    let path = run_dir.path.join("monitor.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(run_dir, "monitor.lock", flags, Mode::from_raw_mode(0o600))
        .map_err(Error::path("open", &path))?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(fd),
            // One that answers will not die of this.
            Err(Errno::WOULDBLOCK)
                if adopt && start.elapsed() < DYING && Client::connect(&run_dir.path).is_err() =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Refused(
                    "this container has a living monitor already".to_owned(),
                ));
            }
            Err(e) => return Err(Error::path("lock", path)(e)),
        }
    }
}
