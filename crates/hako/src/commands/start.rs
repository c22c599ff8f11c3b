//! `hako start`

use std::process::ExitCode;

use crate::attach::Options;
use crate::commands::each::each;
use crate::commands::run::{foreground, status, warn_of_network};
use crate::error::{CliError, Result};
use crate::output;
use crate::places::App;
use crate::terminal::Keys;

/// Start containers that were created or have ended
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show the output, pass signals on, and end with the container's status
    #[arg(short, long)]
    attach: bool,
    /// Also send it our standard input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave a container with a terminal running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let engine = &app.engine;
    if args.attach || args.interactive {
        let [name] = args.containers.as_slice() else {
            return Err(CliError::new(
                "one container at a time can be in the foreground",
            ));
        };
        let container = engine.find(name)?;
        let options = Options {
            stdin: args.interactive && container.record.options.interactive,
            tty: container.record.options.tty,
            sig_proxy: true,
            keys: args.detach_keys.clone(),
        };
        warn_of_network(app, &container);
        let outcome = foreground(engine, &container, &options)?;
        return status(engine, &container, outcome);
    }
    each(&args.containers, |name| {
        let container = engine.find(name)?;
        warn_of_network(app, &container);
        engine.start(container.id(), None)?;
        output::line(name)
    })?;
    Ok(ExitCode::SUCCESS)
}
