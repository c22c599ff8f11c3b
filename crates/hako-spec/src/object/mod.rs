//! One declaration per JSON object: struct, reader and writer.
//!
//! [`object!`] replaces serde's derive because of three needs that derive
//! does not meet at the price: unknown fields are kept without
//! `#[serde(flatten)]` (which buffers the whole document), errors name the
//! path of the field, and the generated code is small (what can be shared
//! between types is shared).
//!
//! Reading: `null` is absent; an absent field has its `Default`; a field
//! marked `required` must be there; a key that comes twice is an error; an
//! unknown key goes into `extra`.
//! Writing: a field that [`Field::is_absent`] is left out unless it is marked
//! `required` or `always`; `extra` follows the known fields.

#[macro_use]
mod declare;
mod field;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;

pub use field::{Field, KeySet};

use crate::{Map, Value};

/// Reads a `T` by way of [`Field`].
pub(crate) struct Seed<T>(pub(crate) PhantomData<T>);

impl<'de, T: Field> DeserializeSeed<'de> for Seed<T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::read(from)
    }
}

/// Reads a `T` or `null`.
struct Nullable<T>(PhantomData<T>);

impl<'de, T: Field> DeserializeSeed<'de> for Nullable<T> {
    type Value = Option<T>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, T: Field> Visitor<'de> for Nullable<T> {
    type Value = Option<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }
    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        T::read(from).map(Some)
    }
}

/// Puts one more step in front of the path that an error carries.
///
/// Only errors made here start with "at `", so that is how a path that is
/// already there is known.
#[cold]
fn at<E: serde::de::Error>(step: &str, error: &E) -> E {
    E::custom(prefix(step, &error.to_string()))
}

fn prefix(step: &str, message: &str) -> String {
    match message.strip_prefix("at `") {
        Some(rest) if rest.starts_with('[') => format!("at `{step}{rest}"),
        Some(rest) => format!("at `{step}.{rest}"),
        None => format!("at `{step}`: {message}"),
    }
}

#[cold]
pub(crate) fn duplicate<E: serde::de::Error>(key: &str) -> E {
    E::custom(format_args!("the key {key:?} comes twice in one object"))
}

/// What [`object!`] generates for each type, for the shared reader below.
pub(crate) trait Object: Default {
    /// JSON names of the fields in order of declaration.
    const FIELDS: &'static [&'static str];
    /// Bit `i` is set when field `i` must be there.
    const REQUIRED: u64;
    /// Reads the value of field `index`.
    fn set<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error>;
    /// Where unknown fields are kept.
    fn extra(&mut self) -> &mut Map;
}

/// Reads one value into its field; `null` leaves the default.
///
/// # Errors
/// Those of the value. Whether the key was `null` is told, for required fields.
#[inline(never)]
pub(crate) fn value<'de, A: MapAccess<'de>, T: Field>(
    map: &mut A,
    slot: &mut T,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value_seed(Nullable::<T>(PhantomData))? {
        *slot = value;
    }
    Ok(())
}

/// Reads the value of a required field, for which `null` is a wrong type.
#[inline(never)]
pub(crate) fn required<'de, A: MapAccess<'de>, T: Field>(
    map: &mut A,
    slot: &mut T,
) -> Result<(), A::Error> {
    *slot = map.next_value_seed(Seed::<T>(PhantomData))?;
    Ok(())
}

/// A key of an object: borrowed from the document where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = std::borrow::Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = std::borrow::Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(key.into())
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(key.to_owned().into())
    }
    fn visit_string<E>(self, key: String) -> Result<Self::Value, E> {
        Ok(key.into())
    }
}

/// What the next key of an object is.
enum Step {
    Known(usize),
    Unknown,
    End,
}

/// Finds the next key; the value of an unknown one is read into `extra`.
/// Not generic over the object, so that there is one copy per format.
#[inline(never)]
fn step<'de, A: MapAccess<'de>>(
    map: &mut A,
    fields: &[&str],
    seen: &mut u64,
    extra: &mut Map,
) -> Result<Step, A::Error> {
    let Some(key) = map.next_key_seed(Key)? else {
        return Ok(Step::End);
    };
    if let Some(index) = fields.iter().position(|name| *name == key) {
        let bit = 1 << index;
        if *seen & bit != 0 {
            return Err(duplicate(&key));
        }
        *seen |= bit;
        return Ok(Step::Known(index));
    }
    let value = match map.next_value_seed(Seed::<Value>(PhantomData)) {
        Ok(value) => value,
        Err(error) => return Err(at(&key, &error)),
    };
    if extra.contains_key(&*key) {
        return Err(duplicate(&key));
    }
    extra.insert(key.into_owned(), value);
    Ok(Step::Unknown)
}

#[cold]
#[inline(never)]
fn missing<E: serde::de::Error>(fields: &[&str], absent: u64) -> E {
    let name = fields.get(absent.trailing_zeros() as usize).unwrap_or(&"");
    E::custom(format_args!("the required field {name:?} is missing"))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        let mut seen = 0;
        loop {
            match step(&mut map, T::FIELDS, &mut seen, object.extra())? {
                Step::End => break,
                Step::Unknown => {}
                Step::Known(index) => {
                    if let Err(error) = object.set(index, &mut map) {
                        return Err(at(T::FIELDS.get(index).unwrap_or(&""), &error));
                    }
                }
            }
        }
        let absent = T::REQUIRED & !seen;
        if absent != 0 {
            return Err(missing(T::FIELDS, absent));
        }
        Ok(object)
    }
}

