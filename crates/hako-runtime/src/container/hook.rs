//! Hooks (config.md, "POSIX-platform Hooks"): programs that are told the
//! container's state on their standard input.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hako_spec::runtime::{Hook, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::error::{Context, Error, Result};

/// Runs `hooks` in order; the first that fails stops the rest.
pub fn run(name: &str, hooks: &[Hook], state: &State) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(state)?;
    for (at, hook) in hooks.iter().enumerate() {
        one(hook, &state).context(|| format!("{name} hook #{at} {}", hook.path))?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &[u8]) -> Result<()> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|e| e.split_once('=')));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input.
        let _ = stdin.write_all(state);
    }
    if let Some(seconds) = hook.timeout {
        let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        if !ends_within(&child, limit)? {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::new(format!(
                "no end within its timeout of {seconds} s"
            )));
        }
    }
    let out = child.wait_with_output()?;
    if out.status.success() {
        return Ok(());
    }
    let mut text = out.status.to_string();
    for (name, said) in [("stdout", &out.stdout), ("stderr", &out.stderr)] {
        let said = String::from_utf8_lossy(said);
        if !said.trim().is_empty() {
            text = format!("{text}, {name}: {}", said.trim());
        }
    }
    Err(Error::new(text))
}

fn ends_within(child: &std::process::Child, limit: Duration) -> Result<bool> {
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
