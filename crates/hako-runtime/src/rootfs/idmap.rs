//! Bind mounts that show the owners of their files through a mapping of ids
//! (config.md, "Linux mount options", `idmap` and `ridmap`).
//!
//! The kernel takes the mapping from a user namespace, which a process that does
//! nothing lends for the moment. Only who has rights over the file system may
//! map it, so this is done by the runtime, not by the container's process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_spec::runtime::{IdMapping, Linux, Mount, NamespaceKind};
use hako_sys::clone::{Forked, exit_now, flags, fork};
use hako_sys::mount_attr::{self, Change, attr};
use rustix::pipe::{PipeFlags, pipe_with};

use super::mount::{HERE, clone_fd};
use super::options::Options;
use crate::container::{launch, namespaces, userns};
use crate::error::{Context, Error, Result};
use crate::proc::Proc;

/// Whether `mount` is to be mapped.
pub fn asked(mount: &Mount, o: &Options) -> bool {
    o.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()
}

/// Maps the detached copy `tree` of the source of `mount`: by the mount's own
/// mappings or else by those of the user namespace that `container` makes or
/// joins, if it has one.
pub fn apply(
    proc: &Proc,
    container: Option<&Linux>,
    mount: &Mount,
    o: &Options,
    tree: &OwnedFd,
) -> Result<()> {
    let own = match &o.mapping {
        Some(text) => custom(text, container).context(|| format!("idmap={text}"))?,
        None => Linux {
            uid_mappings: mount.uid_mappings.clone(),
            gid_mappings: mount.gid_mappings.clone(),
            ..Linux::default()
        },
    };
    let map = match container {
        Some(container) if own.uid_mappings.is_empty() => container,
        _ => &own,
    };
    let joined = container.and_then(|c| c.namespace(NamespaceKind::User));
    let path = joined.and_then(|n| n.path.as_deref());
    let userns = match path.filter(|path| !path.is_empty()) {
        _ if !map.uid_mappings.is_empty() => namespace(proc, map)?,
        Some(path) => namespaces::open(path, NamespaceKind::User)?,
        None => {
            return Err(Error::new(
                "an id-mapped mount needs uidMappings and gidMappings, its own or the container's",
            ));
        }
    };
    let change = Change {
        set: attr::IDMAP,
        userns: Some(userns.as_fd()),
        ..Change::default()
    };
    mount_attr::set(tree.as_fd(), HERE, o.idmap == Some(true), change).context(|| "map its ids")
}

/// The mapping in the value of an option: `uids=` and `gids=` with ranges of
/// file-system id, host id and size. The host ids of a range after `@` are ids
/// of the user namespace of `container`.
fn custom(text: &str, container: Option<&Linux>) -> Result<Linux> {
    let mut map = Linux::default();
    for part in text.split(';') {
        let (own, outer, ranges) = match part.split_once('=') {
            Some(("uids", ranges)) => (
                &mut map.uid_mappings,
                container.map(|c| &c.uid_mappings),
                ranges,
            ),
            Some(("gids", ranges)) => (
                &mut map.gid_mappings,
                container.map(|c| &c.gid_mappings),
                ranges,
            ),
            _ => return Err(Error::new(format!("{part:?} is neither uids= nor gids="))),
        };
        for range in ranges.split('#') {
            let outer = outer.map_or(&[][..], Vec::as_slice);
            let mapping = range_of(range, outer);
            own.push(mapping.ok_or_else(|| {
                Error::new(format!(
                    "{range:?} is not of the form FILE-HOST-SIZE, or @FILE-CONTAINER-SIZE with an id that the container maps"
                ))
            })?);
        }
    }
    match map.uid_mappings.is_empty() || map.gid_mappings.is_empty() {
        true => Err(Error::new("uids= and gids= are both needed")),
        false => Ok(map),
    }
}

fn range_of(text: &str, outer: &[IdMapping]) -> Option<IdMapping> {
    let (relative, text) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut numbers = text.split('-').map(|n| n.parse::<u32>().ok());
    let (container_id, mut host_id) = (numbers.next()??, numbers.next()??);
    let size = numbers.next()??;
    if numbers.next().is_some() {
        return None;
    }
    if relative {
        let has = |m: &&IdMapping| host_id >= m.container_id && host_id - m.container_id < m.size;
        let m = outer.iter().find(has)?;
        host_id = (host_id - m.container_id).checked_add(m.host_id)?;
    }
    Some(IdMapping {
        container_id,
        host_id,
        size,
        ..IdMapping::default()
    })
}

/// A detached copy of the mount at `dir` on which the owner that is root of the
/// host is root of the user namespace of `container`.
pub fn mapped(proc: &Proc, container: &Linux, dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let tree = clone_fd(dir, false)?;
    let userns = namespace(proc, container)?;
    let change = Change {
        set: attr::IDMAP,
        userns: Some(userns.as_fd()),
        ..Change::default()
    };
    mount_attr::set(tree.as_fd(), HERE, false, change).context(|| "map its ids")?;
    Ok(tree)
}

/// A user namespace with the mappings of `linux`.
fn namespace(proc: &Proc, linux: &Linux) -> Result<OwnedFd> {
    let (wait, hold) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork(flags::NEWUSER, None).context(|| "make a user namespace")? {
        Forked::Child => {
            // Until the runtime lets go, or is no more.
            drop(hold);
            let _ = rustix::io::read(&wait, &mut [0]);
            exit_now(0)
        }
        Forked::Parent { pid, pidfd } => {
            let pid = pid.as_raw_nonzero().get();
            let opened = userns::map(proc, pid, linux).and_then(|()| {
                proc.namespace(pid, "user")
                    .context(|| "open a user namespace")
            });
            drop(hold);
            launch::reap(&pidfd);
            opened
        }
    }
}
