//! features.md and features-linux.md: what the features document says, against
//! what the runtime does.

mod document;
mod linux;
mod recognized;

use serde_json::Value;

use super::bench::Bench;
use crate::check::{Check, Stop, fails};

/// The checks of both documents, by section.
pub(crate) const CHECKS: &[&[Check]] = &[document::CHECKS, recognized::CHECKS, linux::CHECKS];

/// The document; a runtime may have none.
fn document(bench: &Bench) -> Result<&Value, Stop> {
    bench
        .features()
        .ok_or_else(|| Stop::Skipped("the runtime has no features document, which is a MAY".into()))
}

/// A part of the document by its path (`/linux/namespaces`); it may be absent.
fn part<'a>(bench: &'a Bench, pointer: &str) -> Result<&'a Value, Stop> {
    match document(bench)?.pointer(pointer) {
        Some(value) if !value.is_null() => Ok(value),
        _ => Err(Stop::Skipped(format!(
            "the features document does not have {pointer}, which is a MAY"
        ))),
    }
}

/// An array of strings of the document.
fn names(bench: &Bench, pointer: &str) -> Result<Vec<String>, Stop> {
    let value = part(bench, pointer)?;
    let list = value.as_array().map(|all| {
        all.iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
    });
    match list {
        Some(Some(names)) => Ok(names),
        _ => fails(format!("{pointer} is no array of strings: {value}")),
    }
}
