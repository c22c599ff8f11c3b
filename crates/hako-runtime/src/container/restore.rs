//! A container out of files (`restore`): record and cgroups are made as at
//! `create`, and CRIU makes the processes and their mounts, as children of the
//! runtime.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use hako_cgroup::{Cgroup, Host, Join};
use hako_spec::runtime::{Config, Hooks, NamespaceKind, Resources, Status};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::apart::Apart;
use super::bundle::utf8;
use super::checkpoint::{self, DESCRIPTORS, Dirs, external, external_mounts, field, key, pair};
use super::launch::{
    self, Guard, Launched, cgroup_options, cgroup_place, free_cgroup, make_cgroup,
};
use super::namespaces::{Namespaces, file};
use super::{check, console, hook, pids, rdt, receivers};
use crate::criu::wire::Message;
use crate::criu::{Call, Kind, Notice};
use crate::error::{Context, Error, Result};
use crate::proc::Identity;
use crate::rootfs::inroot::Root;
use crate::rootfs::{mount, options};
use crate::state::{Container, Directory, Saved, write_whole};
use crate::sync::{Channel, send_fd};

/// A restored container, and its terminal where nobody else was to get it.
#[derive(Debug)]
pub struct Restored {
    /// As after a launch; there is nothing to be said on its channel.
    pub launched: Launched,
    /// The terminal of a container in the foreground.
    pub terminal: Option<OwnedFd>,
}

