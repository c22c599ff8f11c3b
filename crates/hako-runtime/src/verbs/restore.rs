//! `restore`: make a container out of the files of a checkpoint, by CRIU, and
//! in the foreground wait and delete, as `run`.

use hako_spec::runtime::validate::Purpose;
use hako_sys::signal;

use super::checkpoint::request;
use super::create::{asked, bundle};
use super::wait::foreground;
use super::{Global, delete};
use crate::cli::Args;
use crate::container::checkpoint::check_caller;
use crate::container::restore::restore;
use crate::error::Result;
use crate::log;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    check_caller()?;
    let from = request(args)?;
    let bundle = bundle(global, args, Purpose::Start)?;
    let restored = restore(&asked(global, args, bundle, false, None)?, &from)?;
    if args.has("detach") {
        return Ok(0);
    }
    let signals = signal::block_all()?;
    let launched = &restored.launched;
    let status = foreground(&launched.pidfd, &signals, restored.terminal.as_ref());
    if let Err(e) = delete::remove(&launched.container) {
        log::warn(&e.to_string());
    }
    status
}
