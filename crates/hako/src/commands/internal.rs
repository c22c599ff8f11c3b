//! What hako calls itself: `hako internal …`.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::error::{CliError, Result};
use crate::output;
use crate::places::App;

/// Deals with an event of a container's monitor.
pub(crate) fn on_event(app: &App, event: &str, id: &str) -> Result {
    app.engine.on_event(event, id)?;
    Ok(ExitCode::SUCCESS)
}

/// Brings to the disk what a pull has left to the kernel.
pub(crate) fn settle(app: &App) -> Result {
    app.engine.settle_layers()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a manual page for hako and each of its verbs.
pub(crate) fn man(dir: &Path) -> Result {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|e| {
            CliError::from(e).context(format!("cannot write manual pages to {}", dir.display()))
        })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hako", &mut text);
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
