//! `delete`: remove what is left of a container.

use std::os::fd::AsFd as _;
use std::time::Duration;

use hako_spec::id::ContainerId;
use hako_spec::runtime::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Global, no_more, select};
use crate::cli::Args;
use crate::container::{hook, rdt, scope, shared_root};
use crate::error::{Context, Error, Kind, Result};
use crate::log;
use crate::proc::Identity;
use crate::state::{Container, Directory};

/// How long the end of what was killed may take.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let force = args.has("force");
    select::each(global, args, |id| one(global, id, force))
}

fn one(global: &Global, id: &ContainerId, force: bool) -> Result<()> {
    let container = match Container::find(&global.root, id) {
        Ok(Some(container)) => container,
        // As rm -f: what does not exist is removed. A killed create may have
        // left a directory, but nothing else before its record.
        Ok(None) if force => {
            return Directory::of(&global.root, id).remove();
        }
        Ok(None) => return Err(Error::new(format!("container {id} does not exist"))),
        // A power cut has taken the record's contents, and the processes too.
        Err(e) if force && e.kind == Kind::Damaged => {
            log::warn(&format!("{e}: cgroups of the container may be left"));
            return Directory::of(&global.root, id).remove();
        }
        Err(e) => return Err(e),
    };
    let status = match force {
        true => container.status(),
        false => settled(&container),
    };
    match status {
        Status::Stopped => {}
        // "Attempting to delete a container that is not stopped MUST have no
        // effect on the container" (runtime.md, "Delete"): a created one is not.
        _ if force => kill(&container)?,
        status => {
            return Err(Error::new(format!(
                "container {id} is {status}: stop it first, or use --force"
            )));
        }
    }
    remove(&container)
}

/// The container's status, once its process has ended if that is under way: a
/// caller that has sent KILL may be sooner here than the kernel is done.
fn settled(container: &Container) -> Status {
    let limit = Timespec::try_from(LIMIT).ok();
    if Identity::of(container.saved.pid).is_some_and(|now| now.dying && now.alive())
        && let Ok(pidfd) = container.pidfd()
    {
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref());
    }
    container.status()
}

/// Ends every process of the container, frozen or not, and waits for that.
pub(super) fn kill(container: &Container) -> Result<()> {
    let cgroup = container.saved.cgroup();
    if let Ok(pidfd) = container.pidfd() {
        let _ = hako_sys::signal::send(pidfd.as_fd(), 9);
    }
    cgroup.kill(9).context(|| "kill every process")?;
    if !cgroup.wait_empty(LIMIT).context(|| "wait for the end")? {
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
    let cgroup = container.saved.cgroup();
    // Processes that outlived the first one, where there is no pid namespace.
    let killed = cgroup.kill(9).context(|| "kill what is left");
    // "Resources associated with the container, but not created by this
    // container, MUST NOT be deleted" (runtime.md, "Delete"): the cgroup knows.
    let unit = container.saved.scope.as_ref().map_or(Ok(()), scope::stop);
    let cgroup = cgroup.delete().context(|| "remove the cgroup");
    let rdt = container
        .saved
        .rdt
        .as_ref()
        .map_or(Ok(()), rdt::Saved::remove);
    let root = container.saved.root_mount;
    let dir = root
        .map_or(Ok(()), |own| {
            shared_root::remove(&container.saved.rootfs, own)
        })
        .and_then(|()| container.dir.remove());
    let hooks = &container.saved.excerpt.poststop;
    if !hooks.is_empty() {
        // "If any poststop hook fails, the runtime MUST log a warning, but the
        // remaining hooks and lifecycle continue" (runtime.md, "Lifecycle").
        let state = container.state(Status::Stopped);
        hook::run_all("poststop", hooks, &state);
    }
    killed.and(unit).and(cgroup).and(rdt).and(dir)
}
