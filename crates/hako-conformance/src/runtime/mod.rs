//! Any OCI runtime against the runtime specification, through the command line
//! that runc defined and all runtimes have: `create`, `start`, `state`, `kill`,
//! `delete`.

mod bench;
mod bundle;
mod command;
mod config;
mod edit;
mod features;
mod holder;
mod lifecycle;
mod linux;
mod mountinfo;
mod receiver;
mod seen;
mod trial;

use crate::check::Check;

pub use bench::{Bench, Options, SetupError};
pub use command::Done;

/// Where the specification's documents are, in the release that the checks are
/// written for.
pub const SPECIFICATION: &str = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0";

/// The documents that have checks, in the specification's order.
pub const CHAPTERS: [&str; 7] = [
    "bundle.md",
    "runtime.md",
    "runtime-linux.md",
    "config.md",
    "config-linux.md",
    "features.md",
    "features-linux.md",
];

/// All checks, by chapter.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let chapters = [
        bundle::CHECKS,
        lifecycle::CHECKS,
        linux::RUNTIME,
        config::CHECKS,
        linux::CHECKS,
        features::CHECKS,
    ];
    chapters.into_iter().flatten().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_sections() {
        let mut names = BTreeSet::new();
        for check in checks() {
            assert!(names.insert(check.name), "{} is there twice", check.name);
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
            assert!(check.name.chars().all(plain), "{}", check.name);
            assert!(CHAPTERS.contains(&check.chapter()), "{}", check.section);
            assert!(check.section.contains('#'), "{}", check.section);
            assert!(check.demand.ends_with('.'), "{}", check.demand);
        }
        assert!(!names.is_empty());
    }
}