/// Makes the container of `request` out of the files of `from`. On failure
/// nothing of it is left.
pub fn restore(request: &launch::Request<'_>, from: &checkpoint::Request) -> Result<Restored> {
    let bundle = request.bundle.path()?;
    let config = request.bundle.read.config.clone();
    let rootfs = request.bundle.rootfs()?;
    let namespaces = Namespaces::plan(config.linux.as_ref())?;
    let process = config.process.clone().unwrap_or_default();
    check::all(&config, &process, &namespaces)?;
    let streams = from.images.join(DESCRIPTORS);
    let what = || format!("{}, which checkpoint writes", streams.display());
    let text_of_streams = std::fs::read(&streams).context(what)?;
    let streams: Vec<String> = serde_json::from_slice(&text_of_streams).context(what)?;
    let (host, mut scope, place) = cgroup_place(request)?;

    let rdt = rdt::Plan::of(&config, &request.id)?;
    let dir = Directory::make(request.root, &request.id)?;
    let mut container = Container {
        dir: dir.clone(),
        saved: Saved::new(&request.id, bundle, &rootfs, &config),
    };
    let mut guard = Guard::new(dir.clone(), container.state(Status::Creating));
    container.saved.set_cgroup(&free_cgroup(&host, &place)?);
    if let Some(scope) = &scope {
        container.saved.set_scope(scope.saved());
    }
    container.saved.rdt = rdt.as_ref().map(|plan| plan.saved().clone());
    dir.keep_config(&in_time_namespace(&request.bundle.read.text)?)?;
    dir.save(&container.saved)?;
    let none = Resources::default();
    let resources = config.linux.as_ref().and_then(|l| l.resources.as_ref());
    let resources = resources.unwrap_or(&none);
    let roomy = pids::roomy(&host, resources);
    let at_first = roomy.as_ref().unwrap_or(resources);
    let cgroup_options = cgroup_options(request, &namespaces);
    let mut join = Join::default();
    if scope.is_none() {
        let cgroup = make_cgroup(&host, &place, at_first, &cgroup_options)?;
        container.saved.set_cgroup(&cgroup);
        dir.save(&container.saved)?;
        join = cgroup.join().context(|| "open the cgroup")?;
        guard.cgroup = Some(cgroup);
    }

    let top = dir.file("criu-root");
    std::fs::create_dir(&top).context(|| top.display().to_string())?;
    make_places(&config, bundle, &rootfs, utf8(&top)?)?;
    // CRIU looks for its directories where this process has opened them.
    let apart = Apart::go()?;
    show_root(&rootfs, utf8(&top)?)?;
    let mut dirs = Dirs::open(from, false, "restore.log")?;
    dirs.for_user_namespace(&config)?;
    let mut opened = Vec::new();
    let mut options = dirs
        .options(&from.flags, &config)
        .switch(field::EVASIVE_DEVICES, true)
        .switch(field::SIBLING, true)
        .text(field::ROOT, utf8(&top)?);
    for (place, source) in external_mounts(&config, &rootfs, None) {
        let source = mount::on_host(bundle, &source);
        // CRIU looks for its mount by the text of the path.
        let source = std::fs::canonicalize(&*source).context(|| source.to_string())?;
        options = options.within(field::EXTERNAL_MOUNT, &pair(&place, utf8(&source)?));
    }
    for (at, stream) in streams.iter().enumerate().take(3) {
        if stream.starts_with("pipe:") {
            let inherit = Message::default().text(1, stream).number(2, at as i64);
            options = options.within(field::INHERIT, &inherit);
        }
    }
    for namespace in external(&config) {
        let path = namespace.path.as_deref().unwrap_or_default();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).context(|| path.to_owned())?;
        let inherit = Message::default()
            .text(1, key(namespace.kind))
            .number(2, fd.as_raw_fd().into());
        options = options.within(field::INHERIT, &inherit);
        opened.push(fd);
    }
    for joined in joined(&config)? {
        options = options.within(field::JOIN, &joined);
    }
    let mut passed = dirs.fds();
    passed.extend(opened.iter().map(|fd| fd.as_fd()));
    let call = Call {
        program: &from.program,
        kind: Kind::Restore,
        passed,
        log: dirs.log.clone(),
        place: Some(&join),
    };
    let mut terminal = None;
    let criu = call.start()?;
    if let Some(scope) = &mut scope {
        // The processes will be CRIU's children, and stay when it has gone.
        let pid = criu.pid.as_raw_nonzero().get();
        let cgroup = scope.enter(&mut guard, (&host, &config), pid, at_first, &cgroup_options)?;
        container.saved.set_cgroup(&cgroup);
        dir.save(&container.saved)?;
        guard.cgroup = Some(cgroup);
    }
    for (name, path) in roots(&host, &container.saved.cgroup()) {
        let root = Message::default().text(1, &name).text(2, &path);
        options = options.within(field::CGROUP_ROOT, &root);
    }
    let answer = criu.ask(&options, |notice| match notice.name.as_str() {
        "orphan-pts-master" => send_terminal(request, notice, &mut terminal),
        "setup-namespaces" => apart.outside(|| runtime_hooks(&config, &container, notice.pid)),
        _ => Ok(()),
    })?;
    drop(apart);
    let pid = answer.pid;
    let number = Pid::from_raw(pid).ok_or_else(|| Error::new("criu told no process"))?;
    // Our child by CRIU's CLONE_PARENT: the number is its until we reap it.
    let pidfd = pidfd_open(number, PidfdFlags::empty()).context(|| "open the process")?;
    guard.process = Some(pidfd.try_clone()?);
    container.saved.pid = pid;
    container.saved.pid_start = Identity::of(pid)
        .ok_or_else(|| Error::new("the restored process has gone"))?
        .start;
    if let Some(plan) = &rdt {
        guard.rdt = Some(plan.saved().clone());
        let pids = container.saved.cgroup().pids();
        plan.enter(&pids.context(|| "look into the cgroup")?)?;
    }
    let _ = std::fs::remove_dir(&top);
    dir.save(&container.saved)?;
    receivers::tell_of_container(&pidfd, request.pidfd_socket.as_deref(), &config)?;
    if let Some(path) = &request.pid_file {
        write_whole(path, pid.to_string().as_bytes())
            .context(|| format!("pid file {}", path.display()))?;
    }
    guard.keep();
    let (channel, _) = Channel::pair()?;
    Ok(Restored {
        launched: Launched {
            container,
            pidfd,
            channel,
        },
        terminal,
    })
}

/// The configuration with a time namespace: CRIU restores clocks by one, which
/// exec is to join.
fn in_time_namespace(config: &[u8]) -> Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config)?;
    let namespaces = config.pointer_mut("/linux/namespaces");
    if let Some(all) = namespaces.and_then(Value::as_array_mut)
        && !all.iter().any(|n| n.get("type") == Some(&json!("time")))
    {
        all.push(json!({ "type": "time" }));
    }
    Ok(config.to_string().into_bytes())
}

