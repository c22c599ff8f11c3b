//! The crate's one error type.

use std::fmt;

/// Why a template was not read or rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a template.
    #[error("the format is wrong at {place}: {message}")]
    Parse {
        /// Where in the template.
        place: Place,
        /// What is wrong there.
        message: String,
    },
    /// The template does not fit the value, or went beyond a limit.
    #[error("the format failed at {place}: {message}")]
    Render {
        /// Where in the template.
        place: Place,
        /// What is wrong there.
        message: String,
    },
    /// The writer failed.
    #[error("the formatted text could not be written")]
    Output(#[source] fmt::Error),
}

/// A place in a template, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

impl Place {
    /// The place of a byte offset.
    pub(crate) fn of(source: &str, offset: usize) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        Place { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A fault at a byte offset, before the source is at hand.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Fault {
            offset,
            message: message.into(),
        }
    }
}
