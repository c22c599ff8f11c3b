//! Registry client: resolve, fetch, verify, authenticate.
//!
//! The crate has two doors. [`http::Http`] is the one HTTP client of the
//! project: it knows our resolver, the proxies, the trusted certificates,
//! time limits, retries and which redirects are harmless. [`Client`] speaks
//! the OCI distribution specification on top of it and never hands out a byte
//! of a manifest that was not hashed.
//!
//! What comes from a registry is hostile until proven otherwise: every body
//! has a limit, every digest and size is checked, credentials go to the host
//! that they were stored for (and the token service that it names) alone.

pub mod auth;
pub mod client;
pub mod dns;
pub mod download;
pub mod environment;
pub mod error;
pub mod hash;
pub mod http;
pub mod registries;
mod tls;

pub use client::Client;
pub use environment::Environment;
pub use error::{Error, Kind, Result};
