//! Blobs by digest, image names, owners and leases on disk.
//!
//! One directory (DESIGN "directory layout"), opened by any number of
//! processes at once and by no daemon:
//!
//! | path | what | how it changes |
//! |---|---|---|
//! | `layout-version` | version of this layout | by rename, last |
//! | `blobs/<algorithm>/<hex>` | verified content | appears by rename, never changes |
//! | `ingest/` | content on its way | locked by its writer |
//! | `meta.db` | names, images, leases, settings, tables of other crates | SQLite |
//! | `leases/` | lock files of living processes | die with their holder |
//! | `trash/` | condemned, to be deleted | filled inside a transaction |
//! | `events/` | the event log | append-only |
//! | `snapshots/`, `containers/` | other crates' | |
//!
//! Invariant: `kill -9` at any point leaves nothing that the next command does
//! not repair or ignore. Invariant: no lock is held across network I/O but that
//! of the one blob or layer being written.

pub mod blobs;
pub mod check;
mod clock;
pub mod database;
pub mod error;
pub mod events;
pub mod gc;
pub mod hash;
pub mod images;
pub mod ingest;
pub mod layout;
pub mod lease;
mod links;
pub mod lock;
pub mod names;
pub mod netfs;
pub mod owner;
pub mod random;
pub mod reader;
pub mod resolve;
pub mod runroot;
mod schema;
pub mod settings;
mod store;

pub use blobs::Blobs;
pub use database::Database;
pub use error::{Error, Result};
pub use events::Events;
pub use hash::Hasher;
pub use images::{Image, Images};
pub use ingest::{BlobWriter, Ingest};
pub use lease::{Hold, Lease, Leases};
pub use names::{Name, Names};
pub use owner::Owner;
pub use reader::VerifiedReader;
pub use resolve::Resolved;
pub use runroot::Runroot;
/// The SQLite binding, for crates that keep tables in [`Database`].
pub use rusqlite;
pub use settings::{Originals, Settings};
pub use store::Store;
