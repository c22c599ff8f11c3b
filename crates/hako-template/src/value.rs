//! What Go does with values: truth, printing, types, comparison.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A value while a template runs.
#[derive(Clone, Debug)]
pub(crate) struct Val<'a> {
    /// `None` is Go's invalid value: a missing entry, or `nil`.
    pub(crate) json: Option<Cow<'a, Value>>,
    /// An object that is a map from free names ([`crate::Options::maps`]).
    pub(crate) is_map: bool,
}

impl<'a> Val<'a> {
    pub(crate) const NONE: Val<'static> = Val {
        json: None,
        is_map: false,
    };

    pub(crate) fn borrowed(value: &'a Value) -> Self {
        Val {
            json: Some(Cow::Borrowed(value)),
            is_map: false,
        }
    }

    pub(crate) fn owned(value: impl Into<Value>) -> Self {
        Val {
            json: Some(Cow::Owned(value.into())),
            is_map: false,
        }
    }

    pub(crate) fn get(&self) -> Option<&Value> {
        match self.json.as_deref() {
            Some(Value::Null) | None => None,
            Some(value) => Some(value),
        }
    }

    /// The value for functions, with `null` for none.
    pub(crate) fn into_value(self) -> Value {
        self.json.map_or(Value::Null, Cow::into_owned)
    }

    /// An element, found by `find`, without copying what is borrowed.
    pub(crate) fn part(&self, find: impl Fn(&Value) -> Option<&Value>) -> Val<'a> {
        match &self.json {
            Some(Cow::Borrowed(value)) => Val {
                json: find(value).map(Cow::Borrowed),
                is_map: false,
            },
            Some(Cow::Owned(value)) => Val {
                json: find(value).map(|part| Cow::Owned(part.clone())),
                is_map: false,
            },
            None => Val::NONE,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        self.get().is_some_and(is_true)
    }

    /// What an action prints.
    pub(crate) fn shown(&self) -> String {
        self.get().map_or_else(|| "<no value>".into(), print)
    }
}

/// Go's truth: not zero and not empty.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(value) => !value.is_empty(),
        Value::Array(value) => !value.is_empty(),
        Value::Object(value) => !value.is_empty(),
    }
}

/// Go's `%v`.
pub(crate) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => print_number(value),
        Value::String(value) => value.clone(),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object
                .iter()
                .map(|(key, value)| (key, print(value)))
                .collect();
            entries.sort();
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(key, value)| format!("{key}:{value}"))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

fn print_number(value: &Number) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() => crate::printf::shortest(float),
        _ => value.to_string(),
    }
}

/// The name that Go has for a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(value) if value.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Compares numbers of any kind without loss.
fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let integer = |n: &Number| {
        n.as_i64()
            .map(i128::from)
            .or_else(|| n.as_u64().map(i128::from))
    };
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Go's `eq` of two values.
pub(crate) fn equal(a: &Val<'_>, b: &Val<'_>) -> Result<bool, String> {
    match (a.get(), b.get()) {
        (None, None) => Ok(true),
        (None, Some(_)) | (Some(_), None) => Ok(false),
        (Some(Value::Array(_) | Value::Object(_)), Some(_))
        | (Some(_), Some(Value::Array(_) | Value::Object(_))) => Err("non-comparable type".into()),
        (Some(a), Some(b)) => match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                Ok(compare_numbers(a, b) == Some(Ordering::Equal))
            }
            (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => Ok(a == b),
            _ => Err(incompatible(a, b)),
        },
    }
}

/// Go's order of two values, for `lt` and its kin.
pub(crate) fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, String> {
    match (a.get(), b.get()) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            compare_numbers(a, b).ok_or_else(|| "numbers without order".into())
        }
        (Some(Value::String(a)), Some(Value::String(b))) => Ok(a.cmp(b)),
        (Some(a @ (Value::Number(_) | Value::String(_))), Some(b)) => Err(incompatible(a, b)),
        _ => Err("invalid type for comparison".into()),
    }
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!(
        "incompatible types for comparison: {} and {}",
        type_name(a),
        type_name(b)
    )
}
