//! Where in the hierarchies a container's cgroup is: the rule for
//! `linux.cgroupsPath` (runtime-spec, config-linux.md, "Cgroups Path").

use crate::error::{Error, Result};

/// The kernel's bound on one directory name.
const NAME_MAX: usize = 255;
/// The kernel's bound on a path.
const PATH_MAX: usize = 4096;

/// A normalised place below a hierarchy's mount point: it starts with a slash,
/// has at least one component and none of `.`, `..` or empty ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Resolves `cgroupsPath` for the container `id`.
    ///
    /// An absolute path is taken below the mount point, a relative one too, so
    /// that the same value always means the same place, and without a value
    /// the place is `/<id>`. `..`, NUL and the root itself are refused.
    pub fn resolve(cgroups_path: Option<&str>, id: &str) -> Result<Self> {
        match cgroups_path {
            Some(path) if !path.is_empty() => Self::parse(path),
            _ => Self::parse(id),
        }
    }

    /// Parses a path as [`CgroupPath::resolve`] does.
    pub fn parse(path: &str) -> Result<Self> {
        let refuse = |reason| {
            Err(Error::Path {
                path: path.chars().take(200).collect(),
                reason,
            })
        };
        if path.len() >= PATH_MAX {
            return refuse("is longer than 4095 bytes");
        }
        let mut clean = String::with_capacity(path.len() + 1);
        for part in path.split('/') {
            match part {
                "" | "." => continue,
                ".." => return refuse("must not contain .."),
                _ if part.len() > NAME_MAX => return refuse("has a name longer than 255 bytes"),
                // The kernel refuses a newline in a cgroup's name: it would
                // forge lines of /proc/PID/cgroup.
                _ if part.contains(['\0', '\n']) => {
                    return refuse("must not contain NUL or a newline");
                }
                _ => {}
            }
            clean.push('/');
            clean.push_str(part);
        }
        if clean.is_empty() {
            return refuse("names the root of the hierarchy, which is not a container's");
        }
        Ok(Self(clean))
    }

    /// The path, with its leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash, for calls relative to the mount.
    pub(crate) fn inner(&self) -> &str {
        self.0.trim_start_matches('/')
    }
}

impl std::fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absolute_relative_and_absent() {
        let path = |p| CgroupPath::resolve(p, "c1").unwrap().as_str().to_owned();
        assert_eq!(path(Some("/a/b")), "/a/b");
        assert_eq!(path(Some("a//./b/")), "/a/b");
        assert_eq!(path(None), "/c1");
        assert_eq!(path(Some("")), "/c1");
        assert_eq!(
            path(Some("system.slice:docker:12")),
            "/system.slice:docker:12"
        );
    }

    #[test]
    fn refuses_what_leaves_or_names_the_root() {
        let long = "x".repeat(256);
        let deep = "a/".repeat(2100);
        for bad in [
            "/", "//.", "../x", "/a/../b", "a/..", "a\nb", "a\0b", &long, &deep,
        ] {
            assert!(CgroupPath::resolve(Some(bad), "c1").is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_leaves_the_root(text in "[a./\\n:\u{e9}]{0,40}") {
            if let Ok(path) = CgroupPath::parse(&text) {
                prop_assert!(path.as_str().starts_with('/'));
                for part in path.inner().split('/') {
                    prop_assert!(!part.is_empty() && part != "." && part != "..");
                }
                prop_assert_eq!(CgroupPath::parse(path.as_str()).unwrap(), path);
            }
        }
    }
}
