//! Layers and snapshots as the engine uses them. These tests need root: they
//! mount in mount namespaces of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes no helper of an integration test for a test"
)]

mod backends;
mod death;
mod fixture;
mod ids;
mod mounts;
mod parallel;
mod unpack;
