//! JUnit's XML, as CI systems read it.

use std::fmt::Write as _;

use super::Column;
use crate::check::{Level, Outcome};

/// The results as JUnit XML: a test suite a runtime, its chapters as classes.
/// Only what a MUST demands is a failure; a SHOULD or MAY that is not obeyed
/// passes, with what was seen as its output.
#[must_use]
pub fn junit(columns: &[Column]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for column in columns {
        let count = |wanted: Outcome| {
            let is = |tried: &&crate::Tried| {
                Outcome::of(&tried.verdict).0 == wanted
                    && (wanted != Outcome::Fail || tried.check.level == Level::Must)
            };
            column.results.iter().filter(is).count()
        };
        let time: f64 = column.results.iter().map(|it| it.time.as_secs_f64()).sum();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{time:.3}\">",
            escape(&column.name),
            column.results.len(),
            count(Outcome::Fail),
            count(Outcome::Error),
            count(Outcome::Skip),
        );
        for tried in &column.results {
            let (outcome, words) = Outcome::of(&tried.verdict);
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
                escape(tried.check.chapter()),
                escape(tried.check.name),
                tried.time.as_secs_f64()
            );
            let (element, words) = match (outcome, tried.check.level) {
                (Outcome::Pass, _) => ("", String::new()),
                (Outcome::Skip, _) => ("skipped", words.to_owned()),
                (Outcome::Error, _) => ("error", words.to_owned()),
                (Outcome::Fail, Level::Must) => ("failure", words.to_owned()),
                (Outcome::Fail, level) => ("system-out", format!("{level} not obeyed: {words}")),
            };
            let _ = match element {
                "" => Ok(()),
                "system-out" => write!(text, "<system-out>{}</system-out>", escape(&words)),
                element => write!(text, "<{element} message=\"{}\"/>", escape(&words)),
            };
            let _ = writeln!(text, "</testcase>");
        }
        let _ = writeln!(text, "  </testsuite>");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text for an attribute or an element; what XML 1.0 cannot have is replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(' '),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
