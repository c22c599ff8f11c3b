//! `hako inspect`

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use crate::error::{CliError, Kind, Result};
use crate::output::rows;
use crate::places::App;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    /// A container, else an image.
    Any,
    /// Containers.
    Containers,
    /// Images.
    Images,
}

/// A kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    Container,
    Image,
}

/// Show all about containers or images, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A Go template for each, or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// What it is; a container before an image when it could be both
    #[arg(long = "type", value_enum)]
    kind: Option<Type>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(app: &App, args: &Args, only: Only) -> Result {
    let only = match (only, args.kind) {
        (Only::Any, Some(Type::Container)) => Only::Containers,
        (Only::Any, Some(Type::Image)) => Only::Images,
        (only, None) => only,
        (Only::Containers, Some(Type::Container)) | (Only::Images, Some(Type::Image)) => only,
        _ => return Err(CliError::new("--type says something else than the command")),
    };
    let mut found = Vec::new();
    let mut status = None;
    for name in &args.names {
        match document(app, name, only) {
            Ok(value) => found.push(value),
            Err(error) => {
                error.print();
                status.get_or_insert(error.kind.status());
            }
        }
    }
    rows::documents(args.format.as_deref(), &found)?;
    match status {
        None => Ok(ExitCode::SUCCESS),
        Some(status) => Err(CliError::said(status)),
    }
}

fn document(app: &App, name: &str, only: Only) -> Result<Value> {
    let engine = &app.engine;
    if only != Only::Images {
        match engine.find(name) {
            Ok(container) => return Ok(engine.inspect(&container)),
            Err(hako_engine::Error::NoContainer(_)) if only == Only::Any => {}
            Err(error) => return Err(error.into()),
        }
    }
    match engine.image(name, None) {
        Ok(found) => Ok(engine.inspect_image(&found)?),
        Err(hako_engine::Error::Store(hako_store::Error::ImageUnknown(_))) if only == Only::Any => {
            Err(CliError {
                kind: Kind::Engine,
                ..CliError::new(format!("no such container or image: {name}"))
            })
        }
        Err(error) => Err(error.into()),
    }
}
