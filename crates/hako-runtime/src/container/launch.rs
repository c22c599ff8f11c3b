//! `create` and the first half of `run`: from a bundle to a process that is
//! set up and waits.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hako_cgroup::{Cgroup, CgroupPath, Devices, Host, Join, Options as CgroupOptions, Permission};
use hako_spec::id::ContainerId;
use hako_spec::runtime::validate::{self, Purpose};
use hako_spec::runtime::{
    Config, DeviceKind, DeviceRule, Hooks, NamespaceKind, Process, Resources, State, Status,
};
use hako_sys::clone::{Forked, flags, fork};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::console::connect_to;
use super::init::Init;
use super::namespaces::Namespaces;
use super::program::Passed;
use super::seccomp;
use super::{hook, userns};
use crate::error::{Context, Error, Result};
use crate::proc::{Identity, Proc};
use crate::rootfs::{Plan, cgroup::Own};
use crate::state::{Container, Directory, Saved, write_whole};
use crate::sync::{Channel, Message};

/// What the command line asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where containers are kept (`--root`).
    pub root: &'a Path,
    /// The container's id.
    pub id: ContainerId,
    /// The bundle (`--bundle`), absolute.
    pub bundle: PathBuf,
    /// `--config`: another file than the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Descriptors to pass on.
    pub passed: Passed,
    /// The container waits for `start` (create), or for this process (run).
    pub for_start: bool,
    /// Cgroups may be missing where the caller has no right to them.
    pub rootless_cgroups: bool,
    /// A terminal socket of `run` in the foreground.
    pub console: Option<OwnedFd>,
}

/// A container that is set up.
#[derive(Debug)]
pub struct Launched {
    /// Its record.
    pub container: Container,
    /// Its configuration.
    pub config: Config,
    /// Its process.
    pub pidfd: OwnedFd,
    /// The way to its process, which waits for [`Message::Go`] (run).
    pub channel: Channel,
}

/// Undoes what was made, unless it was [kept](Guard::keep).
struct Guard {
    dir: Directory,
    cgroup: Option<Cgroup>,
    process: Option<OwnedFd>,
    kept: bool,
}

impl Guard {
    fn keep(mut self) -> Directory {
        self.kept = true;
        self.dir.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Some(process) = &self.process {
            let _ = hako_sys::signal::send(process.as_fd(), 9);
            reap(process);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill(9);
            let _ = cgroup.delete();
        }
        let _ = self.dir.remove();
    }
}

/// Waits for the end of a child.
pub fn reap(pidfd: &OwnedFd) {
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    {}
}

