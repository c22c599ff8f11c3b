//! The root and the sources of bind mounts, opened by the runtime for a
//! container with a user namespace: the mapped root need not have the right to
//! reach them (a directory of mode 0700 on the way is enough). The sources of
//! id-mapped mounts are opened so for every container.

use std::os::fd::{AsFd, OwnedFd};

use hako_spec::runtime::Config;
use hako_sys::mount_attr::Change;
use rustix::io::Errno;

use super::idmap;
use super::mount::{self, clone_source};
use super::options::{self, propagation};
use crate::error::{Context, Result};
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
            let o = options::parse(&m.options);
            let mapped = idmap::asked(m, &o);
            let open = || -> Result<Option<OwnedFd>> {
                let bind = o.bind || m.kind.as_deref() == Some("bind");
                if !bind || o.remount || !(user_namespace || mapped) {
                    return Ok(None);
                }
                let tree = clone_source(bundle, m, &o)?;
                if mapped {
                    idmap::apply(proc, container, m, &o, &tree)?;
                }
                Ok(Some(tree))
            };
            sources.mounts.push(open().context(|| mount::title(m))?);
        }
        // A copy is a peer of its original: what is mounted in it later must
        // not show on the host, as it would not in a new mount namespace.
        let slave = Change {
            propagation: propagation::SLAVE,
            ..Change::default()
        };
        let all = sources.root.iter().chain(sources.mounts.iter().flatten());
        for tree in all.filter(|_| !shared) {
            mount::set(tree.as_fd(), true, slave)?;
        }
        Ok(sources)
    }

    /// The source of the mount with this place in the configuration.
    pub fn of(&self, at: usize) -> Option<&OwnedFd> {
        self.mounts.get(at).and_then(Option::as_ref)
    }
}
