//! The root file system of a snapshot.
//!
//! The mount is made detached; the caller, in whatever mount namespace it is,
//! puts it where it belongs with [`attach`]. A mount whose descriptor is closed
//! without that is gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hako_sys::mount_attr::{self, Change, attr};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::backend::Backend;
use crate::dirs::place;
use crate::error::{At, Error, Result};
use crate::idmap;
use crate::layers::Snapshotter;
use crate::overlay::{self, Failed, MAX_LAYERS, Overlay};
use crate::record::Snapshot;

/// How a root file system is mounted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Options<'a> {
    /// A user namespace whose mapping is applied to the owners of all files:
    /// what layers store as 0 is shown as the namespace's 0. Needs root in the
    /// initial user namespace; a rootless store has its ids mapped already. A
    /// snapshot keeps the mapping of its first mount: what is written to an
    /// overlay is stored mapped.
    pub idmap: Option<BorrowedFd<'a>>,
    /// Nothing can be written. Several such mounts of one snapshot may exist.
    pub read_only: bool,
    /// Nothing of what is written is brought to the disk, which makes `sync`
    /// and the end of the mount cheap: for containers that are thrown away.
    /// After a crash of the machine the snapshot cannot be mounted again.
    pub volatile: bool,
}

impl Snapshotter {
    /// Mounts the root file system of `snapshot`, detached; see [`attach`].
    ///
    /// A writable mount must be the only one of its snapshot.
    ///
    /// Errors: [`Error::Mount`], [`Error::TooManyLayers`], [`Error::IdMap`],
    /// and I/O errors.
    pub fn mount(&self, snapshot: &Snapshot, options: &Options<'_>) -> Result<OwnedFd> {
        if snapshot.layers.len() >= MAX_LAYERS {
            return Err(Error::TooManyLayers {
                id: snapshot.id.clone(),
                layers: snapshot.layers.len(),
                limit: MAX_LAYERS - 1,
            });
        }
        if options.idmap.is_some() && self.is_rootless() {
            let why = "a rootless store has them mapped already";
            return Err(Error::IdMap {
                id: snapshot.id.clone(),
                why,
            });
        }
        self.provide(&snapshot.layers)?;
        match snapshot.backend {
            Backend::Plain => self.bind(snapshot, options),
            _ if options.read_only && snapshot.layers.is_empty() => self.bind(snapshot, options),
            _ => self.overlay(snapshot, options),
        }
    }

    /// [`Snapshotter::mount`], and [`attach`] at `target`, a directory.
    ///
    /// Errors: as both.
    pub fn mount_at(
        &self,
        snapshot: &Snapshot,
        options: &Options<'_>,
        target: &Path,
    ) -> Result<()> {
        attach(self.mount(snapshot, options)?, target)
    }

    /// The upper directory itself as the root file system.
    fn bind(&self, snapshot: &Snapshot, options: &Options<'_>) -> Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let upper = self.upper_path(snapshot);
        let tree = match options.idmap {
            // Its files are stored as layers are.
            Some(userns) if snapshot.backend == Backend::Plain => idmap::clone(&upper, userns),
            Some(userns) => {
                self.mapped(snapshot, userns)?;
                open_tree(CWD, &upper, flags)
            }
            None => open_tree(CWD, &upper, flags),
        };
        let tree = tree.map_err(|e| refused(snapshot, "bind the directory", e))?;
        if options.read_only {
            let change = Change {
                set: attr::RDONLY,
                ..Change::default()
            };
            mount_attr::set(tree.as_fd(), c"", false, change)
                .map_err(|e| refused(snapshot, "make it read-only", e))?;
        }
        Ok(tree)
    }

    /// The snapshots' directory with mapped owners; the upper directory's own
    /// owner is mapped from now on.
    fn mapped(&self, snapshot: &Snapshot, userns: BorrowedFd<'_>) -> Result<OwnedFd> {
        let mapped = idmap::clone(&self.dirs.root, userns)
            .map_err(|e| refused(snapshot, "map the ids", e))?;
        let upper = place(&self.upper_path(snapshot))?;
        let stored = place(&self.dirs.root)?;
        let root = match &snapshot.root {
            Some(key) => format!("layers/{key}/fs"),
            None => "empty".to_owned(),
        };
        idmap::adopt(upper.as_fd(), mapped.as_fd(), stored.as_fd(), &root)
            .map_err(|e| refused(snapshot, "map the root directory", e))?;
        Ok(mapped)
    }

    fn overlay(&self, snapshot: &Snapshot, options: &Options<'_>) -> Result<OwnedFd> {
        let Some(userns) = options.idmap else {
            let overlay = self.stack(snapshot, options, None)?;
            return self.try_overlay(snapshot, &overlay);
        };
        // All layers are opened through one mapped clone of their directory.
        let mapped = self.mapped(snapshot, userns)?;
        let overlay = self.stack(snapshot, options, Some(&mapped))?;
        match self.try_overlay(snapshot, &overlay) {
            // Before Linux 6.15 layers cannot lie in a mount that is nowhere.
            Err(Error::Mount { source, .. })
                if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
            {
                self.overlay_attached(snapshot, options, &mapped)
            }
            other => other,
        }
    }

