//! The store as its users see it: many processes, sudden deaths, full disks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes no helper of an integration test for a test"
)]

mod blobs;
mod collect;
mod death;
mod fixture;
mod names;
