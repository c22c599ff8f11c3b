//! `cargo xtask tidy`: the rules that the compiler does not check.
//!
//! Every rule returns its findings as lines, `PLACE: WHAT`; all of them are
//! printed, so that one run shows everything that is to be done.

mod budget;
mod files;
mod layers;
mod source;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::{binaries, workspace};

const HELP: &str = "\
Check the rules that the compiler does not: which crate uses which, how long
files are, where system calls are made by hand, words that do not belong here,
and what the runtime may weigh.

Usage: cargo xtask tidy [--build]

Options:
  --build   build the runtime, to weigh it as it is now
";

pub(crate) fn main(mut parser: lexopt::Parser) -> Result<ExitCode> {
    let mut build = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("build") => build = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let runtime = if build {
        Some(binaries::runtime()?)
    } else {
        None
    };
    check(runtime.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// Checks everything; the runtime's size only if its path is given.
pub(crate) fn check(runtime: Option<&Path>) -> Result<()> {
    let mut findings = layers::check()?;
    findings.extend(files::check(workspace::root())?);
    findings.extend(budget::crates()?);
    match runtime {
        Some(runtime) => findings.extend(budget::size(runtime)?),
        None => eprintln!("the runtime's size is not checked ('--build' does)"),
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    eprintln!("tidy: nothing to complain about");
    Ok(())
}
