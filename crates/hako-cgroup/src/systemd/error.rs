//! What can go wrong on the way to systemd and back.

use rustix::io::Errno;

/// An error of the connection, or systemd's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// A call of the kernel failed.
    #[error("cannot {action}")]
    Io {
        /// What was done.
        action: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// An address in a form that is not known, or that names no unix socket.
    #[error("the address is not that of a unix socket")]
    Address,
    /// The other side went away.
    #[error("the connection was closed")]
    Closed,
    /// The other side is silent.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// What came is no message.
    #[error("a message makes no sense: {0}")]
    Malformed(&'static str),
    /// The bus does not accept who we are.
    #[error("authentication is refused: {0:?}")]
    Rejected(String),
    /// An error reply.
    #[error("{text} ({name})")]
    Refused {
        /// The error's name, as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// The error's words.
        text: String,
    },
    /// A job did not end as `done` (org.freedesktop.systemd1(5), JobRemoved).
    #[error("the job ended with {0:?}")]
    Job(String),
}

impl BusError {
    /// Whether it is an error reply whose name ends so.
    #[must_use]
    pub fn is(&self, end: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.ends_with(end))
    }

    /// The whole sentence with its cause, for lists of what was tried.
    pub(super) fn sentence(&self) -> String {
        let Self::Io { source, .. } = self else {
            return self.to_string();
        };
        let cause = std::io::Error::from(*source).to_string();
        let cause = cause.split(" (os error").next().unwrap_or(&cause);
        format!("{self}: {}", cause.to_ascii_lowercase())
    }
}
