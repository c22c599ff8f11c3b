//! Another process in a running container (`exec`).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use hako_cgroup::{Cgroup, CgroupPath, Host, Join, Membership};
use hako_spec::runtime::{Config, NamespaceKind, Process, State, Status};
use hako_sys::clone::{Forked, exit_now, flags, fork};
use hako_sys::{fds, ns};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior};

use super::console::{Console, Recipient};
use super::filters::{Filters, Read};
use super::last::{Last, become_root, change_directory, own_stdio};
use super::launch::{not_forked, reap};
use super::namespaces::{file, flag};
use super::program::{Passed, Program};
use super::seccomp::Prepared as Filter;
use super::{identity, limits, lsm, receivers, shield};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::proc::Proc;
use crate::rootfs::inroot::Root;
use crate::state::{Container, write_whole};
use crate::sync::{Channel, Message};

/// What the command line asked for.
#[derive(Debug)]
pub struct Request {
    /// The process to run.
    pub process: Process,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// A terminal socket of `exec` in the foreground.
    pub console: Option<OwnedFd>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// Descriptors to pass on.
    pub passed: Passed,
    /// `--cgroup`: cgroups below the container's, `[CONTROLLER[,…]:]PATH`.
    pub sub_cgroups: Vec<String>,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
}

/// A started process.
#[derive(Debug)]
pub struct Started {
    /// A handle on it.
    pub pidfd: OwnedFd,
}

/// Starts the process; returns when its program runs.
///
/// `root` is where containers are kept.
pub fn start(
    root: &Path,
    container: &Container,
    read: &Read,
    mut request: Request,
) -> Result<Started> {
    let config = &read.config;
    let id = &container.saved.id;
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Paused if request.ignore_paused => {}
        Status::Paused => {
            return Err(Error::new(format!(
                "cannot exec in a paused container: {id} is paused"
            )));
        }
        _ => return Err(container.not_running()),
    }
    let socket = request.console_socket.is_some() || request.console.is_some();
    if request.process.terminal != socket {
        return Err(Error::new(match socket {
            true => "--console-socket is given but the process has no terminal",
            false => "the process has a terminal: --console-socket is needed with --detach",
        }));
    }
    lsm::check(&request.process, config.linux.as_ref(), Path::new("/sys"))?;
    let target = container.pidfd()?;
    let joins = joined(container, config)?;
    let watched = joins & flags::NEWPID != 0 && joins & flags::NEWUSER == 0 && {
        let inode = pid_namespace(container)?;
        let caps = config
            .process
            .as_ref()
            .and_then(|p| p.capabilities.as_ref());
        // Whoever made a namespace that was joined may be one, too.
        let own = is_made(config, NamespaceKind::Pid);
        let watched = !own || shield::may_trace(caps) || shield::is_watched(root, inode);
        if !watched && shield::may_trace(request.process.capabilities.as_ref()) {
            shield::note(root, inode)?;
        }
        watched
    };
    if watched {
        shield::up()?;
    }
    let proc = Proc::open()?;
    let mut cgroup = container.saved.cgroup();
    for sub in &request.sub_cgroups {
        let (controllers, path) = match sub.split_once(':') {
            Some((controllers, path)) => (Some(controllers), path),
            None => (None, sub.as_str()),
        };
        let below = match path.trim_matches('/') {
            "" => None,
            _ => Some(
                CgroupPath::parse(path)
                    .context(|| format!("--cgroup {sub}: bad sub cgroup path"))?,
            ),
        };
        cgroup = cgroup
            .descend(controllers, below.as_ref())
            .context(|| format!("--cgroup {sub}: adding pid of the process to cgroups"))?;
    }
    let mut join = match cgroup.join() {
        // The container has moved elsewhere and its cgroup was removed.
        Err(e) if e.is_missing() && request.sub_cgroups.is_empty() => {
            first_process_cgroup(container)?
        }
        other => other.context(|| "open the container's cgroup")?,
    };
    let state = container.state(Status::Running);
    let filter = Filters::of(root).prepare(read)?;
    let console = Recipient::of(request.console_socket.as_deref(), request.console.take())?;
    let (ours, theirs) = Channel::pair()?;
    let directory = open_root(container)?;
    // A pid namespace takes effect for children: the process is born inside.
    // Where somebody looks on, it is to have entered the others by then, which
    // takes a stage between.
    // One that belongs to a user namespace can only be entered from there.
    let staged = watched || joins & flags::NEWUSER != 0;
    let own = if staged { 0 } else { joins & flags::NEWPID };
    if own != 0 {
        ns::join(target.as_fd(), own).context(|| "join the pid namespace")?;
    }
    // The container's processes see the new one from its first moment, and so
    // does whoever may trace in there: it inherits this.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "hide from others")?;
    let forked = match fork(0, join.v2_dir()) {
        // The container has made cgroups of its own and gone into them, and its
        // top one may hold no processes any more (cgroups(7), "no internal
        // processes").
        Err(Errno::BUSY | Errno::OPNOTSUPP) if request.sub_cgroups.is_empty() => {
            join = first_process_cgroup(container)?;
            fork(0, join.v2_dir())
        }
        other => other,
    };
    match forked.map_err(not_forked)? {
        Forked::Child => {
            drop(ours);
            let inside = Inside {
                config,
                process: &request.process,
                state: &state,
                target: &target,
                joins: joins & !own,
                staged,
                watched,
                root: directory,
                join: &join,
                console,
                filter: filter.as_ref(),
                passed: request.passed,
                proc: &proc,
            };
            inside.run(&theirs)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let (pid, pidfd) = match staged {
                true => follow_stage(&ours, &pidfd)?,
                false => (pid.as_raw_nonzero().get(), pidfd),
            };
            let outcome =
                admit(container, pid).and_then(|()| follow(&request, &proc, &ours, (pid, &pidfd)));
            if outcome.is_err() {
                let _ = hako_sys::signal::send(pidfd.as_fd(), 9);
                reap(&pidfd);
            }
            outcome.map(|()| Started { pidfd })
        }
    }
}

