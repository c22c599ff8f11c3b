//! Which cgroup hierarchies the host has and where: read from
//! `/proc/self/mountinfo` (proc_pid_mountinfo(5)) in three system calls, and
//! `/proc/self/cgroup` (cgroups(7)) only when somebody asks for its own place.

use rustix::fs::{Mode as FileMode, OFlags};

use crate::dir::{Dir, Kind, read_all};
use crate::error::{Error, Result};

/// The controllers of version 1, as they stand among a superblock's options.
const V1_CONTROLLERS: [&str; 15] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// How the host arranges its hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Version 1 alone.
    V1,
    /// Version 1 with a version 2 mount beside it.
    Hybrid,
    /// Version 2 alone.
    V2,
}

/// One hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, sorted (`["cpu", "cpuacct"]` when mounted together), or
    /// its one name (`["name=systemd"]`).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: String,
    /// Which of its cgroups the mount shows as its root; `/` as a rule.
    pub root: String,
}

/// The hierarchy of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unified {
    /// Where it is mounted.
    pub mount: String,
    /// Which of its cgroups the mount shows as its root; `/` as a rule.
    pub root: String,
}

/// The hierarchies that this process sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Those of version 1, in the order of their mounts.
    pub v1: Vec<Hierarchy>,
    /// That of version 2.
    pub v2: Option<Unified>,
    /// Takes ordinary directories for cgroups, in tests.
    #[cfg(test)]
    pub(crate) plain: bool,
}

/// The cgroups of a process, from `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Controllers of a hierarchy of version 1 (sorted), and the path in it.
    pub v1: Vec<(Vec<String>, String)>,
    /// The path in the hierarchy of version 2.
    pub v2: Option<String>,
}

fn read_proc(path: &str) -> Result<Vec<u8>> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, FileMode::empty()).map_err(
        |source| Error::Open {
            path: path.to_owned(),
            source,
        },
    )?;
    read_all(&fd).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

impl Host {
    /// Finds the hierarchies of this process' mount namespace.
    ///
    /// Errors: [`Error::NoHierarchy`], or `/proc` not being readable.
    pub fn detect() -> Result<Self> {
        let host = Self::parse(&read_proc("/proc/self/mountinfo")?);
        if host.v1.is_empty() && host.v2.is_none() {
            return Err(Error::NoHierarchy);
        }
        Ok(host)
    }

    /// Finds the hierarchies in the text of a mountinfo file. Lines that make
    /// no sense are passed over; a mount over a directory hides what was
    /// mounted there or below before it, but not what is mounted on itself:
    /// moved mounts stand where they were made.
    #[must_use]
    pub fn parse(mountinfo: &[u8]) -> Self {
        let lines = mountinfo.split(|b| *b == b'\n');
        let all: Vec<Mount<'_>> = lines.filter_map(Mount::parse).collect();
        let parent = |id: &u32| all.iter().find(|m| m.id == *id).map(|m| m.parent);
        let carries = |later: &Mount<'_>, mount: &Mount<'_>| {
            let above = std::iter::successors(Some(mount.parent), parent);
            above.take(all.len()).any(|id| id == later.id)
        };
        let visible: Vec<bool> = all
            .iter()
            .enumerate()
            .map(|(at, mount)| {
                // The root itself hides nothing.
                let mut later = all.iter().skip(at + 1).filter(|m| m.point != "/");
                matches!(mount.fs_type, "cgroup" | "cgroup2")
                    && !later.any(|m| m.hides(mount) && !carries(m, mount))
            })
            .collect();
        let mut host = Self::default();
        let shown = all.into_iter().zip(visible).filter(|(_, visible)| *visible);
        for (mount, _) in shown {
            if mount.fs_type == "cgroup" {
                host.add_v1(mount);
            } else if host.v2.is_none() {
                host.v2 = Some(Unified {
                    mount: mount.point,
                    root: mount.root,
                });
            }
        }
        host
    }

    fn add_v1(&mut self, mount: Mount<'_>) {
        let mut controllers: Vec<String> = mount
            .options
            .split(',')
            .filter(|o| V1_CONTROLLERS.contains(o) || o.starts_with("name="))
            .map(str::to_owned)
            .collect();
        controllers.sort_unstable();
        // A hierarchy may be mounted twice; the first is the host's own.
        if controllers.is_empty() || self.v1.iter().any(|h| h.controllers == controllers) {
            return;
        }
        self.v1.push(Hierarchy {
            controllers,
            mount: mount.point,
            root: mount.root,
        });
    }

