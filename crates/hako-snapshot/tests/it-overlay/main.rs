//! The tests of `it`, with layers as directories (see its fixture).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes no helper of an integration test for a test"
)]

#[path = "../it/backends.rs"]
mod backends;
#[path = "../it/death.rs"]
mod death;
#[path = "../it/fixture.rs"]
mod fixture;
#[path = "../it/ids.rs"]
mod ids;
#[path = "../it/mounts.rs"]
mod mounts;
#[path = "../it/parallel.rs"]
mod parallel;
#[path = "../it/unpack.rs"]
mod unpack;
