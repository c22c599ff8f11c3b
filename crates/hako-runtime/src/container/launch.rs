//! `create` and the first half of `run`: from a bundle to a process that is
//! set up and waits.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hako_cgroup::{Cgroup, CgroupPath, Devices, Host, Join, Options as CgroupOptions, Permission};
use hako_spec::id::ContainerId;
use hako_spec::runtime::{ConsoleSize, Hook, NamespaceKind, Process, Resources, State, Status};
use hako_sys::clone::{Forked, flags, fork};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::bundle::Bundle;
use super::console::Recipient;
use super::filters::Filters;
use super::init::Init;
use super::namespaces::Namespaces;
use super::parent::Parent;
use super::program::Passed;
use super::scope::{self, Scope};
use super::{check, delegate, hook, pids, rdt, receivers, shared_root, shield};
use crate::error::{Context, Error, Result};
use crate::proc::Proc;
use crate::rootfs::{Plan, Sources, cgroup::Own};
use crate::state::{Container, Directory, Saved, write_whole};
use crate::sync::{Channel, Message};

/// What the command line asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where containers are kept (`--root`).
    pub root: &'a Path,
    /// The container's id.
    pub id: ContainerId,
    /// The bundle (`--bundle`, `--config`).
    pub bundle: Bundle,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
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
    /// Who makes the cgroup (`--systemd-cgroup`, `--cgroup-manager`).
    pub cgroups: CgroupManager,
    /// A terminal socket of `run` in the foreground.
    pub console: Option<OwnedFd>,
    /// Its size, where the configuration has none.
    pub console_size: Option<ConsoleSize>,
}

/// Who makes the cgroup of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime, by the cgroup file systems.
    Runtime,
    /// Systemd, as a scope.
    Systemd,
    /// Nobody: the container stays in the cgroup of its caller, without limits.
    Nobody,
}

/// A container that is set up.
#[derive(Debug)]
pub struct Launched {
    /// Its record.
    pub container: Container,
    /// Its process.
    pub pidfd: OwnedFd,
    /// The way to its process, which waits for [`Message::Go`] (run).
    pub channel: Channel,
}

/// Undoes what was made, unless it was [kept](Guard::keep).
pub struct Guard {
    dir: Directory,
    /// The container's cgroup.
    pub cgroup: Option<Cgroup>,
    scope: Option<scope::Saved>,
    /// The container's groups in resctrl.
    pub rdt: Option<rdt::Saved>,
    /// The root and its mount, where that is one of the host.
    root: Option<(String, u64)>,
    /// The container's process, or its first stage.
    pub process: Option<OwnedFd>,
    /// Hooks to run when all is undone, once others have run ("continue the
    /// lifecycle at step 12", runtime.md).
    pub poststop: Vec<Hook>,
    state: State,
    kept: bool,
}

impl Guard {
    /// Of a container in `dir`, whose state is told to the hooks.
    pub fn new(dir: Directory, state: State) -> Self {
        Guard {
            dir,
            cgroup: None,
            scope: None,
            rdt: None,
            root: None,
            process: None,
            poststop: Vec::new(),
            state,
            kept: false,
        }
    }

    /// Leaves everything as it is.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// Takes what systemd has made; until then it may be somebody else's.
    pub fn take_scope(&mut self, scope: scope::Saved, cgroup: Cgroup) {
        self.scope = Some(scope);
        self.cgroup = Some(cgroup);
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
        }
        if let Some(scope) = &self.scope {
            let _ = scope::stop(scope);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.delete();
        }
        if let Some(groups) = &self.rdt {
            let _ = groups.remove();
        }
        if let Some((rootfs, mount)) = &self.root {
            let _ = shared_root::remove(rootfs, *mount);
        }
        let _ = self.dir.remove();
        self.state.status = Status::Stopped;
        hook::run_all("poststop", &self.poststop, &self.state);
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
    let bundle = request.bundle.path()?;
    let permission = permission(&request);
    let config = &request.bundle.read.config;
    // "process … REQUIRED when start is called" (config.md, "Process").
    let mut process = match &config.process {
        Some(process) => process.clone(),
        None if request.for_start => Process {
            cwd: "/".to_owned(),
            ..Process::default()
        },
        None => return Err(Error::new(crate::state::NO_PROCESS)),
    };
    if process.console_size.is_none() {
        process.console_size.clone_from(&request.console_size);
    }
    let rootfs = request.bundle.rootfs()?;
    check_terminal(&request, &process)?;
    let namespaces = Namespaces::plan(config.linux.as_ref())?;
    check::all(config, &process, &namespaces)?;
    if namespaces.joins(NamespaceKind::Pid) && !namespaces.has(NamespaceKind::User) {
        shield::up()?;
        if shield::may_trace(process.capabilities.as_ref()) {
            let inode = namespaces.inode(NamespaceKind::Pid)?;
            shield::note(request.root, inode)?;
        }
    }
    let rdt = rdt::Plan::of(config, &request.id)?;
    let proc = Proc::open()?;
    let (host, mut scope, cgroup_path) = cgroup_place(&request)?;

