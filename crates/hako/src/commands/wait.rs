//! `hako wait`

use crate::commands::each::each;
use crate::error::{CliError, Result};
use crate::output;
use crate::places::App;

/// Wait until containers have ended; print their exit statuses
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pass over containers that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let engine = &app.engine;
    each(&args.containers, |name| {
        let container = match engine.find(name) {
            Err(hako_engine::Error::NoContainer(_)) if args.ignore => return output::line(-1),
            other => other?,
        };
        let ended = engine.wait(container.id())?;
        let code = ended.as_ref().and_then(|c| c.state.exit_code);
        match code {
            Some(code) => output::line(code),
            None if ended.is_none() => Err(CliError::new(format!(
                "container {name} has ended and was removed: its status went with it"
            ))),
            None => Err(CliError::new(format!(
                "container {name}: its exit status is not known"
            ))),
        }
    })
}
