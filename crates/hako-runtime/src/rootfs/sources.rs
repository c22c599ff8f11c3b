//! The root and the sources of bind mounts, opened by the runtime for a
//! container with a user namespace: the mapped root need not have the right to
//! reach them (a directory of mode 0700 on the way is enough). The sources of
//! id-mapped mounts are opened so for every container.

use std::os::fd::{AsFd, OwnedFd};

use hako_spec::runtime::{Config, Linux, Mount, NamespaceKind};
use hako_sys::mount_attr::Change;
use rustix::io::Errno;

use super::idmap;
use super::mount::{self, clone_source};
use super::options::{self, propagation};
use crate::error::{Context, Error, Result};
use crate::proc::Proc;

/// Detached mounts, ready to be moved to their places.
#[derive(Debug, Default)]
pub struct Sources {
    /// The root with everything below it.
    pub root: Option<OwnedFd>,
    mounts: Vec<Option<OwnedFd>>,
}

impl Sources {
    /// Opens the root and every bind source of `config` for a container with a
    /// user namespace, and otherwise the sources that are to be mapped. What
    /// may not be opened here (by an unprivileged runtime) is left to the
    /// container's process.
    pub fn open(
        proc: &Proc,
        config: &Config,
        bundle: &str,
        rootfs: &str,
        user_namespace: bool,
    ) -> Result<Self> {
        let shared = config
            .linux
            .as_ref()
            .and_then(|l| l.rootfs_propagation.as_deref())
            .is_some_and(|p| matches!(p, "shared" | "rshared"));
        let mut sources = Sources::default();
        if user_namespace {
            sources.root = match mount::clone(rootfs, true) {
                Err(Errno::PERM) => return Ok(Sources::default()),
                other => Some(other.context(|| format!("root {rootfs}"))?),
            };
        }
        let container = config.linux.as_ref().filter(|_| user_namespace);
        for m in &config.mounts {
            let tree = one(proc, container, bundle, rootfs, m, user_namespace);
            sources.mounts.push(tree.context(|| mount::title(m))?);
        }
        if !shared {
            sources.cut_off()?;
        }
        Ok(sources)
    }

    /// Opens every bind source of `config` for a container that runs, where
    /// nobody finds the host's paths any more.
    pub fn of_running(proc: &Proc, config: &Config, bundle: &str, rootfs: &str) -> Result<Self> {
        let mut sources = Sources::default();
        for m in &config.mounts {
            let tree = one(proc, config.linux.as_ref(), bundle, rootfs, m, true);
            sources.mounts.push(tree.context(|| mount::title(m))?);
        }
        sources.cut_off()?;
        Ok(sources)
    }

    /// A copy is a peer of its original: what is mounted in it later must not
    /// show on the host, as it would not in a new mount namespace.
    fn cut_off(&self) -> Result<()> {
        let slave = Change {
            propagation: propagation::SLAVE,
            ..Change::default()
        };
        let mut all = self.root.iter().chain(self.mounts.iter().flatten());
        all.try_for_each(|tree| mount::set(tree.as_fd(), true, slave))
    }

    /// The source of the mount with this place in the configuration.
    pub fn of(&self, at: usize) -> Option<&OwnedFd> {
        self.mounts.get(at).and_then(Option::as_ref)
    }
}

/// Maps the ids of `tree`, which the container's process has found to be the
/// source of the mount with the place `at` in `config`.
pub fn map(proc: &Proc, config: &Config, at: usize, tree: &OwnedFd) -> Result<()> {
    let container = config.linux.as_ref();
    let container = container.filter(|l| l.namespace(NamespaceKind::User).is_some());
    let Some(m) = config.mounts.get(at) else {
        return Err(Error::new(format!("there is no mount {at}")));
    };
    idmap::apply(proc, container, m, &options::parse(&m.options), tree).context(|| mount::title(m))
}

/// The source of `m`, if it is a bind mount that is to be opened: always with
/// `all`, or when it is mapped. One in the container's root is left to
/// its process, which finds it there with what is mounted before it.
fn one(
    proc: &Proc,
    container: Option<&Linux>,
    bundle: &str,
    rootfs: &str,
    m: &Mount,
    all: bool,
) -> Result<Option<OwnedFd>> {
    let o = options::parse(&m.options);
    let mapped = idmap::asked(m, &o);
    let bind = o.bind || m.kind.as_deref() == Some("bind");
    let within = mount::own_source(rootfs, m).is_some();
    if !bind || o.remount || within || !(all || mapped) {
        return Ok(None);
    }
    let tree = clone_source(bundle, m, &o)?;
    if mapped {
        idmap::apply(proc, container, m, &o, &tree)?;
    }
    Ok(Some(tree))
}
