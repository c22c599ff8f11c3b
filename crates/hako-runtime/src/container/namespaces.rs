//! Which namespaces are made, and which are joined (config-linux.md,
//! "Namespaces").

use std::os::fd::{AsFd, OwnedFd};

use hako_spec::runtime::{Linux, NamespaceKind};
use hako_sys::clone::flags;
use hako_sys::ns;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// The namespaces of one container.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// `CLONE_NEW*` bits of those that are made.
    pub new: u64,
    /// Those that are joined.
    pub join: Vec<(NamespaceKind, OwnedFd)>,
}

/// The clone flag of a namespace kind.
pub fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Mount => flags::NEWNS,
        NamespaceKind::Pid => flags::NEWPID,
        NamespaceKind::Network => flags::NEWNET,
        NamespaceKind::Ipc => flags::NEWIPC,
        NamespaceKind::Uts => flags::NEWUTS,
        NamespaceKind::User => flags::NEWUSER,
        NamespaceKind::Cgroup => flags::NEWCGROUP,
        NamespaceKind::Time => flags::NEWTIME,
    }
}

/// Name of the kind's file below `/proc/PID/ns`.
pub fn file(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "net",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::User => "user",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}

impl Namespaces {
    /// Reads `linux.namespaces` and opens the ones with a path.
    pub fn plan(linux: Option<&Linux>) -> Result<Self> {
        let mut plan = Namespaces::default();
        for namespace in linux.map(|l| l.namespaces.as_slice()).unwrap_or_default() {
            let kind = namespace.kind;
            match namespace.path.as_deref().filter(|p| !p.is_empty()) {
                None => plan.new |= flag(kind),
                Some(path) => plan.join.push((kind, open(path, kind)?)),
            }
        }
        Ok(plan)
    }

    /// Whether a namespace of this kind is made.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.new & flag(kind) != 0
    }

    /// Whether a namespace of this kind is joined.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|(k, _)| *k == kind)
    }

    /// The inode of the namespace of this kind that is joined.
    pub fn inode(&self, kind: NamespaceKind) -> Result<u64> {
        let joined = self.join.iter().find(|(k, _)| *k == kind);
        let (_, fd) = joined.ok_or_else(|| Error::new("no such namespace is joined"))?;
        Ok(rustix::fs::fstat(fd)?.st_ino)
    }

    /// Whether the container has such a namespace apart from the runtime's.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.makes(kind) || self.joins(kind)
    }

    /// Whether the process has to come to its namespaces step by step, by a
    /// first stage, because one clone3 cannot do it.
    pub fn need_stage(&self) -> bool {
        // The message queues of a new IPC namespace belong to whoever makes it:
        // that has to be the mapped root of the user namespace.
        let owned = self.makes(NamespaceKind::User) && self.makes(NamespaceKind::Ipc);
        !self.join.is_empty() || self.makes(NamespaceKind::Time) || owned
    }

    /// Joins everything that has a path; true when a user namespace is among
    /// it.
    ///
    /// Those that another user namespace owns (the host's network, say) can
    /// only be joined before this process goes to its own, those that its own
    /// owns, by a caller without rights on the host, only after.
    pub fn enter(&self) -> Result<bool> {
        let join = |kind: NamespaceKind, fd: &OwnedFd| ns::join(fd.as_fd(), flag(kind));
        let user = self.join.iter().find(|(k, _)| *k == NamespaceKind::User);
        let mut later = Vec::new();
        later.extend(user.map(|(kind, fd)| (*kind, fd)));
        for (kind, fd) in self.join.iter().filter(|(k, _)| *k != NamespaceKind::User) {
            match join(*kind, fd) {
                Err(Errno::PERM) if user.is_some() => later.push((*kind, fd)),
                other => other.context(|| format!("join the {} namespace", file(*kind)))?,
            }
        }
        for (kind, fd) in later {
            join(kind, fd).context(|| format!("join the {} namespace", file(kind)))?;
        }
        Ok(user.is_some())
    }
}

/// Opens the namespace of this kind at `path`.
pub fn open(path: &str, kind: NamespaceKind) -> Result<OwnedFd> {
    let open = || -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        check(&fd, kind)?;
        Ok(fd)
    };
    open().context(|| format!("{} namespace {path}", file(kind)))
}

/// "The runtime MUST generate an error if path is not associated with a
/// namespace of type type."
fn check(fd: &OwnedFd, kind: NamespaceKind) -> Result<()> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    if rustix::fs::fstatfs(fd)?.f_type as u64 != NSFS_MAGIC {
        return Err(Error::new("not a namespace"));
    }
    let found = hako_sys::ns::kind(fd.as_fd())?;
    if found != flag(kind) {
        return Err(Error::new("a namespace of another type"));
    }
    Ok(())
}
