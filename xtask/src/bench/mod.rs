//! `cargo xtask bench`: is one command faster than another?
//!
//! Times on a shared machine drift, so the two commands take turns and each
//! pair gives a ratio; medians forgive a run that something else disturbed.

pub(crate) mod bundle;
pub(crate) mod pull;
pub(crate) mod runtime;

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::command::{run, split};

const HELP: &str = "\
Run two commands by turns and compare their times.

Usage: cargo xtask bench [--runs N] [--warmup N] [--prepare COMMAND] A B

A, B and COMMAND are command lines in quotes; they are split into words as a
shell does, and run without one. Their output is thrown away; one that fails
ends the benchmark.

Options:
  --runs N            pairs to run [20]
  --warmup N          pairs that do not count [2]
  --prepare COMMAND   run before every command, not measured
";

struct Plan {
    commands: [Vec<String>; 2],
    prepare: Option<Vec<String>>,
    runs: usize,
    warmup: usize,
}

pub(crate) fn main(parser: lexopt::Parser) -> Result<()> {
    let Some(plan) = parse(parser)? else {
        print!("{HELP}");
        return Ok(());
    };
    let [first, second] = measure(&plan)?;
    let ratios: Vec<f64> = first
        .iter()
        .zip(&second)
        .map(|(a, b)| a.as_secs_f64() / b.as_secs_f64())
        .collect();
    for (name, times, words) in [
        ("A", &first, &plan.commands[0]),
        ("B", &second, &plan.commands[1]),
    ] {
        let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        let [low, middle, high] = quartiles(&seconds).map(|seconds| seconds * 1000.0);
        println!(
            "{name}: {middle:9.2} ms  (middle half {low:.2} to {high:.2})  {}",
            words.join(" ")
        );
    }
    let [low, middle, high] = quartiles(&ratios);
    println!(
        "A/B: {middle:.3}  (middle half {low:.3} to {high:.3}, {} pairs)",
        ratios.len()
    );
    Ok(())
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Plan>> {
    let (mut runs, mut warmup, mut prepare) = (20, 2, None);
    let mut lines: Vec<String> = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("runs") => runs = parser.value()?.parse()?,
            Long("warmup") => warmup = parser.value()?.parse()?,
            Long("prepare") => prepare = Some(words(&parser.value()?.string()?)?),
            Value(line) => lines.push(line.string()?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if runs == 0 {
        bail!("--runs must be at least 1");
    }
    let [first, second] = &lines[..] else {
        bail!("two command lines are needed, each in quotes ('cargo xtask bench --help')");
    };
    Ok(Some(Plan {
        commands: [words(first)?, words(second)?],
        prepare,
        runs,
        warmup,
    }))
}

fn words(line: &str) -> Result<Vec<String>> {
    let words = split(line)?;
    if words.is_empty() {
        bail!("a command line is empty");
    }
    Ok(words)
}

fn measure(plan: &Plan) -> Result<[Vec<Duration>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..plan.warmup.saturating_add(plan.runs) {
        for (command, times) in plan.commands.iter().zip(&mut times) {
            if let Some(prepare) = &plan.prepare {
                time(prepare)?;
            }
            let taken = time(command)?;
            if round >= plan.warmup {
                times.push(taken);
            }
        }
    }
    Ok(times)
}

fn time(words: &[String]) -> Result<Duration> {
    let line = words.join(" ");
    let Some((program, args)) = words.split_first() else {
        bail!("a command line is empty")
    };
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output().with_context(|| format!("run {line}"))?;
    let taken = start.elapsed();
    if !output.status.success() {
        bail!(
            "{line}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(taken)
}

/// First quartile, median and third quartile, between neighbours.
fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let place = part * sorted.len().saturating_sub(1) as f64;
        let low = sorted.get(place as usize).copied().unwrap_or(f64::NAN);
        let high = sorted.get(place.ceil() as usize).copied().unwrap_or(low);
        low + (high - low) * place.fract()
    })
}

/// The median of values.
fn median(values: &[f64]) -> f64 {
    let [_, middle, _] = quartiles(values);
    middle
}

/// The median of the rounds' ratios: the machine drifts, each round less.
fn median_ratio(row: &[f64], to: &[f64]) -> f64 {
    let ratios: Vec<f64> = row.iter().zip(to).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// Runs this program with `verb` and `words` again, in a mount namespace of
/// its own: what is mounted there goes with it.
fn in_own_mounts(verb: &str, words: Vec<OsString>) -> Result<()> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    run(command.arg(own).arg(verb).args(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Option<Plan>> {
        parse(lexopt::Parser::from_args(args))
    }

    #[test]
    fn quartiles_of_known_rows() {
        assert_eq!(quartiles(&[3.0, 1.0, 2.0, 5.0, 4.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(&[1.0, 2.0]), [1.25, 1.5, 1.75]);
        assert_eq!(quartiles(&[7.0]), [7.0; 3]);
        assert_eq!(median_ratio(&[1.0, 4.0, 9.0], &[2.0, 4.0, 3.0]), 1.0);
    }

    #[test]
    fn turns_are_taken_and_warmups_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let line = |word: &str| format!("sh -c 'echo {word} >>{}'", log.display());
        let args = [
            "--runs",
            "2",
            "--warmup=1",
            "--prepare",
            &line("p"),
            &line("a"),
            &line("b"),
        ];
        let [a, b] = measure(&plan(&args).unwrap().unwrap()).unwrap();
        assert_eq!((a.len(), b.len()), (2, 2));
        assert_eq!(
            std::fs::read_to_string(log).unwrap(),
            "p\na\np\nb\n".repeat(3)
        );
    }

    #[test]
    fn bad_command_lines_are_told() {
        assert!(plan(&["true"]).is_err());
        assert!(plan(&["true", ""]).is_err());
        assert!(plan(&["--runs", "0", "true", "true"]).is_err());
        let error = measure(&plan(&["true", "false"]).unwrap().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("false: exit status: 1"),
            "{error}"
        );
    }
}
