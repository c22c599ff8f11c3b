//! `hako kill`

use crate::commands::each::{Which, chosen, each};
use crate::error::Result;
use crate::output;
use crate::places::App;

/// Send a signal to running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All that run
    #[arg(short, long)]
    all: bool,
    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL", value_parser = hako_engine::parse_signal)]
    signal: i32,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let names = chosen(&app.engine, &args.containers, args.all, Which::Running)?;
    each(&names, |name| {
        app.engine.kill(&app.engine.find(name)?, args.signal)?;
        output::line(name)
    })
}
