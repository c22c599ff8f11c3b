//! `hako rmi`

use crate::commands::each::each;
use crate::error::{CliError, Result};
use crate::output;
use crate::places::App;

/// Remove images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All
    #[arg(short, long, conflicts_with = "images")]
    all: bool,
    /// Also what containers use, and all names of an id
    #[arg(short, long)]
    force: bool,
    /// Pass over images that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let engine = &app.engine;
    let mut texts = args.images.clone();
    if args.all {
        let names = engine
            .images(false)?
            .into_iter()
            .filter_map(|i| i.reference);
        texts = names.map(|name| name.to_string()).collect();
    }
    each(&texts, |text| {
        let removed = match engine.remove_image(text, args.force) {
            Err(hako_engine::Error::Store(hako_store::Error::ImageUnknown(_)))
                if args.ignore || args.force =>
            {
                return Ok(());
            }
            Err(error) => return Err(CliError::from(error)),
            Ok(removed) => removed,
        };
        for name in removed.untagged {
            output::line(format_args!("Untagged: {}", name.familiar()))?;
        }
        for id in removed.freed.images {
            output::line(format_args!("Deleted: {id}"))?;
        }
        Ok(())
    })
}
