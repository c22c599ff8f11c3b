//! `delete`: remove what is left of a container.

use std::os::fd::AsFd as _;
use std::time::Duration;

use hako_spec::runtime::{Config, Status};

use super::{Global, id, no_more};
use crate::cli::Args;
use crate::container::hook;
use crate::error::{Context, Error, Result};
use crate::log;
use crate::state::{Container, Directory};

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let force = args.has("force");
    let id = id(args)?;
    let container = match Container::load(&global.root, &id) {
        Ok(container) => container,
        // As rm -f: what does not exist is removed; so is a record that a
        // killed create left unreadable.
        Err(_) if force => {
            Directory::of(&global.root, &id).remove()?;
            return Ok(0);
        }
        Err(e) => return Err(e),
    };
    match container.status() {
        Status::Stopped => {}
        status if force => kill(&container, status)?,
        // A container that was never started has nothing to lose.
        status @ Status::Created => kill(&container, status)?,
        status => {
            return Err(Error::new(format!(
                "container {id} is {status}: stop it first, or use --force"
            )));
        }
    }
    remove(&container)?;
    Ok(0)
}

fn kill(container: &Container, status: Status) -> Result<()> {
    let cgroup = container.saved.cgroup();
    if let Ok(pidfd) = container.pidfd() {
        let _ = hako_sys::signal::send(pidfd.as_fd(), 9);
    }
    cgroup.kill(9).context(|| "kill every process")?;
    if status == Status::Paused {
        cgroup.thaw().context(|| "thaw the container")?;
    }
    if !cgroup
        .wait_empty(Duration::from_secs(10))
        .context(|| "wait for the end")?
    {
        return Err(Error::new(format!(
            "processes of container {} do not end",
            container.saved.id
        )));
    }
    Ok(())
}

/// Removes cgroups and record and runs the poststop hooks. Everything is tried;
/// the first failure is told.
pub(super) fn remove(container: &Container) -> Result<()> {
    let config = container.config();
    let cgroup = container.saved.cgroup();
    // Processes that outlived the first one, where there is no pid namespace.
    let killed = cgroup.kill(9).context(|| "kill what is left");
    let cgroup = cgroup.delete().context(|| "remove the cgroup");
    let dir = container.dir.remove();
    if let Ok(config) = config {
        poststop(container, &config);
    }
    killed.and(cgroup).and(dir)
}

/// A failing poststop hook is a warning, and the others still run (runtime.md).
fn poststop(container: &Container, config: &Config) {
    let Some(hooks) = &config.hooks else { return };
    let state = container.state(config, Status::Stopped);
    for one in &hooks.poststop {
        if let Err(e) = hook::run("poststop", std::slice::from_ref(one), &state) {
            log::warn(&e.to_string());
        }
    }
}
