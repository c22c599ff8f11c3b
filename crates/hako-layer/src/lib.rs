//! Applies an image layer's tar to a directory (image-spec layer.md, "Applying
//! Changesets"), with no way out of that directory.
//!
//! [`apply`] serves two kinds of directories: one that is a single layer of an
//! overlay mount ([`Format::Overlay`]) and one that is the whole root file
//! system so far ([`Format::Plain`]). Both give the same tree in the end.
//!
//! Layers of an overlay can be unpacked in parallel, each without its lower
//! ones. What only these could tell is reported: directories that the archive
//! does not describe are in [`Applied::implicit`] and take their attributes by
//! [`inherit`] later; the rare layer that cannot be unpacked alone is
//! [`Error::NeedsLower`], to be applied again with [`Options::lower`].
//!
//! Every name is resolved one component at a time from a directory's file
//! descriptor, by `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`;
//! symlinks are followed by this crate alone, within the root. A last component
//! is never followed.

mod applied;
mod apply;
mod attrs;
mod book;
mod cache;
mod copy;
mod error;
mod finish;
mod finisher;
mod inherit;
mod link;
pub mod lower;
pub mod name;
mod node;
mod options;
mod remove;
mod resolve;
mod sys;
pub mod target;
mod whiteout;

pub use applied::{Applied, Notice, Warning};
pub use apply::apply;
pub use attrs::IMPLICIT_MODE;
pub use book::Book;
pub use error::{Error, quote, system};
pub use inherit::inherit;
pub use name::wanted;
pub use options::{Devices, Format, Ids, Limits, Options, XattrPrefix};
