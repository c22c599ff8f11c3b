//! Entering a cgroup without waiting.
//!
//! Writing another task's pid to `cgroup.procs` takes a lock that waits for an
//! RCU grace period, which makes up most of a container's start on a quiet
//! machine. Two ways do not wait: in version 1 a process without threads writes
//! `0` to `tasks` itself, in version 2 the process is born inside
//! (`CLONE_INTO_CGROUP`). On a hybrid host both are used for one process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};

/// Descriptors opened beforehand, with which a new process enters a cgroup.
///
/// They are to be opened before a user namespace is entered, whose root would
/// lack the rights. A cgroup namespace is to be unshared after
/// [`Join::enter_self`], or it is rooted at the parent's cgroups; with version
/// 2 alone it can be part of the clone flags. The default is to enter none, for
/// a process that somebody else moves.
#[derive(Debug, Default)]
pub struct Join {
    tasks: Vec<(String, OwnedFd)>,
    v2: Option<OwnedFd>,
}

/// A hierarchy that could not be entered; made without allocation, so that a
/// forked child may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Which one: an index for [`Join::describe`].
    pub index: usize,
    /// The kernel's answer.
    pub errno: Errno,
}

impl Cgroup {
    /// Opens what a child needs to enter this cgroup by itself.
    pub fn join(&self) -> Result<Join> {
        let mut tasks = Vec::with_capacity(self.v1.len());
        for place in &self.v1 {
            let dir = place.dir()?;
            tasks.push((dir.join("tasks"), dir.open_file("tasks", OFlags::WRONLY)?));
        }
        let v2 = match self.v2_dir()? {
            Some(dir) => Some(
                rustix::io::fcntl_dupfd_cloexec(dir.fd(), 3).map_err(|source| Error::Open {
                    path: dir.path().to_owned(),
                    source,
                })?,
            ),
            None => None,
        };
        Ok(Join { tasks, v2 })
    }
}

impl Join {
    /// The directory to clone into (`CLONE_INTO_CGROUP`), if there is a
    /// version 2 hierarchy.
    ///
    /// The clone fails with `EAGAIN` when the limit of pids is reached, with
    /// `EBUSY` when the cgroup hands controllers down and with `EOPNOTSUPP`
    /// when it is threaded; [`Cgroup::add`] then tells more or helps.
    #[must_use]
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process into the hierarchies of version 1.
    ///
    /// Only for a process with one thread: the others would stay behind. It
    /// makes nothing but write(2) calls and so may run between fork and exec.
    pub fn enter_self(&self) -> Result<(), Refused> {
        for (index, (_, fd)) in self.tasks.iter().enumerate() {
            loop {
                match rustix::io::write(fd, b"0") {
                    Ok(_) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(Refused { index, errno }),
                }
            }
        }
        Ok(())
    }

    /// What [`Refused`] means, said by the parent.
    #[must_use]
    pub fn describe(&self, refused: Refused) -> Error {
        Error::Write {
            path: self
                .tasks
                .get(refused.index)
                .map_or_else(|| "tasks".to_owned(), |(path, _)| path.clone()),
            value: "0".to_owned(),
            source: refused.errno,
        }
    }

    /// All descriptors, for a caller that closes everything else.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks
            .iter()
            .map(|(_, fd)| fd.as_fd())
            .chain(self.v2.as_ref().map(AsFd::as_fd))
    }
}
