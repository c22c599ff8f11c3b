//! All archives of a request as one choice of packages.
//!
//! Preference: releases that are named in the request come before others of
//! another name; within a release, suites that apt installs from without
//! being asked come before those marked NotAutomatic (backports,
//! experimental); then the highest version; then the order of the sources.

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::index::{Index, Package, Trouble};
use crate::request::{Item, Request};
use crate::resolve::{Candidate, Goal, Universe};
use crate::version;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// An archive and which release of the request it belongs to.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) archive: Archive,
    /// The release it was opened for; `None` for the machine's sources.
    pub(crate) release: Option<String>,
}

type Known = RefCell<HashMap<String, Vec<Rc<Candidate>>>>;

/// The archives with what was looked up in them.
pub(crate) struct Choice<'a> {
    members: &'a [Member],
    /// The releases in the order of the request.
    order: Vec<Option<String>>,
    packages: Known,
    providers: Known,
}

impl<'a> Choice<'a> {
    pub(crate) fn new(members: &'a [Member]) -> Self {
        let mut order = Vec::new();
        for member in members {
            if !order.contains(&member.release) {
                order.push(member.release.clone());
            }
        }
        Self {
            members,
            order,
            packages: Known::default(),
            providers: Known::default(),
        }
    }

    /// What the request asks for, as goals of the search.
    ///
    /// # Errors
    /// There is no such package, or not in that version.
    pub(crate) fn goals(&self, request: &Request) -> Result<Vec<Goal>> {
        request.items().iter().map(|item| self.goal(item)).collect()
    }

    fn goal(&self, item: &Item) -> Result<Goal> {
        let fits = |c: &Rc<Candidate>| {
            let release = self
                .members
                .get(c.origin)
                .and_then(|m| m.release.as_deref());
            release == item.release.as_deref()
        };
        let mut options: Vec<Rc<Candidate>> = self
            .packages(&item.name)?
            .into_iter()
            .filter(fits)
            .collect();
        if options.is_empty() && item.version.is_none() {
            options = self
                .providers(&item.name)?
                .into_iter()
                .filter(fits)
                .collect();
        }
        let place = item.release.as_ref().map_or_else(
            || "the configured sources".to_owned(),
            |release| format!("the release {release}"),
        );
        if options.is_empty() {
            return Err(Error::Unresolvable(format!(
                "{} is not a package in {place}",
                item.name
            )));
        }
        if let Some(wanted) = &item.version {
            let versions: Vec<String> = options
                .iter()
                .map(|o| o.package.version.to_string())
                .collect();
            options.retain(|o| version::compare(o.package.version.as_str(), wanted).is_eq());
            if options.is_empty() {
                return Err(Error::Unresolvable(format!(
                    "{} is not to be had in version {wanted} in {place}, but in {}",
                    item.name,
                    versions.join(", ")
                )));
            }
        }
        Ok(Goal {
            wanted: item.to_string(),
            options,
        })
    }

    fn find(
        &self,
        known: &Known,
        name: &str,
        look: impl Fn(&Index) -> std::result::Result<Vec<Package>, Trouble>,
        sort: impl Fn(&Candidate, &Candidate) -> std::cmp::Ordering,
    ) -> Result<Vec<Rc<Candidate>>> {
        if let Some(found) = known.borrow().get(name) {
            return Ok(found.clone());
        }
        let mut found: Vec<Candidate> = Vec::new();
        for (origin, member) in self.members.iter().enumerate() {
            for index in &member.archive.indexes {
                let what = || member.archive.source.release_url();
                let packages = look(index).map_err(|trouble| match trouble {
                    Trouble::Damaged(_) => Error::DamagedIndex { what: what() },
                    Trouble::Malformed(reason) => Error::Malformed {
                        what: what(),
                        reason,
                    },
                })?;
                found.extend(
                    packages
                        .into_iter()
                        .map(|package| Candidate { package, origin }),
                );
            }
        }
        found.sort_by(|a, b| {
            self.rank(a)
                .cmp(&self.rank(b))
                .then_with(|| sort(a, b))
                .then(a.origin.cmp(&b.origin))
        });
        let found: Vec<Rc<Candidate>> = found.into_iter().map(Rc::new).collect();
        known.borrow_mut().insert(name.to_owned(), found.clone());
        Ok(found)
    }

    fn rank(&self, candidate: &Candidate) -> (usize, bool) {
        let Some(member) = self.members.get(candidate.origin) else {
            return (usize::MAX, true);
        };
        let release = self.order.iter().position(|r| *r == member.release);
        (
            release.unwrap_or(usize::MAX),
            member.archive.release.not_automatic,
        )
    }
}

fn newest_first(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    version::compare(b.package.version.as_str(), a.package.version.as_str())
}

impl Universe for Choice<'_> {
    fn packages(&self, name: &str) -> Result<Vec<Rc<Candidate>>> {
        self.find(
            &self.packages,
            name,
            |index| index.packages(name),
            newest_first,
        )
    }

    fn providers(&self, name: &str) -> Result<Vec<Rc<Candidate>>> {
        self.find(
            &self.providers,
            name,
            |index| index.providers(name),
            |a, b| {
                (a.package.priority, &a.package.name)
                    .cmp(&(b.package.priority, &b.package.name))
                    .then_with(|| newest_first(a, b))
            },
        )
    }
}