    /// How the host arranges its hierarchies. `None`: it has none.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        match (self.v1.is_empty(), &self.v2) {
            (false, None) => Some(Mode::V1),
            (false, Some(_)) => Some(Mode::Hybrid),
            (true, Some(_)) => Some(Mode::V2),
            (true, None) => None,
        }
    }

    /// The hierarchy of version 1 that has `controller`.
    #[must_use]
    pub fn v1_with(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// The controllers that version 2 offers at its mount's root
    /// (`cgroup.controllers`); empty without version 2.
    pub fn unified_controllers(&self) -> Result<Vec<String>> {
        let Some(unified) = &self.v2 else {
            return Ok(Vec::new());
        };
        let text = Dir::open(&unified.mount, self.kind_v2())?.read("cgroup.controllers")?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    pub(crate) fn kind_v1(&self) -> Kind {
        #[cfg(test)]
        if self.plain {
            return Kind::Plain;
        }
        Kind::V1
    }

    pub(crate) fn kind_v2(&self) -> Kind {
        #[cfg(test)]
        if self.plain {
            return Kind::Plain;
        }
        Kind::V2
    }
}

impl Membership {
    /// The cgroups of the process `pid`, or of this one.
    pub fn of(pid: Option<u32>) -> Result<Self> {
        let path = match pid {
            Some(pid) => format!("/proc/{pid}/cgroup"),
            None => "/proc/self/cgroup".to_owned(),
        };
        Ok(Self::parse(&read_proc(&path)?))
    }

    /// Parses lines of the form `9:cpu,cpuacct:/path`; `0::/path` is version 2.
    /// Lines that make no sense are passed over.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut found = Self::default();
        for line in text.split(|b| *b == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            let mut parts = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if !path.starts_with('/') {
                continue;
            }
            if number == "0" && controllers.is_empty() {
                found.v2 = Some(path.to_owned());
                continue;
            }
            let mut names: Vec<String> = controllers.split(',').map(str::to_owned).collect();
            names.sort_unstable();
            found.v1.push((names, path.to_owned()));
        }
        found
    }
}

struct Mount<'a> {
    id: u32,
    /// The mount on which it is.
    parent: u32,
    root: String,
    point: String,
    fs_type: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// Whether `other`, mounted earlier, lies at or below this mount's point.
    fn hides(&self, other: &Self) -> bool {
        other
            .point
            .strip_prefix(self.point.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// `36 35 98:0 /root /point opts tag:x - type source superopts`
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let (id, parent) = (before.next()?, before.next()?);
        let mut before = before.skip(1);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.splitn(3, ' ');
        let fs_type = after.next()?;
        let options = after.nth(1).unwrap_or("");
        let point = unescape(point)?;
        if !point.starts_with('/') {
            return None;
        }
        Some(Self {
            id: id.parse().ok()?,
            parent: parent.parse().ok()?,
            root: unescape(root)?,
            point,
            fs_type,
            options,
        })
    }
}

/// A path of mountinfo (proc_pid_mountinfo(5)): space, tab, newline and backslash
/// stand there as three octal digits.
pub fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(3)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:9 - cgroup cgroup rw,cpuset
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 24 0:31 /docker/1 /mnt/a\\040b/cpuset rw,relatime - cgroup cgroup rw,cpuset
";

    #[test]
    fn hybrid() {
        let host = Host::parse(HYBRID.as_bytes());
        assert_eq!(host.mode(), Some(Mode::Hybrid));
        let names: Vec<_> = host.v1.iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(names, ["cpu,cpuacct", "cpuset", "name=systemd"]);
        assert_eq!(
            host.v1_with("cpuacct").unwrap().mount,
            "/sys/fs/cgroup/cpu,cpuacct"
        );
        assert_eq!(
            host.v1_with("cpuset").unwrap().mount,
            "/sys/fs/cgroup/cpuset"
        );
        assert_eq!(host.v2.unwrap().mount, "/sys/fs/cgroup/unified");
    }

    #[test]
    fn a_later_mount_hides_what_was_below() {
        let text = format!("{HYBRID}50 23 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let host = Host::parse(text.as_bytes());
        assert_eq!(host.v1.len(), 1, "only the one outside is left: {host:?}");
        assert_eq!(host.v1.first().unwrap().mount, "/mnt/a b/cpuset");
        assert_eq!(host.v2.unwrap().mount, "/sys/fs/cgroup");
        let text = format!("{HYBRID}50 23 0:99 / /sys rw - sysfs none rw\n");
        assert_eq!(Host::parse(text.as_bytes()).v2, None);
    }

    #[test]
    fn a_moved_mount_stands_before_what_carries_it() {
        let text = "\
115 98 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
97 23 0:20 / /sys rw - sysfs none rw
98 97 0:49 / /sys/fs/cgroup rw - tmpfs tmpfs rw
";
        let host = Host::parse(text.as_bytes());
        assert_eq!(host.v1.first().unwrap().mount, "/sys/fs/cgroup/cpu");
        let text = format!("{text}99 97 0:50 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n");
        assert!(Host::parse(text.as_bytes()).v1.is_empty());
    }

    #[test]
    fn version_two_alone_and_none() {
        let host = Host::parse(
            b"30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(host.mode(), Some(Mode::V2));
        assert_eq!(Host::parse(b"1 1 0:1 / / rw - ext4 x rw\n").mode(), None);
    }

    #[test]
    fn own_cgroups() {
        let own = Membership::parse(
            b"9:name=systemd:/user.slice\n4:memory:/a:b\n2:cpuacct,cpu:/x\n0::/init.scope\njunk\n",
        );
        assert_eq!(own.v2.as_deref(), Some("/init.scope"));
        assert_eq!(own.v1.len(), 3);
        assert_eq!(own.v1.get(1).unwrap().1, "/a:b");
        assert_eq!(own.v1.get(2).unwrap().0, ["cpu", "cpuacct"]);
    }

    #[test]
    fn this_machine_has_a_hierarchy() {
        let host = Host::detect().unwrap();
        assert!(host.mode().is_some());
        assert!(Membership::of(None).unwrap() == Membership::of(Some(std::process::id())).unwrap());
    }

    proptest! {
        #[test]
        fn any_text_parses(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Host::parse(&text);
            let _ = Membership::parse(&text);
        }

        #[test]
        fn broken_lines_parse(at in 0usize..600, byte in any::<u8>()) {
            let mut text = HYBRID.as_bytes().to_vec();
            let index = at % text.len();
            text[index] = byte;
            let _ = Host::parse(&text);
        }
    }
}
