//! Device rules folded into a default and its exceptions.

use std::fmt;

use hako_spec::runtime::{DeviceKind, DeviceRule};

use crate::error::{Error, Result};

/// What a rule grants or takes, as bits of `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Making a node.
    pub const MKNOD: Self = Self(1);
    /// Reading.
    pub const READ: Self = Self(2);
    /// Writing.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    /// Reads `rwm` in any order; `None` for any other letter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.chars().try_fold(Self(0), |bits, letter| {
            let bit = match letter {
                'm' => Self::MKNOD,
                'r' => Self::READ,
                'w' => Self::WRITE,
                _ => return None,
            };
            Some(Self(bits.0 | bit.0))
        })
    }

    /// The bits, as the kernel hands them to a device filter.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The two kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Character device.
    Char,
    /// Block device.
    Block,
}

/// Devices for which the default does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Which kind.
    pub kind: Kind,
    /// Which major number; `None` for all.
    pub major: Option<u32>,
    /// Which minor number; `None` for all.
    pub minor: Option<u32>,
    /// For what use.
    pub access: Access,
}

impl Exception {
    fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether this one covers every device of `other`.
    fn covers(&self, other: &Self) -> bool {
        let covers = |mine: Option<u32>, theirs| mine.is_none() || mine == theirs;
        self.kind == other.kind
            && covers(self.major, other.major)
            && covers(self.minor, other.minor)
    }

    /// Whether some device is covered by both.
    fn meets(&self, other: &Self) -> bool {
        let meets = |mine: Option<u32>, theirs: Option<u32>| {
            mine.is_none() || theirs.is_none() || mine == theirs
        };
        self.kind == other.kind && meets(self.major, other.major) && meets(self.minor, other.minor)
    }
}

impl fmt::Display for Exception {
    /// As `devices.allow` and `devices.deny` read it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = match self.kind {
            Kind::Char => 'c',
            Kind::Block => 'b',
        };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in [
            (Access::READ, 'r'),
            (Access::WRITE, 'w'),
            (Access::MKNOD, 'm'),
        ] {
            if self.access.overlaps(bit) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// What a container may do with devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whether a device without an exception may be used.
    pub default_allow: bool,
    /// The devices that are treated the other way.
    pub exceptions: Vec<Exception>,
}

impl Policy {
    /// Folds the rules, from "nothing is allowed" on.
    ///
    /// A rule for all devices and all uses sets the default and drops the
    /// exceptions. Taking away part of what another exception covers is an
    /// error: version 1 of the kernel would ignore it in silence, and leave
    /// the device open.
    pub fn build(rules: &[DeviceRule]) -> Result<Self> {
        let mut policy = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            policy.fold(rule).map_err(|reason| Error::Invalid {
                field: format!("devices[{index}]"),
                reason,
            })?;
        }
        Ok(policy)
    }

    /// Adds the default devices, as far as no rule stands against it.
    pub(super) fn add_defaults(&mut self) {
        if self.default_allow {
            // Exceptions here are what the caller denies; that has priority.
            return;
        }
        for rule in super::default_rules() {
            // These add to an allow list, which cannot fail.
            let _ = self.fold(&rule);
        }
    }

    fn fold(&mut self, rule: &DeviceRule) -> Result<(), String> {
        let major = number("major", rule.major)?;
        let minor = number("minor", rule.minor)?;
        let access = match rule.access.as_deref() {
            None => Access::ALL,
            Some(text) => Access::parse(text).ok_or_else(|| {
                format!("has access {text:?}, of which only r, w and m are known")
            })?,
        };
        let kinds: &[Kind] = match &rule.kind {
            None | Some(DeviceKind::All) => &[Kind::Char, Kind::Block],
            Some(DeviceKind::Char | DeviceKind::Unbuffered) => &[Kind::Char],
            Some(DeviceKind::Block) => &[Kind::Block],
            Some(other) => return Err(format!("has type {other}, which is no device")),
        };
        let all = kinds.len() == 2 && major.is_none() && minor.is_none();
        if all && (access == Access::ALL || !rule.allow) {
            // A wide denial of some uses denies all: never less than asked.
            self.default_allow = rule.allow;
            self.exceptions.clear();
            return Ok(());
        }
        for kind in kinds {
            let exception = Exception {
                kind: *kind,
                major,
                minor,
                access,
            };
            if rule.allow == self.default_allow {
                self.remove(&exception)?;
            } else {
                self.add(exception);
            }
        }
        Ok(())
    }

    fn add(&mut self, new: Exception) {
        if new.access == Access(0) {
            return;
        }
        match self.exceptions.iter_mut().find(|e| e.same_devices(&new)) {
            Some(old) => old.access = Access(old.access.0 | new.access.0),
            None => self.exceptions.push(new),
        }
    }

    fn remove(&mut self, gone: &Exception) -> Result<(), String> {
        if let Some(wider) = self
            .exceptions
            .iter()
            .find(|e| e.meets(gone) && !gone.covers(e) && e.access.overlaps(gone.access))
        {
            return Err(format!(
                "({gone}) cannot take back a part of what an earlier rule ({wider}) covers"
            ));
        }
        for exception in &mut self.exceptions {
            // Also those that the wider rule covers whole.
            if gone.covers(exception) {
                exception.access = exception.access.without(gone.access);
            }
        }
        self.exceptions.retain(|e| e.access != Access(0));
        Ok(())
    }
}

