//! `hako conformance runtime`

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use hako_conformance::runtime::{Bench, Options, checks};
use hako_conformance::{Check, Level, Outcome, Plan, Tried, report};

use crate::error::{CliError, Result};
use crate::output;

/// The forms of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A summary, and each check that does not pass
    Table,
    /// TAP 13
    Tap,
    /// JUnit's XML
    Junit,
    /// An array with an object for each runtime
    Json,
}

/// How strong a sentence has to be.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Least {
    /// MUST and MUST NOT
    Must,
    /// Also SHOULD and SHOULD NOT
    Should,
    /// All
    May,
}

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// OCI runtimes, by name or path
    #[arg(value_name = "RUNTIME", required_unless_present = "list")]
    programs: Vec<PathBuf>,
    /// Only checks whose name or section contains TEXT
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Only checks whose whole name is TEXT
    #[arg(long, requires = "filter")]
    exact: bool,
    /// Only sentences at least this strong
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "may")]
    level: Least,
    /// List the checks, and try nothing
    #[arg(long)]
    list: bool,
    /// The form of the results
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// How many checks at a time [default: one a processor]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// How long one command of the runtime may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
    /// Give the runtime this argument before every verb
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    runtime_arg: Vec<String>,
    /// Leave the bundles and containers of checks that fail
    #[arg(long)]
    keep: bool,
}

/// Does it.
pub(crate) fn runtime(args: &Args) -> Result {
    let checks = chosen(args);
    if checks.is_empty() {
        return Err(CliError::new("no check has such a name or section")
            .hint("'hako conformance runtime --list' shows all checks"));
    }
    if args.list {
        output::write(report::list(&checks).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut columns = Vec::new();
    for program in &args.programs {
        let mut bench = Bench::new(Options {
            program: program.clone(),
            arguments: args.runtime_arg.clone(),
            patience: Duration::from_secs(args.timeout),
            keep: args.keep,
        })
        .map_err(CliError::from)?;
        let results = attempt(&checks, &bench, args);
        if args.keep && results.iter().any(|it| it.verdict.is_err()) {
            eprint(format_args!(
                "bundles are kept in {}\n",
                bench.leave().display()
            ));
        }
        columns.push(report::Column::new(&bench, results));
    }
    let text = match args.format {
        Format::Table => report::table(&columns),
        Format::Tap => columns.iter().map(report::tap).collect(),
        Format::Junit => report::junit(&columns),
        Format::Json => format!("{:#}\n", report::json(&columns)),
    };
    output::write(text.as_bytes())?;
    match columns.iter().all(report::Column::is_compliant) {
        true => Ok(ExitCode::SUCCESS),
        false => Err(CliError::said(1)),
    }
}

fn chosen(args: &Args) -> Vec<&'static Check> {
    let least = match args.level {
        Least::Must => Level::Must,
        Least::Should => Level::Should,
        Least::May => Level::May,
    };
    let wanted = |check: &&Check| {
        let has = |text: &String| match args.exact {
            true => check.name == text,
            false => check.name.contains(&**text) || check.section.contains(&**text),
        };
        check.level <= least && (args.filter.is_empty() || args.filter.iter().any(has))
    };
    checks().filter(wanted).collect()
}

/// Tries all with one runtime, and tells a terminal how far it is.
fn attempt(checks: &[&'static Check], bench: &Bench, args: &Args) -> Vec<Tried> {
    let shown = std::io::stderr().is_terminal();
    let name = bench.name();
    let progress = |done: usize, of: usize, last: &Tried| {
        let (outcome, _) = Outcome::of(&last.verdict);
        if shown {
            eprint(format_args!(
                "\r\x1b[K{name}: {done} of {of}, {}: {}",
                last.check.name,
                outcome.word()
            ));
        }
    };
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let plan = Plan {
        checks: checks.to_vec(),
        bench,
        jobs,
    };
    let results = plan.run(&progress);
    if shown {
        eprint(format_args!("\r\x1b[K"));
    }
    results
}

fn eprint(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}
