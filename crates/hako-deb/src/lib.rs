//! Debian packages to a reproducible image, without a registry, without root
//! and without running anything of the packages.
//!
//! `deb:bash,coreutils` ([`Request`]) is answered from the machine's own apt
//! sources ([`sources`]). Nothing is believed that is not signed: a release
//! must have a signature that counts ([`openpgp`]), it promises the hashes of
//! its indexes ([`release`], [`mod@index`]), and they promise the hashes of the
//! packages. What the packages need is found by a search ([`resolve`]), they
//! are taken apart ([`package`]) and put together as one layer ([`assemble`])
//! whose digest depends on the packages alone.
//!
//! [`image`] does all of it. The parsers of foreign data are public for the
//! fuzzers: [`ar::scan`], [`package::scan`], [`control::paragraphs`],
//! [`relation::parse`], [`version::compare`], [`sources::parse_oneline`],
//! [`sources::parse_deb822`], [`sources::parse_settings`],
//! [`openpgp::cleartext::parse`], [`openpgp::Keyring::add`],
//! [`openpgp::verify`], [`release::parse`], [`index::parse_record`],
//! [`index::read`], [`assemble::alternatives::parse`],
//! [`assemble::busybox::applets`], and `Request`'s `FromStr`.

pub mod ar;
mod archive;
pub mod assemble;
mod cache;
pub mod codec;
pub mod control;
mod date;
mod error;
mod fetch;
mod image;
pub mod index;
pub mod openpgp;
mod options;
pub mod package;
pub mod relation;
pub mod release;
mod request;
pub mod resolve;
pub mod sources;
mod universe;
pub mod version;

pub use archive::Archive;
pub use error::{Error, Result};
pub use image::{Built, PACKAGES, Planned, REQUEST, SBOM, image, plan};
pub use options::{Event, Options, Progress};
pub use request::{Item, Request};
