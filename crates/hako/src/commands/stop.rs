//! `hako stop`

use std::time::Duration;

use crate::commands::each::{Which, chosen, each};
use crate::error::Result;
use crate::output;
use crate::places::App;

/// Stop running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All that run
    #[arg(short, long)]
    all: bool,
    /// Pass over containers that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Signal that asks it to end, in place of the container's own
    #[arg(short, long, value_parser = hako_engine::parse_signal)]
    signal: Option<i32>,
    /// Seconds until it is killed, in place of the container's own
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u32>,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let engine = &app.engine;
    let timeout = args
        .time
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let names = chosen(engine, &args.containers, args.all, Which::Running)?;
    each(&names, |name| {
        let container = match engine.find(name) {
            Err(hako_engine::Error::NoContainer(_)) if args.ignore || args.all => return Ok(()),
            other => other?,
        };
        engine.stop(&container, args.signal, timeout)?;
        output::line(name)
    })
}
