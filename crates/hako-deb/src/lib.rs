//! Debian packages to a reproducible image layer
pub mod ar;
pub mod codec;
pub mod control;
mod error;
pub mod openpgp;
pub mod relation;
mod request;
pub mod sources;
pub mod version;
pub use error::{Error, Result};
pub use request::{Item, Request};
