//! The command line as a whole: real containers, as root, in directories of
//! their own. Needs root, umoci, busybox, uidmap, passt and
//! script(1), and hako-runtime beside
//! hako (`cargo build -p hako -p hako-runtime`; `HAKO_BIN` names another hako).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broken;
mod bundles;
mod conformance;
#[path = "../../../hako-transfer/tests/it/debian.rs"]
mod debian;
mod foreground;
mod images;
mod killed;
mod layers;
mod lifecycle;
mod limits;
mod network;
mod options;
mod packages;
mod peers;
mod rootless;
mod support;
mod terminal;
mod text;
