//! `Warning` headers (distribution-spec, Warnings): kept for the user, acted
//! upon by nobody.

use std::sync::{Mutex, PoisonError};

use reqwest::header::{HeaderMap, WARNING};

use crate::registries::Place;

/// distribution-spec: a registry sends no more than this, in bytes.
const LIMIT: usize = 4096;
/// How many different sentences are kept.
const COUNT: usize = 32;

#[derive(Default)]
pub(super) struct Warnings {
    seen: Mutex<Vec<String>>,
}

impl Warnings {
    pub(super) fn note(&self, place: &Place, headers: &HeaderMap) {
        let mut budget = LIMIT;
        for value in headers.get_all(WARNING) {
            let Some(text) = value.to_str().ok().and_then(parse) else {
                continue;
            };
            let Some(left) = budget.checked_sub(text.len()) else {
                return;
            };
            budget = left;
            let line = format!("{}: {text}", place.registry);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() < COUNT && !seen.contains(&line) {
                seen.push(line);
            }
        }
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// `299 - "text"` → text; other codes and agents are not meant for us.
fn parse(value: &str) -> Option<String> {
    let quoted = value.trim().strip_prefix("299 - \"")?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            '"' => return None,
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_specified_form_counts() {
        assert_eq!(
            parse(r#"299 - "old \"tag\".""#).as_deref(),
            Some(r#"old "tag"."#)
        );
        for bad in [
            r#"199 - "x""#,
            r#"299 host "x""#,
            r#"299 - x"#,
            r#"299 - "a" "date""#,
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
