//! The last steps before the program, the same for a container's first process
//! and for those of `exec`: directory, standard streams, limits, identity,
//! filter, and the stub.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use hako_spec::runtime::{Config, Process, State};
use hako_sys::signal;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{set_no_new_privs, set_thread_res_gid, set_thread_res_uid};

use super::program::{Passed, Program};
use super::seccomp::Prepared as Filter;
use super::{identity, limits, lsm};
use crate::error::{Context, Error, Result};
use crate::proc::Proc;
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

/// Makes the directory `path` below `root` where it is missing, as a new
/// container's is, while the root can still be written to. Nothing is made
/// outside (CVE-2024-45310). Whatever else is wrong with it is told when it is
/// entered.
pub fn make_directory(root: &Root, path: &str) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match root.open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => match root.make_dir(path) {
            Ok(_) => Ok(()),
            Err(e) => Err(e.within(format!("process.cwd {path:?}"))),
        },
        _ => Ok(()),
    }
}

/// Goes to `path` below `root`, this process' root. Neither a descriptor of the
/// host behind `/proc/self/fd` (CVE-2024-21626) nor a racing rename leads out.
///
/// False: only the user may go there (a FUSE or NFS mount that knows no root),
/// so that it has to be tried again as the user.
pub fn change_directory(root: &Root, path: &str) -> Result<bool> {
    let change = || -> Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match root.open(path, flags, Mode::empty()) {
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
    change().context(|| format!("chdir to process.cwd {path:?}"))
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
/// `/dev/stdout`. What cannot be given away stays as it is. Those that lead to
/// the host's null device lead to that of the container in `root` instead, whose
/// mount is the container's own (CRIU knows no other).
pub fn own_stdio(root: &Root, uid: u32) {
    let null = rustix::fs::makedev(1, 3);
    let mut own_null = None;
    for fd in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let Ok(meta) = rustix::fs::fstat(fd) else {
            continue;
        };
        if meta.st_rdev == null {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = || root.open("/dev/null", flags, Mode::empty()).ok();
            let own: &Option<OwnedFd> = own_null.get_or_insert_with(open);
            let is_null = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok_and(|m| m.st_rdev == null);
            if let Some(own) = own.as_ref().filter(|own| is_null(own)) {
                let _ = match fd.as_raw_fd() {
                    0 => rustix::stdio::dup2_stdin(own),
                    1 => rustix::stdio::dup2_stdout(own),
                    _ => rustix::stdio::dup2_stderr(own),
                };
            }
        } else if meta.st_uid != uid {
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
    pub late_directory: Option<&'a Root>,
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
            let resources = self
                .config
                .linux
                .as_ref()
                .and_then(|l| l.resources.as_ref());
            let cpu = resources.and_then(|r| r.cpu.as_ref());
            limits::scheduler(scheduler, cpu.is_some_and(|cpu| cpu.cpus.is_some()))?;
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
        self.assume(|| self.load_filter())?;
        Ok(self.program.execute())
    }

    /// Gives this process, which executes a hook of the image through `stub`,
    /// the user, the rights and the filter that the program will have.
    pub fn as_hook(&self, proc: &Proc, stub: BorrowedFd<'_>) -> Result<()> {
        lsm::label_stub(stub, self.process, self.config.linux.as_ref());
        lsm::apply(proc, self.process)?;
        limits::rlimits(&self.process.rlimits)?;
        identity::umask(&self.process.user);
        self.assume(|| match self.filter {
            Some((filter, ..)) => filter.load_unheard(),
            None => Ok(()),
        })
    }

    /// Takes the user and the capabilities, and the filter by `load`.
    fn assume(&self, load: impl Fn() -> Result<()>) -> Result<()> {
        let process = self.process;
        if !self.keeps_groups() {
            identity::groups(&process.user)?;
        }
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to
        // go.
        if !process.no_new_privileges {
            load()?;
        }
        identity::assume(&process.user, &self.sets)?;
        if let Some(root) = self.late_directory
            && !change_directory(root, &process.cwd)?
        {
            return Err(Error::new(format!(
                "chdir to process.cwd {:?}: permission denied",
                process.cwd
            )));
        }
        if process.no_new_privileges {
            set_no_new_privs(true).context(|| "set no_new_privs")?;
            load()?;
        }
        Ok(())
    }

    /// The annotation by which podman's `--group-add keep-groups` asks for the
    /// groups of whoever runs the container, whose files are open to them alone.
    fn keeps_groups(&self) -> bool {
        let key = "run.oci.keep_original_groups";
        self.config
            .annotations
            .get(key)
            .is_some_and(|value| value == "1")
    }

    fn load_filter(&self) -> Result<()> {
        match self.filter {
            Some((filter, state, pid)) => filter.load(state, pid),
            None => Ok(()),
        }
    }
}
