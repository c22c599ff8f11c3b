//! `hako logs`

use std::io::Write;
use std::process::ExitCode;

use hako_engine::{Line, LogOptions, Stream};
use jiff::Timestamp;

use crate::error::{CliError, Result};
use crate::output::{self, age};
use crate::places::App;

/// Show the output of a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The last so many lines only, or all
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Lines from this moment on: a time, or 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Lines before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id
    container: String,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let now = Timestamp::now();
    let moment = |flag: &str, text: &Option<String>| {
        let parsed = text.as_ref().map(|text| age::moment(text, now)).transpose();
        parsed.map_err(|why| CliError::new(format!("{flag}: {why}")))
    };
    let tail = match args.tail.as_str() {
        "all" => None,
        negative if negative.starts_with('-') => None,
        number => Some(number.parse().map_err(|_| {
            CliError::new(format!("--tail {number:?}: it is neither a number nor all"))
        })?),
    };
    let options = LogOptions {
        follow: args.follow,
        tail,
        since: moment("--since", &args.since)?,
        until: moment("--until", &args.until)?,
    };
    let container = app.engine.find(&args.container)?;
    let mut printer = Printer {
        timestamps: args.timestamps,
        fresh: [true; 2],
    };
    let mut failed = None;
    app.engine
        .logs(&container, &options, |line| match printer.print(line) {
            Ok(()) => Ok(true),
            Err(e) => {
                failed = Some(e);
                Ok(false)
            }
        })?;
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(output::failed(error)),
    }
}

struct Printer {
    timestamps: bool,
    /// Whether a new line begins, on stdout and stderr.
    fresh: [bool; 2],
}

impl Printer {
    fn print(&mut self, line: &Line) -> std::io::Result<()> {
        let [out, err] = &mut self.fresh;
        match line.stream {
            Stream::Stdout => write(&mut std::io::stdout().lock(), line, self.timestamps, out),
            Stream::Stderr => write(&mut std::io::stderr().lock(), line, self.timestamps, err),
        }
    }
}

fn write(
    to: &mut dyn Write,
    line: &Line,
    timestamps: bool,
    fresh: &mut bool,
) -> std::io::Result<()> {
    if timestamps && *fresh {
        write!(to, "{} ", line.time)?;
    }
    *fresh = line.text.ends_with(b"\n");
    to.write_all(&line.text)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_before_whole_lines() {
        let mut out = Vec::new();
        let mut fresh = true;
        for text in ["a", "b\n", "c\n"] {
            let line = Line {
                time: "T".into(),
                stream: Stream::Stdout,
                text: text.into(),
            };
            write(&mut out, &line, true, &mut fresh).unwrap();
        }
        assert_eq!(out, b"T ab\nT c\n");
    }
}
