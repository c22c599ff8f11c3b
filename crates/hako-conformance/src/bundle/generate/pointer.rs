//! Changes of single fields by JSON pointers (RFC 6901): the way to what has no
//! option of its own.

use std::fmt;

use hako_spec::Value;
use hako_spec::runtime::Config;

use super::{Error, Wrong, words};

/// A change of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// `--set POINTER=JSON`: the value of a field; missing parents are made.
    Set(Pointer, Value),
    /// `--unset POINTER`: it is no longer there.
    Unset(Pointer),
}

/// A JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Change {
    /// Reads `POINTER=JSON`. The pointer ends at the first `=`.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn set(text: &str) -> Result<Self, Error> {
        let parsed = text
            .split_once('=')
            .ok_or_else(|| "is not of the form POINTER=JSON".to_owned())
            .and_then(|(pointer, json)| {
                let value =
                    words::json(json).map_err(|error| match json.starts_with(['"', '{', '[']) {
                        true => error,
                        false => format!("{error} (a text needs quotes: '\"…\"')"),
                    })?;
                Ok(Change::Set(Pointer::parse(pointer)?, value))
            });
        parsed.map_err(|message| refused("set", text, message))
    }

    /// Reads a pointer to what is to be removed.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn unset(text: &str) -> Result<Self, Error> {
        Pointer::parse(text)
            .map(Change::Unset)
            .map_err(|message| refused("unset", text, message))
    }

    /// The field, as findings name it.
    pub(super) fn field(&self) -> String {
        let (Change::Set(pointer, _) | Change::Unset(pointer)) = self;
        let mut field = String::new();
        for token in &pointer.tokens {
            let is_place = token.bytes().all(|c| c.is_ascii_digit()) && !token.is_empty();
            match (is_place, token.as_str()) {
                (true, _) => field.push_str(&format!("[{token}]")),
                // The last of a list: any of it.
                (false, "-") => break,
                (false, _) if field.is_empty() => field.push_str(token),
                (false, _) => field.push_str(&format!(".{token}")),
            }
        }
        field
    }

    fn apply(&self, document: &mut Value) -> Result<(), Wrong> {
        match self {
            Change::Set(pointer, value) => {
                *pointer.make(document)? = value.clone();
                Ok(())
            }
            Change::Unset(pointer) => pointer.remove(document),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Set(pointer, _) => write!(f, "set {}", pointer.text),
            Change::Unset(pointer) => write!(f, "unset {}", pointer.text),
        }
    }
}

fn refused(option: &str, value: &str, message: Wrong) -> Error {
    Error::Value {
        option: option.to_owned(),
        value: value.to_owned(),
        message,
    }
}

/// Applies changes in their order.
pub(super) fn apply(config: Config, changes: &[Change]) -> Result<Config, Error> {
    let mut config = config;
    for change in changes {
        let (option, value) = match change {
            Change::Set(pointer, value) => ("set", format!("{}={value}", pointer.text)),
            Change::Unset(pointer) => ("unset", pointer.text.clone()),
        };
        // Each by itself, so that an error can name it.
        let changed = document(&config).and_then(|mut document| {
            change.apply(&mut document)?;
            words::json(&document.to_string())
        });
        config = changed.map_err(|message| refused(option, &value, message))?;
    }
    Ok(config)
}

fn document(config: &Config) -> Result<Value, Wrong> {
    serde_json::to_value(config).map_err(|error| error.to_string())
}

impl Pointer {
    fn parse(text: &str) -> Result<Self, Wrong> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(format!("the pointer {text:?} does not start with /"));
        }
        let mut tokens = Vec::new();
        for token in text.split('/').skip(1) {
            let mut plain = String::new();
            let mut chars = token.chars();
            while let Some(c) = chars.next() {
                match (c, c == '~') {
                    (_, true) => match chars.next() {
                        Some('0') => plain.push('~'),
                        Some('1') => plain.push('/'),
                        _ => {
                            return Err(format!(
                                "in the pointer {text:?} a ~ is neither ~0, a ~, nor ~1, a /"
                            ));
                        }
                    },
                    (c, false) => plain.push(c),
                }
            }
            tokens.push(plain);
        }
        Ok(Pointer {
            text: text.to_owned(),
            tokens,
        })
    }

    /// The value that the pointer points to, made when it is not there: lists
    /// where the next step is `-` or `0`, else objects.
    fn make<'a>(&self, document: &'a mut Value) -> Result<&'a mut Value, Wrong> {
        let mut at = document;
        for (n, token) in self.tokens.iter().enumerate() {
            if at.is_null() {
                *at = match token.as_str() {
                    "-" | "0" => Value::Array(Vec::new()),
                    _ => Value::Object(hako_spec::Map::new()),
                };
            }
            at = match at {
                Value::Object(members) => members.entry(token.as_str()).or_insert(Value::Null),
                Value::Array(items) => {
                    let len = items.len();
                    let place = match token.as_str() {
                        "-" => len,
                        token => place(token)?,
                    };
                    if place == len {
                        items.push(Value::Null);
                    }
                    items.get_mut(place).ok_or_else(|| {
                        format!("there is no {token} in {}, which has {len}", self.until(n))
                    })?
                }
                _ => return Err(format!("{} has no members", self.until(n))),
            };
        }
        Ok(at)
    }

    /// Removes what the pointer points to. What is not there needs no removing.
    fn remove(&self, document: &mut Value) -> Result<(), Wrong> {
        let Some((last, parents)) = self.tokens.split_last() else {
            return Err("the whole document cannot be removed".into());
        };
        let mut at = document;
        for (n, token) in parents.iter().enumerate() {
            let next = match at {
                Value::Object(members) => members.get_mut(token),
                Value::Array(items) => items.get_mut(place(token)?),
                _ => return Err(format!("{} has no members", self.until(n))),
            };
            match next {
                Some(next) => at = next,
                None => return Ok(()),
            }
        }
        match at {
            Value::Object(members) => {
                members.remove(last);
            }
            Value::Array(items) => {
                let place = place(last)?;
                if place < items.len() {
                    items.remove(place);
                }
            }
            _ => return Err(format!("{} has no members", self.until(parents.len()))),
        }
        Ok(())
    }

    /// The pointer's first tokens, for errors.
    fn until(&self, n: usize) -> String {
        match n {
            0 => "the document".into(),
            _ => self
                .text
                .split('/')
                .take(n + 1)
                .collect::<Vec<_>>()
                .join("/"),
        }
    }
}

/// A place in a list: digits without a leading zero (RFC 6901, 4).
fn place(token: &str) -> Result<usize, Wrong> {
    let plain = token == "0" || !token.starts_with('0');
    let digits = token.bytes().all(|c| c.is_ascii_digit());
    match token.parse() {
        Ok(place) if plain && digits => Ok(place),
        _ => Err(format!("{token:?} is no place in a list")),
    }
}