/// Makes the container. On failure nothing of it is left.
pub fn launch(request: Request<'_>) -> Result<Launched> {
    let bundle = text(&request.bundle)?;
    let (config, bytes) = read_config(&request)?;
    let process = config
        .process
        .clone()
        .ok_or_else(|| Error::new("config.json has no process: there is nothing to start"))?;
    let rootfs = rootfs_of(&config, &request.bundle)?;
    check_terminal(&request, &process)?;
    check_supported(&config, &process)?;
    let namespaces = Namespaces::plan(config.linux.as_ref())?;
    let proc = Proc::open()?;

    let dir = Directory::make(request.root, &request.id)?;
    let mut guard = Guard {
        dir: dir.clone(),
        cgroup: None,
        process: None,
        kept: false,
    };
    let mut saved = Saved::new(&request.id, bundle, &rootfs);
    write_whole(&dir.file("config.json"), &bytes)?;
    dir.save(&saved)?;

    let host = Host::detect().context(|| "find the cgroup hierarchies")?;
    let cgroup = make_cgroup(&host, &request, &config, &namespaces)?;
    saved.set_cgroup(&cgroup);
    let own = own_cgroups(&host, &cgroup);
    let join = cgroup.join().context(|| "open the cgroup")?;
    guard.cgroup = Some(cgroup);
    dir.save(&saved)?;

    let mut container = Container { dir, saved };
    let state = container.state(&config, Status::Creating);
    let filter = match config.linux.as_ref().and_then(|l| l.seccomp.as_ref()) {
        Some(profile) => Some(seccomp::prepare(profile, &state)?),
        None => None,
    };
    let listener = match request.for_start {
        true => Some(listen_at(&container.dir.start_socket())?),
        false => None,
    };
    let console = match (&request.console_socket, request.console) {
        (Some(path), _) => Some(
            connect_to(path, SocketType::STREAM)
                .context(|| format!("console socket {}", path.display()))?,
        ),
        (None, console) => console,
    };
    let late_cgroup_namespace =
        namespaces.makes(NamespaceKind::Cgroup) && !container.saved.cgroup_v1.is_empty();
    let plan = Plan {
        config: &config,
        bundle,
        rootfs: &rootfs,
        host: &host,
        cgroups: &own,
        mount_namespace: namespaces.has(NamespaceKind::Mount),
        new_mount_namespace: namespaces.makes(NamespaceKind::Mount),
        cgroup_namespace: namespaces.has(NamespaceKind::Cgroup),
        user_namespace: namespaces.has(NamespaceKind::User),
        no_pivot: request.no_pivot,
    };
    let init = Init {
        config: &config,
        process: &process,
        state,
        plan,
        namespaces: &namespaces,
        join: &join,
        proc: &proc,
        listener,
        console,
        filter: filter.as_ref(),
        passed: request.passed,
        no_new_keyring: request.no_new_keyring,
        late_cgroup_namespace,
    };
    let (ours, theirs) = Channel::pair()?;
    let (pid, mut pidfd) = start_process(init, &join, theirs)?;
    guard.process = Some(pidfd.try_clone()?);
    let mut parent = Parent {
        proc: &proc,
        config: &config,
        process: &process,
        container: &mut container,
        channel: &ours,
        guard: &mut guard,
    };
    if namespaces.need_stage() {
        pidfd = parent.follow_stage(pid)?;
    } else {
        parent.adopt(pid, &pidfd)?;
        if namespaces.makes(NamespaceKind::User) {
            parent.map()?;
        }
    }
    parent.until_ready()?;

    container.dir.save(&container.saved)?;
    if let Some(path) = &request.pid_file {
        write_whole(path, container.saved.pid.to_string().as_bytes())
            .context(|| format!("pid file {}", path.display()))?;
    }
    container.dir = guard.keep();
    Ok(Launched {
        container,
        config,
        pidfd,
        channel: ours,
    })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::new(format!("{} is not UTF-8", path.display())))
}

fn read_config(request: &Request<'_>) -> Result<(Config, Vec<u8>)> {
    let path = request
        .config
        .clone()
        .unwrap_or_else(|| request.bundle.join("config.json"));
    let bytes = std::fs::read(&path).context(|| path.display().to_string())?;
    let config = Config::from_slice(&bytes).context(|| path.display().to_string())?;
    let problems = validate::config(&config, Purpose::Start);
    if let Some(first) = problems.first() {
        let more = match problems.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        return Err(Error::new(format!("{}: {first}{more}", path.display())));
    }
    Ok((config, bytes))
}

/// The root's absolute path: relative ones start at the bundle (config.md,
/// "Root").
fn rootfs_of(config: &Config, bundle: &Path) -> Result<String> {
    let root = config
        .root
        .as_ref()
        .ok_or_else(|| Error::new("config.json has no root"))?;
    let path = bundle.join(&root.path);
    let real = path
        .canonicalize()
        .context(|| format!("root {}", path.display()))?;
    if !real.is_dir() {
        return Err(Error::new(format!(
            "root {} is not a directory",
            path.display()
        )));
    }
    Ok(text(&real)?.to_owned())
}

fn check_terminal(request: &Request<'_>, process: &Process) -> Result<()> {
    let socket = request.console_socket.is_some() || request.console.is_some();
    match (process.terminal, socket) {
        (true, false) => Err(Error::new(
            "process.terminal is set: --console-socket is needed",
        )),
        (false, true) => Err(Error::new(
            "--console-socket is given but process.terminal is not set",
        )),
        _ => Ok(()),
    }
}

