//! Byte-exact tar reader and writer; gzip and zstd codecs.
//!
//! A layer is hashed, so its tar has to be read and written to the byte, and
//! it comes from strangers, so every field of it is bounded. The crate is pure:
//! it sees `Read` and `Write` only, keeps nothing but one buffer and the entry
//! at hand in memory, and never seeks.
//!
//! Where the tar dialects disagree, two readers of one archive could see two
//! file systems. Such archives are refused ([`Error::Ambiguous`]) rather than
//! guessed at; the module [`reader`] lists the cases.

pub mod codec;
mod entry;
mod error;
mod header;
mod input;
mod number;
mod pax;
pub mod reader;
mod sparse;
pub mod writer;

pub use entry::{Entry, Kind, Offsets, Segment, Time};
pub use error::Error;
pub use reader::{Chunk, Data, End, Limits, Reader};
pub use writer::{Placed, Writer};

/// Size of a tar block in bytes (POSIX pax, "ustar Interchange Format").
pub const BLOCK: usize = 512;

/// Reads every entry of an archive in memory, data and all, and returns the
/// entries without their data. This is the entry point of the fuzz target, and
/// serves small archives such as a `docker-archive`'s parts.
///
/// # Errors
/// The first error that [`Reader`] meets.
pub fn entries(archive: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut reader = Reader::new(archive);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        while reader.next_chunk()?.is_some() {}
        found.push(entry);
    }
    Ok(found)
}
