//! Messages for the caller: to standard error, or with `--log` to a file in
//! the form that engines parse (`--log-format json`: one object a line with
//! `level`, `msg` and `time`, as runc writes it).

use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{Context, Result};

struct Log {
    file: Option<std::fs::File>,
    json: bool,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log; called once, before anything is done.
pub fn open(path: Option<&Path>, json: bool, debug: bool) -> Result<()> {
    let file = match path {
        Some(path) => Some(
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .context(|| format!("open log {}", path.display()))?,
        ),
        None => None,
    };
    let _ = LOG.set(Log { file, json, debug });
    Ok(())
}

/// Something that the caller should know and that is no failure.
pub fn warn(text: &str) {
    write("warning", text);
}

/// Details, with `--debug`.
pub fn debug(text: &str) {
    if LOG.get().is_some_and(|log| log.debug) {
        write("debug", text);
    }
}

/// The failure of the command. It always goes to standard error too, where a
/// person looks.
pub fn error(text: &str) {
    write("error", text);
    if LOG.get().is_some_and(|log| log.file.is_some()) {
        let _ = writeln!(std::io::stderr(), "hako-runtime: {text}");
    }
}

fn write(level: &str, text: &str) {
    let line = match LOG.get() {
        Some(log) if log.json => {
            let mut object = serde_json::Map::new();
            object.insert("level".into(), level.into());
            object.insert("msg".into(), text.into());
            object.insert("time".into(), crate::time::now().into());
            serde_json::Value::Object(object).to_string()
        }
        Some(Log { file: Some(_), .. }) => {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!(
                "time=\"{}\" level={level} msg=\"{text}\"",
                crate::time::now()
            )
        }
        _ if level == "error" => format!("hako-runtime: {text}"),
        _ => format!("hako-runtime: {level}: {text}"),
    };
    // One write a line, so that lines of several processes do not mix. There
    // is nobody to tell when it fails.
    let line = format!("{line}\n");
    let _ = match LOG.get().and_then(|log| log.file.as_ref()) {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}
