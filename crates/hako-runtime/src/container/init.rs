//! The container's first process, from its clone to its program.
//!
//! It runs in a copy of the runtime's memory, single-threaded, and reports to
//! the runtime over the channel. Until it becomes the sealed stub it is not
//! dumpable, so that nobody inside can look into it or at its executable.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hako_cgroup::Join;
use hako_spec::runtime::{Config, NamespaceKind, Process, State, Status};
use hako_sys::clone::{Forked, exit_now, flags, fork};
use hako_sys::{fds, keyring, link, ns, signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::console::{Console, Recipient};
use super::last::{Last, become_root, change_directory, make_directory, own_stdio};
use super::namespaces::Namespaces;
use super::program::{Passed, Program};
use super::seccomp::Prepared as Filter;
use super::{check, hook, identity, limits, lsm};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::proc::Proc;
use crate::rootfs::inroot::Root;
use crate::rootfs::{self, Plan};
use crate::state::NO_PROCESS;
use crate::sync::{Channel, Message};

/// Signals that end the process while it waits for `start`. The kernel would
/// not let them end the first process of a pid namespace: HUP, INT, QUIT, TERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

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
    pub console: Option<Recipient>,
    /// The compiled filter.
    pub filter: Option<&'a Filter>,
    /// Descriptors to pass on.
    pub passed: Passed,
    /// Do not make a session keyring (`--no-new-keyring`).
    pub no_new_keyring: bool,
    /// Cgroups of version 1 are entered by the process itself, after which the
    /// cgroup namespace can be made.
    pub late_cgroup_namespace: bool,
    /// Systemd moves the process into its cgroup: it is to wait for that before
    /// anything else.
    pub is_moved: bool,
}

