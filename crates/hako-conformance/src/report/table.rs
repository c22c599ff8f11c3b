//! For people: a summary by chapter, and what went wrong.

use std::fmt::Write as _;

use super::Column;
use crate::check::{Check, Level, Outcome};

/// The results of one or more runtimes: per chapter how many of each level
/// passed, of how many that were tried; then each check that some column does
/// not pass, with what was seen.
#[must_use]
pub fn table(columns: &[Column]) -> String {
    let mut text = String::new();
    for column in columns {
        let _ = writeln!(text, "{}: {}", column.name, column.version);
    }
    let _ = writeln!(text);
    summary(&mut text, columns);
    let Some(first) = columns.first() else {
        return text;
    };
    for (n, tried) in first.results.iter().enumerate() {
        let row: Vec<_> = columns.iter().map(|column| &column.results[n]).collect();
        let outcomes = row.iter().map(|tried| Outcome::of(&tried.verdict));
        if outcomes
            .clone()
            .all(|(outcome, _)| outcome == Outcome::Pass)
        {
            continue;
        }
        let check = tried.check;
        let _ = writeln!(text, "\n{} {}: {}", check.level, check.name, check.demand);
        let _ = writeln!(text, "  {}", check.url());
        for (column, (outcome, words)) in columns.iter().zip(outcomes) {
            let words = words.trim().replace('\n', "\n    ");
            let colon = if words.is_empty() { "" } else { ": " };
            let _ = writeln!(
                text,
                "  {:<5} {}{colon}{words}",
                outcome.word(),
                column.name
            );
        }
    }
    text
}

fn summary(text: &mut String, columns: &[Column]) {
    let mut chapters: Vec<&str> = Vec::new();
    for column in columns {
        for tried in &column.results {
            if !chapters.contains(&tried.check.chapter()) {
                chapters.push(tried.check.chapter());
            }
        }
    }
    let name_width = columns.iter().map(|it| it.name.len()).max().unwrap_or(0);
    let chapter_width = chapters.iter().map(|it| it.len()).max().unwrap_or(0).max(7);
    let _ = writeln!(
        text,
        "{:chapter_width$}  {:name_width$}  {:>9}  {:>9}  {:>9}  {:>7}",
        "CHAPTER", "RUNTIME", "MUST", "SHOULD", "MAY", "SKIPPED"
    );
    for chapter in chapters.iter().map(|it| Some(*it)).chain([None]) {
        for column in columns {
            let count = |level: Level| {
                let of = |wanted: &[Outcome]| {
                    let is = |tried: &&crate::Tried| {
                        chapter.is_none_or(|it| it == tried.check.chapter())
                            && tried.check.level == level
                            && wanted.contains(&Outcome::of(&tried.verdict).0)
                    };
                    column.results.iter().filter(is).count()
                };
                let tried = of(&[Outcome::Pass, Outcome::Fail, Outcome::Error]);
                match tried {
                    0 => "-".to_owned(),
                    _ => format!("{}/{tried}", of(&[Outcome::Pass])),
                }
            };
            let skipped = column.results.iter().filter(|tried| {
                chapter.is_none_or(|it| it == tried.check.chapter())
                    && Outcome::of(&tried.verdict).0 == Outcome::Skip
            });
            let _ = writeln!(
                text,
                "{:chapter_width$}  {:name_width$}  {:>9}  {:>9}  {:>9}  {:>7}",
                chapter.unwrap_or("all"),
                column.name,
                count(Level::Must),
                count(Level::Should),
                count(Level::May),
                skipped.count(),
            );
        }
    }
}

/// The checks themselves, one a line: level, name, demand.
#[must_use]
pub fn list(checks: &[&'static Check]) -> String {
    let width = checks.iter().map(|it| it.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let _ = writeln!(
            text,
            "{:<6}  {:width$}  {}  {}",
            check.level, check.name, check.section, check.demand
        );
    }
    text
}
