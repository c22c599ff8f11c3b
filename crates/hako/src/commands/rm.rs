//! `hako rm`

use crate::commands::each::{Which, chosen, each, runs};
use crate::error::Result;
use crate::output;
use crate::places::App;

/// Remove containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All; those that run only with --force
    #[arg(short, long)]
    all: bool,
    /// Kill those that run, and pass over those that do not exist
    #[arg(short, long)]
    force: bool,
    /// Pass over containers that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Remove anonymous volumes too, which is always done
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let engine = &app.engine;
    let names = chosen(engine, &args.containers, args.all, Which::All)?;
    each(&names, |name| {
        let container = match engine.find(name) {
            Err(hako_engine::Error::NoContainer(_)) if args.force || args.ignore || args.all => {
                return Ok(());
            }
            other => other?,
        };
        if args.all && !args.force && runs(&container) {
            return Ok(());
        }
        engine.remove(&container, args.force)?;
        output::line(name)
    })
}
