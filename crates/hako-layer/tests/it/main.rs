//! Layers against the kernel's overlayfs, GNU tar, umoci, and attackers. The
//! tests need root, tar, umoci, unshare and setpriv, and fail without them.

// Helpers outside of #[test] functions are tests, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod archive;
mod attacks;
mod entries;
mod fuzz;
mod lower;
mod oracle;
mod overlay;
mod rootless;
mod tree;
mod whiteouts;
