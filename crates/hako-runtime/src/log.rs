//! Messages for the caller: to standard error, or with `--log` to a file in
//! the form that engines parse (`--log-format json`: one object a line with
//! `level`, `msg` and `time`, as runc writes it). With `--debug` standard error
//! has the file's form, and the stages of a container's start have the names
//! that runc gives them, by which its log is searched.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Context, Error, Kind, Result};

struct Log {
    file: Mutex<Option<std::fs::File>>,
    json: bool,
    level: Level,
}

/// Which messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Level {
    /// The failure of the command alone.
    Error,
    /// Warnings as well.
    Warning,
    /// Details, too.
    Debug,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log; called once, before anything is done. `target` is a path, also
/// in crun's form `file:PATH`.
pub fn open(target: Option<&str>, json: bool, level: Level) -> Result<()> {
    let daemon = |t: &&str| t.starts_with("journald:") || t.starts_with("syslog:");
    if let Some(target) = target.filter(daemon) {
        return Err(Error::new(format!(
            "--log {target}: only files are supported"
        )));
    }
    let path = target.map(|t| Path::new(t.strip_prefix("file:").unwrap_or(t)));
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
    let file = Mutex::new(file);
    let _ = LOG.set(Log { file, json, level });
    Ok(())
}

/// Something that the caller should know and that is no failure.
pub fn warn(text: &str) {
    if LOG.get().is_none_or(|log| log.level >= Level::Warning) {
        write("warning", text);
    }
}

/// Details, with `--debug`.
pub fn debug(text: &str) {
    if LOG.get().is_some_and(|log| log.level >= Level::Debug) {
        write("debug", text);
    }
}

/// The failure of the command. It always goes to standard error too, where a
/// person looks: one of the container's program alone without our name, as a
/// shell and runc tell it.
pub fn error(error: &Error) {
    let text = error.to_string();
    let label = match error.kind {
        Kind::Refused(_) => "",
        _ => "hako-runtime: error: ",
    };
    if labelled("error", label, &text) {
        let _ = writeln!(std::io::stderr(), "{label}{text}");
    }
}

/// From here on messages go to standard error: for a process that is not to
/// have the file open any more.
pub fn leave_file() {
    if let Some(log) = LOG.get() {
        *log.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn write(level: &str, text: &str) {
    labelled(level, &format!("hako-runtime: {level}: "), text);
}

/// Writes one message, to a person with `label`; true when it went to a file.
fn labelled(level: &str, label: &str, text: &str) -> bool {
    let log = LOG.get();
    let file = log.map(|log| log.file.lock().unwrap_or_else(PoisonError::into_inner));
    let mut file = file.as_ref().and_then(|file| file.as_ref());
    let line = match log {
        Some(log) if log.json => {
            let mut object = serde_json::Map::new();
            object.insert("level".into(), level.into());
            object.insert("msg".into(), text.into());
            object.insert("time".into(), crate::time::now().into());
            serde_json::Value::Object(object).to_string()
        }
        Some(log) if file.is_some() || log.level == Level::Debug => {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!(
                "time=\"{}\" level={level} msg=\"{text}\"",
                crate::time::now()
            )
        }
        _ => format!("{label}{text}"),
    };
    // One write a line, so that lines of several processes do not mix. There
    // is nobody to tell when it fails.
    let line = format!("{line}\n");
    let _ = match &mut file {
        Some(file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
    file.is_some()
}
