//! `--filter KEY=VALUE` of lists: values of one key are alternatives, keys have
//! to fit all.

use std::collections::BTreeMap;

use crate::error::{CliError, Result};

/// Filters by key.
#[derive(Debug, Default)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads filters; `known` are the keys that the list has.
    pub(crate) fn parse(texts: &[String], known: &[&str]) -> Result<Self> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in texts {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| CliError::new(format!("--filter {text:?}: it is not KEY=VALUE")))?;
            let key = key.trim().to_ascii_lowercase();
            if !known.contains(&key.as_str()) {
                let error = CliError::new(format!("--filter {text:?}: no such filter"));
                return Err(error.hint(format!("filters here: {}", known.join(", "))));
            }
            all.entry(key).or_default().push(value.trim().to_owned());
        }
        Ok(Filters(all))
    }

    /// Whether one of the values of `key` fits, or there is none.
    pub(crate) fn fits(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0
            .get(key)
            .is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// Whether all values of `key` fit: docker's rule for labels.
    pub(crate) fn fits_all(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0
            .get(key)
            .is_none_or(|values| values.iter().all(|value| fits(value)))
    }

    /// Whether there is a filter of that key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// Whether `labels` have `NAME` or `NAME=VALUE`.
pub(crate) fn label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        None => labels.contains_key(wanted),
        Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
    }
}

/// Whether `name` holds `pattern`; `^` and `$` pin its ends, as in docker's
/// regular expressions of names.
pub(crate) fn name(name: &str, pattern: &str) -> bool {
    let (start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest.strip_prefix('/').unwrap_or(rest)),
        None => (false, pattern),
    };
    match (start, rest.strip_suffix('$')) {
        (true, Some(all)) => name == all,
        (false, Some(end)) => name.ends_with(end),
        (true, None) => name.starts_with(rest),
        (false, None) => name.contains(rest),
    }
}

/// Whether `pattern`, where `*` stands for any text, fits the whole `text`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let before: &str = before;
            match rest.find(before) {
                Some(at) => rest = rest.get(at + before.len()..).unwrap_or_default(),
                None => return false,
            }
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_and_conjunctions() {
        let texts = [
            "status=a".to_owned(),
            "status = b".to_owned(),
            "label=x".to_owned(),
        ];
        let filters = Filters::parse(&texts, &["status", "label"]).unwrap();
        assert!(filters.fits("status", |v| v == "b") && !filters.fits("status", |v| v == "c"));
        assert!(filters.fits("other", |_| false) && filters.has("label"));
        assert!(Filters::parse(&["x".to_owned()], &["x"]).is_err());
        let unknown = Filters::parse(&["x=1".to_owned()], &["a", "b"]).unwrap_err();
        assert!(unknown.hints[0].contains("a, b"));
    }

    #[test]
    fn names_and_globs() {
        assert!(name("web_1", "eb_") && name("web", "^web$") && !name("web1", "^web$"));
        assert!(name("web", "^/web") && name("web", "eb$") && !name("web", "^eb"));
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c*e", "abcde", true),
            ("a*c", "abcd", false),
            ("ab*bc", "abc", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
