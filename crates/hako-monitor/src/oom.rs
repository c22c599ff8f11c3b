//! Whether the container ran out of memory: by its own cgroup, found through
//! its process, whichever runtime made it.

use std::os::fd::BorrowedFd;

use hako_cgroup::{Cgroup, Host, Membership, Oom, OomEvent};

/// A watch on the container's memory.
#[derive(Debug)]
pub(crate) struct Watch {
    cgroup: Cgroup,
    oom: Oom,
    /// Kills before the watch began, in a cgroup that was there before.
    before: u64,
    gone: bool,
    seen: bool,
}

impl Watch {
    /// `None` where there is no memory controller, or where the container has
    /// no cgroup of its own in it: others' kills would count as its.
    pub(crate) fn begin(pid: i32) -> Option<Self> {
        let theirs = Membership::of(Some(u32::try_from(pid).ok()?)).ok()?;
        let ours = Membership::of(None).ok()?;
        let place = memory_place(&theirs)?;
        if place == "/" || memory_place(&ours) == Some(place) {
            return None;
        }
        let host = Host::detect().ok()?;
        let cgroup = Cgroup::of_process(&host, &theirs);
        let oom = cgroup.watch_oom().ok()?;
        let before = cgroup.oom_kills().ok()?;
        Some(Self {
            cgroup,
            oom,
            before,
            gone: false,
            seen: false,
        })
    }

    /// What to poll; nothing once the cgroup is gone.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.gone).then(|| self.oom.fd())
    }

    /// Takes note; true for a new out-of-memory event.
    pub(crate) fn read(&mut self) -> bool {
        match self.oom.read(&self.cgroup) {
            Ok(OomEvent::Oom { .. }) => {
                self.seen = true;
                true
            }
            Ok(OomEvent::None) => false,
            Ok(OomEvent::Gone) | Err(_) => {
                self.gone = true;
                false
            }
        }
    }

    /// Whether the kernel has killed a process of the container. To be asked
    /// before the cgroup is removed; after that only what was seen counts.
    pub(crate) fn killed(&self) -> bool {
        match self.cgroup.oom_kills() {
            Ok(now) => now > self.before,
            Err(_) => self.seen,
        }
    }
}

fn memory_place(membership: &Membership) -> Option<&str> {
    membership
        .v1
        .iter()
        .find(|(controllers, _)| controllers.iter().any(|c| c == "memory"))
        .map(|(_, path)| path.as_str())
        .or(membership.v2.as_deref())
}
