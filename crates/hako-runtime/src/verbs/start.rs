//! `start`: let a created container run its program.

use hako_spec::runtime::{Config, Status};
use rustix::net::SocketType;

use super::{Global, load, no_more};
use crate::cli::Args;
use crate::container::console::connect_to;
use crate::container::hook;
use crate::error::{Context, Error, Result};
use crate::log;
use crate::state::Container;
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
    let config = container.config()?;
    let path = container.dir.start_socket();
    let socket = connect_to(&path, SocketType::SEQPACKET)
        .context(|| format!("call container {id}, which should wait for its start"))?;
    // Whoever connects first starts it.
    std::fs::remove_file(&path).context(|| path.display().to_string())?;
    let channel = Channel::new(socket);
    channel.send(&Message::Go)?;
    let program = config.process.as_ref().and_then(|p| p.args.first());
    channel.wait_executed(program.map(String::as_str).unwrap_or_default())?;
    poststart(&container, &config);
    Ok(0)
}

/// Runs the poststart hooks. "If any poststart hook fails, the runtime MUST log
/// a warning, but the remaining hooks and lifecycle continue" (runtime.md).
pub(super) fn poststart(container: &Container, config: &Config) {
    let Some(hooks) = &config.hooks else { return };
    let state = container.state(config, Status::Running);
    for one in &hooks.poststart {
        if let Err(e) = hook::run("poststart", std::slice::from_ref(one), &state) {
            log::warn(&e.to_string());
        }
    }
}
