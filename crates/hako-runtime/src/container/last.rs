//! The last steps before the program, the same for a container's first process
//! and for those of `exec`: directory, standard streams, limits, identity,
//! filter, and the stub.

use std::os::fd::BorrowedFd;

use hako_spec::runtime::{Config, Process, State};
use hako_sys::signal;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{set_no_new_privs, set_thread_res_gid, set_thread_res_uid};

use super::program::{Passed, Program};
use super::seccomp::Prepared as Filter;
use super::{identity, limits};
use crate::error::{Context, Error, Result};
use crate::rootfs::inroot::Root;

/// Root of the user namespace, where that is mapped; a process whose id is not
/// mapped could not own anything it makes.
pub fn become_root() {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    // Refused where no root is mapped: then the process stays who it is, with
    // all capabilities of the namespace.
    let _ = set_thread_res_gid(gid, gid, gid);
    let _ = set_thread_res_uid(uid, uid, uid);
}

/// Whether a directory that is missing is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// For a container's first process.
    Make,
    /// For those of `exec`, which change nothing.
    Refuse,
}

/// Goes to `path` below `root`, this process' root. Neither a descriptor of the host behind `/proc/self/fd`
/// (CVE-2024-21626) nor a racing rename leads out, and nothing is made there
/// (CVE-2024-45310).
///
/// False: only the user may go there (a FUSE or NFS mount that knows no root),
/// so that it has to be tried again as the user.
pub fn change_directory(root: &Root, path: &str, missing: Missing) -> Result<bool> {
    let change = || -> Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match root.open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) if missing == Missing::Make => root.make_dir(path)?,
            Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
            Err(Errno::LOOP) => {
                return Err(Error::new(
                    "outside of the container's root, or a loop of links",
                ));
            }
            other => other?,
        };
        match rustix::process::fchdir(&dir) {
            Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
            other => other?,
        }
        inside()?;
        Ok(true)
    };
    change().context(|| format!("change to process.cwd {path:?}"))
}

/// Sees that the current directory is below the root: getcwd(2) prefixes
/// others with "(unreachable)".
fn inside() -> Result<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(cwd) if cwd.as_bytes().first() == Some(&b'/') => Ok(()),
        _ => Err(Error::new("outside of the container's root")),
    }
}

/// Standard input and output belong to the user, who may open them again by
/// `/dev/stdout`. What cannot be given away stays as it is.
pub fn own_stdio(uid: u32) {
    let null = rustix::fs::makedev(1, 3);
    for fd in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let Ok(meta) = rustix::fs::fstat(fd) else {
            continue;
        };
        if meta.st_uid != uid && meta.st_rdev != null {
            let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

/// What the last steps need, prepared while files can still be opened.
#[derive(Debug)]
pub struct Last<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The process to become.
    pub process: &'a Process,
    /// Its program.
    pub program: &'a Program,
    /// Its capabilities.
    pub sets: identity::Sets,
    /// The filter, the container's state for its listener, and this process'
    /// number on the host.
    pub filter: Option<(&'a Filter, &'a State, i32)>,
    /// The root in which the directory is still to be entered, and what if it
    /// is missing.
    pub late_directory: Option<(&'a Root, Missing)>,
    /// Descriptors to pass on.
    pub passed: Passed,
    /// Where the stub tells its failure.
    pub report: Option<BorrowedFd<'a>>,
}

impl Last<'_> {
    /// Becomes the program; returns only failures. What needs privilege comes
    /// first, what a filter might forbid before the filter.
    pub fn go(&self) -> Result<Error> {
        let process = self.process;
        if let Some(scheduler) = &process.scheduler {
            limits::scheduler(scheduler)?;
        }
        if let Some(priority) = &process.io_priority {
            limits::io_priority(priority)?;
        }
        if let Some(linux) = &self.config.linux {
            if let Some(policy) = &linux.memory_policy {
                limits::memory_policy(policy)?;
            }
            if let Some(personality) = &linux.personality {
                limits::personality(personality)?;
            }
        }
        limits::rlimits(&process.rlimits)?;
        signal::reset().context(|| "reset signals")?;
        identity::umask(&process.user);
        self.program.keep_descriptors(self.passed, self.report)?;
        identity::groups(&process.user)?;
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to
        // go.
        if !process.no_new_privileges {
            self.load_filter()?;
        }
        identity::assume(&process.user, &self.sets)?;
        if let Some((root, missing)) = self.late_directory
            && !change_directory(root, &process.cwd, missing)?
        {
            return Err(Error::new(format!(
                "change to process.cwd {:?}: permission denied",
                process.cwd
            )));
        }
        if process.no_new_privileges {
            set_no_new_privs(true).context(|| "set no_new_privs")?;
            self.load_filter()?;
        }
        Ok(self.program.execute())
    }

    fn load_filter(&self) -> Result<()> {
        match self.filter {
            Some((filter, state, pid)) => filter.load(state, pid),
            None => Ok(()),
        }
    }
}