/// Reads an object; what [`Field::read`] of every generated type does.
pub(crate) fn read<'de, T: Object, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(ObjectVisitor(PhantomData))
}

/// The key in `extra` that Go's case-insensitive reader would take for one of
/// the known fields, if there is one.
pub(crate) fn case_variant<T: Object>(extra: &Map) -> Option<(&str, &'static str)> {
    extra.keys().find_map(|key| {
        let folded = fold(key);
        let name = T::FIELDS.iter().find(|name| fold(name) == folded)?;
        Some((key.as_str(), *name))
    })
}

/// Go's simple folding of a key: ASCII case, and the two characters outside
/// ASCII that fold to ASCII letters (ſ and the Kelvin sign).
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            'ſ' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Reads a whole document.
///
/// # Errors
/// [`crate::Error::Json`] with `what`.
pub(crate) fn from_slice<T: Field>(bytes: &[u8], what: &'static str) -> Result<T, crate::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    T::read(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|source| crate::Error::Json { what, source })
}

/// Writes the unknown fields after the known ones.
pub(crate) fn write_extra<M: SerializeMap>(map: &mut M, extra: &Map) -> Result<(), M::Error> {
    for (key, value) in extra {
        map.serialize_entry(key, value)?;
    }
    Ok(())
}

/// Reads a value that is written as a string.
pub(crate) fn text<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err = crate::Error>,
    D: Deserializer<'de>,
{
    from.deserialize_str(Key)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The macro declares public types, as the documents need them.
    #[allow(unreachable_pub)]
    mod types {
        use std::collections::BTreeMap;
        object! {
            /// Outer.
            pub struct Outer {
                /// Required.
                pub name: String = "name" required,
                /// Always written.
                pub list: Vec<Inner> = "list" always,
                /// Optional.
                pub map: BTreeMap<String, i32> = "map",
                /// Optional string.
                pub text: Option<String> = "text",
                /// Optional number.
                pub number: Option<u16> = "number",
            }
            /// Inner.
            pub struct Inner {
                /// A number.
                pub n: i64 = "n",
                /// A flag.
                pub on: bool = "on",
            }
        }
    }
    use types::*;

    fn parse(text: &str) -> Result<Outer, String> {
        from_slice(text.as_bytes(), "test").map_err(|error: crate::Error| {
            std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default()
        })
    }

    #[test]
    fn unknown_fields_survive_at_every_level() {
        let text = r#"{"name":"a","list":[{"n":1,"new":[{"x":null}]}],"zzz":1.5,"aaa":{"b":-1}}"#;
        let outer = parse(text).unwrap();
        assert_eq!(outer.extra.len(), 2);
        let written = serde_json::to_string(&outer).unwrap();
        assert_eq!(
            written,
            r#"{"name":"a","list":[{"n":1,"new":[{"x":null}]}],"aaa":{"b":-1},"zzz":1.5}"#
        );
    }

    #[test]
    fn null_and_empty_are_absent() {
        let outer = parse(r#"{"name":"","list":null,"map":null,"text":"","number":null}"#).unwrap();
        assert_eq!(outer, Outer::default());
        assert_eq!(
            serde_json::to_string(&outer).unwrap(),
            r#"{"name":"","list":[]}"#
        );
    }

    #[test]
    fn errors_name_the_path() {
        for (text, message) in [
            (
                r#"{"list":[]}"#,
                r#"the required field "name" is missing at line 1 column 11"#,
            ),
            (
                r#"{"name":null}"#,
                "at `name`: invalid type: null, expected a string at line 1",
            ),
            (
                r#"{"name":"a","list":[{},{"n":"x"}]}"#,
                "at `list[1].n`: invalid type: string \"x\", expected i64 at line 1 column ",
            ),
            (
                r#"{"name":"a","map":{"k.l":2147483648}}"#,
                "at `map[\"k.l\"]`: invalid value: integer `2147483648`, expected i32",
            ),
            (
                r#"{"name":"a","number":-1}"#,
                "at `number`: invalid value: integer `-1`, expected u16",
            ),
            (
                r#"{"name":"a","name":"b"}"#,
                r#"the key "name" comes twice in one object"#,
            ),
            (
                r#"{"name":"a","x":1,"x":2}"#,
                r#"the key "x" comes twice in one object"#,
            ),
            (
                r#"{"name":"a","map":{"y":1,"y":2}}"#,
                r#"at `map`: the key "y" comes twice"#,
            ),
            (
                r#"{"name":"a","x":{"y":{"z":1,"z":2}}}"#,
                r#"the key "z" comes twice"#,
            ),
            (r#"{"name":"a"} x"#, "trailing characters"),
            (r#"[]"#, "invalid type: sequence, expected an object"),
            (r#"{"name":"a","#, "EOF while parsing"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn keys_with_escapes_are_compared_by_meaning() {
        assert!(parse(r#"{"na\u006de":"a"}"#).is_ok());
        assert!(parse(r#"{"name":"a","na\u006de":"a"}"#).is_err());
    }

    #[test]
    fn deep_nesting_is_an_error_not_an_overflow() {
        let text = format!(
            "{{\"name\":\"a\",\"x\":{}{}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert!(parse(&text).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn folding_is_gos() {
        assert_eq!(fold("Layer\u{17f}"), "layers");
        assert_eq!(fold("\u{212a}ey"), "key");
    }
}
