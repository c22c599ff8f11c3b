//! From packages to a file tree, and from the tree to a layer.
//!
//! Maintainer scripts are not run. What the scripts of the packages at the
//! bottom of a system would have done, and programs cannot do without, is
//! done here from the packages' own data:
//!
//! - `/bin`, `/sbin` and `/lib*` are links into `/usr`, and what packages
//!   ship there lies in `/usr` (`merge`);
//! - users, groups and the usual directories (`skeleton`);
//! - defaults that packages keep in `/usr/share` (`defaults`);
//! - `update-alternatives --install` with literal words ([`alternatives`]);
//! - the bundle of ca-certificates (`certificates`);
//! - the names of busybox's programs, if busybox was asked for ([`busybox`]).
//!
//! dpkg's database lists all packages as installed (`database`), with
//! their scripts, so that `dpkg-reconfigure` can run what was not run; and
//! `/var/lib/hako/sbom.spdx.json` lists them in SPDX (`sbom`).

pub mod alternatives;
pub mod busybox;
mod certificates;
mod database;
mod defaults;
mod layer;
mod merge;
mod sbom;
mod skeleton;
mod tree;

pub use layer::{Layer, write};
pub(crate) use sbom::PATH as SBOM_PATH;
pub use tree::{Content, Node, Tree};

use crate::error::Result;
use crate::package::Deb;
use crate::release::Release;
use crate::resolve::Candidate;
use std::fs::File;

/// A package that goes into the image.
#[derive(Debug)]
pub struct Part {
    /// What the index says of it.
    pub candidate: Candidate,
    /// Its control files, entries and contents.
    pub deb: Deb,
    /// Whether it was asked for by name.
    pub requested: bool,
}

/// What the whole is made from besides the packages.
#[derive(Debug, Clone)]
pub struct Basis<'a> {
    /// The release that the first requested package comes from.
    pub release: &'a Release,
    /// Debian's name of the architecture.
    pub architecture: &'a str,
    /// Limit for times, in seconds since 1970.
    pub epoch: Option<u64>,
}

/// A tree that is complete.
#[derive(Debug)]
pub struct Assembled {
    /// The files.
    pub tree: Tree,
    /// The image's time in seconds since 1970.
    pub created: u64,
}

/// Puts the packages together; they are sorted by name.
///
/// # Errors
/// Two packages claim a path, or a package's content cannot be read.
pub fn assemble(parts: &[Part], basis: &Basis<'_>) -> Result<Assembled> {
    let newest = parts
        .iter()
        .flat_map(|part| &part.deb.entries)
        .map(|entry| entry.mtime)
        .max()
        .unwrap_or(0);
    let created = basis.epoch.unwrap_or(newest);
    let mut tree = merge::merge(parts)?;
    tree.default_time = created;
    defaults::add(&mut tree, parts)?;
    alternatives::add(&mut tree, parts);
    certificates::add(&mut tree, parts)?;
    busybox::add(&mut tree, parts)?;
    skeleton::add(&mut tree, basis);
    database::add(&mut tree, parts);
    sbom::add(&mut tree, parts, basis, created);
    tree.complete();
    tree.clamp(created);
    Ok(Assembled { tree, created })
}

/// The spools of the parts, for reading contents.
fn spool(parts: &[Part], package: usize) -> Option<&File> {
    parts.get(package).map(|part| &part.deb.spool)
}

#[cfg(test)]
pub(crate) mod tests;
