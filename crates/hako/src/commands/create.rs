//! `hako create`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use hako_engine::Container;

use crate::commands::container::ContainerArgs;
use crate::error::{CliError, Result};
use crate::images;
use crate::output;
use crate::places::App;

/// Make a container, without starting it
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "hako create [OPTIONS] IMAGE [COMMAND] [ARG]..."
)]
pub(crate) struct Args {
    #[command(flatten)]
    container: ContainerArgs,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let container = create(app, &args.container)?;
    output::line(container.id())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the container, with its image pulled where that is needed.
pub(crate) fn create(app: &App, args: &ContainerArgs) -> Result<Container> {
    let engine = &app.engine;
    let options = args.options(app)?;
    // Refused before anything is pulled.
    let cidfile = args.cidfile.as_deref().map(new_file).transpose()?;
    let made = (|| {
        let found = images::obtain(
            engine,
            args.image_name(),
            &args.image,
            args.pull,
            args.quiet,
        )?;
        if let Some(name) = args.replaces() {
            match engine.find(name) {
                Ok(old) => engine.remove(&old, true)?,
                Err(hako_engine::Error::NoContainer(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(engine.create(&found.resolved, args.image_name(), options)?)
    })();
    match (&made, cidfile) {
        (Ok(container), Some((mut file, path))) => file
            .write_all(container.id().as_bytes())
            .map_err(|e| CliError::from(e).context(format!("cannot write {}", path.display())))?,
        (Err(_), Some((_, path))) => {
            // It was ours and is empty.
            let _ = std::fs::remove_file(path);
        }
        (_, None) => {}
    }
    made
}

fn new_file(path: &Path) -> Result<(std::fs::File, &Path)> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let file = file.map_err(|e| {
        let error = CliError::from(e).context(format!("cannot create {}", path.display()));
        match path.exists() {
            true => error.hint("remove it, if the container that it names is not needed"),
            false => error,
        }
    })?;
    Ok((file, path))
}
