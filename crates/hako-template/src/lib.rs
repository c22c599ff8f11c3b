//! Go templates over JSON values, for `--format`.
//!
//! People who script docker and podman know this language, so it is Go's
//! text/template with the functions that docker adds, over [`serde_json::Value`]
//! instead of Go structs. The text of some ten thousand templates was compared
//! with docker's; what differs on purpose:
//!
//! - fields are keys of objects, and a missing one is what [`Options::missing`]
//!   says; there are no methods but those that a front supplies;
//! - numbers are compared by value whatever their kind (Go refuses to compare
//!   an integer with a float), and integers up to 2^64-1 are constants;
//! - `truncate` counts characters, and `slice` does not cut one in two;
//! - named templates (`define`, `template`, `block`), complex numbers and the
//!   hexadecimal and binary forms of floats are refused.
//!
//! Rendering is bounded in depth, steps and bytes ([`Options`]), so that a
//! template cannot take the machine's memory.

mod ast;
mod error;
mod eval;
mod format;
mod functions;
mod lex;
mod parse;
mod printf;
mod table;
mod value;

use std::fmt;

pub use error::Error;
pub use format::Format;
pub use table::{Table, header_name};

use serde_json::Value;

/// What a field of an object is that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Printed as `<no value>`, as Go prints the missing entry of a map.
    #[default]
    NoValue,
    /// An error, as Go has it for the missing field of a struct; but objects
    /// that stand in a field named in [`Options::maps`] are maps.
    Error,
}

/// A method: receiver, name and arguments to a value; `None` if there is no
/// such method. An error is a sentence.
pub type Methods = fn(&Value, &str, &[Value]) -> Option<Result<Value, String>>;

/// How a template is read and rendered.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether a backslash with `t` or `n` in the text (outside of actions) is
    /// a tab or a line break, since shells give them literally.
    pub escapes: bool,
    /// What a missing field is.
    pub missing: Missing,
    /// Names of fields whose objects are maps from free names, such as
    /// `Labels`: a missing entry there is never an error.
    pub maps: &'static [&'static str],
    /// Functions that are called with a dot, such as `.Label "name"`.
    pub methods: Option<Methods>,
    /// Most bytes that are written, and that one value may have.
    pub max_output: usize,
    /// Most actions, commands and iterations that are run.
    pub max_steps: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            escapes: true,
            missing: Missing::NoValue,
            maps: &[],
            methods: None,
            max_output: 64 << 20,
            max_steps: 50_000_000,
        }
    }
}

/// A template that was read and can be rendered any number of times.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<ast::Node>,
    source: String,
    options: Options,
}

impl Template {
    /// Longest template in bytes.
    pub const MAX_LEN: usize = 1 << 20;

    /// Reads a template with the default options.
    ///
    /// # Errors
    /// [`Error::Parse`] with the place and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, Options::default())
    }

    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Parse`] with the place and what is wrong there.
    pub fn parse_with(text: &str, options: Options) -> Result<Self, Error> {
        let nodes = parse::template(text, options.escapes)?;
        Ok(Template {
            nodes,
            source: text.to_owned(),
            options,
        })
    }

    /// Renders a value. What was written before an error stays written.
    ///
    /// # Errors
    /// [`Error::Render`] with the place and what is wrong there,
    /// [`Error::Output`] when `out` fails.
    pub fn render(&self, value: &Value, out: &mut dyn fmt::Write) -> Result<(), Error> {
        eval::run(
            &self.nodes,
            &self.source,
            &self.options,
            eval::Mode::Data,
            value,
            out,
        )
    }

    /// Renders a value to a string.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_to_string(&self, value: &Value) -> Result<String, Error> {
        let mut text = String::new();
        self.render(value, &mut text)?;
        Ok(text)
    }

    /// Renders the line of column names: each field is its entry in `headers`
    /// (an object of strings), or else its name in capitals; functions that
    /// change how a value looks leave names alone.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_headers(&self, headers: &Value, out: &mut dyn fmt::Write) -> Result<(), Error> {
        eval::run(
            &self.nodes,
            &self.source,
            &self.options,
            eval::Mode::Headers,
            headers,
            out,
        )
    }
}

impl std::str::FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}
