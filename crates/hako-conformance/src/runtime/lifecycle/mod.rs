//! runtime.md: a container's states, the operations on it, and its hooks.

mod create;
mod delete;
mod environment;
mod failing_hooks;
mod hooks;
mod kill;
mod start;
mod state;

use crate::check::Check;

/// The chapter's checks, by section.
pub(crate) const CHECKS: &[&[Check]] = &[
    state::CHECKS,
    environment::CHECKS,
    create::CHECKS,
    start::CHECKS,
    kill::CHECKS,
    delete::CHECKS,
    hooks::CHECKS,
    failing_hooks::CHECKS,
];
