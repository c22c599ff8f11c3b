//! Networks with real interfaces, inside network namespaces that the tests make:
//! the machine's own network is never touched. Needs root, `ip`, `nft` and
//! `nsenter`; fails without them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod bridge;
mod leases;
mod machine;
mod pasta;
mod traffic;
