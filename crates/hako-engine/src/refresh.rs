//! The truth about a container, for commands that come after something was
//! killed: a command in the middle of a start, a monitor, or the machine.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hako_monitor::protocol::{Frame, State as MonitorState, Status};
use hako_monitor::{Client, read_exit};
use hako_store::lock::{self, Wait};

use crate::containers;
use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::record::{Container, Phase};
use crate::runtime::{OciRuntime, Runtime as _};
use crate::start::{clear, private_dir, spawn_monitor, wait_ready, write_config};

/// How long a monitor may take to create a container whose start was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lock that a living monitor holds until it has noted the container's end;
/// `None` while it does.
fn monitor_lock(run_dir: &Path) -> Result<Option<std::fs::File>> {
    private_dir(run_dir)?;
    let path = run_dir.join("monitor.lock");
    lock::file(&path, Wait::No).at("lock", &path)
}

/// What the monitor says, if it answers.
fn state(run_dir: &Path) -> Option<Status> {
    let mut client = Client::connect(run_dir).ok()?;
    client
        .request(&Frame::StatusRequest, |frame| match frame {
            Frame::Status(status) => Some(status),
            _ => None,
        })
        .ok()
}

impl Engine {
    /// The container as it is now. One that is recorded as running and has
    /// ended is settled; one whose monitor has died gets a new monitor.
    ///
    /// Errors: [`Error::NoContainer`] when it is gone, and those of the steps.
    pub fn refresh(&self, container: Container) -> Result<Container> {
        match container.state.phase {
            Phase::Created | Phase::Exited => Ok(container),
            Phase::Running if self.monitored(&container) => Ok(container),
            _ => self.repair(container.record.id),
        }
    }

    /// Whether the container's monitor answers.
    fn monitored(&self, container: &Container) -> bool {
        Client::connect(&self.run_dir(container.id())).is_ok()
    }

    fn repair(&self, id: String) -> Result<Container> {
        let path = self.runroot.path().join("locks").join(&id);
        let held = lock::file(&path, Wait::No).at("lock", &path)?;
        let Some(_lock) = held else {
            // Somebody is at work on it: a start, a removal, the end.
            return self.reload(&id);
        };
        let container = self.reload(&id).inspect_err(|e| {
            if matches!(e, Error::NoContainer(_)) {
                self.forget_lock(&id);
            }
        })?;
        match container.state.phase {
            Phase::Created | Phase::Exited => Ok(container),
            Phase::Removing => {
                self.remove_locked(&container)?;
                Err(Error::NoContainer(id))
            }
            Phase::Starting => self.abandon_start(&container),
            Phase::Running if self.monitored(&container) => Ok(container),
            Phase::Running => self.without_monitor(container),
        }
    }

    /// The command that was starting it was killed. A monitor may be there,
    /// with a container that was created, or even started.
    fn abandon_start(&self, container: &Container) -> Result<Container> {
        let id = container.id().to_owned();
        let run_dir = self.run_dir(&id);
        let late = Instant::now() + PATIENCE;
        let mut monitor = monitor_lock(&run_dir)?;
        while monitor.is_none() {
            // A monitor lives. It creates the container, or answers.
            match state(&run_dir) {
                Some(status) if status.state == MonitorState::Running => {
                    containers::update(self.database()?, &id, |state| {
                        state.phase = Phase::Running;
                        state.pid = Some(status.pid);
                        state.started = status.started_at.clone();
                        state.starts += 1;
                        Ok(())
                    })?;
                    return self.reload(&id);
                }
                Some(_) => break,
                None => monitor = self.pause(&id, late)?,
            }
        }
        let runtime = self.runtime(container.record.options.runtime.as_deref())?;
        runtime.delete(&id)?;
        // The monitor notes the end, and lets go before it tells of it. A new one
        // finds the lock taken, or no directory.
        while monitor.is_none() {
            monitor = self.pause(&id, late)?;
        }
        self.disconnect(&container.record, &container.state)?;
        clear(&run_dir)?;
        containers::update(self.database()?, &id, |state| {
            state.phase = if state.starts == 0 {
                Phase::Created
            } else {
                Phase::Exited
            };
            state.pid = None;
            state.network = None;
            state.error = Some("the command that started it was killed".to_owned());
            Ok(())
        })?;
        if container.record.options.auto_remove {
            self.remove_locked(container)?;
            return Err(Error::NoContainer(id));
        }
        self.reload(&id)
    }

    /// Waits a little for a monitor; gives its lock when it has ended.
    fn pause(&self, id: &str, late: Instant) -> Result<Option<std::fs::File>> {
        if Instant::now() >= late {
            return Err(Error::Monitor {
                id: id.to_owned(),
                message: format!(
                    "neither answers nor ends within {} s of a start that was killed",
                    PATIENCE.as_secs()
                ),
            });
        }
        std::thread::sleep(Duration::from_millis(2));
        monitor_lock(&self.run_dir(id))
    }

    fn without_monitor(&self, container: Container) -> Result<Container> {
        let id = container.id().to_owned();
        let exited = read_exit(&self.dir(&id)).ok().flatten().is_some();
        let runtime = self.runtime(container.record.options.runtime.as_deref())?;
        if !exited && self.alive(&container) {
            return self.adopt(container, &runtime);
        }
        self.ended(&container)?;
        self.reload(&id)
    }

    /// Whether the container's first process runs, as far as its pid tells.
    fn alive(&self, container: &Container) -> bool {
        let Some(pid) = container.state.pid.and_then(rustix::process::Pid::from_raw) else {
            return false;
        };
        // The run directory is of this boot, and the new monitor compares the
        // start time; here a process of that number is enough.
        let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
            return false;
        };
        hako_sys::signal::send(fd.as_fd(), 0).is_ok()
    }

    /// Starts a new monitor for a container whose own was killed.
    fn adopt(&self, container: Container, runtime: &OciRuntime) -> Result<Container> {
        let run_dir = self.run_dir(container.id());
        let config = self.monitor_config(&container.record, runtime, true)?;
        write_config(&run_dir, &config)?;
        let program = OciRuntime::find("hako-runtime", std::path::Path::new("/"))?.path;
        let pipe = spawn_monitor(&program, &run_dir)?;
        match wait_ready(container.id(), runtime, pipe) {
            Ok(_) => {
                self.tell(&container, "adopt", &[])?;
                Ok(container)
            }
            // It has ended in between.
            Err(_)
                if read_exit(&self.dir(container.id()))
                    .ok()
                    .flatten()
                    .is_some() =>
            {
                let id = container.id().to_owned();
                self.ended(&container)?;
                self.reload(&id)
            }
            Err(e) => Err(e),
        }
    }
}
