//! `hako pull`

use std::process::ExitCode;

use crate::error::Result;
use crate::images::{self, Options};
use crate::output;
use crate::places::App;
use crate::progress::Detail;

/// Bring an image into the store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    options: Options,
    /// A reference, deb:PACKAGES, oci:PATH, oci:PATH:NAME, oci-archive:FILE, docker-archive:FILE or dir:PATH
    image: String,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let source = app.engine.source(&args.image)?;
    let detail = if args.quiet {
        Detail::Nothing
    } else {
        Detail::All
    };
    let pulled = images::bring(&app.engine, &source, &args.options, detail)?;
    if args.quiet {
        output::line(&pulled.image.id)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("Digest: {}\n", pulled.target.digest);
    let status = match pulled.is_new {
        true => "Downloaded newer image for",
        false => "Image is up to date for",
    };
    if let Some(name) = pulled.names.first() {
        text.push_str(&format!("Status: {status} {name}\n"));
    }
    for name in &pulled.names {
        text.push_str(&format!("{name}\n"));
    }
    output::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
