//! The container's first process, from its clone to its program.
//!
//! It runs in a copy of the runtime's memory, single-threaded, and reports to
//! the runtime over the channel. Until it becomes the sealed stub it is not
//! dumpable, so that nobody inside can look into it or at its executable.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hako_cgroup::Join;
use hako_spec::runtime::{Config, NamespaceKind, Process, State, Status};
use hako_sys::clone::{Forked, exit_now, flags, fork};
use hako_sys::{keyring, link, ns, signal};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{set_no_new_privs, set_thread_res_gid, set_thread_res_uid};

use super::console::Console;
use super::namespaces::Namespaces;
use super::program::{Passed, Program};
use super::seccomp::Prepared as Filter;
use super::{hook, identity, limits};
use crate::error::{Context, Error, Result};
use crate::proc::Proc;
use crate::rootfs::{self, Plan};
use crate::sync::{Channel, Message};

/// Everything that the process is made from, prepared by the runtime.
#[derive(Debug)]
pub struct Init<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Its process.
    pub process: &'a Process,
    /// The state given to hooks.
    pub state: State,
    /// The file system.
    pub plan: Plan<'a>,
    /// Namespaces to make and join.
    pub namespaces: &'a Namespaces,
    /// How to enter the cgroups.
    pub join: &'a Join,
    /// The host's procfs.
    pub proc: &'a Proc,
    /// The socket on which `start` will call (create), or none (run).
    pub listener: Option<OwnedFd>,
    /// Where the terminal goes.
    pub console: Option<OwnedFd>,
    /// The compiled filter.
    pub filter: Option<&'a Filter>,
    /// Descriptors to pass on.
    pub passed: Passed,
    /// Do not make a session keyring (`--no-new-keyring`).
    pub no_new_keyring: bool,
    /// Cgroups of version 1 are entered by the process itself, after which the
    /// cgroup namespace can be made.
    pub late_cgroup_namespace: bool,
}

