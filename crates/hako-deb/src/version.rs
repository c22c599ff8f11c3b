//! Debian version numbers and their order (Debian Policy 5.6.12,
//! deb-version(7)): `[epoch:]upstream[-revision]`, `~` before everything,
//! even the end.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version number whose characters have been checked.
///
/// Equality is that of the order: `1.0` and `0:1.0-0` are equal.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no version number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing, or nothing before the revision.
    #[error("the version is empty")]
    Empty,
    /// The epoch is no number that fits dpkg's limit.
    #[error("the version's epoch is not a number up to 2147483647")]
    Epoch,
    /// A character that versions do not have.
    #[error("the version has the character {0:?}")]
    Character(char),
}

impl FromStr for Version {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (epoch, upstream, revision) = split(text);
        let number = epoch.bytes().all(|c| c.is_ascii_digit()) && epoch.parse::<i32>().is_ok();
        if text.contains(':') && !number {
            return Err(Invalid::Epoch);
        }
        if upstream.is_empty() || (text.contains('-') && revision.is_empty()) {
            return Err(Invalid::Empty);
        }
        let allowed = |c: char, extra: &str| {
            c.is_ascii_alphanumeric() || ".+~".contains(c) || extra.contains(c)
        };
        if let Some(c) = upstream.chars().find(|c| !allowed(*c, "-:")) {
            return Err(Invalid::Character(c));
        }
        if let Some(c) = revision.chars().find(|c| !allowed(*c, "")) {
            return Err(Invalid::Character(c));
        }
        Ok(Self(text.to_owned()))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

/// Orders two version texts. Any text has a place: what is no version is
/// ordered by the same rules.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split(a);
    let (epoch_b, upstream_b, revision_b) = split(b);
    part(epoch_a.as_bytes(), epoch_b.as_bytes())
        .then_with(|| part(upstream_a.as_bytes(), upstream_b.as_bytes()))
        .then_with(|| part(revision_a.as_bytes(), revision_b.as_bytes()))
}

/// Epoch, upstream version and revision; what is absent is empty, which the
/// comparison treats like zero.
fn split(text: &str) -> (&str, &str, &str) {
    let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares two parts: by turns a stretch of non-digits, in which letters
/// come before other characters and `~` before the end, and a number.
fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let text_a = take(&mut a, |c| !c.is_ascii_digit());
        let text_b = take(&mut b, |c| !c.is_ascii_digit());
        for i in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.get(i)).cmp(&weight(text_b.get(i)));
            if order != Ordering::Equal {
                return order;
            }
        }
        let order = number(
            take(&mut a, u8::is_ascii_digit),
            take(&mut b, u8::is_ascii_digit),
        );
        if order != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return order;
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|c| !wanted(c)).unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    *rest = tail;
    head
}

/// `~`, the end (and a digit, which ends the stretch), letters, all others.
fn weight(c: Option<&u8>) -> u16 {
    match c {
        Some(b'~') => 0,
        None => 1,
        Some(c) if c.is_ascii_alphabetic() => 1 + u16::from(*c),
        Some(c) => 1 + 256 + u16::from(*c),
    }
}

/// Compares digit strings of any length by value.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |n: &[u8]| {
        let zeros = n.iter().take_while(|c| **c == b'0').count();
        n.len() - zeros
    };
    let (len_a, len_b) = (significant(a), significant(b));
    len_a.cmp(&len_b).then_with(|| {
        a.iter()
            .rev()
            .take(len_a)
            .rev()
            .cmp(b.iter().rev().take(len_b).rev())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_of_policy_and_dpkg() {
        // deb-version(7)'s examples, and pairs that dpkg's own test uses.
        for (a, order, b) in [
            ("~~", '<', "~~a"),
            ("~~a", '<', "~"),
            ("~", '<', ""),
            ("", '<', "a"),
            ("1.0~beta1~svn1245", '<', "1.0~beta1"),
            ("1.0~beta1", '<', "1.0"),
            ("1.0", '=', "0:1.0"),
            ("1.0", '=', "1.0-0"),
            ("1.0", '=', "01.00"),
            ("1.0-1", '>', "1.0"),
            ("1:0.4", '>', "10.3"),
            ("2.0.7pre1-4", '<', "2.0.7r-1"),
            ("2.5", '<', "7.5"),
            ("1.2.3", '<', "1.2.3-1"),
            ("1.2a", '<', "1.2+"),
            ("1.2+b1", '<', "1.2.1"),
            ("1.2.4", '>', "1.2.3-9"),
            ("1.10", '>', "1.9"),
            ("1.0-1.1", '>', "1.0-1"),
            ("1.0-1", '<', "1.0-1+b1"),
            ("1.0-1+deb12u1", '>', "1.0-1"),
            ("20250419~deb12u2", '<', "20250419"),
            ("1:1.35.0-4+deb12u1+b1", '>', "1:1.35.0-4+deb12u1"),
            ("99999999999999999999999", '>', "99999999999999999999998"),
            ("1-1-2", '>', "1-1"),
            ("a", '<', "aa"),
            ("0a", '<', "00b"),
        ] {
            let expected = match order {
                '<' => Ordering::Less,
                '=' => Ordering::Equal,
                _ => Ordering::Greater,
            };
            assert_eq!(compare(a, b), expected, "{a} {order} {b}");
            assert_eq!(compare(b, a), expected.reverse(), "{b} against {a}");
        }
    }

    #[test]
    fn what_is_no_version() {
        for text in [
            "",
            "-1",
            "1-",
            "1_0",
            "a:1",
            ":1",
            "1:",
            "4294967296:1",
            "1-1_",
            "1 2",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        for text in [
            "1",
            "0:1",
            "1-2-3",
            "1:2:3-4",
            "1~rc1+dfsg-1",
            "5.2.15-2+b13",
        ] {
            assert!(text.parse::<Version>().is_ok(), "{text:?}");
        }
    }

    /// dpkg itself is the oracle; Debian's dpkg is on every machine that
    /// runs these tests.
    #[test]
    fn agrees_with_dpkg() {
        let pool = [
            "1.0",
            "1.0-1",
            "1.0~rc1",
            "1.0+b1",
            "1.0a",
            "1.0.1",
            "1:0.1",
            "0",
            "00",
            "1.0-0",
            "1.0-0.1",
            "9.1-1",
            "10",
            "1.0~~",
            "1.0~",
            "1.0-1~bpo12+1",
            "2.36-9+deb12u14",
            "1.0-1a",
            "1.0.",
            "1.0+",
        ];
        for a in pool {
            for b in pool {
                let word = match compare(a, b) {
                    Ordering::Less => "lt",
                    Ordering::Equal => "eq",
                    Ordering::Greater => "gt",
                };
                let status = std::process::Command::new("dpkg")
                    .args(["--compare-versions", a, word, b])
                    .status()
                    .expect("dpkg runs");
                assert!(status.success(), "dpkg does not say {a} {word} {b}");
            }
        }
    }

    proptest! {
        #[test]
        fn is_an_order(a in "[0-9a-c~.+:-]{0,8}", b in "[0-9a-c~.+:-]{0,8}", c in "[0-9a-c~.+:-]{0,8}") {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert!(compare(&a, &c) != Ordering::Greater);
            }
        }

        #[test]
        fn never_panics(a in ".*", b in ".*") {
            let _ = compare(&a, &b);
            let _ = a.parse::<Version>();
        }
    }
}
