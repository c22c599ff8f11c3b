//! Images against the kernel: what a mount shows is what `hako_layer::apply`
//! makes of the same archive. The tests need root, a kernel with EROFS on files
//! (Linux 6.12), a temporary directory that is not on overlayfs, and GNU tar;
//! they fail without them.

// Helpers outside of #[test] functions are tests, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[allow(dead_code, reason = "shared with the tests of hako-layer")]
#[path = "../../../hako-layer/tests/it/archive.rs"]
mod archive;
mod built;
mod corners;
mod damage;
mod fsck;
mod mounts;
mod real;
mod refusals;
mod sizes;
mod stacks;
#[allow(dead_code, reason = "shared with the tests of hako-layer")]
#[path = "../../../hako-layer/tests/it/tree.rs"]
mod tree;