/// Waits for the stage's child, which is this process' as well.
fn follow_stage(channel: &Channel, stage: &OwnedFd) -> Result<(i32, OwnedFd)> {
    let message = channel.receive_from_stage(stage);
    reap(stage);
    let number = match message? {
        Message::Pid(number) => number,
        Message::Failed(error) => return Err(error),
        Message::Closed => return Err(Error::new("the process was killed while it was set up")),
        other => return Err(Error::new(format!("unexpected message {other:?}"))),
    };
    let pid = Pid::from_raw(number).ok_or_else(|| Error::new(format!("pid {number}")))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context(|| "open the process")?;
    Ok((number, pidfd))
}

/// Groups of resctrl are entered from outside, unlike those of cgroups.
fn admit(container: &Container, pid: i32) -> Result<()> {
    let groups = container.saved.rdt.as_ref();
    groups.map_or(Ok(()), |groups| groups.admit(pid))
}

fn follow(
    request: &Request,
    proc: &Proc,
    channel: &Channel,
    (pid, pidfd): (i32, &OwnedFd),
) -> Result<()> {
    match channel.receive()? {
        Message::Ready => limits::raise(pid, &request.process.rlimits)?,
        Message::Failed(error) => return Err(error),
        Message::Closed => return Err(Error::new("the process was killed while it was set up")),
        other => return Err(Error::new(format!("unexpected message {other:?}"))),
    }
    receivers::tell_of_exec(pidfd, request.pidfd_socket.as_deref())?;
    if let Some(score) = request.process.oom_score_adj {
        proc.write(
            &format!("{pid}/oom_score_adj"),
            score.to_string().as_bytes(),
        )
        .context(|| format!("set oomScoreAdj to {score}"))?;
    }
    if let Some(path) = &request.pid_file {
        write_whole(path, pid.to_string().as_bytes())
            .context(|| format!("pid file {}", path.display()))?;
    }
    channel.send(&Message::Go(pid))?;
    channel.wait_executed(
        request
            .process
            .args
            .first()
            .map(String::as_str)
            .unwrap_or_default(),
    )
}

/// The namespaces of the container that this process is not in already.
pub fn joined(container: &Container, config: &Config) -> Result<u64> {
    let mut joins = 0;
    for namespace in config
        .linux
        .as_ref()
        .map(|l| l.namespaces.as_slice())
        .unwrap_or_default()
    {
        let name = file(namespace.kind);
        let theirs = format!("/proc/{}/ns/{name}", container.saved.pid);
        let theirs = rustix::fs::stat(&theirs).context(|| theirs)?;
        let ours = rustix::fs::stat(format!("/proc/self/ns/{name}")).context(|| name)?;
        if theirs.st_ino != ours.st_ino {
            joins |= flag(namespace.kind);
        }
    }
    Ok(joins)
}

/// Where the container's first process is now.
fn first_process_cgroup(container: &Container) -> Result<Join> {
    let pid = u32::try_from(container.saved.pid).ok();
    let host = Host::detect().context(|| "find the cgroup hierarchies")?;
    let at = Membership::of(pid).context(|| "find the cgroup of the container's process")?;
    let join = Cgroup::of_process(&host, &at).join();
    join.context(|| "open the cgroup of the container's process")
}

/// The inode of the container's pid namespace, by which that is known.
fn pid_namespace(container: &Container) -> Result<u64> {
    let path = format!("/proc/{}/ns/pid", container.saved.pid);
    Ok(rustix::fs::stat(&path).context(|| path)?.st_ino)
}

/// Whether the container has a new namespace of this kind, not a joined one.
pub fn is_made(config: &Config, kind: NamespaceKind) -> bool {
    let linux = config.linux.as_ref();
    let path = linux.and_then(|l| l.namespace(kind)).map(|n| &n.path);
    path.is_some_and(|path| path.as_deref().is_none_or(str::is_empty))
}

