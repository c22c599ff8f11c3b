//! `hako exec`
//!
//! The runtime does it, with our streams; the terminal and the signals that
//! come from it are the runtime's business, too. Here only signals that were
//! sent to this process alone are passed on.

use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitCode, ExitStatus, Stdio};

use hako_engine::{Engine, ExecOptions};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{CliError, Result};
use crate::places::App;
use crate::signals::{FOR_PROGRAMS, Signals};

/// Run another command in a running container
#[derive(Debug, clap::Args)]
#[command(override_usage = "hako exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(crate) struct Args {
    /// Do not wait for it
    #[arg(short, long)]
    detach: bool,
    /// Give the command our standard input
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable; a bare NAME takes the value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// All capabilities
    #[arg(long)]
    privileged: bool,
    /// The container and the command
    #[arg(required = true, trailing_var_arg = true, num_args = 2.., value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

pub(crate) fn run(app: &App, args: Args) -> Result {
    let engine: &Engine = &app.engine;
    let mut words = args.container_and_command.into_iter();
    let container = engine.find(&words.next().unwrap_or_default())?;
    let options = ExecOptions {
        command: words.collect(),
        env: args.env,
        workdir: args.workdir,
        user: args.user,
        tty: args.tty,
        privileged: args.privileged,
        detach: args.detach,
    };
    let mut exec = engine.exec(&container, &options)?;
    let command = &mut exec.command;
    if args.detach {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    } else if !args.interactive {
        command.stdin(Stdio::null());
    }
    let mut signals = Signals::catch(FOR_PROGRAMS.iter().copied())?;
    let program = command.get_program().to_owned();
    let mut child = command.spawn().map_err(|e| {
        CliError::from(e).context(format!("cannot run {}", Path::new(&program).display()))
    })?;
    let status = wait(&mut child, &mut signals)?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    let (code, warnings) = exec.outcome(code.unwrap_or(125));
    for warning in warnings {
        crate::output::note(&format!("warning: {warning}"));
    }
    Ok(ExitCode::from(code))
}

/// Waits for the runtime, and passes signals on meanwhile.
fn wait(child: &mut Child, signals: &mut Signals) -> Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let Some(pidfd) = pidfd else {
        return Ok(child.wait()?);
    };
    loop {
        let mut fds = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::new(&*signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(CliError::from(e).context("cannot wait for the runtime")),
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        for signal in signals.take() {
            if let Some(signal) = Signal::from_named_raw(signal)
                && !came_from_terminal(signal)
            {
                // It may have ended at this moment.
                let _ = pidfd_send_signal(pidfd.as_fd(), signal);
            }
        }
    }
}

/// Whether a signal is one that the keyboard or the end of the terminal sends to
/// all processes in the foreground: then the runtime has got it, too.
fn came_from_terminal(signal: Signal) -> bool {
    let by_keys = matches!(signal, Signal::INT | Signal::QUIT | Signal::HUP);
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOCTTY;
    by_keys
        && rustix::fs::open("/dev/tty", flags, rustix::fs::Mode::empty())
            .and_then(rustix::termios::tcgetpgrp)
            .is_ok_and(|group| group == rustix::process::getpgrp())
}
