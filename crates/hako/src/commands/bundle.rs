//! `hako bundle validate`, which is `hako conformance bundle`, too.

pub(crate) mod generate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use hako_conformance::bundle::{self, Finding, Severity};

use crate::error::{CliError, Result};
use crate::output;

/// The forms of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line each
    Text,
    /// An array
    Json,
}

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Also look at this machine: sources of bind mounts, hooks, namespaces
    #[arg(long)]
    host_specific: bool,
    /// The form of the findings
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Errors alone, and nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

/// Does it.
pub(crate) fn run(args: &Args) -> Result {
    let options = bundle::Options {
        host_specific: args.host_specific,
    };
    let mut findings = bundle::check(&args.dir, &options).map_err(CliError::from)?;
    if args.quiet {
        findings.retain(|finding| finding.severity == Severity::Error);
    }
    match args.format {
        Format::Text => {
            for finding in &findings {
                output::line(text(finding))?;
            }
            if findings.is_empty() && !args.quiet {
                output::line("all is well")?;
            }
        }
        Format::Json => {
            let json = serde_json::to_string_pretty(&findings).map_err(CliError::from)?;
            output::line(json)?;
        }
    }
    match findings.iter().any(|it| it.severity == Severity::Error) {
        true => Err(CliError::said(1)),
        false => Ok(ExitCode::SUCCESS),
    }
}

/// A finding in a line.
fn text(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = match finding.place.as_str() {
        "" => "config.json",
        place => place,
    };
    format!(
        "{severity}: {place}: {} ({})",
        finding.message, finding.section
    )
}
