//! Container networks: bridges with address management and translation, and
//! user-mode networking for those who may make no interface on the host.
//!
//! | a container's network | what makes it |
//! |---|---|
//! | none | [`netns::loopback_up`] |
//! | host | nothing: it has no network namespace of its own |
//! | bridge | [`Networks::ensure`], [`Networks::attach`] |
//! | pasta | [`netns::pin`], [`pasta::start`] |
//!
//! [`hosts`] and [`resolv`] make the files that go with each.
//!
//! Nothing is executed but pasta: interfaces, routes and nftables rules are made
//! over netlink. The "host" is always the network namespace of the calling
//! thread; a container's is entered by a short-lived thread ([`netns`]).
//!
//! # Where the time goes
//!
//! An attach is six requests to the kernel. Medians in microseconds on two busy
//! cores (Linux 6.18, 300 ms of quiet before each, `examples/latency.rs` and
//! strace):
//!
//! | step | µs |
//! |---|---|
//! | veth pair with names, queues, port of the bridge, peer in place: one message | 400–550 |
//! | thread that opens a socket in the container's namespace | 100–200 |
//! | loopback and `eth0` on | 100–150 |
//! | address and default route | 30 |
//! | looking at the port and the bridge, which makes them forward | 40 |
//! | lease | 50–100 |
//!
//! What is not done matters more. Moving an interface between namespaces waits
//! for RCU grace periods while it holds the kernel's network lock: `ip link set
//! vb netns …` took 8,500 to 16,000 µs, so the peer is made where it belongs.
//! Deleting an interface takes 10,000 to 30,000 µs, so a container that ends is
//! [released](Networks::release), and the kernel deletes its interface with its
//! namespace, in the background.
//!
//! # For fuzzing
//!
//! What reads outside data and takes bytes or text: [`netlink::parse::messages`]
//! and [`netlink::parse::attributes`], [`route::Link::parse`],
//! [`route::Destination::parse_address`], [`route::Destination::parse_route`],
//! [`nft::BaseChain::parse`], [`nft::parse_comment`], [`network::parse`],
//! [`resolv::Resolv::parse`], [`hosts::Extra::parse`].

mod attach;
mod bridge;
mod choose;
mod error;
mod firewall;
pub mod hosts;
mod lease;
pub mod netlink;
pub mod netns;
pub mod network;
pub mod nft;
pub mod pasta;
pub mod resolv;
pub mod route;
mod subnet;

pub use attach::{Attachment, Options};
pub use bridge::{Notice, Ready};
pub use error::{Error, Result};
pub use lease::Lease;
pub use network::{Definition, Network, Networks};
pub use subnet::{Mac, Subnet};
