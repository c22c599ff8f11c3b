//! Mounts of a container that runs already (crun's `mounts add` and
//! `mounts remove`).
//!
//! A child of the runtime goes to the container's namespaces and does there
//! what the container's process did at its creation, by the same code: paths
//! are resolved inside the root, mounts are made detached and moved to their
//! places. Sources on the host are opened before it goes. The container does
//! not see it: it is not in its pid namespace, which only children enter.

use std::os::fd::{AsFd as _, OwnedFd};

use hako_cgroup::Host;
use hako_spec::runtime::{Config, Mount, NamespaceKind};
use hako_sys::clone::{Forked, exit_now, flags, fork};
use hako_sys::ns;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::exec::{is_made, joined, open_root};
use super::last::become_root;
use super::launch::{not_forked, reap};
use crate::error::{Context, Error, Result};
use crate::proc::Proc;
use crate::rootfs::inroot::{Root, split, stat};
use crate::rootfs::mount::{self, Setup};
use crate::rootfs::sources::{self, Sources};
use crate::state::Container;
use crate::sync::{Channel, Message};

/// Makes `config.mounts`, which are not the container's but those to add: all
/// of them or none. The rest of `config` is the container's.
pub fn add(container: &Container, config: &Config) -> Result<()> {
    // A procfs would be that of the host's processes, since the child is none of
    // the container's; the cgroups are known at creation alone.
    let early = |m: &&Mount| matches!(m.kind.as_deref(), Some("cgroup" | "proc"));
    if let Some(m) = config.mounts.iter().find(early) {
        return Err(Error::new(format!(
            "{}: such a file system is mounted when a container is created, or never",
            mount::title(m)
        )));
    }
    let bundle = &container.saved.bundle;
    let rootfs = &container.saved.rootfs;
    let sources = Sources::of_running(&Proc::open()?, config, bundle, rootfs)?;
    let host = Host::detect().context(|| "find the cgroup hierarchies")?;
    inside(container, config, |root, channel| {
        let linux = config.linux.as_ref();
        let setup = Setup {
            root,
            bundle,
            rootfs,
            user_namespace: is_made(config, NamespaceKind::User),
            host: &host,
            cgroups: &[],
            cgroup_namespace: false,
            label: linux.and_then(|l| l.mount_label.as_deref()),
        };
        let mut late = Vec::new();
        for (at, m) in config.mounts.iter().enumerate() {
            match mount::mount(&setup, at, m, &sources, channel) {
                Ok(more) => late.extend(more),
                Err(e) => {
                    let made = config.mounts.get(..at).unwrap_or_default();
                    for m in made.iter().rev() {
                        let _ = unmount_at(root, &m.destination);
                    }
                    return Err(e);
                }
            }
        }
        late.iter().try_for_each(mount::Late::finish)
    })
}

/// Unmounts what is at the destinations of `config.mounts`, the uppermost mount
/// of each, also while it is in use.
pub fn remove(container: &Container, config: &Config) -> Result<()> {
    inside(container, config, |root, _| {
        config.mounts.iter().try_for_each(|m| {
            unmount_at(root, &m.destination).context(|| format!("unmount {}", m.destination))
        })
    })
}

fn unmount_at(root: &Root, path: &str) -> Result<()> {
    let there = root.handle(path)?;
    let (meta, top) = (stat(there.as_fd())?, stat(root.fd())?);
    if (meta.st_dev, meta.st_ino) == (top.st_dev, top.st_ino) {
        return Err(Error::new("the container's root is no mount to remove"));
    }
    // A mount is unmounted by a name; the shortest that nobody can exchange is
    // the current directory, or for a file its own in its directory.
    let name = if FileType::from_raw_mode(meta.st_mode).is_dir() {
        rustix::process::fchdir(&there)?;
        "."
    } else {
        let (dir, name) = split(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::process::fchdir(root.open(dir, flags, Mode::empty())?)?;
        name
    };
    let done = unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    rustix::process::fchdir(root.fd())?;
    match done {
        Err(Errno::INVAL) => Err(Error::new("nothing is mounted there, or it is locked")),
        other => Ok(other?),
    }
}

/// Does `what` in the container's namespaces, with its root.
fn inside(
    container: &Container,
    config: &Config,
    what: impl FnOnce(&Root, &Channel) -> Result<()>,
) -> Result<()> {
    let target = container.pidfd()?;
    let joins = joined(container, config)?;
    let directory = open_root(container)?;
    let own_root = !is_made(config, NamespaceKind::Mount);
    let (ours, theirs) = Channel::pair()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "hide from others")?;
    match fork(0, None).map_err(not_forked)? {
        Forked::Child => {
            drop(ours);
            let told = match enter(&target, joins, own_root.then_some(&directory))
                .and_then(|root| what(&root, &theirs))
            {
                Ok(()) => Message::Ready,
                Err(e) => Message::Failed(e),
            };
            let _ = theirs.send(&told);
            exit_now(0)
        }
        Forked::Parent { pidfd, .. } => {
            drop(theirs);
            let told = serve(&ours, config);
            // On a failure of this side the process waits for an answer.
            drop(ours);
            reap(&pidfd);
            told
        }
    }
}

/// Maps the sources for which the process in the container asks, until it is
/// done.
fn serve(channel: &Channel, config: &Config) -> Result<()> {
    loop {
        match channel.receive()? {
            Message::Source(at, tree) => {
                sources::map(&Proc::open()?, config, at, &tree)?;
                channel.send(&Message::Go(0))?;
            }
            Message::Ready => return Ok(()),
            Message::Failed(e) => return Err(e),
            _ => return Err(Error::new("the process in the container was killed")),
        }
    }
}

fn enter(target: &OwnedFd, joins: u64, changed_root: Option<&OwnedFd>) -> Result<Root> {
    if joins != 0 {
        ns::join(target.as_fd(), joins).context(|| "join the namespaces")?;
    }
    if joins & flags::NEWUSER != 0 {
        become_root();
    }
    if let Some(root) = changed_root {
        rustix::process::fchdir(root).context(|| "change to the root")?;
        rustix::process::chroot(".").context(|| "chroot")?;
    }
    let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", open, Mode::empty()).context(|| "open the root")?;
    Ok(Root::new(root))
}
