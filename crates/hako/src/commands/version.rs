//! `hako version`

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use hako_engine::OciRuntime;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::Result;
use crate::output::{self, rows};

/// Show the versions
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result {
    let name = global.runtime.as_deref().unwrap_or("hako-runtime");
    let runtime = runtime(name);
    let text = |key: &str| {
        runtime
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let kernel = rustix::system::uname();
    let value = json!({
        "Client": {
            "Version": env!("CARGO_PKG_VERSION"),
            "Os": std::env::consts::OS,
            "Arch": architecture(),
            "KernelVersion": kernel.release().to_string_lossy(),
            "Runtime": runtime,
        },
    });
    if args.format.is_some() {
        // One document, not an array of one.
        let format = match args.format.as_deref() {
            Some("json") => Some("{{json .}}"),
            other => other,
        };
        rows::documents(format, std::slice::from_ref(&value))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("Version:      {}\n", env!("CARGO_PKG_VERSION"));
    out.push_str(&format!(
        "OS/Arch:      {}/{}\n",
        std::env::consts::OS,
        architecture()
    ));
    out.push_str(&format!(
        "Kernel:       {}\n",
        kernel.release().to_string_lossy()
    ));
    out.push_str(&format!(
        "Runtime:      {} ({})\n",
        text("Version"),
        text("Path")
    ));
    output::write(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The architecture as images name it.
pub(crate) fn architecture() -> String {
    hako_spec::platform::Platform::host().architecture
}

/// Path and version of a runtime, or why it cannot be had.
pub(crate) fn runtime(name: &str) -> Value {
    let found = match OciRuntime::find(name, Path::new("/nonexistent")) {
        Ok(found) => found,
        Err(error) => {
            return json!({ "Name": name, "Path": "not found", "Version": "none", "Error": error.to_string() });
        }
    };
    let out = Command::new(&found.path)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let version = match out {
        Ok(out) if out.status.success() => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            text.lines().next().unwrap_or_default().trim().to_owned()
        }
        Ok(out) => format!("ends with {}", out.status),
        Err(error) => error.to_string(),
    };
    json!({ "Name": name, "Path": found.path, "Version": version })
}
