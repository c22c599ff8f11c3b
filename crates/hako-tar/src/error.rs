//! The one error type of the crate.

use std::io;

/// Why an archive could not be read or written. Offsets are bytes from the
/// beginning of the (uncompressed) archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source of the archive failed.
    #[error("cannot read the archive at offset {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// The archive ends in the middle of a member.
    #[error("the archive is truncated at offset {offset}, in {member}")]
    Truncated {
        /// Its length.
        offset: u64,
        /// The member that is cut off.
        member: String,
    },
    /// A header's checksum is wrong: this is no tar archive, or a broken one.
    #[error("no tar header at offset {offset}: the checksum is wrong")]
    Checksum {
        /// Where the header starts.
        offset: u64,
    },
    /// A header's field is malformed or out of range.
    #[error("the tar header at offset {offset} has a bad {field} field")]
    Field {
        /// Where the header starts.
        offset: u64,
        /// The field's name in POSIX.
        field: &'static str,
    },
    /// A PAX extended header is malformed.
    #[error("the extended header at offset {offset} is malformed: {reason}")]
    Pax {
        /// Where the header starts.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A sparse file's map is malformed.
    #[error("the sparse map of {member} at offset {offset} is malformed: {reason}")]
    Sparse {
        /// Where the member starts.
        offset: u64,
        /// The member.
        member: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The dialects of tar read this archive differently.
    #[error("{member} at offset {offset} is ambiguous: {reason}")]
    Ambiguous {
        /// Where the member starts.
        offset: u64,
        /// The member.
        member: String,
        /// What is read differently.
        reason: &'static str,
    },
    /// Something exceeds its [`crate::Limits`].
    #[error("the {what} at offset {offset} exceeds the limit of {limit}")]
    Limit {
        /// Where the member starts.
        offset: u64,
        /// What is too much.
        what: &'static str,
        /// How much is allowed, in bytes or pieces.
        limit: u64,
    },
    /// The destination of the archive failed.
    #[error("cannot write {member} to the archive")]
    Write {
        /// The member at hand.
        member: String,
        /// What the destination said.
        #[source]
        source: io::Error,
    },
    /// The data given to the writer could not be read.
    #[error("cannot read the data of {member}")]
    Data {
        /// The member at hand.
        member: String,
        /// What the data's source said.
        #[source]
        source: io::Error,
    },
    /// The data given to the writer is shorter or longer than its entry says.
    #[error("the data of {member} is not of the announced {size} bytes")]
    Size {
        /// The member at hand.
        member: String,
        /// The announced size.
        size: u64,
    },
    /// The entry cannot be written as a tar member.
    #[error("{member} cannot be archived: {reason}")]
    Unrepresentable {
        /// The member at hand.
        member: String,
        /// Why not.
        reason: &'static str,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated { .. } => Self::new(io::ErrorKind::UnexpectedEof, error),
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// A member's name for a message: printable, quoted, and never long.
pub(crate) fn quote(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    match path.get(..SHOWN) {
        Some(head) if path.len() > SHOWN => format!("\"{}…\"", head.escape_ascii()),
        _ => format!("\"{}\"", path.escape_ascii()),
    }
}