impl Init<'_> {
    /// Goes all the way; tells `channel` when it fails.
    pub fn run(self, channel: Channel) -> ! {
        let mut channel = channel;
        let error = match self.set_up_and_become(&mut channel) {
            Err(error) => error,
            Ok(never) => never,
        };
        let _ = channel.send(&Message::Failed(error));
        exit_now(1)
    }

    /// As [`Init::run`], by a first stage that joins namespaces and then makes
    /// the container's process as the runtime's child.
    pub fn run_staged(self, channel: Channel) -> ! {
        match self.stage(&channel) {
            Ok(Some(())) => exit_now(0),
            Ok(None) => self.run(channel),
            Err(error) => {
                let _ = channel.send(&Message::Failed(error));
                exit_now(1)
            }
        }
    }

    /// `Some`: this is still the first stage, which is done. `None`: this is
    /// the container's process.
    fn stage(&self, channel: &Channel) -> Result<Option<()>> {
        self.enter_cgroups()?;
        self.namespaces.enter()?;
        let joined_user = self
            .namespaces
            .join
            .iter()
            .any(|(kind, _)| *kind == NamespaceKind::User);
        if joined_user {
            become_root();
        }
        let mut new = self.namespaces.new;
        if new & flags::NEWUSER != 0 {
            ns::unshare(flags::NEWUSER).context(|| "make a user namespace")?;
            new &= !flags::NEWUSER;
            channel.send(&Message::Map)?;
            channel.wait_go()?;
            become_root();
        }
        ns::unshare(new).context(|| "make namespaces")?;
        if new & flags::NEWTIME != 0 {
            self.time_offsets()?;
        }
        match fork(flags::PARENT, None).context(|| "fork")? {
            Forked::Parent { pid, .. } => {
                channel.send(&Message::Pid(pid.as_raw_nonzero().get()))?;
                Ok(Some(()))
            }
            Forked::Child => Ok(None),
        }
    }

    fn time_offsets(&self) -> Result<()> {
        let Some(linux) = &self.config.linux else {
            return Ok(());
        };
        for (clock, offset) in &linux.time_offsets {
            let line = format!("{clock} {} {}", offset.secs, offset.nanosecs);
            self.proc
                .write("self/timens_offsets", line.as_bytes())
                .context(|| format!("linux.timeOffsets: set {line:?}"))?;
        }
        Ok(())
    }

    fn enter_cgroups(&self) -> Result<()> {
        self.join
            .enter_self()
            .map_err(|refused| Error::from(self.join.describe(refused)))
    }

    /// Returns only failures; success is another program.
    fn set_up_and_become(&self, channel: &mut Channel) -> Result<Error> {
        let staged = self.namespaces.need_stage();
        if !staged {
            if self.namespaces.makes(NamespaceKind::User) {
                channel.wait_go()?;
                become_root();
            }
            self.enter_cgroups()?;
            if self.late_cgroup_namespace {
                ns::unshare(flags::NEWCGROUP).context(|| "make a cgroup namespace")?;
            }
        }
        set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "hide from others")?;
        rustix::process::setsid().context(|| "make a session")?;
        if !self.no_new_keyring {
            self.keyring()?;
        }
        self.names()?;
        if self.namespaces.makes(NamespaceKind::Network) {
            link::loopback_up().context(|| "bring up the loopback interface")?;
        }

        let prepared = rootfs::prepare(&self.plan)?;
        let hooks = self.config.hooks.as_ref();
        if hooks.is_some_and(|h| !h.prestart.is_empty() || !h.create_runtime.is_empty()) {
            channel.send(&Message::Hooks)?;
            channel.wait_go()?;
        }
        if let Some(hooks) = hooks.filter(|h| !h.create_container.is_empty()) {
            hook::run(
                "createContainer",
                &hooks.create_container,
                &self.state(Status::Creating),
            )?;
        }
        rootfs::enter(&self.plan, &prepared)?;

        let console = self.console(&prepared)?;
        rootfs::finish(&self.plan, &prepared)?;
        self.sysctls()?;
        change_directory(&self.process.cwd)?;
        let report = self.reporting(channel);
        let program = Program::prepare(self.process, self.passed, report)?;
        let sets = identity::Sets::of(self.process.capabilities.as_ref())?;
        if let Some(console) = console {
            console.take()?;
        } else {
            own_stdio(self.process.user.uid);
        }

        self.await_start(channel)?;
        if let Some(hooks) = hooks.filter(|h| !h.start_container.is_empty()) {
            hook::run(
                "startContainer",
                &hooks.start_container,
                &self.state(Status::Created),
            )?;
        }
        drop(prepared);
        let user_namespace = self.namespaces.has(NamespaceKind::User);
        become_user(
            self.process,
            self.config,
            self.filter,
            &sets,
            user_namespace,
        )?;
        Ok(program.execute(self.passed, self.reporting(channel)))
    }

    /// The channel, unless the filter would forbid the stub to close it.
    fn reporting<'c>(&self, channel: &'c Channel) -> Option<BorrowedFd<'c>> {
        let can = self.filter.is_none_or(Filter::allows_report);
        can.then(|| channel.fd())
    }

    /// Tells that all is made, and waits for `start`: on a call to the socket,
    /// whose connection takes the channel's place, or on the runtime's word.
    fn await_start(&self, channel: &mut Channel) -> Result<()> {
        channel.send(&Message::Ready)?;
        let Some(listener) = &self.listener else {
            return channel.wait_go();
        };
        let number = channel.fd().as_raw_fd();
        let call = loop {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Err(Errno::INTR) => {}
                other => break other.context(|| "wait for start")?,
            }
        };
        // The stub knows the channel by its number.
        channel
            .replace(&call)
            .context(|| format!("take over descriptor {number}"))?;
        channel.wait_go()
    }

    fn state(&self, status: Status) -> State {
        let mut state = self.state.clone();
        state.status = status;
        state.pid = rustix::process::getpid().as_raw_nonzero().get();
        state
    }

    fn keyring(&self) -> Result<()> {
        let name = std::ffi::CString::new(format!("_ses.{}", self.state.id))
            .map_err(|_| Error::new("the id holds a NUL byte"))?;
        match keyring::join_new_session(&name) {
            // No keyrings in this kernel, or none left for this user.
            Err(Errno::NOSYS | Errno::DQUOT) => return Ok(()),
            other => other.context(|| "make a session keyring")?,
        };
        Ok(())
    }

    fn names(&self) -> Result<()> {
        if let Some(name) = &self.config.hostname {
            rustix::system::sethostname(name.as_bytes())
                .context(|| format!("set hostname {name:?}"))?;
        }
        if let Some(name) = &self.config.domainname {
            rustix::system::setdomainname(name.as_bytes())
                .context(|| format!("set domainname {name:?}"))?;
        }
        Ok(())
    }

    fn console(&self, prepared: &rootfs::Prepared) -> Result<Option<Console>> {
        let Some(socket) = &self.console else {
            return Ok(None);
        };
        let size = self.process.console_size.as_ref();
        let console = Console::open(&prepared.root, size, self.process.user.uid)?;
        if self.plan.mount_namespace {
            console.bind(&prepared.root)?;
        }
        console.send(socket.as_fd())?;
        Ok(Some(console))
    }

    fn sysctls(&self) -> Result<()> {
        let Some(linux) = &self.config.linux else {
            return Ok(());
        };
        for (key, value) in &linux.sysctl {
            let path = format!("sys/{}", sysctl_path(key));
            self.proc
                .write(&path, value.as_bytes())
                .context(|| format!("set sysctl {key} to {value:?}"))?;
        }
        Ok(())
    }
}

