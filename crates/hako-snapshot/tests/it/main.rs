//! Layers and snapshots as the engine uses them. These tests need root: they
//! mount in mount namespaces of their own.

mod backends;
mod death;
mod fixture;
mod ids;
mod mounts;
mod parallel;
mod unpack;
