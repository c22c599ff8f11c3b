//! The functions: Go's built-in ones and those that docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use crate::printf::{is_print, printf};
use crate::value::{Val, equal, order, print, type_name};

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
    "upper", "urlquery",
];

/// Most parts that `split` makes.
const MAX_PARTS: usize = 1 << 20;

/// The function of a name, if there is one.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|known| **known == name).copied()
}

/// Whether a function changes how a value looks and not what it says: column
/// names go through it unchanged.
pub(crate) fn is_cosmetic(name: &str) -> bool {
    matches!(
        name,
        "html"
            | "index"
            | "join"
            | "js"
            | "json"
            | "len"
            | "lower"
            | "slice"
            | "split"
            | "title"
            | "truncate"
            | "upper"
            | "urlquery"
    )
}

/// A string that does not grow beyond a limit.
pub(crate) struct Bounded {
    text: String,
    limit: usize,
}

impl Bounded {
    pub(crate) fn new(limit: usize) -> Self {
        Bounded {
            text: String::new(),
            limit,
        }
    }

    pub(crate) fn push(&mut self, more: &str) -> Result<(), String> {
        if self.text.len().saturating_add(more.len()) > self.limit {
            return Err(format!("the text is longer than {} bytes", self.limit));
        }
        self.text.push_str(more);
        Ok(())
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Calls a function other than `and` and `or`, which the evaluator knows.
pub(crate) fn call<'a>(name: &str, args: Vec<Val<'a>>, limit: usize) -> Result<Val<'a>, String> {
    match name {
        "index" => return index(args),
        "not" => {
            let [value] = exactly(args)?;
            return Ok(Val::owned(!value.is_true()));
        }
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => return compare(name, &args).map(Val::owned),
        _ => {}
    }
    let values: Vec<Value> = args.into_iter().map(Val::into_value).collect();
    let text = match name {
        "len" => return len(&values).map(Val::owned),
        "slice" => return slice(&values).map(Val::owned),
        "split" => return split(&values).map(Val::owned),
        "print" => sprint(&values, limit)?,
        "println" => sprintln(&values, limit)?,
        "printf" => {
            let (format, rest) = values.split_first().ok_or("printf needs a format")?;
            printf(string(format)?, rest, limit)?
        }
        "html" => each(&joined(&values, limit)?, limit, html)?,
        "js" => each(&joined(&values, limit)?, limit, js)?,
        "urlquery" => urlquery(&joined(&values, limit)?, limit)?,
        "json" => {
            let [value] = exactly(values)?;
            let mut out = Bounded::new(limit);
            json(&value, &mut out)?;
            out.finish()
        }
        "join" => join(&values, limit)?,
        "pad" => pad(&values, limit)?,
        "truncate" => {
            let [text, length] = exactly(values)?;
            let length = count(&length)?;
            string(&text)?.chars().take(length).collect()
        }
        "lower" | "upper" | "title" => {
            let [text] = exactly(values)?;
            let text = string(&text)?;
            match name {
                "lower" => text.chars().map(lower).collect(),
                "upper" => text.chars().map(upper).collect(),
                _ => title(text),
            }
        }
        _ => return Err(format!("function {name:?} not defined")),
    };
    if text.len() > limit {
        return Err(format!("the text is longer than {limit} bytes"));
    }
    Ok(Val::owned(text))
}

fn exactly<T, const N: usize>(args: Vec<T>) -> Result<[T; N], String> {
    let got = args.len();
    args.try_into()
        .map_err(|_| format!("wrong number of args: want {N} got {got}"))
}

fn string(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("wrong type: expected string; got {}", type_name(value)))
}

/// A length or place: not negative.
fn count(value: &Value) -> Result<usize, String> {
    let Some(number) = value.as_i64().or_else(|| whole(value)) else {
        return Err(format!(
            "wrong type: expected int; got {}",
            type_name(value)
        ));
    };
    usize::try_from(number).map_err(|_| format!("out of range: {number}"))
}

/// A float without a fraction, as Go's constants may be written.
fn whole(value: &Value) -> Option<i64> {
    let float = value
        .as_f64()
        .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)?;
    format!("{float:.0}").parse().ok()
}

