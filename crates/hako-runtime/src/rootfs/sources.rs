//! The root and the sources of bind mounts, opened by the runtime for a
//! container with a user namespace: the mapped root need not have the right to
//! reach them (a directory of mode 0700 on the way is enough).

use std::os::fd::{AsFd, OwnedFd};

use hako_spec::runtime::Config;
use hako_sys::mount_attr::Change;
use rustix::io::Errno;

use super::mount::{self, clone_source};
use super::options::{self, propagation};
use crate::error::{Context, Result};

/// Detached mounts, ready to be moved to their places.
#[derive(Debug, Default)]
pub struct Sources {
    /// The root with everything below it.
    pub root: Option<OwnedFd>,
    mounts: Vec<Option<OwnedFd>>,
}

impl Sources {
    /// Opens the root and every bind source of `config`. What may not be
    /// opened here (by an unprivileged runtime) is left to the container's
    /// process.
    pub fn open(config: &Config, bundle: &str, rootfs: &str) -> Result<Self> {
        let shared = config
            .linux
            .as_ref()
            .and_then(|l| l.rootfs_propagation.as_deref())
            .is_some_and(|p| matches!(p, "shared" | "rshared"));
        let root = match mount::clone(rootfs, true) {
            Err(Errno::PERM) => return Ok(Sources::default()),
            other => other.context(|| format!("root {rootfs}"))?,
        };
        let mut sources = Sources {
            root: Some(root),
            mounts: Vec::new(),
        };
        for m in &config.mounts {
            let o = options::parse(&m.options);
            let opened = match o.bind || m.kind.as_deref() == Some("bind") {
                true => Some(clone_source(bundle, m, &o).context(|| mount::title(m))?),
                false => None,
            };
            sources.mounts.push(opened);
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