impl Init<'_> {
    /// Goes all the way; tells `channel` when it fails.
    pub fn run(self, channel: Channel) -> ! {
        let mut channel = channel;
        log::debug("nsexec container setup");
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
        self.await_move(channel)?;
        self.enter_cgroups()?;
        if self.namespaces.enter()? {
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
        // Its child may be born into a pid namespace where others look on.
        self.hide()?;
        match fork(flags::PARENT, None).context(|| "fork")? {
            Forked::Parent { pid, .. } => {
                channel.send(&Message::Pid(pid.as_raw_nonzero().get()))?;
                Ok(Some(()))
            }
            Forked::Child => Ok(None),
        }
    }

    fn hide(&self) -> Result<()> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "hide from others")
    }

    fn time_offsets(&self) -> Result<()> {
        let Some(linux) = &self.config.linux else {
            return Ok(());
        };
        // The file is the process' own only while that is dumpable, which the
        // change to the mapped root has undone. Nobody of the container is
        // there yet, and its child hides again.
        set_dumpable_behavior(DumpableBehavior::Dumpable).context(|| "own /proc/self")?;
        for (clock, offset) in &linux.time_offsets {
            let line = format!("{clock} {} {}", offset.secs, offset.nanosecs);
            self.proc
                .write("self/timens_offsets", line.as_bytes())
                .context(|| format!("linux.timeOffsets: set {line:?}"))?;
        }
        Ok(())
    }

    fn await_move(&self, channel: &Channel) -> Result<()> {
        match self.is_moved {
            true => channel.wait_go().map(drop),
            false => Ok(()),
        }
    }

    /// The CPUs are those of the cgroup from then on, whatever the runtime's
    /// caller was bound to.
    fn enter_cgroups(&self) -> Result<()> {
        self.join
            .enter_self()
            .map_err(|refused| Error::from(self.join.describe(refused)))?;
        limits::all_cpus();
        Ok(())
    }

    /// Returns only failures; success is another program.
    fn set_up_and_become(&self, channel: &mut Channel) -> Result<Error> {
        let staged = self.namespaces.need_stage();
        if !staged {
            self.await_move(channel)?;
            if self.namespaces.makes(NamespaceKind::User) {
                channel.wait_go()?;
                become_root();
            }
            self.enter_cgroups()?;
            if self.late_cgroup_namespace {
                ns::unshare(flags::NEWCGROUP).context(|| "make a cgroup namespace")?;
            }
        }
        self.hide()?;
        log::debug("child process in init()");
        rustix::process::setsid().context(|| "make a session")?;
        if !self.no_new_keyring {
            self.keyring()?;
        }
        self.names()?;
        if self.namespaces.makes(NamespaceKind::Network) {
            link::loopback_up().context(|| "bring up the loopback interface")?;
        }

        let prepared = rootfs::prepare(&self.plan, channel)?;
        let hooks = self.config.hooks.as_ref();
        let devices = self.config.linux.as_ref().map(|l| &l.net_devices);
        if hooks.is_some_and(|h| !h.prestart.is_empty() || !h.create_runtime.is_empty())
            || devices.is_some_and(|d| !d.is_empty())
        {
            channel.send(&Message::Hooks)?;
            channel.wait_go()?;
        }
        if let Some(hooks) = hooks.filter(|h| !h.create_container.is_empty()) {
            // Whose directory is the root, from which they mount into it.
            rustix::process::fchdir(prepared.root.fd()).context(|| "change to the root")?;
            hook::run(
                "createContainer",
                &hooks.create_container,
                &self.state(Status::Creating),
                hook::Start::Runtime(None),
            )?;
        }
        rootfs::enter(&self.plan, &prepared)?;

        let console = self.console(&prepared)?;
        make_directory(&prepared.root, &self.process.cwd)?;
        rootfs::finish(&self.plan, &prepared)?;
        let root = prepared.root;
        self.sysctls()?;
        let in_directory = change_directory(&root, &self.process.cwd)?;
        let report = self.reporting(channel);
        let process = self.config.process.as_ref();
        let program = process
            .map(|_| Program::prepare(self.process, &root, self.passed, self.filter, report))
            .transpose()?;
        let sets = identity::Sets::of(self.process)?;
        if let Some(console) = console {
            console.take()?;
        } else {
            own_stdio(&root, self.process.user.uid);
        }

        log::debug("init: closing the pipe to signal completion");
        self.let_go(channel, &root, program.as_ref())?;
        let pid = self.await_start(channel)?;
        let Some(program) = program else {
            return Err(Error::new(NO_PROCESS));
        };
        let mut state = self.state(Status::Created);
        state.pid = pid;
        let last = Last {
            config: self.config,
            process: self.process,
            program: &program,
            sets,
            filter: self.filter.map(|filter| (filter, &state, state.pid)),
            late_directory: (!in_directory).then_some(&root),
            passed: self.passed,
            report: self.reporting(channel),
        };
        if let Some(hooks) = hooks.filter(|h| !h.start_container.is_empty()) {
            let inside = hook::Inside {
                last: &last,
                proc: self.proc,
                root: &root,
            };
            hook::run(
                "startContainer",
                &hooks.start_container,
                &self.state(Status::Created),
                hook::Start::Container(&inside),
            )?;
        }
        lsm::label_stub(program.stub(), self.process, self.config.linux.as_ref());
        lsm::apply(self.proc, self.process)?;
        last.go()
    }

    /// The channel, unless the filter would forbid the stub to close it.
    fn reporting<'c>(&self, channel: &'c Channel) -> Option<BorrowedFd<'c>> {
        let can = self.filter.is_none_or(Filter::allows_report);
        can.then(|| channel.fd())
    }

    /// Closes what is of the host and of no more use, since the container may
    /// wait for its start for long: its cgroups, the sources of its mounts, the
    /// log, and whatever else the runtime had or was given (CVE-2024-21626).
    fn let_go(&self, channel: &Channel, root: &Root, program: Option<&Program>) -> Result<()> {
        log::leave_file();
        let listener = self.filter.and_then(Filter::listener);
        let start = self.listener.as_ref().map(AsFd::as_fd);
        let proc = lsm::is_asked(self.process).then(|| self.proc.fd());
        let keep = [
            Some(channel.fd()),
            Some(root.fd()),
            program.map(Program::stub),
            listener,
            start,
            proc,
        ];
        let keep: Vec<i32> = keep.iter().flatten().map(AsRawFd::as_raw_fd).collect();
        let first = i32::try_from(self.passed.preserve).unwrap_or(i32::MAX);
        fds::close_others(first.saturating_add(3), &keep).context(|| "close descriptors")
    }

    /// Tells that all is made, and waits for the runtime's word that it is on
    /// record (without which this process would be nobody's), and then for
    /// `start`: a call to the socket, whose connection takes the channel's place.
    /// The value is this process' number on the host.
    fn await_start(&self, channel: &mut Channel) -> Result<i32> {
        channel.send(&Message::Ready)?;
        let pid = channel.wait_go()?;
        let Some(listener) = &self.listener else {
            return Ok(pid);
        };
        let ending = match rustix::process::getpid().is_init() {
            true => Some(signal::block(&ENDING).context(|| "watch for signals")?),
            false => None,
        };
        loop {
            end_by_signal(listener, ending.as_ref())?;
            let call = match accept_with(listener, SocketFlags::CLOEXEC) {
                Err(Errno::INTR) => continue,
                other => other.context(|| "wait for start")?,
            };
            // The stub knows the channel by its number.
            channel
                .replace(&call)
                .context(|| "take over the channel's descriptor")?;
            // A caller may have gone before its word: another was first, or it
            // was killed. Then the next one is waited for.
            match channel.receive() {
                Ok(Message::Closed) => {}
                Ok(Message::Go(pid)) => return Ok(pid),
                Ok(other) => return Err(Error::new(format!("unexpected message {other:?}"))),
                Err(e) => return Err(e),
            }
        }
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
        lsm::label_keys(self.proc, Some(self.process))?;
        let joined = keyring::join_new_session(&name);
        if self.process.selinux_label.is_some() {
            lsm::label_keys(self.proc, None)?;
        }
        match joined {
            // No keyrings in this kernel, or none left for this user.
            Err(Errno::NOSYS | Errno::DQUOT) => Ok(()),
            // The container's user, who is not this one, is to find it.
            Ok(id) => keyring::allow_user_search(id).context(|| "open the session keyring"),
            Err(e) => Err(Error::from(e).within("make a session keyring")),
        }
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
        let Some(recipient) = &self.console else {
            return Ok(None);
        };
        let console = Console::open(&prepared.root, self.process, recipient)?;
        if self.plan.may_mount {
            console.bind(&prepared.root)?;
        }
        console.send(recipient)?;
        Ok(Some(console))
    }

    fn sysctls(&self) -> Result<()> {
        let Some(linux) = &self.config.linux else {
            return Ok(());
        };
        for (key, value) in &linux.sysctl {
            let path = format!("sys/{}", check::sysctl_path(key));
            self.proc
                .write(&path, value.as_bytes())
                .context(|| format!("set sysctl {key} to {value:?}"))?;
        }
        Ok(())
    }
}

/// Waits for a call to `listener`, and exits as a shell would report it when
/// one of the signals of `ending` comes first.
fn end_by_signal(listener: &OwnedFd, ending: Option<&OwnedFd>) -> Result<()> {
    let Some(ending) = ending else {
        return Ok(());
    };
    loop {
        let mut fds = [
            PollFd::new(ending, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).context(|| "wait for start"),
        }
        if let Some(received) = signal::read(ending.as_fd())? {
            exit_now(128 + received.signal);
        }
        if !fds[1].revents().is_empty() {
            return Ok(());
        }
    }
}
