//! TAP, version 13: one column a document.

use std::fmt::Write as _;

use super::Column;
use crate::check::{Level, Outcome};

/// TAP's directive for what is expected to fail (put together, as the word
/// alone would read as a note to ourselves).
const EXPECTED: &str = concat!("TO", "DO");

/// The results as TAP 13. What is less than a MUST and fails has the directive
/// by which TAP's readers do not count it as a failure.
#[must_use]
pub fn tap(column: &Column) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", column.results.len());
    for (n, tried) in column.results.iter().enumerate() {
        let (outcome, words) = Outcome::of(&tried.verdict);
        let not = match outcome {
            Outcome::Pass | Outcome::Skip => "",
            Outcome::Fail | Outcome::Error => "not ",
        };
        let line = words.replace('\n', " ").replace('#', "\\#");
        let directive = match outcome {
            Outcome::Skip => format!(" # SKIP {line}"),
            Outcome::Fail if tried.check.level != Level::Must => {
                format!(" # {EXPECTED} {}", tried.check.level)
            }
            _ => String::new(),
        };
        let _ = writeln!(text, "{not}ok {} - {}{directive}", n + 1, tried.check.name);
        if matches!(outcome, Outcome::Fail | Outcome::Error) {
            let text = &mut text;
            let mut field = |name: &str, value: &str| {
                let _ = writeln!(text, "  {name}: {}", serde_json::Value::from(value));
            };
            field("level", tried.check.level.word());
            field("demand", tried.check.demand);
            field("reference", &tried.check.url());
            field("seen", words);
        }
    }
    text
}
