//! `hako tag`

use std::process::ExitCode;

use crate::error::Result;
use crate::places::App;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    image: String,
    /// The new names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    for name in &args.names {
        app.engine.tag(&args.image, name)?;
    }
    Ok(ExitCode::SUCCESS)
}
