//! Which packages, in which versions, a request needs.
//!
//! A search with backtracking over the dependency groups (`a | b`): what has
//! one possibility is decided first, then the rest in the order in which it
//! came up, each with the alternatives in their order, real packages before
//! providers, and the preferred version first. Recommends are not followed,
//! and Essential packages come in only where something depends on them. The
//! same archives give the same answer.

mod explain;

use crate::error::{Error, Result};
use crate::index::Package;
use crate::relation::{Alternatives, Relation};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// Most decisions before the search is given up.
const MOST_STEPS: usize = 200_000;

/// Most packages in one image.
const MOST_PACKAGES: usize = 20_000;

/// A package and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The package.
    pub package: Package,
    /// Number of the archive that has it, as the [`Universe`] counts.
    pub origin: usize,
}

/// What can be had.
pub trait Universe {
    /// The packages of this name, the preferred one first.
    ///
    /// # Errors
    /// An index cannot be read.
    fn packages(&self, name: &str) -> Result<Vec<Rc<Candidate>>>;

    /// The packages that provide this virtual package, the preferred one
    /// first.
    ///
    /// # Errors
    /// An index cannot be read.
    fn providers(&self, name: &str) -> Result<Vec<Rc<Candidate>>>;
}

/// What the search starts from: one of these packages must be chosen.
#[derive(Debug, Clone)]
pub struct Goal {
    /// What was asked for, in words.
    pub wanted: String,
    /// The packages that satisfy it, the preferred one first.
    pub options: Vec<Rc<Candidate>>,
}

/// Finds packages for all goals and all that they depend upon, sorted by
/// name.
///
/// # Errors
/// There is no such set, with the first obstacle in words; or the search
/// was given up.
pub fn resolve(
    universe: &dyn Universe,
    goals: &[Goal],
    architecture: &str,
) -> Result<Vec<Rc<Candidate>>> {
    let mut search = Search {
        universe,
        architecture,
        chosen: BTreeMap::new(),
        trail: Vec::new(),
        provided: HashMap::new(),
        conflicts: Vec::new(),
        forced: Vec::new(),
        open: Vec::new(),
        forced_at: 0,
        open_at: 0,
        options: HashMap::new(),
        obstacle: None,
    };
    for goal in goals {
        let clause = Clause {
            owner: None,
            text: goal.wanted.clone(),
            group: Vec::new(),
            options: goal.options.clone().into(),
        };
        search.forced.push(Rc::new(clause));
    }
    search.run()?;
    Ok(search.chosen.into_values().collect())
}

/// One of the options must be chosen.
struct Clause {
    /// Who depends, `None` for what was asked for.
    owner: Option<Rc<Candidate>>,
    /// The group in words.
    text: String,
    group: Alternatives,
    options: Rc<[Rc<Candidate>]>,
}

/// A decision that may be taken back, with what to take back to.
struct Frame {
    clause: Rc<Clause>,
    next: usize,
    trail: usize,
    conflicts: usize,
    forced: usize,
    open: usize,
    forced_at: usize,
    open_at: usize,
}

struct Search<'a> {
    universe: &'a dyn Universe,
    architecture: &'a str,
    chosen: BTreeMap<String, Rc<Candidate>>,
    /// The chosen ones in the order of choice.
    trail: Vec<Rc<Candidate>>,
    /// Who of the chosen provides a virtual package.
    provided: HashMap<String, Vec<Rc<Candidate>>>,
    /// What the chosen exclude, and who.
    conflicts: Vec<(Rc<Candidate>, Relation)>,
    /// Groups with one possibility, and the others, each with a read mark.
    forced: Vec<Rc<Clause>>,
    open: Vec<Rc<Clause>>,
    forced_at: usize,
    open_at: usize,
    /// Options by the text of a group, which many packages share.
    options: HashMap<String, Rc<[Rc<Candidate>]>>,
    /// The first dead end.
    obstacle: Option<String>,
}

