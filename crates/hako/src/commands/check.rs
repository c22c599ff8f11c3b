//! `hako system check`

use std::process::ExitCode;

use crate::error::{CliError, Kind, Result};
use crate::output;
use crate::places::App;

/// Look whether what is on disk and what runs agree
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove what killed commands have left
    #[arg(long)]
    repair: bool,
    /// Read everything, and compare it with its digest
    #[arg(long)]
    deep: bool,
    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let findings = app.engine.check(args.repair, args.deep)?;
    let left = findings.iter().filter(|f| !f.repaired).count();
    for finding in &findings {
        let done = if finding.repaired { " (repaired)" } else { "" };
        output::line(format_args!("{}{done}", finding.text))?;
    }
    if left > 0 {
        let error = CliError::new(match left {
            1 => "one thing is not as it should be".to_owned(),
            n => format!("{n} things are not as they should be"),
        });
        let error = CliError {
            kind: Kind::Findings,
            ..error
        };
        return Err(match args.repair {
            true => error,
            false => {
                error.hint("'hako system check --repair' removes what killed commands have left")
            }
        });
    }
    if !args.quiet {
        output::line("all is well")?;
    }
    Ok(ExitCode::SUCCESS)
}