    /// With the mapped clone mounted for a moment on a directory of ours.
    fn overlay_attached(
        &self,
        snapshot: &Snapshot,
        options: &Options<'_>,
        mapped: &OwnedFd,
    ) -> Result<OwnedFd> {
        let tmp = self.dirs.temporary("idmap")?;
        let spot = tmp.path.join("layers");
        std::fs::create_dir(&spot).at("create", &spot)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mapped, "", CWD, &spot, flags)
            .map_err(|e| refused(snapshot, "attach the mapped layers", e))?;
        let result = self
            .stack(snapshot, options, Some(mapped))
            .and_then(|overlay| self.try_overlay(snapshot, &overlay));
        unmount(&spot, UnmountFlags::DETACH)
            .map_err(|e| refused(snapshot, "detach the mapped layers", e))?;
        result
    }

    fn try_overlay(&self, snapshot: &Snapshot, overlay: &Overlay) -> Result<OwnedFd> {
        let spot = || {
            let spot = self.dirs.active(&snapshot.id).join("spot");
            match std::fs::create_dir(&spot) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
                _ => Ok(spot),
            }
        };
        overlay::mount(overlay, &spot).map_err(|failed| mount_error(snapshot, failed))
    }

    /// Opens the directories of a snapshot.
    fn stack(
        &self,
        snapshot: &Snapshot,
        options: &Options<'_>,
        mapped: Option<&OwnedFd>,
    ) -> Result<Overlay> {
        let top = place(&self.dirs.root)?;
        let open = |dir: BorrowedFd<'_>, path: String| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(dir, &path, flags, Mode::empty()).at("open", self.dirs.root.join(&path))
        };
        let upper = open(top.as_fd(), format!("active/{}/upper", snapshot.id))?;
        let mut lower = Vec::with_capacity(snapshot.layers.len() + 1);
        let mut writable = None;
        if options.read_only {
            // What was written before is shown too, and the root directory's
            // attributes are those of the upper directory.
            lower.push(upper);
        } else {
            let work = open(top.as_fd(), format!("active/{}/work", snapshot.id))?;
            writable = Some((upper, work));
        }
        for key in snapshot.layers.iter().rev() {
            let layers = mapped.map_or(top.as_fd(), OwnedFd::as_fd);
            lower.push(open(layers, format!("layers/{key}/fs"))?);
        }
        if lower.is_empty() {
            lower.push(open(top.as_fd(), "empty".to_owned())?);
        }
        Ok(Overlay {
            lower,
            upper: writable,
            userxattr: snapshot.backend == Backend::OverlayUser,
            volatile: options.volatile,
            read_only: options.read_only,
        })
    }
}

/// Puts a detached mount onto the directory `target` of the calling thread's
/// mount namespace (move_mount(2)).
///
/// Errors: [`Error::Io`], with `EPERM` for instance when the namespace is not
/// the caller's.
pub fn attach(mount: OwnedFd, target: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, target, flags).at("mount the root file system at", target)?;
    drop(mount);
    Ok(())
}

fn refused(snapshot: &Snapshot, step: &'static str, errno: Errno) -> Error {
    mount_error(
        snapshot,
        Failed {
            step,
            log: String::new(),
            source: errno.into(),
        },
    )
}

fn mount_error(snapshot: &Snapshot, failed: Failed) -> Error {
    Error::Mount {
        id: snapshot.id.clone(),
        step: failed.step,
        log: failed.log,
        source: failed.source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Stack;
    use hako_spec::digest::Algorithm;
    use hako_store::{Hasher, Store};
    use std::os::unix::fs::MetadataExt as _;

    /// The way of kernels before 6.15, which this one takes as well.
    #[test]
    fn mapped_layers_attached_for_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let snapshots = Snapshotter::open(&store, false).unwrap();
        let mut writer = hako_tar::Writer::new(Vec::new());
        writer
            .append(&hako_tar::Entry::file("file", 1), &b"1"[..])
            .unwrap();
        let tar = writer.finish().unwrap();
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&tar);
        let stack = Stack::new(vec![hasher.finish()]);
        snapshots.unpack(&stack, 0, tar.as_slice()).unwrap();
        let snapshot = snapshots.prepare("c", &stack.keys().unwrap()).unwrap();

        let mut holder = std::process::Command::new("unshare")
            .args(["--user", "sh", "-c", "echo; exec sleep 60"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("this test needs unshare of util-linux");
        let mut ready = [0];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let process = format!("/proc/{}", holder.id());
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("{process}/{map}"), "0 100000 10").unwrap();
        }
        let namespace = std::fs::File::open(format!("{process}/ns/user")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use rustix::mount::{MountPropagationFlags, mount_change};
                hako_sys::ns::unshare(hako_sys::ns::FS | hako_sys::clone::flags::NEWNS)
                    .expect("this test needs root");
                let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
                mount_change("/", private).unwrap();
                let options = Options {
                    idmap: Some(namespace.as_fd()),
                    ..Options::default()
                };
                let mapped = snapshots.mapped(&snapshot, namespace.as_fd()).unwrap();
                let mount = snapshots
                    .overlay_attached(&snapshot, &options, &mapped)
                    .unwrap();
                let target = dir.path().join("target");
                std::fs::create_dir(&target).unwrap();
                attach(mount, &target).unwrap();
                for path in [target.clone(), target.join("file")] {
                    assert_eq!(
                        path.metadata().unwrap().uid(),
                        100_000,
                        "{}",
                        path.display()
                    );
                }
                unmount(&target, UnmountFlags::DETACH).unwrap();
            });
        });
        assert_eq!(
            std::fs::read_dir(store.path("snapshots/tmp"))
                .unwrap()
                .count(),
            0
        );
        for key in &snapshot.layers {
            snapshots.withdraw(key).unwrap();
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
}
