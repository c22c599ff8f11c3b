//! Container ids: they become directory, cgroup and socket names.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::error::shorten;

/// A container's id: 1 to 1024 of `A-Z a-z 0-9 _ + - .`, and neither `.` nor
/// `..`. This is runc's rule; it leaves no path separator and no way up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(Box<str>);

impl ContainerId {
    /// The longest id in bytes.
    pub const MAX_LEN: usize = 1024;

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| {
            Err(Error::ContainerId {
                text: shorten(text),
                reason,
            })
        };
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > Self::MAX_LEN {
            return refuse("it is longer than 1024 bytes");
        }
        if text == "." || text == ".." {
            return refuse("it names a directory");
        }
        if !text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'+' | b'-' | b'.'))
        {
            return refuse("it may have letters, digits and _ + - . alone");
        }
        Ok(ContainerId(text.into()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for ContainerId {
    fn as_ref(&self) -> &std::path::Path {
        std::path::Path::new(&*self.0)
    }
}

text_field!(ContainerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        for good in ["a", "A-b_c+d.e", "...", ".a", "0", "-", &"x".repeat(1024)] {
            assert_eq!(good.parse::<ContainerId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../a",
            "a b",
            "a\n",
            "a\0",
            "é",
            "a:b",
            "a@b",
            &"x".repeat(1025),
        ] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
