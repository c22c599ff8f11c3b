//! A layer as a read-only file system that is there at once: an EROFS image of
//! the names and attributes alone, small, whose files lie in the layer's own
//! uncompressed tar (kernel Documentation/filesystems/erofs.rst).
//!
//! [`Index::new`] reads a layer's archive once, keeps it as one sequential file
//! and holds its tree; [`Index::write`] makes the image. Mounted with that file
//! as its device (`device=`), it shows what [`hako_layer::apply`] would have
//! made of the archive as a layer of an overlay, by the same rules and the same
//! code as far as these have nothing to do with directories on disk. Times are
//! the archive's exactly, and whiteouts are of time 0.
//!
//! The tree in memory is small: an archive of 505,000 members took 56 MB at its
//! peak, and its image has 65 MB (the example `index` measures that).
//!
//! What cannot be told without the layers below is as for `apply`:
//! [`hako_layer::Applied`] lists it, and [`Index::inherit`] completes it. Lower
//! layers are seen through [`Image`], a reader of these images that needs no
//! mount and trusts nothing that it reads.

mod acl;
mod error;
mod extent;
mod format;
mod image;
mod index;
mod inherit;
mod inode;
mod layer;
mod layout;
mod link;
mod node;
mod options;
mod spill;
mod tee;
mod tree;
mod view;
mod walk;
mod write;
mod xattr;

pub use error::Error;
pub use image::{Image, Name, Source, Xattrs};
pub use index::Index;
pub use inode::{Extent, Inode};
pub use options::{Lower, Options};
pub use walk::Visited;
