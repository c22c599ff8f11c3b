//! Pulls from real registries and files that peers made, and from hostile ones.
//!
//! Needs `docker-registry`, `skopeo`, `umoci` and `buildah`; a missing one is a
//! failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests fail by panicking, and share helpers"
)]

mod debian;
mod formats;
mod hostile;
mod kill;
mod local;
mod packages;
mod world;

#[path = "../../../hako-distribution/tests/it/server.rs"]
mod server;
