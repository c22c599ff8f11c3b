//! `ps`: the processes of a container, by the host's ps(1).

use std::process::Command;

use super::{Global, load, print};
use crate::cli::Args;
use crate::error::{Context, Error, Result};

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    let container = load(global, args)?;
    let pids = container
        .saved
        .cgroup()
        .pids()
        .context(|| "list processes")?;
    match args.get("format") {
        Some("json") => {
            print(&format!("{}\n", serde_json::to_string(&pids)?))?;
            return Ok(0);
        }
        None | Some("table") => {}
        Some(other) => {
            return Err(Error::new(format!(
                "--format: {other:?} is not table or json"
            )));
        }
    }
    let mut options: Vec<&str> = args.free.iter().skip(1).map(String::as_str).collect();
    if options.is_empty() {
        options.push("-ef");
    }
    let out = Command::new("ps")
        .args(options)
        .output()
        .context(|| "run ps")?;
    if !out.status.success() {
        return Err(Error::new(format!(
            "ps: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        )));
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_whitespace()
        .position(|word| word == "PID")
        .ok_or_else(|| Error::new("the output of ps has no PID column"))?;
    print(&format!("{head}\n"))?;
    for line in lines {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|p| p.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            print(&format!("{line}\n"))?;
        }
    }
    Ok(0)
}

/// Rows in columns as wide as their widest cell and three blanks.
pub(super) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|r| r.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:<width$}   ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