    let dir = Directory::make(request.root, &request.id)?;
    let mut container = Container {
        dir: dir.clone(),
        saved: Saved::new(&request.id, bundle, &rootfs, config),
    };
    let mut guard = Guard::new(dir.clone(), container.state(Status::Creating));
    // The cgroup is on record before it exists: what a killed create leaves
    // can be found by it.
    container
        .saved
        .set_cgroup(&free_cgroup(&host, &cgroup_path)?);
    if let Some(scope) = &scope {
        container.saved.set_scope(scope.saved());
    }
    container.saved.rdt = rdt.as_ref().map(|plan| plan.saved().clone());
    dir.keep_config(&request.bundle.read.text)?;
    dir.save(&container.saved)?;
    let none = Resources::default();
    let resources = config.linux.as_ref().and_then(|l| l.resources.as_ref());
    let resources = resources.unwrap_or(&none);
    let roomy = pids::roomy(&host, resources);
    let at_first = roomy.as_ref().unwrap_or(resources);
    let options = cgroup_options(&request, &namespaces);
    let mut join = Join::default();
    if scope.is_none() {
        let cgroup = make_cgroup(&host, &cgroup_path, at_first, &options)?;
        container.saved.set_cgroup(&cgroup);
        join = cgroup.join().context(|| "open the cgroup")?;
        guard.cgroup = Some(cgroup);
    }
    let own = own_cgroups(&host, &container.saved.cgroup());

    let shared_root = !namespaces.has(NamespaceKind::Mount) && shared_root::is_needed(config);
    if shared_root {
        shared_root::make(&rootfs, |number| {
            container.saved.root_mount = Some(number);
            guard.root = Some((rootfs.clone(), number));
            dir.save(&container.saved)
        })?;
    }
    let filter = Filters::of(request.root).prepare(&request.bundle.read)?;
    let listener = match request.for_start {
        true => Some(listen_at(&dir.start_socket())?),
        false => None,
    };
    let console = Recipient::of(request.console_socket.as_deref(), request.console)?;
    let late_cgroup_namespace = namespaces.makes(NamespaceKind::Cgroup)
        && (scope.is_some() || !container.saved.cgroup_v1.is_empty());
    let user_namespace = namespaces.has(NamespaceKind::User);
    let sources = Sources::open(&proc, config, bundle, &rootfs, user_namespace)?;
    let plan = Plan {
        config,
        bundle,
        rootfs: &rootfs,
        sources,
        host: &host,
        cgroups: &own,
        may_mount: shared_root || namespaces.has(NamespaceKind::Mount),
        new_mount_namespace: namespaces.makes(NamespaceKind::Mount),
        cgroup_namespace: namespaces.has(NamespaceKind::Cgroup),
        user_namespace,
        no_pivot: request.no_pivot,
    };
    let init = Init {
        config,
        process: &process,
        state: container.state(Status::Creating),
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
        is_moved: scope.is_some(),
    };
    let (ours, pid, mut pidfd) = start_process(init, &join, &mut scope)?;
    guard.process = Some(pidfd.try_clone()?);
    if let Some(scope) = &mut scope {
        let cgroup = scope.enter(&mut guard, (&host, config), pid, at_first, &options)?;
        container.saved.set_cgroup(&cgroup);
        guard.cgroup = Some(cgroup);
        ours.send(&Message::Go(0))?;
    }
    let mut parent = Parent {
        proc: &proc,
        config,
        process: &process,
        container: &mut container,
        channel: &ours,
        rdt: rdt.as_ref(),
        guard: &mut guard,
    };
    if namespaces.need_stage() {
        pidfd = parent.follow_stage(pid)?;
    } else {
        parent.adopt(pid, &pidfd)?;
        if namespaces.makes(NamespaceKind::User) {
            parent.map(pid)?;
        }
    }
    // The process is busy with its file systems, and waits for what follows.
    let record = dir.prepare(&parent.container.saved)?;
    parent.until_ready()?;
    receivers::tell_of_container(&pidfd, request.pidfd_socket.as_deref(), config)?;
    if let Some(cgroup) = &guard.cgroup {
        pids::tighten(&host, cgroup, resources, scope.as_mut())?;
        delegate::hand_over(
            cgroup,
            config,
            &process,
            &namespaces,
            (&proc, container.saved.pid),
            permission,
        )?;
    }

