//! `hako info`

use std::process::ExitCode;

use crate::commands::version::{architecture, runtime};
use crate::error::Result;
use crate::output::{self, rows};
use crate::places::App;

use serde_json::{Value, json};

/// Show this installation
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) fn run(app: &App, args: &Args) -> Result {
    let mut value = app.engine.info()?;
    let kernel = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let places = app.engine.places();
    if let Value::Object(map) = &mut value {
        let more = json!({
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "KernelVersion": kernel.release().to_string_lossy(),
            "OSType": std::env::consts::OS,
            "Architecture": architecture(),
            "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
            "MemTotal": memory.totalram as u64 * u64::from(memory.mem_unit),
            "Name": kernel.nodename().to_string_lossy(),
            "DefaultRuntime": places.runtime,
            "Runtime": runtime(&places.runtime),
        });
        if let Value::Object(more) = more {
            map.extend(more);
        }
    }
    if args.format.is_some() {
        let format = match args.format.as_deref() {
            Some("json") => Some("{{json .}}"),
            other => other,
        };
        rows::documents(format, &[value])?;
        return Ok(ExitCode::SUCCESS);
    }
    output::write(text(&value, 0).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// An object as indented lines, `name: value`.
fn text(value: &Value, depth: usize) -> String {
    let mut out = String::new();
    let Value::Object(map) = value else {
        return out;
    };
    for (name, value) in map {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(_) => {
                out.push_str(&format!("{indent}{name}:\n"));
                out.push_str(&text(value, depth + 1));
            }
            Value::String(plain) => out.push_str(&format!("{indent}{name}: {plain}\n")),
            other => out.push_str(&format!("{indent}{name}: {other}\n")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_as_lines() {
        let value = json!({ "A": 1, "B": { "C": "x" } });
        assert_eq!(text(&value, 0), "A: 1\nB:\n  C: x\n");
    }
}
