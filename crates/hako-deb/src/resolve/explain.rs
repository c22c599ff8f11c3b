//! Why there is no answer, in words.

use super::{Clause, Error, Result, Search, provides};
use crate::relation::Relation;
use std::collections::BTreeSet;

impl Search<'_> {
    /// Keeps the first dead end: later ones are mostly its consequences.
    pub(super) fn note(&mut self, clause: &Clause) -> Result<()> {
        if self.obstacle.is_some() {
            return Ok(());
        }
        let subject = match &clause.owner {
            None => format!("{} is asked for", clause.text),
            Some(owner) => format!(
                "{} {} depends on {}",
                owner.package.name, owner.package.version, clause.text
            ),
        };
        let mut reasons = BTreeSet::new();
        if clause.options.is_empty() {
            for relation in &clause.group {
                reasons.insert(self.what_there_is(relation)?);
            }
        } else {
            for option in clause.options.iter() {
                reasons.extend(self.hindrance(option));
            }
        }
        let reasons: Vec<String> = reasons.into_iter().collect();
        self.obstacle = Some(match reasons.as_slice() {
            [] => format!("{subject}, whose dependencies cannot be satisfied"),
            reasons => format!("{subject} but {}", reasons.join(", ")),
        });
        Ok(())
    }

    /// The versions that can be had of what a relation names.
    fn what_there_is(&self, relation: &Relation) -> Result<String> {
        if !self.right_architecture(relation) {
            return Ok(format!("the image is of {}", self.architecture));
        }
        let mut versions: Vec<String> = Vec::new();
        for candidate in self.universe.packages(&relation.name)? {
            let version = candidate.package.version.to_string();
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        for candidate in self.universe.providers(&relation.name)? {
            if !provides(&candidate.package, relation) {
                versions.push(format!("one provided by {}", candidate.package.name));
            }
        }
        versions.truncate(5);
        Ok(match versions.as_slice() {
            [] => format!("{} is not to be had", relation.name),
            [one] => format!("{one} is to be had"),
            many => format!("{} are to be had", many.join(", ")),
        })
    }

    pub(super) fn failure(&mut self, verdict: Option<&str>) -> Error {
        let obstacle = self.obstacle.take();
        Error::Unresolvable(match (verdict, obstacle) {
            (Some(verdict), Some(obstacle)) => format!("{verdict}; the first obstacle: {obstacle}"),
            (Some(verdict), None) => verdict.to_owned(),
            (None, Some(obstacle)) => obstacle,
            (None, None) => "the packages cannot be had together".to_owned(),
        })
    }
}