/// What this runtime or this kernel cannot do is refused before anything is
/// made: a container must not lack what it was promised.
fn check_supported(config: &Config, process: &Process) -> Result<()> {
    let linux = config.linux.as_ref();
    let asked = [
        (
            "linux.netDevices",
            linux.is_some_and(|l| !l.net_devices.is_empty()),
        ),
        (
            "linux.intelRdt",
            linux.is_some_and(|l| l.intel_rdt.is_some()),
        ),
    ];
    if let Some((field, _)) = asked.iter().find(|(_, asked)| *asked) {
        return Err(Error::new(format!("{field} is not supported")));
    }
    let enabled = |path: &str| std::fs::exists(path).unwrap_or(false);
    let named = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
    if named(&process.apparmor_profile) {
        return Err(Error::new(match enabled("/sys/kernel/security/apparmor") {
            true => "process.apparmorProfile is not supported",
            false => "process.apparmorProfile is set, but AppArmor is not enabled on this host",
        }));
    }
    let label = named(&process.selinux_label) || linux.is_some_and(|l| named(&l.mount_label));
    if label {
        return Err(Error::new(match enabled("/sys/fs/selinux/enforce") {
            true => "SELinux labels are not supported",
            false => "an SELinux label is set, but SELinux is not enabled on this host",
        }));
    }
    Ok(())
}

/// Devices that every container may use besides those of its configuration, as
/// runc has them: nodes may be made but not opened; the default devices,
/// terminals and the console are open.
fn default_device_rules() -> Vec<DeviceRule> {
    let rule = |kind, major, minor, access: &str| DeviceRule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access: Some(access.to_owned()),
        ..DeviceRule::default()
    };
    let mut rules = vec![
        rule(DeviceKind::Char, None, None, "m"),
        rule(DeviceKind::Block, None, None, "m"),
    ];
    for (_, major, minor) in crate::rootfs::device::DEFAULTS {
        let (major, minor) = (Some(i64::from(*major)), Some(i64::from(*minor)));
        rules.push(rule(DeviceKind::Char, major, minor, "rwm"));
    }
    rules.push(rule(DeviceKind::Char, Some(136), None, "rwm"));
    rules.push(rule(DeviceKind::Char, Some(5), Some(1), "rwm"));
    rules.push(rule(DeviceKind::Char, Some(5), Some(2), "rwm"));
    rules
}

fn make_cgroup(
    host: &Host,
    request: &Request<'_>,
    config: &Config,
    namespaces: &Namespaces,
) -> Result<Cgroup> {
    let linux = config.linux.as_ref();
    let path = linux.and_then(|l| l.cgroups_path.as_deref());
    let path = CgroupPath::resolve(path, request.id.as_str()).context(|| "linux.cgroupsPath")?;
    let mut resources: Resources = linux.and_then(|l| l.resources.clone()).unwrap_or_default();
    resources.devices.extend(default_device_rules());
    let user = namespaces.has(NamespaceKind::User);
    let options = CgroupOptions {
        permission: match request.rootless_cgroups {
            true => Permission::Ignore,
            false => Permission::Require,
        },
        devices: if user && request.rootless_cgroups {
            Devices::Skip
        } else {
            Devices::Apply
        },
    };
    Cgroup::create(host, &path, &resources, &options).context(|| "make the cgroup")
}

/// The container's cgroups as a cgroup mount shows them.
fn own_cgroups(host: &Host, cgroup: &Cgroup) -> Vec<Own> {
    let name = |mount: &str| mount.rsplit('/').next().unwrap_or_default().to_owned();
    let saved = cgroup.saved();
    let mut own: Vec<Own> = saved
        .v1
        .iter()
        .filter_map(|(controllers, path)| {
            let hierarchy = host
                .v1
                .iter()
                .find(|h| h.controllers.join(",") == *controllers)?;
            Some(Own {
                name: name(&hierarchy.mount),
                hierarchy: Some(controllers.clone()),
                path: path.clone(),
            })
        })
        .collect();
    if let (Some(path), Some(unified)) = (&saved.v2, &host.v2) {
        own.push(Own {
            name: name(&unified.mount),
            hierarchy: None,
            path: path.clone(),
        });
    }
    own
}

/// A socket for `start` to call. The directory is nobody else's; the address
/// may be longer than a socket's name can be.
fn listen_at(path: &Path) -> Result<OwnedFd> {
    let make = || -> Result<OwnedFd> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        use std::os::fd::AsRawFd as _;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let address = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        bind(&socket, &SocketAddrUnix::new(address)?)?;
        listen(&socket, 1)?;
        Ok(socket)
    };
    make().context(|| format!("listen at {}", path.display()))
}

