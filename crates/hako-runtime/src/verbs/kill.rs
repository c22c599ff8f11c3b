//! `kill`: send a signal to a container.

use std::os::fd::AsFd as _;

use hako_spec::runtime::Status;
use hako_sys::signal;
use rustix::io::Errno;

use super::{Global, no_more, select};
use crate::cli::Args;
use crate::error::{Context, Error, Result};
use crate::state::Container;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 2)?;
    let signal = number(args.free.get(1).map_or("TERM", String::as_str))?;
    let all = args.has("all");
    select::each(global, args, |id| {
        let container = Container::load(&global.root, id)?;
        // Of many, those that run are meant.
        match args.has("regex") && !all && container.status() == Status::Stopped {
            true => Ok(()),
            false => one(&container, signal, all),
        }
    })
}

fn one(container: &Container, signal: i32, all: bool) -> Result<()> {
    let status = container.status();
    if all {
        // Also after the first process has ended: the rest of a container that
        // shares its pid namespace lives on.
        container
            .saved
            .cgroup()
            .kill(signal)
            .context(|| "signal every process")?;
        return Ok(());
    }
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        let cgroup = container.saved.cgroup();
        // As after `--all`: others may outlive the first process where they
        // share the host's pids.
        if signal == 9 && status == Status::Stopped && !cgroup.pids().unwrap_or_default().is_empty()
        {
            return cgroup.kill(9).context(|| "kill every process");
        }
        return Err(container.not_running());
    }
    let pidfd = container.pidfd()?;
    match signal::send(pidfd.as_fd(), signal) {
        Err(Errno::SRCH) => return Err(container.not_running()),
        other => other.context(|| format!("signal container {}", container.saved.id))?,
    }
    if signal == 9 {
        let cgroup = container.saved.cgroup();
        if !container.saved.excerpt.makes_pid_namespace {
            // Nobody else ends with the first process.
            cgroup.kill(9).context(|| "kill every process")?;
        }
        if status == Status::Paused {
            // A frozen process cannot even die.
            match cgroup.thaw() {
                Err(e) if e.is_missing() => {}
                other => other.context(|| "thaw the container")?,
            }
        }
    }
    Ok(())
}

/// Names of signal(7) on Linux, by number from 1.
const NAMES: &[&str] = &[
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal by number or name, with or without `SIG`, also `RTMIN+n` and
/// `RTMAX-n`.
fn number(text: &str) -> Result<i32> {
    let unknown = || Error::new(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        // 0 asks whether there is somebody (kill(2)).
        return (0..=signal::MAX)
            .contains(&number)
            .then_some(number)
            .ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return Ok(at as i32 + 1);
    }
    let (base, offset) = match name {
        "POLL" => (29, ""),
        "IOT" => (6, ""),
        "CLD" => (17, ""),
        _ => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => (34, rest),
            (_, Some(rest)) => (64, rest),
            _ => return Err(unknown()),
        },
    };
    let offset: i32 = if offset.is_empty() {
        0
    } else {
        offset.parse().map_err(|_| unknown())?
    };
    let number = base + offset;
    let realtime = base < 34 || (34..=64).contains(&number);
    realtime.then_some(number).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals() {
        for (text, n) in [
            ("TERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("0", 0),
            ("RTMIN+3", 37),
            ("SIGRTMAX", 64),
            ("SYS", 31),
        ] {
            assert_eq!(number(text).unwrap(), n, "{text}");
        }
        for bad in ["", "65", "-1", "NOPE", "RTMIN+31", "RTMAX+1"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
