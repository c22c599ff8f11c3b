//! `run`: create and start, and in the foreground wait and delete.

use std::os::fd::AsFd as _;

use hako_spec::runtime::validate::Purpose;
use hako_sys::signal;

use super::create::{bundle, launched};
use super::wait::{console_pair, foreground, receive_console};
use super::{Global, delete, start};
use crate::cli::Args;
use crate::container::launch::{reap, release};
use crate::error::Result;
use crate::log;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    let detach = args.has("detach");
    let bundle = bundle(global, args, Purpose::Start)?;
    let own_console = !detach && args.get("console-socket").is_none() && bundle.wants_terminal();
    let (theirs, ours) = match own_console {
        true => {
            let (theirs, ours) = console_pair()?;
            (Some(theirs), Some(ours))
        }
        false => (None, None),
    };
    let launched = launched(global, args, bundle, false, theirs)?;
    let signals = match detach {
        true => None,
        false => Some(signal::block_all()?),
    };
    let started = release(&launched)
        .and_then(|()| start::poststart(&launched.container))
        .and_then(|()| ours.as_ref().map(receive_console).transpose());
    let terminal = match started {
        Ok(terminal) => terminal,
        Err(e) => {
            let _ = signal::send(launched.pidfd.as_fd(), 9);
            reap(&launched.pidfd);
            start::destroy(&launched.container);
            return Err(e);
        }
    };
    let Some(signals) = signals else { return Ok(0) };
    let status = foreground(&launched.pidfd, &signals, terminal.as_ref());
    if !args.has("keep")
        && let Err(e) = delete::remove(&launched.container)
    {
        log::warn(&e.to_string());
    }
    status
}