struct Inside<'a> {
    config: &'a Config,
    process: &'a Process,
    state: &'a State,
    target: &'a OwnedFd,
    joins: u64,
    /// This process goes to the namespaces, and its child is the one to run.
    staged: bool,
    /// Somebody in the container can look into its processes.
    watched: bool,
    root: OwnedFd,
    join: &'a Join,
    console: Option<Recipient>,
    filter: Option<&'a Filter>,
    passed: Passed,
    /// The host's procfs, until all namespaces are entered.
    proc: &'a Proc,
}

impl Inside<'_> {
    fn run(self, channel: &Channel) -> ! {
        let error = match self.become_process(channel) {
            Err(error) => error,
            Ok(error) => error,
        };
        let _ = channel.send(&Message::Failed(error));
        exit_now(1)
    }

    /// The stage's last steps.
    fn give_birth(&self, channel: &Channel) -> Result<()> {
        if self.watched {
            self.close_the_hosts(channel)?;
        }
        // The change of identity has set it as the kernel's setting has it.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "hide from others")?;
        match fork(flags::PARENT, None).context(|| "fork")? {
            Forked::Parent { pid, .. } => {
                channel.send(&Message::Pid(pid.as_raw_nonzero().get()))?;
                exit_now(0)
            }
            Forked::Child => Ok(()),
        }
    }

    /// Nothing of the host may be open in the child that others see.
    fn close_the_hosts(&self, channel: &Channel) -> Result<()> {
        log::leave_file();
        let console = self.console.as_ref().map(AsFd::as_fd);
        let listener = self.filter.and_then(Filter::listener);
        let keep = [Some(channel.fd()), console, listener];
        let keep: Vec<i32> = keep.iter().flatten().map(AsRawFd::as_raw_fd).collect();
        let first = i32::try_from(self.passed.preserve).unwrap_or(i32::MAX);
        fds::close_others(first.saturating_add(3), &keep).context(|| "close descriptors")
    }

    fn become_process(&self, channel: &Channel) -> Result<Error> {
        log::debug("nsexec container setup");
        if let Some(cpus) = self.initial_affinity() {
            limits::affinity(cpus)?;
        }
        // While the host's procfs is at hand; what is executed next is the stub.
        lsm::apply(self.proc, self.process)?;
        self.join
            .enter_self()
            .map_err(|refused| Error::from(self.join.describe(refused)))?;
        if self.initial_affinity().is_none() {
            limits::all_cpus();
        }
        if self.joins != 0 {
            ns::join(self.target.as_fd(), self.joins).context(|| "join the namespaces")?;
        }
        if self.joins & flags::NEWUSER != 0 {
            become_root();
        }
        if !self.config_makes_mount_namespace() {
            // The container is a changed root in somebody else's namespace.
            rustix::process::fchdir(&self.root).context(|| "change to the root")?;
            rustix::process::chroot(".").context(|| "chroot")?;
        }
        if self.staged {
            self.give_birth(channel)?;
        }
        let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", open, Mode::empty()).context(|| "open the root")?;
        let root = Root::new(root);
        log::debug("child process in init()");
        rustix::process::setsid().context(|| "make a session")?;
        let in_directory = change_directory(&root, &self.process.cwd)?;
        let console = self.open_console(&root)?;
        let report = self
            .filter
            .is_none_or(Filter::allows_report)
            .then(|| channel.fd());
        let program = Program::prepare(self.process, &root, self.passed, self.filter, report)?;
        lsm::label_stub(program.stub(), self.process, self.config.linux.as_ref());
        let sets = identity::Sets::of(self.process)?;
        log::debug("setns_init: about to exec");
        channel.send(&Message::Ready)?;
        let pid = channel.wait_go()?;
        match console {
            Some(console) => console.take()?,
            None => own_stdio(&root, self.process.user.uid),
        }
        let affinity = self.process.exec_cpu_affinity.as_ref();
        if let Some(cpus) = affinity.and_then(|a| a.r#final.as_deref()) {
            limits::affinity(cpus)?;
        }
        let last = Last {
            config: self.config,
            process: self.process,
            program: &program,
            sets,
            filter: self.filter.map(|filter| (filter, self.state, pid)),
            late_directory: (!in_directory).then_some(&root),
            passed: self.passed,
            report,
        };
        last.go()
    }

    fn initial_affinity(&self) -> Option<&str> {
        self.process
            .exec_cpu_affinity
            .as_ref()
            .and_then(|a| a.initial.as_deref())
    }

    fn config_makes_mount_namespace(&self) -> bool {
        is_made(self.config, NamespaceKind::Mount)
    }

    fn open_console(&self, root: &Root) -> Result<Option<Console>> {
        let Some(recipient) = &self.console else {
            return Ok(None);
        };
        let console = Console::open(root, self.process, recipient)?;
        console.send(recipient)?;
        Ok(Some(console))
    }
}

/// The container's root directory, by its process.
pub fn open_root(container: &Container) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", container.saved.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).context(|| path)
}

/// The process to run from the flags of `exec` or its `--process` file.
pub fn read_process(path: &Path) -> Result<Process> {
    let bytes = std::fs::read(path).context(|| path.display().to_string())?;
    Process::from_slice(&bytes).context(|| path.display().to_string())
}