fn compare(name: &str, args: &[Val<'_>]) -> Result<bool, String> {
    let (first, rest) = args
        .split_first()
        .ok_or("missing argument for comparison")?;
    if name == "eq" {
        if rest.is_empty() {
            return Err("missing argument for comparison".into());
        }
        for other in rest {
            if equal(first, other)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let [second] = rest else {
        return Err(format!("wrong number of args: want 2 got {}", args.len()));
    };
    if name == "ne" {
        return equal(first, second).map(|equal| !equal);
    }
    let order = order(first, second)?;
    Ok(match name {
        "lt" => order == Ordering::Less,
        "le" => order != Ordering::Greater,
        "gt" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

fn index(args: Vec<Val<'_>>) -> Result<Val<'_>, String> {
    let mut args = args.into_iter();
    let mut value = args.next().ok_or("missing argument")?;
    if value.get().is_none() {
        return Err("index of untyped nil".into());
    }
    for key in args {
        let Some(item) = value.get() else {
            return Err("index of untyped nil".into());
        };
        let part = match (item, key.get()) {
            // A map from names to strings has empty ones for what is missing.
            (Value::Object(object), Some(Value::String(key)))
                if value.is_map && !object.contains_key(key) =>
            {
                Val::owned("")
            }
            (Value::Object(_), Some(Value::String(key))) => value.part(|item| item.get(key)),
            (Value::Object(_), other) => {
                let got = other.map_or("<nil>", type_name);
                return Err(format!("value has type {got}; should be string"));
            }
            (Value::Array(list), Some(number @ Value::Number(_))) => {
                let place = count(number).map_err(|error| format!("index {error}"))?;
                if place >= list.len() {
                    return Err(format!("index out of range: {place}"));
                }
                value.part(|item| item.get(place))
            }
            (Value::String(text), Some(number @ Value::Number(_))) => {
                let place = count(number).map_err(|error| format!("index {error}"))?;
                match text.as_bytes().get(place) {
                    Some(byte) => Val::owned(*byte),
                    None => return Err(format!("index out of range: {place}")),
                }
            }
            (Value::Array(_) | Value::String(_), other) => {
                let got = other.map_or("<nil>", type_name);
                return Err(format!("cannot index slice/array with type {got}"));
            }
            (other, _) => return Err(format!("can't index item of type {}", type_name(other))),
        };
        value = part;
    }
    Ok(value)
}

fn len(values: &[Value]) -> Result<usize, String> {
    match values {
        [Value::String(text)] => Ok(text.len()),
        [Value::Array(list)] => Ok(list.len()),
        [Value::Object(object)] => Ok(object.len()),
        [Value::Null] => Err("len of nil pointer".into()),
        [other] => Err(format!("len of type {}", type_name(other))),
        _ => Err(format!("wrong number of args: want 1 got {}", values.len())),
    }
}

fn slice(values: &[Value]) -> Result<Value, String> {
    let (item, places) = values.split_first().ok_or("missing argument")?;
    let length = match item {
        Value::String(text) if places.len() < 3 => text.len(),
        Value::String(_) => return Err("cannot 3-index slice a string".into()),
        Value::Array(list) => list.len(),
        Value::Null => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", type_name(other))),
    };
    if places.len() > 3 {
        return Err(format!("too many slice indexes: {}", places.len()));
    }
    let mut ends = places.iter().map(count);
    let start = ends.next().transpose()?.unwrap_or(0);
    let end = ends.next().transpose()?.unwrap_or(length);
    let capacity = ends.next().transpose()?.unwrap_or(length);
    if start > end || end > capacity || capacity > length {
        return Err(format!(
            "slice index out of range: {start}:{end} of {length}"
        ));
    }
    match item {
        Value::String(text) => match text.get(start..end) {
            Some(part) => Ok(part.into()),
            None => Err(format!("slice {start}:{end} cuts a character")),
        },
        Value::Array(list) => Ok(list.get(start..end).unwrap_or_default().into()),
        _ => Ok(Value::Null),
    }
}

fn split(values: &[Value]) -> Result<Value, String> {
    let [text, separator] = values else {
        return Err(format!("wrong number of args: want 2 got {}", values.len()));
    };
    let (text, separator) = (string(text)?, string(separator)?);
    let parts: Vec<Value> = if separator.is_empty() {
        // Go splits into characters; Rust adds empty ends.
        text.chars()
            .take(MAX_PARTS + 1)
            .map(|c| c.to_string().into())
            .collect()
    } else {
        text.split(separator)
            .take(MAX_PARTS + 1)
            .map(Value::from)
            .collect()
    };
    if parts.len() > MAX_PARTS {
        return Err(format!("more than {MAX_PARTS} parts"));
    }
    Ok(parts.into())
}

/// Go's fmt.Sprint: a space between operands of which neither is a string.
fn sprint(values: &[Value], limit: usize) -> Result<String, String> {
    let mut out = Bounded::new(limit);
    let mut before_is_string = true;
    for (place, value) in values.iter().enumerate() {
        if place > 0 && !before_is_string && !value.is_string() {
            out.push(" ")?;
        }
        before_is_string = value.is_string();
        out.push(&print(value))?;
    }
    Ok(out.finish())
}

fn sprintln(values: &[Value], limit: usize) -> Result<String, String> {
    let mut out = Bounded::new(limit);
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.push(" ")?;
        }
        out.push(&print(value))?;
    }
    out.push("\n")?;
    Ok(out.finish())
}

/// What the escaping functions escape: one string, or all as `print` has them.
fn joined(values: &[Value], limit: usize) -> Result<String, String> {
    match values {
        [Value::String(text)] => Ok(text.clone()),
        values => {
            let shown = |value: &Value| match value {
                Value::Null => "<no value>".into(),
                other => other.clone(),
            };
            sprint(&values.iter().map(shown).collect::<Vec<_>>(), limit)
        }
    }
}

fn each(text: &str, limit: usize, escape: fn(char) -> Option<String>) -> Result<String, String> {
    let mut out = Bounded::new(limit);
    for c in text.chars() {
        match escape(c) {
            Some(escaped) => out.push(&escaped)?,
            None => out.push(c.encode_utf8(&mut [0; 4]))?,
        }
    }
    Ok(out.finish())
}

/// Go maps characters one by one: what has no single capital stays.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// As [`upper`]; the one character with two small ones is İ, and Go takes the first.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Go's JSON: as serde_json's, but for floats and two line separators.
fn json(value: &Value, out: &mut Bounded) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(0.0);
            let size = float.abs();
            if size != 0.0 && !(1e-6..1e21).contains(&size) {
                out.push(&format!("{float:e}").replace('e', if size < 1.0 { "e" } else { "e+" }))
            } else {
                out.push(&float.to_string())
            }
        }
        Value::String(text) => out.push(&json_text(text)),
        Value::Array(list) => {
            out.push("[")?;
            for (place, item) in list.iter().enumerate() {
                if place > 0 {
                    out.push(",")?;
                }
                json(item, out)?;
            }
            out.push("]")
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push("{")?;
            for (place, (key, item)) in entries.into_iter().enumerate() {
                if place > 0 {
                    out.push(",")?;
                }
                out.push(&json_text(key))?;
                out.push(":")?;
                json(item, out)?;
            }
            out.push("}")
        }
        other => out.push(&other.to_string()),
    }
}

fn json_text(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn html(c: char) -> Option<String> {
    let escaped = match c {
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\0' => "\u{fffd}",
        _ => return None,
    };
    Some(escaped.into())
}

fn js(c: char) -> Option<String> {
    match c {
        '\\' | '\'' | '"' => Some(format!("\\{c}")),
        '<' | '>' | '&' | '=' | '\0'..='\u{1f}' => Some(format!("\\u{:04X}", u32::from(c))),
        c if !is_print(c) => Some(format!("\\u{:04X}", u32::from(c))),
        _ => None,
    }
}

fn urlquery(text: &str, limit: usize) -> Result<String, String> {
    let mut out = Bounded::new(limit);
    for byte in text.bytes() {
        match byte {
            b' ' => out.push("+")?,
            b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                out.push(char::from(byte).encode_utf8(&mut [0; 4]))?;
            }
            byte => out.push(&format!("%{byte:02X}"))?,
        }
    }
    Ok(out.finish())
}

fn join(values: &[Value], limit: usize) -> Result<String, String> {
    let [list, separator] = values else {
        return Err(format!("wrong number of args: want 2 got {}", values.len()));
    };
    let separator = string(separator)?;
    let items: Box<dyn Iterator<Item = &Value>> = match list {
        Value::Null => return Ok(String::new()),
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(object) => Box::new(object.values()),
        other => return Err(format!("expected slice, got {}", type_name(other))),
    };
    let mut out = Bounded::new(limit);
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(separator)?;
        }
        out.push(&print(item))?;
    }
    Ok(out.finish())
}

/// `pad TEXT BEFORE AFTER`: blanks around a text that is not empty.
fn pad(values: &[Value], limit: usize) -> Result<String, String> {
    let [text, before, after] = values else {
        return Err(format!("wrong number of args: want 3 got {}", values.len()));
    };
    let (text, before, after) = (string(text)?, count(before)?, count(after)?);
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.len().saturating_add(before).saturating_add(after) > limit {
        return Err(format!("the text is longer than {limit} bytes"));
    }
    Ok(format!("{}{text}{}", " ".repeat(before), " ".repeat(after)))
}

/// Go's strings.Title: the first letter of each word in capitals.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let in_word = before.is_alphanumeric() || before == '_';
        if in_word {
            out.push(c);
        } else {
            out.push(upper(c));
        }
        before = c;
    }
    out
}