    record.publish()?;
    if let Some(path) = &request.pid_file {
        write_whole(path, container.saved.pid.to_string().as_bytes())
            .context(|| format!("pid file {}", path.display()))?;
    }
    if request.for_start {
        ours.send(&Message::Go(0))?;
    }
    guard.keep();
    Ok(Launched {
        container,
        pidfd,
        channel: ours,
    })
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

/// The hierarchies and the container's place below them, and the scope that
/// systemd is to make there.
pub fn cgroup_place(request: &Request<'_>) -> Result<(Host, Option<Scope>, CgroupPath)> {
    let config = &request.bundle.read.config;
    let host = match request.cgroups {
        CgroupManager::Nobody => Host::default(),
        _ => Host::detect().context(|| "find the cgroup hierarchies")?,
    };
    if request.cgroups == CgroupManager::Systemd {
        let scope = Scope::plan(&host, config, &request.id, request.rootless_cgroups)?;
        let path = scope.path().clone();
        return Ok((host, Some(scope), path));
    }
    let linux = config.linux.as_ref();
    let path = linux.and_then(|l| l.cgroups_path.as_deref());
    let path = CgroupPath::resolve(path, request.id.as_str()).context(|| "linux.cgroupsPath")?;
    Ok((host, None, path))
}

/// The cgroup at `path`, which must not be anybody's: deleting the container
/// kills all that is in it.
pub fn free_cgroup(host: &Host, path: &CgroupPath) -> Result<Cgroup> {
    let cgroup = Cgroup::foreseen(host, path);
    let pids = cgroup.pids().context(|| "look into the cgroup")?;
    match pids.first() {
        None => Ok(cgroup),
        Some(pid) => Err(Error::new(format!(
            "container's cgroup is not empty: {path} is in use by process {pid}"
        ))),
    }
}

/// Makes the cgroup at `path` with `resources`.
pub fn make_cgroup(
    host: &Host,
    path: &CgroupPath,
    resources: &Resources,
    options: &CgroupOptions,
) -> Result<Cgroup> {
    let cgroup = Cgroup::create(host, path, resources, options).context(|| "make the cgroup")?;
    if cgroup.existed() && cgroup.is_frozen().unwrap_or(false) {
        return Err(Error::new(format!(
            "container's cgroup unexpectedly frozen: {path}"
        )));
    }
    Ok(cgroup)
}

/// How its cgroup is made.
pub fn cgroup_options(request: &Request<'_>, namespaces: &Namespaces) -> CgroupOptions {
    let user = namespaces.has(NamespaceKind::User);
    CgroupOptions {
        permission: permission(request),
        devices: if user && request.rootless_cgroups {
            Devices::Skip
        } else {
            Devices::Apply
        },
    }
}

fn permission(request: &Request<'_>) -> Permission {
    match request.rootless_cgroups || request.cgroups == CgroupManager::Nobody {
        true => Permission::Ignore,
        false => Permission::Require,
    }
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

/// Clones the container's process, or its first stage; returns the way to it,
/// its number and a handle on it. Of `scope`, the process keeps nothing.
fn start_process(
    init: Init<'_>,
    join: &Join,
    scope: &mut Option<Scope>,
) -> Result<(Channel, i32, OwnedFd)> {
    let (ours, theirs) = Channel::pair()?;
    let staged = init.namespaces.need_stage();
    let mut wanted = if staged { 0 } else { init.namespaces.new };
    if init.late_cgroup_namespace {
        wanted &= !flags::NEWCGROUP;
    }
    let forked = fork(wanted, join.v2_dir()).map_err(not_forked)?;
    match forked {
        Forked::Child => {
            // Or it would not see when the runtime is gone.
            drop(ours);
            // Or systemd would have a connection to a container that waits, and
            // more and more to say that nobody reads.
            drop(scope.take());
            match staged {
                true => init.run_staged(theirs),
                false => init.run(theirs),
            }
        }
        Forked::Parent { pid, pidfd } => Ok((ours, pid.as_raw_nonzero().get(), pidfd)),
    }
}

/// Why no process could be made in the container's cgroup.
pub fn not_forked(errno: Errno) -> Error {
    Error::from(errno).within(match errno {
        // Who moves a process needs the right to the cgroup above both places
        // (cgroups(7), "Delegation containment").
        Errno::ACCESS => {
            "make the container's process: the way from this process' cgroup to the container's \
             leads through one that belongs to others"
        }
        Errno::BUSY => {
            "make the container's process: adding pid of it to cgroups that hand controllers down"
        }
        Errno::AGAIN => "make the container's process: the limit of processes is reached",
        _ => "make the container's process",
    })
}

/// Lets a launched container go (run): returns when its program runs.
pub fn release(launched: &Launched) -> Result<()> {
    let saved = &launched.container.saved;
    launched.channel.send(&Message::Go(saved.pid))?;
    launched.channel.wait_executed(&saved.excerpt.program)
}
