//! Layers to a root file system that mounts at once.
//!
//! ```text
//! snapshots/
//!   layers/<key>/     layer.json, unsynced (until it is on disk), and
//!                     image.erofs and data (the tar), which are mounted on fs/,
//!                     or the tree itself in fs/
//!   active/<id>/      snapshot.json, upper/, work/: what a container writes
//!   tmp/              everything unfinished, locked by who works on it
//!   empty/            a lower directory for images without layers
//!   backend.json      how root file systems are made here, and why
//!   lock              held for moments by who refers to layers or collects
//! ```
//!
//! A layer is unpacked once, into a directory that never changes afterwards and
//! appears by rename. A snapshot is a writable directory over a stack of
//! layers; [`Snapshotter::mount`] makes the root file system of it. Three ways
//! are told apart by a trial, never by the kernel's version: overlay over EROFS
//! images of the layers' tars, overlay over directories, and plain copies.
//!
//! Invariant: a layer's directory under `layers/` is whole, and its diff id was
//! verified. Invariant: what is under `tmp/` and not locked is nobody's.

mod ahead;
mod backend;
mod check;
mod collect;
mod copy;
mod delete;
mod dirs;
mod erofs;
mod error;
mod idmap;
mod key;
mod layers;
mod mount;
mod overlay;
mod prepare;
mod record;
mod stack;
mod unpack;
mod usage;

pub use backend::{Backend, Choice};
pub use error::{Error, Result};
pub use key::{LayerKey, chain_ids};
pub use layers::Snapshotter;
pub use mount::{Options as MountOptions, attach};
pub use record::{Layer, Snapshot};
pub use stack::Stack;
pub use unpack::Unpacked;
pub use usage::Usage;
