//! The documents of the OCI image specification, 1.1, and of Docker's image
//! format version 2, which have the same shapes under other media types.

pub mod annotation;
mod config;
mod descriptor;
mod layout;
pub mod media_type;

pub use crate::object::KeySet;
pub use config::{Healthcheck, History, Image, ImageConfig, RootFs};
pub use descriptor::{Descriptor, Index, Manifest};
pub use layout::Layout;
