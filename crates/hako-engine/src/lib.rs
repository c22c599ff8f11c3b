//! Containers, images, networks and events: the only place where they meet.
//!
//! The fronts (command line, CRI, Docker API) parse, call this library and
//! print. Everything that has to survive a call lies on disk: a container's
//! record in the database, its run state in files that its monitor writes. A
//! call that is killed half-way leaves something that the next call repairs
//! ([`Engine::refresh`]) or ignores.

mod attach;
mod check;
mod containers;
mod engine;
mod error;
mod event;
mod exec;
mod files;
mod id;
mod images;
mod info;
mod inspect;
mod inspect_image;
mod limits;
mod logs;
mod network;
mod options;
mod record;
mod refresh;
mod remove;
pub mod rootless;
mod runtime;
mod signal;
mod spec;
mod start;
mod stop;
mod user;

pub use check::Finding;
pub use containers::Filter;
pub use engine::{Engine, Places};
pub use error::{Error, Result};
pub use exec::{Exec, ExecOptions};
pub use hako_snapshot::Backend;
pub use id::random_id;
pub use images::{Bring, ListedImage, Removed};
pub use logs::{Line, LogOptions, Stream};
pub use options::{
    Create, Limits, NetworkMode, Ulimit, Volume, VolumeSource, parse_bytes, parse_cpus,
};
pub use record::{Container, Phase, Record, State};
pub use runtime::{OciRuntime, Runtime};
pub use signal::parse as parse_signal;
pub use start::Started;
