//! Which unit a container is: `linux.cgroupsPath` in the form
//! `slice:prefix:name`, which callers with the systemd cgroup manager write.

use crate::error::{Error, Result};

/// Longest name of a unit (systemd.unit(5)).
const MAX: usize = 255;
const SLICE: &str = ".slice";

/// A scope and the slice that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    slice: String,
    name: String,
}

impl Unit {
    /// The unit for `cgroups_path` of the container `id`.
    ///
    /// `slice:prefix:name` is `prefix-name.scope` in `slice`, and without a
    /// value it is `hako-ID.scope`. An empty slice is `user.slice` for a user's
    /// systemd and else `system.slice`; `-` is the root.
    pub fn resolve(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Self> {
        let own;
        let path = match cgroups_path {
            Some(path) if !path.is_empty() => path,
            _ => {
                // The one character of an id that a unit may not have.
                own = format!(":hako:{}", id.replace('+', "\\x2b"));
                &own
            }
        };
        let refuse = |reason| {
            Err(Error::Path {
                path: path.chars().take(200).collect(),
                reason,
            })
        };
        let mut parts = path.split(':');
        let (Some(slice), Some(prefix), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return refuse("is not of the form slice:prefix:name, which systemd cgroups need");
        };
        let slice = match (slice, user) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            ("-", _) => "-.slice",
            (slice, _) => slice,
        };
        if expand(slice).is_none() {
            return refuse("does not begin with the name of a slice");
        }
        if name.is_empty() {
            return refuse("has no name after the prefix");
        }
        if name.ends_with(SLICE) {
            return refuse("names a slice, in which no process can be");
        }
        let name = format!("{prefix}-{name}.scope");
        if name.len() > MAX {
            return refuse("makes a unit's name longer than 255 bytes");
        }
        if !is_valid(&name) {
            return refuse("has characters that a unit's name cannot have");
        }
        Ok(Self {
            slice: slice.to_owned(),
            name,
        })
    }

    /// The scope's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slice's name.
    #[must_use]
    pub fn slice(&self) -> &str {
        &self.slice
    }

    /// The cgroup below the root of systemd's own, with a leading slash.
    pub(super) fn cgroup(&self) -> String {
        let slices = expand(&self.slice).unwrap_or_default();
        format!("{slices}/{}", escape(&self.name))
    }
}

/// What a unit's name consists of (systemd.unit(5)).
fn is_valid(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
}

/// `/a.slice/a-b.slice` of `a-b.slice`; nothing of the root's (systemd.slice(5)).
fn expand(slice: &str) -> Option<String> {
    let stem = slice.strip_suffix(SLICE)?;
    if stem == "-" {
        return Some(String::new());
    }
    if slice.len() > MAX || !is_valid(slice) || stem.split('-').any(str::is_empty) {
        return None;
    }
    let ends = stem.match_indices('-').map(|(at, _)| at);
    let names = ends.chain([stem.len()]).filter_map(|end| stem.get(..end));
    Some(
        names
            .map(|n| format!("/{}", escape(&format!("{n}{SLICE}"))))
            .collect(),
    )
}

/// Systemd puts a `_` before names that could be the kernel's files.
fn escape(name: &str) -> String {
    const CONTROLLERS: [&str; 7] = ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "pids"];
    let first = name.split('.').next().unwrap_or_default();
    let is_file = name.starts_with(['_', '.'])
        || matches!(name, "notify_on_release" | "release_agent" | "tasks")
        || first == "cgroup"
        || first == "devices"
        || CONTROLLERS.contains(&first);
    match is_file {
        true => format!("_{name}"),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(path: &str) -> (String, String) {
        let unit = Unit::resolve(Some(path), "c+1", false).unwrap();
        (unit.slice().to_owned(), unit.cgroup())
    }

    #[test]
    fn forms() {
        for (path, slice, cgroup) in [
            (
                "system.slice:docker:12",
                "system.slice",
                "/system.slice/docker-12.scope",
            ),
            (":cri:a.b", "system.slice", "/system.slice/cri-a.b.scope"),
            (
                "a-b-c.slice:p:n",
                "a-b-c.slice",
                "/a.slice/a-b.slice/a-b-c.slice/p-n.scope",
            ),
            ("-:p:n", "-.slice", "/p-n.scope"),
            ("-.slice:p:n", "-.slice", "/p-n.scope"),
            ("x.slice::n", "x.slice", "/x.slice/-n.scope"),
            (
                "x.slice:_p:n.scope",
                "x.slice",
                "/x.slice/__p-n.scope.scope",
            ),
            (
                "memory.slice:p:n",
                "memory.slice",
                "/_memory.slice/p-n.scope",
            ),
            ("", "system.slice", "/system.slice/hako-c\\x2b1.scope"),
        ] {
            assert_eq!(unit(path), (slice.to_owned(), cgroup.to_owned()), "{path}");
        }
        let user = Unit::resolve(None, "c", true).unwrap();
        assert_eq!((user.slice(), user.name()), ("user.slice", "hako-c.scope"));
    }

    #[test]
    fn refused() {
        let long = format!("a.slice:p:{}", "n".repeat(250));
        for bad in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a:b:c",
            ".slice:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            "a-.slice:p:n",
            "a/b.slice:p:n",
            "a.slice:p/q:n",
            "a.slice:p:n m",
            "a.slice:p:n.slice",
            "a.slice:p:\u{e9}",
            "..:p:n",
            &long,
        ] {
            let e = Unit::resolve(Some(bad), "c", false).unwrap_err();
            assert!(matches!(e, Error::Path { .. }), "{bad}: {e}");
        }
    }

    proptest! {
        #[test]
        fn a_cgroup_is_a_path(text in "[a-c.:/_-]{0,9}(\\.slice)?:[a-c./-]{0,3}:[a-c./]{0,4}") {
            if let Ok(unit) = Unit::resolve(Some(&text), "c", false) {
                let path = unit.cgroup();
                prop_assert!(path.starts_with('/'));
                for part in path.split('/').skip(1) {
                    prop_assert!(!part.is_empty() && part != "." && part != "..");
                }
            }
        }
    }
}
