//! The client against servers that lie, stop, stall and ask for secrets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod auth;
mod blobs;

mod http;
mod manifests;
mod registry;
mod server;
mod tags;
mod tls;

use std::time::Duration;

use hako_distribution::auth::Keychain;
use hako_distribution::client::Options;
use hako_distribution::http::Http;
use hako_distribution::registries::Registries;
use hako_distribution::{Client, Environment};

/// An HTTP client that knows nothing of this machine and does not wait long.
pub(crate) fn quick_http() -> Http {
    Http::new(quick_options())
}

pub(crate) fn quick_options() -> hako_distribution::http::Options {
    hako_distribution::http::Options {
        pause: Duration::from_millis(1),
        stall_timeout: Duration::from_secs(2),
        environment: Environment::default(),
        ..Default::default()
    }
}

pub(crate) fn client(keychain: Keychain) -> Client {
    let options = Options {
        keychain,
        ..Options::default()
    };
    Client::new(quick_http(), options)
}

pub(crate) fn anonymous() -> Client {
    client(Keychain::empty())
}

pub(crate) fn with_registries(text: &str) -> Client {
    let mut registries = Registries::default();
    registries.add(text).unwrap();
    Client::new(
        quick_http(),
        Options {
            registries,
            ..Options::default()
        },
    )
}
