//! Container networks: bridge, addresses, NAT, user-mode networking

mod attach;
mod bridge;
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
