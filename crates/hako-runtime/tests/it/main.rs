//! The runtime as a program, on the real kernel. Needs root, busybox-static,
//! for single tests strace(1) and script(1), and for `under` the engines of
//! Debian; nothing is skipped where they are missing.

// One binary: `pub` says what a module offers its siblings.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod cgroups;
mod checkpoint;
mod harness;
mod hooks;
mod lifecycle;
mod live_mounts;
mod mounts;
mod namespaces;
mod passing;
mod process;
mod receivers;
mod robust;
mod rootless;
mod security;
mod selection;
mod systemd;
mod terminal;
mod under;
mod unified;
mod update;
