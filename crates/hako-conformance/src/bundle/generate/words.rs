//! The forms of values that several options share.

use std::fmt::Display;
use std::str::FromStr;

use super::Wrong;

/// A truth, as Go's flags read one.
pub(super) fn truth(text: &str) -> Result<bool, Wrong> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}

/// A number, decimal or with C's prefixes: `0x`, `0o` or `0`, `0b`.
pub(super) fn number<T: TryFrom<i128>>(text: &str) -> Result<T, Wrong> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (lower.get(2..), 16),
        [b'0', b'o', ..] => (lower.get(2..), 8),
        [b'0', b'b', ..] => (lower.get(2..), 2),
        [b'0', _, ..] => (lower.get(1..), 8),
        _ => (Some(lower.as_str()), 10),
    };
    let digits = digits.filter(|digits| !digits.starts_with(['+', '-']));
    let number = digits.and_then(|digits| i128::from_str_radix(digits, radix).ok());
    let Some(number) = number else {
        return Err(format!("{text:?} is no number"));
    };
    T::try_from(sign * number).map_err(|_| format!("{text} is out of range"))
}

/// A decimal number, as it stands in a value of several parts.
pub(super) fn decimal<T: FromStr>(text: &str) -> Result<T, Wrong> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number, or out of range"))
}

/// Exactly `N` parts between colons.
pub(super) fn parts<'a, const N: usize>(text: &'a str, form: &str) -> Result<[&'a str; N], Wrong> {
    let parts: Vec<&str> = text.split(':').collect();
    match <[&str; N]>::try_from(parts) {
        Ok(parts) if parts.iter().all(|part| !part.is_empty()) => Ok(parts),
        _ => Err(format!("is not of the form {form}")),
    }
}

/// `KEY=VALUE` with a key; the value may have more of `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), Wrong> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not of the form KEY=VALUE".into()),
    }
}

/// One of a set of names, without regard for case and a common prefix; the
/// error lists them.
pub(super) fn named<T: Copy + Display>(text: &str, prefix: &str, all: &[T]) -> Result<T, Wrong> {
    let plain = |text: &str| {
        let upper = text.to_ascii_uppercase().replace('-', "_");
        upper.strip_prefix(prefix).unwrap_or(&upper).to_owned()
    };
    let wanted = plain(text);
    match all.iter().find(|it| plain(&it.to_string()) == wanted) {
        Some(it) => Ok(*it),
        None => {
            let names: Vec<String> = all
                .iter()
                .map(|it| plain(&it.to_string()).to_ascii_lowercase())
                .collect();
            Err(format!("{text:?} is none of {}", names.join(", ")))
        }
    }
}

/// A value in JSON; a key that comes twice is an error.
pub(super) fn json<T: hako_spec::Field>(text: &str) -> Result<T, Wrong> {
    let mut reader = serde_json::Deserializer::from_str(text);
    T::read(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| format!("is not the JSON that it should be: {error}"))
}

/// A value that is neither empty nor has a NUL character.
pub(super) fn text(text: &str) -> Result<Option<String>, Wrong> {
    match text.contains('\0') {
        true => Err("has a NUL character".into()),
        false => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
    }
}

/// Replaces what has the same key, or appends.
pub(super) fn put<T, K: PartialEq>(list: &mut Vec<T>, key: impl Fn(&T) -> K, item: T) {
    let wanted = key(&item);
    match list.iter_mut().find(|it| key(it) == wanted) {
        Some(place) => *place = item,
        None => list.push(item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("22", 22),
            ("0022", 18),
            ("0o22", 18),
            ("0x1F", 31),
            ("0b11", 3),
            ("-1", -1),
        ] {
            assert_eq!(number::<i64>(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "-",
            "x",
            "0x",
            "08",
            "1k",
            "--1",
            "0x-1",
            "0+1",
            " 1",
            "99999999999999999999999999999999999999999",
        ] {
            assert!(number::<i64>(text).is_err(), "{text}");
        }
        assert!(number::<u32>("-1").is_err());
        assert!(number::<u16>("65536").unwrap_err().contains("range"));
        assert_eq!(number::<u64>("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn parts_and_pairs() {
        assert_eq!(parts::<2>("a:b", "A:B"), Ok(["a", "b"]));
        for text in ["a", "a:b:c", ":b", "a:"] {
            assert_eq!(
                parts::<2>(text, "A:B"),
                Err("is not of the form A:B".into())
            );
        }
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
