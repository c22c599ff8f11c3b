//! `hako system prune`, `container prune`, `image prune`

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use hako_engine::{Filter, Phase};
use hako_store::gc::Options;

use crate::error::{CliError, Result};
use crate::output::{self, size};
use crate::places::App;

/// Remove stopped containers, unused networks and content that nothing refers to
#[derive(Debug, clap::Args)]
pub(crate) struct System {
    /// Also images that no container uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
pub(crate) struct Containers {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Remove content that nothing refers to
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Also images that no container uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn system(app: &App, args: &System) -> Result {
    let images = match args.all {
        true => "all images that no container uses",
        false => "all content that no image and no container refers to",
    };
    let what = [
        "all containers that do not run",
        "all networks that no container is in",
        images,
    ];
    if !agreed(args.force, &what)? {
        return Ok(ExitCode::SUCCESS);
    }
    remove_containers(app)?;
    for name in app.engine.prune_networks()? {
        output::line(format!("deleted: network {name}"))?;
    }
    remove_images(app, args.all)
}

pub(crate) fn containers(app: &App, args: &Containers) -> Result {
    if agreed(args.force, &["all containers that do not run"])? {
        remove_containers(app)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn images(app: &App, args: &Images) -> Result {
    let images = match args.all {
        true => "all images that no container uses",
        false => "all content that no image and no container refers to",
    };
    match agreed(args.force, &[images])? {
        true => remove_images(app, args.all),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn remove_containers(app: &App) -> Result<()> {
    for container in app.engine.containers(Filter::All)? {
        if matches!(container.state.phase, Phase::Created | Phase::Exited) {
            app.engine.remove(&container, false)?;
            output::line(container.id())?;
        }
    }
    Ok(())
}

fn remove_images(app: &App, all: bool) -> Result {
    if all {
        for name in app.engine.untag_unused()? {
            output::line(format_args!("untagged: {}", name.familiar()))?;
        }
    }
    // What is on its way is held by a lease; nothing else is spared.
    let options = Options {
        grace: Duration::ZERO,
        resumable: Duration::ZERO,
        ..Options::default()
    };
    let freed = app.engine.collect(&options)?;
    for id in &freed.images {
        output::line(format_args!("deleted: {id}"))?;
    }
    output::line(format_args!(
        "Total reclaimed space: {}",
        size::human(freed.bytes)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks whether all this shall go. Without anybody to ask it does not.
fn agreed(force: bool, what: &[&str]) -> Result<bool> {
    if force {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::new("there is nobody to ask: say --force"));
    }
    let mut text = "This will remove:\n".to_owned();
    for line in what {
        text.push_str(&format!("  - {line}\n"));
    }
    text.push_str("Are you sure? [y/N] ");
    output::write(text.as_bytes())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
