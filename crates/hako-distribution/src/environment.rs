//! The environment variables that the crate reads, as a value.
//!
//! Tests (and servers that act for several users) pass their own instead of
//! changing the process's variables, which no thread-safe program can do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// A snapshot of environment variables.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The variables of this process.
    pub fn current() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of `name`; an empty value counts as absent.
    pub fn get(&self, name: &str) -> Option<&OsString> {
        self.variables
            .get(std::ffi::OsStr::new(name))
            .filter(|value| !value.is_empty())
    }

    /// The value of `name` as a path; an empty value counts as absent.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The user's home: `$HOME`, else what `/etc/passwd` says of `uid` (read by
    /// ourselves: a static binary has no NSS).
    pub fn home(&self, uid: u32) -> Option<PathBuf> {
        self.path("HOME").or_else(|| {
            let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
            home_in_passwd(&passwd, uid)
        })
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(iter: I) -> Self {
        Self {
            variables: iter.into_iter().collect(),
        }
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(iter: I) -> Self {
        iter.into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect()
    }
}

/// The sixth field of the line of `uid` (passwd(5)).
fn home_in_passwd(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id: u32 = fields.nth(2)?.parse().ok()?;
        let home = fields.nth(2)?;
        (id == uid && home.starts_with('/')).then(|| PathBuf::from(home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_the_variable_or_from_passwd() {
        let environment: Environment = [("HOME", "/h")].into_iter().collect();
        assert_eq!(environment.home(0), Some(PathBuf::from("/h")));
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:1000:1000::/home/u:/bin/sh\n";
        assert_eq!(home_in_passwd(passwd, 1000), Some(PathBuf::from("/home/u")));
        assert_eq!(home_in_passwd(passwd, 7), None);
    }

    #[test]
    fn an_empty_variable_is_absent() {
        let environment: Environment = [("X", "")].into_iter().collect();
        assert!(environment.get("X").is_none());
    }
}