/// Clones the container's process, or its first stage.
fn start_process(init: Init<'_>, join: &Join, channel: Channel) -> Result<(i32, OwnedFd)> {
    let staged = init.namespaces.need_stage();
    let mut wanted = if staged { 0 } else { init.namespaces.new };
    if init.late_cgroup_namespace {
        wanted &= !flags::NEWCGROUP;
    }
    let forked = fork(wanted, join.v2_dir()).context(|| "make the container's process")?;
    match forked {
        Forked::Child if staged => init.run_staged(channel),
        Forked::Child => init.run(channel),
        Forked::Parent { pid, pidfd } => Ok((pid.as_raw_nonzero().get(), pidfd)),
    }
}

/// The runtime's side while the process sets itself up.
struct Parent<'a> {
    proc: &'a Proc,
    config: &'a Config,
    process: &'a Process,
    container: &'a mut Container,
    channel: &'a Channel,
    guard: &'a mut Guard,
}

impl Parent<'_> {
    /// Takes the process behind `pidfd` as the container's.
    fn adopt(&mut self, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        self.container.saved.pid = pid;
        self.container.saved.pid_start = Identity::of(pid)
            .ok_or_else(|| Error::new("the container's process ended at once"))?
            .start;
        self.guard.process = Some(pidfd.try_clone()?);
        if let Some(score) = self.process.oom_score_adj {
            self.proc
                .write(
                    &format!("{pid}/oom_score_adj"),
                    score.to_string().as_bytes(),
                )
                .context(|| format!("set process.oomScoreAdj to {score}"))?;
        }
        Ok(())
    }

    fn map(&self) -> Result<()> {
        self.map_pid(self.container.saved.pid)
    }

    fn map_pid(&self, pid: i32) -> Result<()> {
        if let Some(linux) = &self.config.linux {
            userns::map(self.proc, pid, linux).context(|| "map ids")?;
        }
        self.channel.send(&Message::Go)
    }

    /// Serves the first stage until it has made the container's process.
    fn follow_stage(&mut self, stage_pid: i32) -> Result<OwnedFd> {
        let stage = self
            .guard
            .process
            .take()
            .ok_or_else(|| Error::new("the first stage is gone"))?;
        let result = loop {
            match self.channel.receive() {
                Ok(Message::Map) => {
                    if let Err(e) = self.map_pid(stage_pid) {
                        break Err(e);
                    }
                }
                Ok(Message::Pid(pid)) => break Ok(pid),
                Ok(Message::Failed(error)) | Err(error) => break Err(error),
                Ok(Message::Closed) => break Err(Error::new("the first stage was killed")),
                Ok(other) => break Err(Error::new(format!("unexpected message {other:?}"))),
            }
        };
        if result.is_err() {
            let _ = hako_sys::signal::send(stage.as_fd(), 9);
        }
        reap(&stage);
        // Our child by CLONE_PARENT: the number is its until we reap it.
        let number = result?;
        let pid = Pid::from_raw(number).ok_or_else(|| Error::new(format!("pid {number}")))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context(|| "open the process")?;
        self.adopt(number, &pidfd)?;
        Ok(pidfd)
    }

    fn until_ready(&mut self) -> Result<()> {
        loop {
            match self.channel.receive()? {
                Message::Ready => return Ok(()),
                Message::Hooks => {
                    self.runtime_hooks()?;
                    self.channel.send(&Message::Go)?;
                }
                Message::Failed(error) => return Err(error),
                Message::Closed => {
                    return Err(Error::new(
                        "the container's process was killed while it was set up",
                    ));
                }
                other => return Err(Error::new(format!("unexpected message {other:?}"))),
            }
        }
    }

    fn runtime_hooks(&self) -> Result<()> {
        let none = Hooks::default();
        let hooks = self.config.hooks.as_ref().unwrap_or(&none);
        let state: State = self.container.state(self.config, Status::Creating);
        hook::run("prestart", &hooks.prestart, &state)?;
        hook::run("createRuntime", &hooks.create_runtime, &state)
    }
}

/// Lets a launched container go (run): returns when its program runs.
pub fn release(launched: &Launched) -> Result<()> {
    launched.channel.send(&Message::Go)?;
    let name = launched
        .config
        .process
        .as_ref()
        .and_then(|p| p.args.first())
        .map(String::as_str)
        .unwrap_or_default();
    launched.channel.wait_executed(name)
}
