//! Package indexes: `Packages` files, kept in a compact form in which a
//! package is found without reading the rest.
//!
//! A suite has tens of thousands of packages and a request needs a few. The
//! text is read once and written as records with a sorted table of names
//! before them (see [`compact`]); afterwards a lookup is a binary search and
//! one read.

pub mod compact;
mod package;
mod read;

pub use compact::{Index, Trouble};
pub use package::{Package, parse_record};
pub use read::{LARGEST, read};
