//! Resource limits to cgroup v2, v1 and hybrid hierarchies, or through systemd.
//!
//! The crate finds the host's hierarchies ([`Host`]), makes a container's
//! cgroup in all of them and applies the limits of its configuration
//! ([`Cgroup::create`]), lets the container's first process in without waiting
//! for the kernel ([`Join`]), and later freezes, kills, measures and removes
//! it. Where systemd is to make the cgroup, [`systemd`] asks it to. A runtime that is started several times a container uses it, so
//! directories are opened only when needed and nothing is probed in advance.
//!
//! Invariant: no file is written that was not reached through a directory
//! descriptor whose file system was checked to be cgroup or cgroup2.

mod cgroup;
pub mod convert;
mod create;
mod delete;
pub mod device;
mod dir;
mod error;
mod freeze;
mod host;
mod join;
mod kill;
mod oom;
mod path;
mod resources;
pub mod stats;
pub mod systemd;

pub use cgroup::{Cgroup, Saved};
pub use create::{Devices, Options, Permission};
pub use error::{Error, Result};
pub use host::{Hierarchy, Host, Membership, Mode, Unified, unescape};
pub use join::{Join, Refused};
pub use oom::{Oom, OomEvent};
pub use path::CgroupPath;