/// The container's place in each hierarchy, as CRIU names them.
fn roots(host: &Host, cgroup: &Cgroup) -> Vec<(String, String)> {
    let saved = cgroup.saved();
    let below = |path: &str, mount: &str| path.strip_prefix(mount).map(str::to_owned);
    let mut all = Vec::new();
    for (names, path) in &saved.v1 {
        let hierarchy = host.v1.iter().find(|h| h.controllers.join(",") == *names);
        if let Some(place) = hierarchy.and_then(|h| below(path, &h.mount)) {
            let each = names.split(',');
            all.extend(each.map(|name| (name.to_owned(), place.clone())));
        }
    }
    if let (Some(path), Some(v2)) = (&saved.v2, &host.v2)
        && let Some(place) = below(path, &v2.mount)
    {
        all.push((String::new(), place));
    }
    all
}

/// Namespaces that are joined by their paths, besides those that CRIU counts as
/// external.
fn joined(config: &Config) -> Result<Vec<Message>> {
    let all = config.linux.as_ref().map(|l| l.namespaces.as_slice());
    let mut joined = Vec::new();
    for namespace in all.unwrap_or_default() {
        let Some(path) = namespace.path.as_deref().filter(|p| !p.is_empty()) else {
            continue;
        };
        match namespace.kind {
            NamespaceKind::Network | NamespaceKind::Pid => {}
            NamespaceKind::Mount | NamespaceKind::Cgroup => {
                return Err(Error::new(format!(
                    "criu cannot restore into an existing {} namespace",
                    file(namespace.kind)
                )));
            }
            kind => joined.push(pair(file(kind), path)),
        }
    }
    Ok(joined)
}

/// The root as a mount of its own at `top`, as CRIU wants it.
fn show_root(rootfs: &str, top: &str) -> Result<Root> {
    let tree = mount::clone(rootfs, true).context(|| format!("root {rootfs}"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(top, flags, Mode::empty()).context(|| top.to_owned())?;
    mount::attach(&tree, target.as_fd()).context(|| format!("mount {top}"))?;
    Ok(Root::new(tree))
}

/// Makes the places of all mounts, also those that lie in the sources of bind
/// mounts: for which these are made, in a mount namespace that ends here.
fn make_places(config: &Config, bundle: &str, rootfs: &str, top: &str) -> Result<()> {
    let _apart = Apart::go()?;
    let root = show_root(rootfs, top)?;
    let tmpfs = |at: &str| {
        config.mounts.iter().any(|m| {
            let dir = m.destination.trim_end_matches('/');
            let below = at
                .strip_prefix(dir)
                .is_some_and(|rest| rest.starts_with('/'));
            m.kind.as_deref() == Some("tmpfs") && below
        })
    };
    for m in &config.mounts {
        let kind = m.kind.as_deref().unwrap_or_default();
        if kind.starts_with("cgroup") || tmpfs(&m.destination) {
            // CRIU has written what is in there.
            continue;
        }
        let options = options::parse(&m.options);
        if options.remount {
            continue;
        }
        let at = mount::inside(rootfs, &m.destination).unwrap_or(&m.destination);
        let made = match kind == "bind" || options.bind {
            true => mount::bind_source(&root, rootfs, bundle, m, &options).and_then(|tree| {
                let place = mount::place(&root, &tree, at)?;
                Ok(mount::attach(&tree, place.as_fd())?)
            }),
            false => root.make_dir(at).map(drop),
        };
        made.context(|| mount::title(m))?;
    }
    Ok(())
}

/// The terminal that CRIU has made again goes where the caller waits for it.
fn send_terminal(
    request: &launch::Request<'_>,
    notice: Notice,
    own: &mut Option<OwnedFd>,
) -> Result<()> {
    let master = notice
        .fd
        .ok_or_else(|| Error::new("criu sent no terminal"))?;
    match &request.console_socket {
        Some(path) => console::connect_to(path, rustix::net::SocketType::STREAM)
            .and_then(|socket| send_fd(socket.as_fd(), master.as_fd(), b"/dev/ptmx"))
            .context(|| format!("console socket {}", path.display())),
        None => {
            console::leave_line_feeds(master.as_fd());
            *own = Some(master);
            Ok(())
        }
    }
}

/// Hooks that belong to new namespaces; the others ran when the container was
/// made first.
fn runtime_hooks(config: &Config, container: &Container, pid: i32) -> Result<()> {
    let none = Hooks::default();
    let hooks = config.hooks.as_ref().unwrap_or(&none);
    let mut state = container.state(Status::Creating);
    state.pid = pid;
    let start = hook::Start::Runtime(Some(std::path::Path::new(&container.saved.bundle)));
    hook::run("prestart", &hooks.prestart, &state, start)?;
    hook::run("createRuntime", &hooks.create_runtime, &state, start)
}
