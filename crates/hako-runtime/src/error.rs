//! The one error type of the runtime: a sentence for the caller, the chain of
//! what caused it, and the exit status it asks for.

use std::fmt;

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything that is not about the container's program.
    Runtime,
    /// The program was not found: exit status 127.
    NotFound,
    /// The program cannot be executed: exit status 126.
    NotExecutable,
    /// The kernel refused the program when everything was done, and nothing but
    /// the program is at fault: this exit status, 126 or 127.
    Refused(u8),
    /// A hook failed: the container is to be destroyed.
    Hook,
    /// A record that cannot be read any more.
    Damaged,
}

/// A failure with what was being done to what, outermost first.
#[derive(Debug, Clone)]
pub struct Error {
    /// The class that decides the exit status.
    pub kind: Kind,
    text: String,
}

/// What every function of the runtime returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of the runtime itself.
    pub fn new(text: impl Into<String>) -> Self {
        Error {
            kind: Kind::Runtime,
            text: text.into(),
        }
    }

    /// A failure of class `kind`.
    pub fn of(kind: Kind, text: impl Into<String>) -> Self {
        Error {
            kind,
            text: text.into(),
        }
    }

    /// The same failure, seen from one step further out.
    pub fn within(self, what: impl fmt::Display) -> Self {
        Error {
            kind: self.kind,
            text: format!("{what}: {}", self.text),
        }
    }

    /// One byte and the text, for the way from the container's process to the
    /// runtime.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            // It is not the container's process that tells of a refusal.
            Kind::Runtime | Kind::Damaged | Kind::Refused(_) => b'r',
            Kind::NotFound => b'n',
            Kind::NotExecutable => b'x',
            Kind::Hook => b'h',
        };
        let mut bytes = vec![kind];
        bytes.extend_from_slice(self.text.as_bytes());
        bytes
    }

    /// The reverse of [`Error::encode`].
    pub fn decode(bytes: &[u8]) -> Self {
        let (kind, text) = match bytes.split_first() {
            Some((b'n', text)) => (Kind::NotFound, text),
            Some((b'x', text)) => (Kind::NotExecutable, text),
            Some((b'h', text)) => (Kind::Hook, text),
            Some((_, text)) => (Kind::Runtime, text),
            None => (Kind::Runtime, &b"no reason given"[..]),
        };
        Error {
            kind,
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::new(describe(&e))
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(e: rustix::io::Errno) -> Self {
        std::io::Error::from(e).into()
    }
}

/// The system's words for an error, without Rust's "(os error N)".
fn describe(e: &std::io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// An error of a library with its chain of sources, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&match source.downcast_ref::<rustix::io::Errno>() {
            Some(errno) => describe(&std::io::Error::from(*errno)),
            None => source.to_string(),
        });
        next = source.source();
    }
    text
}

macro_rules! from_library {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Error {
            fn from(e: $kind) -> Self {
                Error::new(chain(&e))
            }
        }
    )*};
}
from_library!(
    hako_cgroup::Error,
    hako_spec::Error,
    hako_seccomp::Error,
    serde_json::Error
);

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// `what` names the step and its object; it is only made on failure.
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().within(what()))
    }
}
