//! The runtime as a program, on the real kernel. Needs root, busybox-static,
//! and for single tests runc's peers strace(1) and script(1); nothing is
//! skipped where they are missing.

// One binary: `pub` says what a module offers its siblings.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod cgroups;
mod harness;
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod passing;
mod process;
mod robust;
mod rootless;
mod security;
mod systemd;
mod terminal;
mod unified;
mod update;
