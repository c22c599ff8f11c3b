//! What is printed: rows in a format of the user's choice, ages, sizes.

pub(crate) mod age;
pub(crate) mod rows;
pub(crate) mod size;

use std::io::Write as _;

use crate::error::{CliError, Kind, Result};

/// Writes to stdout. A reader that has gone away is no failure to be told of.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(failed)
}

/// Writes a line to stdout.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Says something on stderr, which stops nothing.
pub(crate) fn note(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// The failure to write output.
pub(crate) fn failed(error: std::io::Error) -> CliError {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => CliError {
            kind: Kind::BrokenPipe,
            ..CliError::new("")
        },
        _ => CliError::from(error).context("cannot write the output"),
    }
}
