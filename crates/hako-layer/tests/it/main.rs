//! Layers against the kernel's overlayfs, GNU tar, umoci, and attackers. The
//! tests need root, tar, umoci, unshare and setpriv, and fail without them.

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
