//! Properties from the configuration's annotations: `org.systemd.property.NAME`
//! with a value in GVariant's text form, as runc and crun take them.

use std::collections::BTreeMap;

use super::value::{Property, Value};
use crate::error::{Error, Result};

const PREFIX: &str = "org.systemd.property.";
/// Longest value.
const MAX: usize = 64 << 10;

/// The properties that the annotations name.
pub(super) fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let refuse = |reason: &str| Error::invalid(&format!("annotation {key:?}"), reason);
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(refuse("does not name a property"));
        }
        let value = parse(text).ok_or_else(|| refuse("has a value that is not understood"))?;
        let seconds = name.strip_suffix("Sec");
        match seconds.filter(|n| n.ends_with(|c: char| c.is_ascii_lowercase())) {
            Some(stem) => {
                let usec =
                    microseconds(&value).ok_or_else(|| refuse("is not a time in seconds"))?;
                list.push((format!("{stem}USec"), Value::Uint64(usec)));
            }
            None => list.push((name.to_owned(), value)),
        }
    }
    Ok(list)
}

/// `TimeoutStopSec` is what the unit's file says; on the bus it is
/// `TimeoutStopUSec`.
fn microseconds(value: &Value) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let whole = match *value {
        Value::Byte(v) => i128::from(v),
        Value::Uint16(v) => v.into(),
        Value::Uint32(v) => v.into(),
        Value::Uint64(v) => v.into(),
        Value::Int16(v) => v.into(),
        Value::Int32(v) => v.into(),
        Value::Int64(v) => v.into(),
        // Casts of floating point saturate.
        Value::Double(v) if v >= 0.0 => return Some((v * SECOND as f64) as u64),
        _ => return None,
    };
    u64::try_from(whole).ok()?.checked_mul(SECOND)
}

/// One value, as `true`, `'text'`, `uint32 7`, `['a', 'b']` or `@as []`.
fn parse(text: &str) -> Option<Value> {
    if text.len() > MAX || text.contains('\0') {
        return None;
    }
    let text = text.trim();
    if let Some(list) = text.strip_prefix('[').or_else(|| text.strip_prefix("@as")) {
        return strings(list.trim_start().trim_start_matches('['));
    }
    if text.starts_with(['\'', '"']) {
        let (text, rest) = string(text)?;
        return rest.is_empty().then_some(Value::String(text));
    }
    let (kind, text) = text.split_once(' ').unwrap_or(("", text));
    let text = text.trim_start();
    match (kind, text) {
        ("" | "boolean", "true") => return Some(Value::Bool(true)),
        ("" | "boolean", "false") => return Some(Value::Bool(false)),
        ("string", text) => {
            let (text, rest) = string(text)?;
            return rest.is_empty().then_some(Value::String(text));
        }
        ("double", _) => return text.parse().ok().map(Value::Double),
        ("", text) if text.contains(['.', 'e']) => return text.parse().ok().map(Value::Double),
        _ => {}
    }
    let number: i128 = text.parse().ok()?;
    Some(match kind {
        "byte" => Value::Byte(number.try_into().ok()?),
        "int16" => Value::Int16(number.try_into().ok()?),
        "uint16" => Value::Uint16(number.try_into().ok()?),
        "" | "int32" => Value::Int32(number.try_into().ok()?),
        "uint32" => Value::Uint32(number.try_into().ok()?),
        "int64" => Value::Int64(number.try_into().ok()?),
        "uint64" => Value::Uint64(number.try_into().ok()?),
        _ => return None,
    })
}

/// The rest of an array of strings.
fn strings(mut rest: &str) -> Option<Value> {
    let mut list = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(end) = rest.strip_prefix(']') {
            return end.trim().is_empty().then_some(Value::Strings(list));
        }
        if !list.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
        let (text, after) = string(rest)?;
        list.push(text);
        rest = after;
    }
}

/// A string in quotes of either kind, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut chars = text.char_indices().skip(1);
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((out, text.get(at + 1..)?)),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c @ ('\\' | '\'' | '"') => c,
                _ => return None,
            }),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(name: &str, text: &str) -> Result<Vec<Property>> {
        let annotations = [(format!("{PREFIX}{name}"), text.to_owned())];
        properties(&annotations.into_iter().collect())
    }

    #[test]
    fn values() {
        let strings =
            |list: &[&str]| Value::Strings(list.iter().map(|s| (*s).to_owned()).collect());
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("boolean false", Value::Bool(false)),
            ("5", Value::Int32(5)),
            ("-5", Value::Int32(-5)),
            ("0.5", Value::Double(0.5)),
            ("byte 234", Value::Byte(234)),
            ("int16 -2", Value::Int16(-2)),
            ("uint16 2", Value::Uint16(2)),
            ("int64 -6", Value::Int64(-6)),
            ("uint64 123456789", Value::Uint64(123_456_789)),
            ("'in \"it\" \\'s'", Value::String("in \"it\" 's".to_owned())),
            ("string \"x\"", Value::String("x".to_owned())),
            ("['a', \"b\"]", strings(&["a", "b"])),
            ("[]", strings(&[])),
            ("@as []", strings(&[])),
        ] {
            assert_eq!(
                one("Name", text).unwrap(),
                [("Name".to_owned(), value)],
                "{text}"
            );
        }
        for bad in [
            "",
            "x",
            "'a",
            "'a'b",
            "['a'",
            "['a' 'b']",
            "[1]",
            "byte 256",
            "uint32 -1",
            "'\\x'",
            "a\0",
        ] {
            assert!(one("Name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_and_seconds() {
        for (name, text, usec) in [
            ("TimeoutStopSec", "456", 456_000_000),
            ("TimeoutStopSec", "uint64 7", 7_000_000),
            ("TimeoutStopSec", "0.5", 500_000),
        ] {
            let expected = [("TimeoutStopUSec".to_owned(), Value::Uint64(usec))];
            assert_eq!(one(name, text).unwrap(), expected);
        }
        let usec = one("TimeoutStopUSec", "uint64 7").unwrap();
        assert_eq!(usec, [("TimeoutStopUSec".to_owned(), Value::Uint64(7))]);
        assert_eq!(
            one("Sec", "1").unwrap(),
            [("Sec".to_owned(), Value::Int32(1))]
        );
        for (name, text) in [
            ("TimeoutStopSec", "'covfefe'"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopSec", "uint64 18446744073709551615"),
            ("ab", "1"),
            ("A-b", "1"),
            ("", "1"),
        ] {
            let e = one(name, text).unwrap_err();
            assert!(e.to_string().starts_with("annotation \"org.systemd"), "{e}");
        }
        let other = [("org.example".to_owned(), "x".to_owned())];
        assert_eq!(properties(&other.into_iter().collect()).unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_value_parses(text in "[a-z0-9 '\"\\\\\\[\\],.@-]{0,20}") {
            let _ = one("Name", &text);
        }
    }
}