/// -1 is another way to say "all".
fn number(name: &str, value: Option<i64>) -> Result<Option<u32>, String> {
    match value {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| format!("has {name} number {n}, which is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn rule(allow: bool, text: &str) -> DeviceRule {
        let mut parts = text.split([' ', ':']);
        let kind = match parts.next().unwrap() {
            "a" => None,
            "b" => Some(DeviceKind::Block),
            _ => Some(DeviceKind::Char),
        };
        let mut number = || parts.next().unwrap().parse().ok();
        let (major, minor) = (number(), number());
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: parts.next().map(str::to_owned),
            ..DeviceRule::default()
        }
    }

    fn build(rules: &[(bool, &str)]) -> Result<(bool, Vec<String>)> {
        let rules: Vec<_> = rules
            .iter()
            .map(|(allow, text)| rule(*allow, text))
            .collect();
        let policy = Policy::build(&rules)?;
        let text = policy.exceptions.iter().map(Exception::to_string);
        Ok((policy.default_allow, text.collect()))
    }

    #[test]
    fn nothing_is_allowed_at_first() {
        assert_eq!(build(&[]).unwrap(), (false, vec![]));
    }

    #[test]
    fn rules_in_order() {
        let (allow, list) = build(&[
            (true, "c 1:3 r"),
            (false, "a *:* rwm"),
            (true, "c 1:3 r"),
            (true, "c 1:3 w"),
            (true, "b 8:* rm"),
            (false, "c 1:3 r"),
        ])
        .unwrap();
        assert!(!allow);
        assert_eq!(list, ["c 1:3 w", "b 8:* rm"]);
    }

    /// All of major 0 and all with minor 1 have one device in common.
    #[test]
    fn rules_that_cross() {
        let error = build(&[(true, "a 0:* w"), (false, "a *:1 w")]).unwrap_err();
        assert!(error.to_string().contains("devices[1]"), "{error}");
        let error = build(&[(true, "a *:* rwm"), (false, "c 0:* w"), (true, "c *:1 w")]);
        assert!(error.is_err());
        // They have no use in common, or no device.
        build(&[(true, "c 0:* w"), (false, "c *:1 r")]).unwrap();
        build(&[(true, "c 0:* w"), (false, "b *:1 w")]).unwrap();
        build(&[(true, "c 0:2 w"), (false, "c *:1 w")]).unwrap();
    }

    #[test]
    fn a_deny_list() {
        let (allow, list) = build(&[
            (true, "a *:* rwm"),
            (false, "c 5:1 rw"),
            (false, "b 8:0 w"),
            (true, "b 8:0 w"),
        ])
        .unwrap();
        assert!(allow);
        assert_eq!(list, ["c 5:1 rw"]);
    }

    #[test]
    fn wide_rules() {
        // Some uses of everything is not everything.
        let (allow, list) = build(&[(true, "a *:* r")]).unwrap();
        assert_eq!(
            (allow, list.join(",")),
            (false, "c *:* r,b *:* r".to_owned())
        );
        // Numbers without a type mean both types.
        let (_, list) = build(&[(true, "a 7:1 rw")]).unwrap();
        assert_eq!(list, ["c 7:1 rw", "b 7:1 rw"]);
        // Denying everything in part denies everything.
        assert_eq!(
            build(&[(true, "c 1:3 rwm"), (false, "a *:* w")]).unwrap(),
            (false, vec![])
        );
        // A wider denial takes narrower permissions with it.
        let (_, list) =
            build(&[(true, "c 1:3 rwm"), (true, "c 2:3 r"), (false, "c 1:* rw")]).unwrap();
        assert_eq!(list, ["c 1:3 m", "c 2:3 r"]);
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_an_error() {
        let e = build(&[(true, "c 1:* rwm"), (false, "c 1:3 w")]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "devices[1] (c 1:3 w) cannot take back a part of what an earlier rule (c 1:* rwm) covers"
        );
        build(&[(true, "c 1:* r"), (false, "c 1:3 w")]).unwrap();
    }

    #[test]
    fn bad_rules() {
        for (text, part) in [
            ("c 1:3 x", "access"),
            ("c 4294967296:1 r", "major"),
            ("c 1:-2 r", "minor"),
        ] {
            let e = build(&[(true, text)]).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
        let mut pipe = rule(true, "c 1:3 r");
        pipe.kind = Some(DeviceKind::Fifo);
        assert!(Policy::build(&[pipe]).is_err());
        let mut minus_one = rule(true, "c 1:3 r");
        minus_one.minor = Some(-1);
        assert_eq!(
            Policy::build(&[minus_one]).unwrap().exceptions[0].minor,
            None
        );
    }

    #[test]
    fn defaults_do_not_undo_a_deny_list() {
        let mut policy =
            Policy::build(&[rule(true, "a *:* rwm"), rule(false, "c 1:3 rwm")]).unwrap();
        policy.add_defaults();
        assert_eq!(policy.exceptions.len(), 1);
        let mut policy = Policy::default();
        policy.add_defaults();
        assert_eq!(policy.exceptions.len(), 11);
    }
}
