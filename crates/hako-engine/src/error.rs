//! What can go wrong in the engine, and the exit status that it deserves.

use std::path::PathBuf;

/// The result of the engine's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// The operation, an infinitive.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A step that has no path failed.
    #[error("cannot {doing}")]
    System {
        /// The step, an infinitive.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such container.
    #[error("no such container: {0}")]
    NoContainer(String),
    /// The start of an id fits several containers.
    #[error("{text:?} is the start of the ids of {count} containers")]
    Ambiguous {
        /// What was given.
        text: String,
        /// How many fit.
        count: usize,
    },
    /// Another container has this name.
    #[error("the name {name:?} is in use by container {id}: remove it, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// A text is not what it should be.
    #[error("{what} {text:?}: {why}")]
    Invalid {
        /// What the text stands for.
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The container is not in a state for this.
    #[error("container {id} is {is}: {advice}")]
    WrongState {
        /// The container.
        id: String,
        /// Its state.
        is: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// The image says nothing to run and nothing was given.
    #[error("{image} names no command to run: give one")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// The runtime refused.
    #[error("{runtime}: {message}")]
    Runtime {
        /// Which runtime.
        runtime: String,
        /// What it said.
        message: String,
        /// 126 or 127 when it is about the container's program, else 125.
        status: u8,
    },
    /// The runtime or the monitor cannot be found.
    #[error("{0}")]
    NoRuntime(String),
    /// The monitor did not do its part.
    #[error("the monitor of container {id}: {message}")]
    Monitor {
        /// The container.
        id: String,
        /// What is known.
        message: String,
    },
    /// A record in the database cannot be read.
    #[error("the record of container {id} cannot be read")]
    Record {
        /// The container.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Something that is asked for is not there in this mode.
    #[error("{0}")]
    Unsupported(String),
    /// Several things failed in a clean-up that went on regardless.
    #[error("{first} (and {more} more)")]
    Several {
        /// The first failure with its causes.
        first: String,
        /// How many came after.
        more: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hako_store::Error),
    /// Root file systems failed.
    #[error(transparent)]
    Snapshot(#[from] hako_snapshot::Error),
    /// A network failed.
    #[error(transparent)]
    Network(#[from] hako_net::Error),
    /// A specification's document was refused.
    #[error(transparent)]
    Spec(#[from] hako_spec::Error),
}

impl Error {
    /// The status that a command should end with: 125 for the engine, 126 and
    /// 127 for the container's program.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Error::Runtime { status, .. } => *status,
            Error::NoCommand { .. } => 125,
            _ => 125,
        }
    }

    pub(crate) fn invalid(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        Error::Invalid {
            what,
            text: text.to_owned(),
            why: why.into(),
        }
    }
}

/// Adds an operation and a path to an I/O error.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T>;
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|e| Error::Io {
            doing,
            path: path.into(),
            source: e.into(),
        })
    }

    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|e| Error::System {
            doing,
            source: e.into(),
        })
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Collects the failures of steps that are all tried.
#[derive(Default)]
pub(crate) struct Failures(Vec<Error>);

impl Failures {
    /// Remembers a failure.
    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|e| self.0.push(e)).ok()
    }

    /// The first failure, with a count of the others.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            n => Err(Error::Several {
                first: chain(&self.0.remove(0)),
                more: n - 1,
            }),
        }
    }
}
