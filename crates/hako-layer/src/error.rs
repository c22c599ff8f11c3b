//! The one error type of the crate.

use std::io;

use rustix::io::Errno;

/// Why a layer could not be applied. The directory is then in an undefined
/// state and has to be thrown away; nothing outside of it was touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is broken, or could not be read.
    #[error("cannot read the layer")]
    Tar(#[from] hako_tar::Error),
    /// A name leads out of the root by its `..` components.
    #[error("{path} leads out of the root")]
    Escapes {
        /// The name, or the hard link's target.
        path: String,
    },
    /// A name that no file can have.
    #[error("{path} is no valid name: {reason}")]
    Name {
        /// The name.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The files of the layer could not be finished, for a reason that was told
    /// before.
    #[error("the files of the layer could not be written")]
    Files,
    /// The root itself can be nothing but a directory.
    #[error("the layer replaces its root by something that is no directory")]
    Root,
    /// A file stands where a directory is needed.
    #[error("cannot create {path}: {parent} is not a directory")]
    NotADirectory {
        /// The entry.
        path: String,
        /// The file in its way.
        parent: String,
    },
    /// Symlinks that do not end.
    #[error("too many symlinks in the path of {path}")]
    TooManyLinks {
        /// The entry.
        path: String,
    },
    /// A hard link to nothing, or to something that cannot be linked.
    #[error("cannot link {path} to {target}: {reason}")]
    LinkTarget {
        /// The entry.
        path: String,
        /// Its target.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// The layer can only be applied with a view of the layers below: a hard
    /// link leads to a file of theirs, or a symlink of theirs stands where this
    /// layer goes through.
    #[error("{path} needs the layers below")]
    NeedsLower {
        /// The entry.
        path: String,
    },
    /// A symlink of a lower layer is deleted after something was put where it
    /// leads to. The deletion should have come first (layer.md, "Whiteouts").
    #[error("the layer goes through {path} before it deletes it")]
    Reordered {
        /// The symlink.
        path: String,
    },
    /// An owner that the mapping does not have, or no Linux can have.
    #[error("{path} belongs to {kind} {id}, which cannot be stored here")]
    Id {
        /// The entry.
        path: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The number.
        id: u64,
    },
    /// A device number that Linux does not have (12 bits of major, 20 of minor
    /// number).
    #[error("{path} has the impossible device number {major}:{minor}")]
    Device {
        /// The entry.
        path: String,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A type of member that means nothing in a layer.
    #[error("{path} is of the unknown type {:?}", char::from(*flag))]
    Unsupported {
        /// The entry.
        path: String,
        /// Its `typeflag`.
        flag: u8,
    },
    /// A bound of [`crate::Limits`] is exceeded.
    #[error("{path} exceeds the limit for {what}, {limit}")]
    Limit {
        /// The entry.
        path: String,
        /// What is too much.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// An overlay layer's directory has to be empty before.
    #[error("the layer's directory is not empty")]
    NotEmpty,
    /// A system call failed.
    #[error("cannot {action} {path}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On which entry.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Turns an errno into [`Error::System`]; for `map_err`.
pub fn system(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::System {
        action,
        path: quote(path),
        source: errno.into(),
    }
}

/// A name for a message: printable, quoted, and never long.
#[must_use]
pub fn quote(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    match path.get(..SHOWN) {
        Some(head) if path.len() > SHOWN => format!("\"{}…\"", head.escape_ascii()),
        _ => format!("\"{}\"", path.escape_ascii()),
    }
}
