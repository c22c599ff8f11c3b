//! What can go wrong around a monitor.

use std::path::PathBuf;

use rustix::io::Errno;

/// An error of the monitor or of a client talking to one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A command line that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file of the configuration, or a state file, that is not one.
    #[error("{path} is not a valid {what}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// A configuration of a newer form than this monitor knows.
    #[error("{path} has version {version}, this monitor knows up to {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
        /// The highest that is known.
        known: u32,
    },
    /// A value of the configuration that cannot be used.
    #[error("{field} {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A system call on a path failed.
    #[error("cannot {action} {path}")]
    Path {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: Errno,
    },
    /// A system call without a path failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// A program could not be executed.
    #[error("cannot execute {program}")]
    Execute {
        /// The program.
        program: PathBuf,
        /// The kernel's answer.
        source: Errno,
    },
    /// The runtime said no.
    #[error("{message}")]
    Runtime {
        /// Its own words.
        message: String,
        /// Its exit status; 128 and more for a signal.
        exit: i32,
    },
    /// The monitor's own cgroup could not be entered.
    #[error("cannot enter the monitor's cgroup {path}")]
    Cgroup {
        /// Which.
        path: String,
        /// Why.
        source: hako_cgroup::Error,
    },
    /// The other side broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The other side answered with an error.
    #[error("{0}")]
    Refused(String),
    /// The container that should be adopted is not the one that was started.
    #[error("container {id} has no living process to adopt: {reason}")]
    Gone {
        /// The container.
        id: String,
        /// What was found.
        reason: String,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn path(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |source| Self::Path {
            action,
            path,
            source,
        }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::System { action, source }
    }

    /// The error and its sources in one line, for where no chain can be shown.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(e) = source {
            text.push_str(": ");
            text.push_str(&e.to_string());
            source = e.source();
        }
        text
    }
}

/// The kernel's error number of a failed standard library call.
pub(crate) fn errno(e: &std::io::Error) -> Errno {
    Errno::from_io_error(e).unwrap_or(Errno::IO)
}
