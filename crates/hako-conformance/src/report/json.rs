//! JSON: all columns in one document.

use serde_json::{Value, json as object};

use super::Column;
use crate::check::Outcome;

/// An array with an object for each runtime: `runtime`, `version`, `compliant`,
/// and `results` with `name`, `level`, `section`, `url`, `demand`, `outcome`
/// (`pass`, `fail`, `skip`, `error`), `seen` and `seconds`.
#[must_use]
pub fn json(columns: &[Column]) -> Value {
    columns
        .iter()
        .map(|column| {
            let results: Vec<Value> = column
                .results
                .iter()
                .map(|tried| {
                    let (outcome, words) = Outcome::of(&tried.verdict);
                    object!({
                        "name": tried.check.name,
                        "level": tried.check.level,
                        "section": tried.check.section,
                        "url": tried.check.url(),
                        "demand": tried.check.demand,
                        "outcome": outcome,
                        "seen": words,
                        "seconds": tried.time.as_secs_f64(),
                    })
                })
                .collect();
            object!({
                "runtime": column.name,
                "version": column.version,
                "compliant": column.is_compliant(),
                "results": results,
            })
        })
        .collect()
}