/// `net.ipv4.ip_forward` is the file `net/ipv4/ip_forward`; a name with slashes
/// keeps its dots (sysctl.d(5)).
fn sysctl_path(key: &str) -> String {
    match key.find(['.', '/']).and_then(|at| key.as_bytes().get(at)) {
        Some(b'.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

/// Root of the user namespace, where that is mapped; a process whose id is not
/// mapped could not own anything it makes.
pub fn become_root() {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    // Refused where no root is mapped: then the process stays who it is, with
    // all capabilities of the namespace.
    let _ = set_thread_res_gid(gid, gid, gid);
    let _ = set_thread_res_uid(uid, uid, uid);
}

/// Changes to `path`, which is made where missing, and sees that it lies in the
/// container's root (CVE-2024-21626: a descriptor of the host, or a racing
/// rename, would lead out).
pub fn change_directory(path: &str) -> Result<()> {
    let change = || match rustix::process::chdir(path) {
        Err(Errno::NOENT) => {
            // Inside the container's root by now: strings cannot leave it.
            std::fs::create_dir_all(path)?;
            Ok(rustix::process::chdir(path)?)
        }
        other => Ok::<(), Error>(other?),
    };
    change().context(|| format!("change to process.cwd {path:?}"))?;
    verify_directory()
}

/// Sees that the current directory is below the root: getcwd(2) prefixes
/// others with "(unreachable)".
pub fn verify_directory() -> Result<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(cwd) if cwd.as_bytes().first() == Some(&b'/') => Ok(()),
        _ => Err(Error::new("process.cwd is outside of the container's root")),
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

/// The last steps, for a container's first process and for those of exec:
/// limits, identity, filter. What needs privilege comes first.
pub fn become_user(
    process: &Process,
    config: &Config,
    filter: Option<&Filter>,
    sets: &identity::Sets,
    user_namespace: bool,
) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        limits::scheduler(scheduler)?;
    }
    if let Some(priority) = &process.io_priority {
        limits::io_priority(priority)?;
    }
    if let Some(linux) = &config.linux {
        if let Some(policy) = &linux.memory_policy {
            limits::memory_policy(policy)?;
        }
        if let Some(personality) = &linux.personality {
            limits::personality(personality)?;
        }
    }
    if let Some(cpus) = process
        .exec_cpu_affinity
        .as_ref()
        .and_then(|a| a.r#final.as_deref())
    {
        limits::affinity(cpus)?;
    }
    limits::rlimits(&process.rlimits)?;
    signal::reset().context(|| "reset signals")?;
    identity::umask(&process.user);
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
    let early = filter.filter(|_| !process.no_new_privileges);
    if let Some(filter) = early {
        filter.load()?;
    }
    identity::assume(&process.user, sets, user_namespace)?;
    if process.no_new_privileges {
        set_no_new_privs(true).context(|| "set no_new_privs")?;
        if let Some(filter) = filter {
            filter.load()?;
        }
    }
    // The user may lack the directory's permissions where root had them.
    verify_directory()
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn sysctl_names() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(sysctl_path("kernel"), "kernel");
    }
}