impl Search<'_> {
    fn run(&mut self) -> Result<()> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut steps = 0;
        while let Some(clause) = self.next_clause() {
            steps += 1;
            if steps > MOST_STEPS || self.trail.len() > MOST_PACKAGES {
                return Err(self.failure(Some(
                    "the search was given up, there are too many possibilities",
                )));
            }
            if self.satisfied(&clause) {
                continue;
            }
            frames.push(Frame {
                clause,
                next: 0,
                trail: self.trail.len(),
                conflicts: self.conflicts.len(),
                forced: self.forced.len(),
                open: self.open.len(),
                forced_at: self.forced_at,
                open_at: self.open_at,
            });
            self.decide(&mut frames, &mut steps)?;
        }
        Ok(())
    }

    fn next_clause(&mut self) -> Option<Rc<Clause>> {
        if let Some(clause) = self.forced.get(self.forced_at) {
            self.forced_at += 1;
            return Some(clause.clone());
        }
        let clause = self.open.get(self.open_at)?.clone();
        self.open_at += 1;
        Some(clause)
    }

    /// Takes the next option that fits, going back as far as needed.
    fn decide(&mut self, frames: &mut Vec<Frame>, steps: &mut usize) -> Result<()> {
        while let Some(frame) = frames.last_mut() {
            *steps += 1;
            if *steps > MOST_STEPS {
                return Err(self.failure(Some(
                    "the search was given up, there are too many possibilities",
                )));
            }
            let (clause, at) = (frame.clause.clone(), frame.next);
            frame.next += 1;
            self.rewind(frame);
            let Some(option) = clause.options.get(at) else {
                if at == 0 || clause.options.len() == at {
                    self.note(&clause)?;
                }
                frames.pop();
                continue;
            };
            if self.hindrance(option).is_none() {
                return self.choose(option);
            }
        }
        Err(self.failure(None))
    }

    fn rewind(&mut self, frame: &Frame) {
        for gone in self.trail.drain(frame.trail..) {
            self.chosen.remove(&gone.package.name);
            for (name, _) in &gone.package.provides {
                if let Some(list) = self.provided.get_mut(name) {
                    list.retain(|other| !Rc::ptr_eq(other, &gone));
                }
            }
        }
        self.conflicts.truncate(frame.conflicts);
        self.forced.truncate(frame.forced);
        self.open.truncate(frame.open);
        self.forced_at = frame.forced_at;
        self.open_at = frame.open_at;
    }

    fn choose(&mut self, candidate: &Rc<Candidate>) -> Result<()> {
        let package = &candidate.package;
        self.trail.push(candidate.clone());
        self.chosen.insert(package.name.clone(), candidate.clone());
        for (name, _) in &package.provides {
            self.provided
                .entry(name.clone())
                .or_default()
                .push(candidate.clone());
        }
        for relation in &package.conflicts {
            self.conflicts.push((candidate.clone(), relation.clone()));
        }
        for group in &package.depends {
            let text = words(group);
            let options = self.options_of(&text, group)?;
            let names: HashSet<&str> = options.iter().map(|o| o.package.name.as_str()).collect();
            let forced = names.len() <= 1;
            let clause = Rc::new(Clause {
                owner: Some(candidate.clone()),
                text,
                group: group.clone(),
                options,
            });
            if forced {
                self.forced.push(clause);
            } else {
                self.open.push(clause);
            }
        }
        Ok(())
    }

    /// All packages that satisfy a group, in the order of preference.
    fn options_of(&mut self, text: &str, group: &Alternatives) -> Result<Rc<[Rc<Candidate>]>> {
        if let Some(known) = self.options.get(text) {
            return Ok(known.clone());
        }
        let mut options: Vec<Rc<Candidate>> = Vec::new();
        for relation in group {
            if !self.right_architecture(relation) {
                continue;
            }
            for candidate in self.universe.packages(&relation.name)? {
                if relation.admits(Some(candidate.package.version.as_str())) {
                    options.push(candidate);
                }
            }
            for candidate in self.universe.providers(&relation.name)? {
                if provides(&candidate.package, relation) {
                    options.push(candidate);
                }
            }
        }
        let mut seen = HashSet::new();
        options.retain(|o| {
            seen.insert((
                o.package.name.clone(),
                o.package.version.to_string(),
                o.package.sha256,
            ))
        });
        let options: Rc<[Rc<Candidate>]> = options.into();
        self.options.insert(text.to_owned(), options.clone());
        Ok(options)
    }

    /// An image has one architecture, so `:any` and `:native` hold of
    /// itself, and a named one only if it is that one.
    fn right_architecture(&self, relation: &Relation) -> bool {
        relation
            .architecture
            .as_deref()
            .is_none_or(|a| a == "any" || a == "native" || a == self.architecture)
    }

    fn satisfied(&self, clause: &Clause) -> bool {
        if clause.owner.is_none() {
            let is_chosen = |option: &&Rc<Candidate>| {
                self.chosen
                    .get(&option.package.name)
                    .is_some_and(|c| c.package == option.package)
            };
            return clause.options.iter().any(|option| is_chosen(&option));
        }
        clause.group.iter().any(|relation| {
            let chosen = self.chosen.get(&relation.name);
            self.right_architecture(relation)
                && (chosen.is_some_and(|c| relation.admits(Some(c.package.version.as_str())))
                    || self
                        .provided
                        .get(&relation.name)
                        .is_some_and(|all| all.iter().any(|c| provides(&c.package, relation))))
        })
    }

    /// Why an option cannot be added to what is chosen.
    fn hindrance(&self, option: &Candidate) -> Option<String> {
        let package = &option.package;
        if let Some(other) = self.chosen.get(&package.name) {
            return (other.package != *package).then(|| {
                format!(
                    "{} {} is already chosen",
                    package.name, other.package.version
                )
            });
        }
        for (owner, relation) in &self.conflicts {
            if excludes(relation, package) {
                return Some(format!("{} conflicts with {relation}", owner.package.name));
            }
        }
        for relation in &package.conflicts {
            let named = self.chosen.get(&relation.name).into_iter();
            let virtually = self.provided.get(&relation.name).into_iter().flatten();
            if let Some(other) = named
                .chain(virtually)
                .find(|c| excludes(relation, &c.package))
            {
                return Some(format!(
                    "{} conflicts with {}",
                    package.name, other.package.name
                ));
            }
        }
        None
    }
}

/// Whether a package provides what a relation asks for (Policy 7.5).
fn provides(package: &Package, relation: &Relation) -> bool {
    package.provides.iter().any(|(name, version)| {
        *name == relation.name && relation.admits(version.as_ref().map(|v| v.as_str()))
    })
}

/// Whether a Conflicts or Breaks hits a package, itself or as a provider.
fn excludes(relation: &Relation, package: &Package) -> bool {
    if relation.name == package.name {
        relation.admits(Some(package.version.as_str()))
    } else {
        provides(package, relation)
    }
}

/// A group as it is written.
fn words(group: &Alternatives) -> String {
    group
        .iter()
        .map(Relation::to_string)
        .collect::<Vec<_>>()
        .join(" | ")
}

#[cfg(test)]
mod tests;
