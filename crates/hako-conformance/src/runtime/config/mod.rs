//! config.md: the properties of a configuration that are the same everywhere,
//! and those of a process on Linux.

mod annotations;
mod capabilities;
mod exec_affinity;
mod hooks;
mod idmap;
mod io_priority;
mod linux_process;
mod mount_options;
mod mounts;
mod names;
mod process;
mod propagation;
mod recursive;
mod rlimits;
mod root;
mod scheduler;
mod support;
mod terminal;
mod user;
mod valid;
mod version;

use crate::check::Check;

/// The chapter's checks, by section.
pub(crate) const CHECKS: &[&[Check]] = &[
    version::CHECKS,
    root::CHECKS,
    mounts::CHECKS,
    mount_options::CHECKS,
    propagation::CHECKS,
    recursive::CHECKS,
    idmap::CHECKS,
    process::CHECKS,
    terminal::CHECKS,
    rlimits::CHECKS,
    linux_process::CHECKS,
    capabilities::CHECKS,
    scheduler::CHECKS,
    io_priority::CHECKS,
    exec_affinity::CHECKS,
    user::CHECKS,
    names::CHECKS,
    hooks::CHECKS,
    annotations::CHECKS,
    valid::CHECKS,
];
