//! Stopping and signalling.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::record::{Container, Phase};
use crate::runtime::Runtime as _;

/// How long a killed process may take to end before that is an error.
const KILL_WAIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Sends a signal to the container's first process.
    ///
    /// Errors: [`Error::WrongState`] when it does not run.
    pub fn kill(&self, container: &Container, signal: i32) -> Result<()> {
        must_run(container)?;
        let runtime = self.runtime(container.record.options.runtime.as_deref())?;
        runtime.kill(container.id(), signal, false)?;
        self.tell(container, "kill", &[("signal", &signal.to_string())])
    }

    /// Asks the container to end, and kills it when it has not within
    /// `timeout`. One that does not run is fine. Gives the container as it is
    /// then, or `None` when it removed itself.
    pub fn stop(
        &self,
        container: &Container,
        signal: Option<i32>,
        timeout: Option<Duration>,
    ) -> Result<Option<Container>> {
        if container.state.phase == Phase::Running {
            let pid = container.state.pid.and_then(Pid::from_raw);
            let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            let timeout = timeout.unwrap_or(Duration::from_secs(u64::from(
                container.record.stop_timeout,
            )));
            let runtime = self.runtime(container.record.options.runtime.as_deref())?;
            let signal = signal.unwrap_or(container.record.stop_signal);
            let sent = runtime.kill(container.id(), signal, false);
            if let Some(pidfd) = &pidfd
                && !ends_within(pidfd, timeout)?
            {
                runtime.kill(container.id(), 9, false)?;
                if !ends_within(pidfd, KILL_WAIT)? {
                    return Err(Error::Runtime {
                        runtime: runtime.name().to_owned(),
                        message: format!("container {} does not end", container.short_id()),
                        status: 125,
                    });
                }
            } else if pidfd.is_none() {
                // It ended by itself; only then is a refusal no failure.
                let _ = sent;
            }
        }
        let stopped = self.wait(container.id())?;
        if let Some(stopped) = &stopped {
            self.tell(stopped, "stop", &[])?;
        }
        Ok(stopped)
    }

    /// Waits until the container has ended and that is on record; `None` when
    /// it removed itself.
    pub fn wait(&self, id: &str) -> Result<Option<Container>> {
        loop {
            let container = match self.reload(id).and_then(|c| self.refresh(c)) {
                Err(Error::NoContainer(_)) => return Ok(None),
                other => other?,
            };
            if !matches!(
                container.state.phase,
                Phase::Running | Phase::Starting | Phase::Removing
            ) {
                return Ok(Some(container));
            }
            let pid = container.state.pid.and_then(Pid::from_raw);
            match pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
                Some(pidfd) => {
                    if ends_within(&pidfd, Duration::from_secs(3600))? {
                        // The monitor writes it down within moments.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

pub(crate) fn must_run(container: &Container) -> Result<()> {
    if container.state.phase == Phase::Running {
        return Ok(());
    }
    Err(Error::WrongState {
        id: container.short_id().to_owned(),
        is: container.state.phase.word(),
        advice: "it must be running for this",
    })
}

fn ends_within(pidfd: &std::os::fd::OwnedFd, limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other.doing("wait for a process")?;
            }
        }
    }
}
