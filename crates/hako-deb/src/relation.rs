//! Dependency fields (Debian Policy 7.1): `a (>= 1) | b:any, c`.

use crate::version::{self, Version};
use std::cmp::Ordering;
use std::fmt;

/// How a version is compared with the one that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=` (and the old `<`)
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=` (and the old `>`)
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `have` stands in this relation to `wanted`.
    pub fn holds(self, have: &str, wanted: &str) -> bool {
        let order = version::compare(have, wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }

    /// As it is written in a control file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

/// One package that is named, with what is asked of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package, real or virtual.
    pub name: String,
    /// The architecture after a colon: `any`, `native` or a name.
    pub architecture: Option<String>,
    /// The version that it must stand in relation to.
    pub version: Option<(Operator, Version)>,
}

impl Relation {
    /// Whether a version satisfies the relation. `None` is a virtual
    /// package without a version, which satisfies only a relation that
    /// names none (Policy 7.5).
    pub fn admits(&self, have: Option<&str>) -> bool {
        match (&self.version, have) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((operator, wanted)), Some(have)) => operator.holds(have, wanted.as_str()),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        if let Some((operator, version)) = &self.version {
            write!(f, " ({} {version})", operator.as_str())?;
        }
        Ok(())
    }
}

/// A text that is no dependency field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {reason}")]
pub struct Invalid {
    /// The part that cannot be read.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// One alternative or another: `a | b`.
pub type Alternatives = Vec<Relation>;

/// Reads a field: all of the groups must hold, one relation in each.
/// Empty parts (a trailing comma) are passed over, as dpkg does.
///
/// # Errors
/// A part is not of the form `name[:arch] [(op version)]`. Architecture
/// lists (`[amd64]`) and build profiles (`<!nocheck>`) belong to source
/// packages and are refused.
pub fn parse(field: &str) -> Result<Vec<Alternatives>, Invalid> {
    field
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(|group| group.split('|').map(relation).collect())
        .collect()
}

fn relation(text: &str) -> Result<Relation, Invalid> {
    let invalid = |reason| Invalid {
        text: text.trim().to_owned(),
        reason,
    };
    let (name, constraint) = match text.split_once('(') {
        None => (text.trim(), None),
        Some((name, rest)) => {
            let inner = rest
                .trim_end()
                .strip_suffix(')')
                .ok_or_else(|| invalid("the version has no closing parenthesis"))?;
            (name.trim(), Some(inner.trim()))
        }
    };
    let (name, architecture) = match name.split_once(':') {
        None => (name, None),
        Some((name, architecture)) => (name, Some(architecture)),
    };
    if !is_name(name) {
        return Err(invalid("not a package name"));
    }
    if architecture.is_some_and(|a| !is_architecture(a)) {
        return Err(invalid("not an architecture"));
    }
    let version = constraint
        .map(|text| {
            let split = text
                .find(|c| !matches!(c, '<' | '>' | '='))
                .unwrap_or(text.len());
            let (operator, version) = text.split_at(split);
            let operator = match operator {
                "<<" => Operator::Earlier,
                "<=" | "<" => Operator::EarlierOrEqual,
                "=" => Operator::Equal,
                ">=" | ">" => Operator::LaterOrEqual,
                ">>" => Operator::Later,
                _ => return Err(invalid("not a comparison")),
            };
            let version = version
                .trim()
                .parse::<Version>()
                .map_err(|_| invalid("not a version"))?;
            Ok((operator, version))
        })
        .transpose()?;
    Ok(Relation {
        name: name.to_owned(),
        architecture: architecture.map(str::to_owned),
        version,
    })
}

/// Whether a text is a package name (Policy 5.6.1: at least two characters,
/// lower case, digits, `+`, `-`, `.`, alphanumeric first). A single
/// character is let through, since archives outside Debian have such.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= 255
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c))
}

/// Whether a text has the form of an architecture's name.
pub fn is_architecture(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 64
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_fields() {
        let field = "libc6 (>= 2.36), mawk | awk:any(<<1:2~),\n libtinfo6 (=6.4-4), ";
        let all = parse(field).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].len(), 2);
        let text: Vec<String> = all.iter().flatten().map(Relation::to_string).collect();
        assert_eq!(
            text,
            [
                "libc6 (>= 2.36)",
                "mawk",
                "awk:any (<< 1:2~)",
                "libtinfo6 (= 6.4-4)"
            ]
        );
        assert!(all[0][0].admits(Some("2.36-9")));
        assert!(!all[0][0].admits(Some("2.35")));
        assert!(!all[0][0].admits(None));
        assert!(all[1][0].admits(None));
    }

    #[test]
    fn refuses_what_is_none() {
        for field in [
            "a (>= 1",
            "A",
            "a (1)",
            "a (>= )",
            "a [amd64]",
            "a <!x>",
            "a |",
            "a:",
            "a (== 1)",
            "a b",
        ] {
            assert!(parse(field).is_err(), "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(field in "[a-c0-9 :()<>=|,.~\n]{0,40}") {
            if let Ok(groups) = parse(&field) {
                let text = groups.iter()
                    .map(|g| g.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | "))
                    .collect::<Vec<_>>().join(", ");
                prop_assert_eq!(parse(&text).unwrap(), groups);
            }
        }
    }
}
