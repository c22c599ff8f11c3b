//! The runtime's side while the container's process sets itself up: it names
//! the process, maps its ids, runs the hooks that belong to the host and raises
//! the limits that the process itself may not raise.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hako_spec::runtime::{Config, Hooks, Process, State, Status};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::launch::{Guard, reap};
use super::{hook, limits, netdev, rdt, userns};
use crate::error::{Context, Error, Kind, Result};
use crate::proc::{Identity, Proc};
use crate::rootfs::sources;
use crate::state::Container;
use crate::sync::{Channel, Message};

/// The runtime's side while the process sets itself up.
pub struct Parent<'a> {
    /// The host's procfs.
    pub proc: &'a Proc,
    /// The configuration.
    pub config: &'a Config,
    /// Its process.
    pub process: &'a Process,
    /// The record to fill in.
    pub container: &'a mut Container,
    /// The way to the process.
    pub channel: &'a Channel,
    /// Its groups in resctrl.
    pub rdt: Option<&'a rdt::Plan>,
    /// What is to be undone on failure.
    pub guard: &'a mut Guard,
}

impl Parent<'_> {
    /// Takes the process behind `pidfd` as the container's.
    pub fn adopt(&mut self, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        self.container.saved.pid = pid;
        self.container.saved.pid_start = Identity::of(pid)
            .ok_or_else(|| Error::new("the container's process ended at once"))?
            .start;
        self.guard.process = Some(pidfd.try_clone()?);
        if let Some(plan) = self.rdt {
            self.guard.rdt = Some(plan.saved().clone());
            plan.enter(&[pid])?;
        }
        if let Some(score) = self.process.oom_score_adj {
            self.proc
                .write(
                    &format!("{pid}/oom_score_adj"),
                    score.to_string().as_bytes(),
                )
                .context(|| format!("set process.oomScoreAdj to {score}"))?;
        }
        Ok(())
    }

    /// Writes the id mappings of process `pid`, which waits for them.
    pub fn map(&self, pid: i32) -> Result<()> {
        if let Some(linux) = &self.config.linux {
            userns::map(self.proc, pid, linux).context(|| "map ids")?;
        }
        self.channel.send(&Message::Go(0))
    }

    /// Serves the first stage until it has made the container's process.
    pub fn follow_stage(&mut self, stage_pid: i32) -> Result<OwnedFd> {
        let stage = self
            .guard
            .process
            .take()
            .ok_or_else(|| Error::new("the first stage is gone"))?;
        let result = loop {
            match self.channel.receive_from_stage(&stage) {
                Ok(Message::Map) => {
                    if let Err(e) = self.map(stage_pid) {
                        break Err(e);
                    }
                }
                Ok(Message::Pid(pid)) => break Ok(pid),
                Ok(Message::Failed(error)) | Err(error) => break Err(error),
                Ok(Message::Closed) => break Err(Error::new("the first stage was killed")),
                Ok(other) => break Err(Error::new(format!("unexpected message {other:?}"))),
            }
        };
        if result.is_err() {
            let _ = hako_sys::signal::send(stage.as_fd(), 9);
        }
        reap(&stage);
        // Our child by CLONE_PARENT: the number is its until we reap it.
        let number = result?;
        let pid = Pid::from_raw(number).ok_or_else(|| Error::new(format!("pid {number}")))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context(|| "open the process")?;
        self.adopt(number, &pidfd)?;
        Ok(pidfd)
    }

    /// Serves the process until everything is set up.
    pub fn until_ready(&mut self) -> Result<()> {
        loop {
            match self.channel.receive()? {
                Message::Ready => {
                    return limits::raise(self.container.saved.pid, &self.process.rlimits);
                }
                Message::Hooks => {
                    if let Some(linux) = self.config.linux.as_ref()
                        && !linux.net_devices.is_empty()
                    {
                        netdev::move_all(&linux.net_devices, self.container.saved.pid)?;
                    }
                    self.runtime_hooks()?;
                    self.channel.send(&Message::Go(0))?;
                }
                Message::Source(at, tree) => {
                    sources::map(self.proc, self.config, at, &tree)?;
                    self.channel.send(&Message::Go(0))?;
                }
                Message::Failed(error) => {
                    if error.kind == Kind::Hook {
                        self.hooks_ran();
                    }
                    return Err(error);
                }
                Message::Closed => {
                    return Err(Error::new(
                        "the container's process was killed while it was set up",
                    ));
                }
                other => return Err(Error::new(format!("unexpected message {other:?}"))),
            }
        }
    }

    fn runtime_hooks(&mut self) -> Result<()> {
        self.hooks_ran();
        let none = Hooks::default();
        let hooks = self.config.hooks.as_ref().unwrap_or(&none);
        let state: State = self.container.state(Status::Creating);
        let start = hook::Start::Runtime(Some(Path::new(&state.bundle)));
        hook::run("prestart", &hooks.prestart, &state, start)?;
        hook::run("createRuntime", &hooks.create_runtime, &state, start)
    }

    /// What hooks have made is for the poststop hooks to undo.
    fn hooks_ran(&mut self) {
        if let Some(hooks) = &self.config.hooks {
            self.guard.poststop.clone_from(&hooks.poststop);
        }
    }
}
