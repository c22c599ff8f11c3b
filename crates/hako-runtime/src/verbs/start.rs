//! `start`: let a created container run its program.

use std::path::Path;

use hako_spec::runtime::Status;
use rustix::net::SocketType;

use super::{Global, delete, load, no_more};
use crate::cli::Args;
use crate::container::console::connect_to;
use crate::container::hook;
use crate::error::{Context, Error, Kind, Result};
use crate::log;
use crate::state::{Container, NO_PROCESS};
use crate::sync::{Channel, Message};

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let container = load(global, args)?;
    let id = &container.saved.id;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Error::new(format!("container {id} has stopped"))),
        status => {
            return Err(Error::new(format!(
                "container {id} is {status}, not created"
            )));
        }
    }
    // "This operation MUST generate an error if process was not set" (runtime.md,
    // "Start").
    if container.saved.excerpt.program.is_empty() {
        return Err(Error::new(NO_PROCESS));
    }
    let path = container.dir.start_socket();
    let socket = connect_to(&path, SocketType::SEQPACKET)
        .context(|| format!("call container {id}, which should wait for its start"))?;
    // Whoever connects first starts it.
    std::fs::remove_file(&path).context(|| path.display().to_string())?;
    let channel = Channel::new(socket);
    channel.send(&Message::Go(container.saved.pid))?;
    let started = channel
        .wait_executed(&container.saved.excerpt.program)
        .and_then(|()| poststart(&container));
    match started {
        Err(e) if e.kind == Kind::Hook => {
            destroy(&container);
            Err(e)
        }
        other => other.map(|()| 0),
    }
}

/// Runs the poststart hooks.
pub(super) fn poststart(container: &Container) -> Result<()> {
    let hooks = &container.saved.excerpt.poststart;
    if hooks.is_empty() {
        return Ok(());
    }
    let state = container.state(Status::Running);
    let bundle = Some(Path::new(&container.saved.bundle)).filter(|b| b.is_dir());
    hook::run("poststart", hooks, &state, hook::Start::Runtime(bundle))
}

/// After a failed hook: "the runtime MUST generate an error, stop the
/// container, and continue the lifecycle" where it is destroyed (runtime.md,
/// "Lifecycle", 7 and 9).
pub(super) fn destroy(container: &Container) {
    for step in [delete::kill, delete::remove] {
        if let Err(e) = step(container) {
            log::warn(&e.to_string());
        }
    }
}
