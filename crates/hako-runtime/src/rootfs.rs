//! The container's view of the file system: its root, mounts, devices, masked
//! and read-only paths, and the change of root (config.md "Root", "Mounts";
//! config-linux.md "Default Filesystems", "Devices", "Rootfs Mount
//! Propagation", "Masked Paths", "Readonly Paths").

pub mod cgroup;
mod copyup;
pub mod device;
pub mod idmap;
pub mod inroot;
mod mask;
pub mod mount;
pub mod options;
pub mod sources;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use hako_cgroup::Host;
use hako_spec::runtime::Config;
use hako_sys::mount_attr::{Change, attr};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change};

use crate::error::{Context, Error, Result};
use crate::sync::Channel;
use inroot::Root;
use mount::{Late, Setup};
use options::propagation;
pub use sources::Sources;

/// What the file system of a container is made from.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The bundle's directory.
    pub bundle: &'a str,
    /// The root's absolute path on the host.
    pub rootfs: &'a str,
    /// What the runtime has opened for the process.
    pub sources: Sources,
    /// The host's cgroup hierarchies.
    pub host: &'a Host,
    /// The container's own cgroups.
    pub cgroups: &'a [cgroup::Own],
    /// There is a mount namespace (new or joined) to work in, or a mount of the
    /// root of its own.
    pub may_mount: bool,
    /// The mount namespace is new.
    pub new_mount_namespace: bool,
    /// The container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// The container has a user namespace of its own.
    pub user_namespace: bool,
    /// Use `MS_MOVE` and chroot in place of pivot_root (`--no-pivot`).
    pub no_pivot: bool,
}

/// A root with its mounts made, before the change of root.
#[derive(Debug)]
pub struct Prepared {
    /// The root.
    pub root: Root,
    late: Vec<Late>,
}

/// Mounts everything below the container's root; the runtime, which may map
/// ids, listens at the other end of `channel`.
pub fn prepare(plan: &Plan<'_>, channel: &Channel) -> Result<Prepared> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
    let title = || format!("root {}", plan.rootfs);
    let root = if plan.new_mount_namespace {
        own_propagation(plan.config, plan.rootfs)?;
        let tree = match &plan.sources.root {
            Some(tree) => tree.try_clone()?,
            None => mount::clone(plan.rootfs, true).context(title)?,
        };
        let private = Change {
            propagation: propagation::PRIVATE,
            ..Change::default()
        };
        if is_shared(plan.config) {
            // pivot_root(2) wants it so; enter() shares it again.
            mount::set(tree.as_fd(), false, private)?;
        }
        // A mapped root may not reach the place; the top, which nobody looks
        // at any more, does as well.
        let below = match open(plan.rootfs) {
            Err(Errno::ACCESS) if plan.user_namespace && !plan.no_pivot => open("/"),
            other => other,
        };
        mount::attach(&tree, below.context(title)?.as_fd()).context(title)?;
        tree
    } else {
        open(plan.rootfs).context(title)?
    };
    let root = Root::new(root);
    let linux = plan.config.linux.as_ref();
    let setup = Setup {
        root: &root,
        bundle: plan.bundle,
        rootfs: plan.rootfs,
        user_namespace: plan.user_namespace,
        host: plan.host,
        cgroups: plan.cgroups,
        cgroup_namespace: plan.cgroup_namespace,
        label: linux.and_then(|l| l.mount_label.as_deref()),
    };
    let mut late = Vec::new();
    for (at, m) in plan.config.mounts.iter().enumerate() {
        late.extend(mount::mount(&setup, at, m, &plan.sources, channel)?);
    }
    if plan.may_mount && !dev_is_bound(plan.config) {
        let devices = linux.map(|l| l.devices.as_slice()).unwrap_or_default();
        device::populate(&root, devices, plan.user_namespace)?;
    }
    Ok(Prepared { root, late })
}

/// A bind mount at `/dev` brings its own devices.
fn dev_is_bound(config: &Config) -> bool {
    config.mounts.iter().any(|m| {
        m.destination.trim_end_matches('/') == "/dev"
            && (m.kind.as_deref() == Some("bind") || options::parse(&m.options).bind)
    })
}

fn asked_propagation(config: &Config) -> Option<&str> {
    config
        .linux
        .as_ref()
        .and_then(|l| l.rootfs_propagation.as_deref())
}

fn is_shared(config: &Config) -> bool {
    matches!(asked_propagation(config), Some("shared" | "rshared"))
}

/// Cuts this mount namespace off from the host's before the first mount, as
/// `linux.rootfsPropagation` asks: events may still come in (slave) or not
/// (private); with `shared` they may go out as well, except for the mount of
/// the root itself.
fn own_propagation(config: &Config, rootfs: &str) -> Result<()> {
    let kind = match asked_propagation(config).unwrap_or("rslave") {
        "slave" | "rslave" => MountPropagationFlags::DOWNSTREAM,
        // Unbindable already, the root could not be bound.
        "private" | "rprivate" | "unbindable" | "runbindable" => MountPropagationFlags::PRIVATE,
        "shared" | "rshared" => return private_parent(rootfs),
        other => {
            return Err(Error::new(format!(
                "linux.rootfsPropagation: unknown {other:?}"
            )));
        }
    };
    mount_change("/", kind | MountPropagationFlags::REC).context(|| "change the propagation of /")
}

/// Makes the mount in which `rootfs` lies private: mounted on a shared one, the
/// root would appear on the host, and pivot_root(2) refuses it.
fn private_parent(rootfs: &str) -> Result<()> {
    for at in Path::new(rootfs).ancestors() {
        match mount_change(at, MountPropagationFlags::PRIVATE) {
            // Not where a mount begins.
            Err(Errno::INVAL) => {}
            other => return other.context(|| format!("make {} private", at.display())),
        }
    }
    Ok(())
}

/// Makes `prepared` the root of this process and its children.
pub fn enter(plan: &Plan<'_>, prepared: &Prepared) -> Result<()> {
    rustix::process::fchdir(prepared.root.fd()).context(|| "change to the root")?;
    if !plan.new_mount_namespace {
        // pivot_root(2) would change the root of everybody in a namespace that
        // is somebody else's.
        return rustix::process::chroot(".").context(|| "chroot");
    }
    if plan.no_pivot {
        move_root(plan.rootfs)?;
    } else {
        pivot(prepared.root.fd())?;
    }
    match asked_propagation(plan.config) {
        Some("shared" | "rshared") => change_root(MountPropagationFlags::SHARED),
        Some("unbindable" | "runbindable") => change_root(MountPropagationFlags::UNBINDABLE),
        _ => Ok(()),
    }
}

fn change_root(kind: MountPropagationFlags) -> Result<()> {
    mount_change("/", kind).context(|| "change the propagation of the root")
}

/// pivot_root(2) onto itself: the old root ends up stacked over the new one,
/// out of everybody's sight, and is let go. No directory is needed in the
/// image.
fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).context(|| "open the old root")?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".").context(|| "pivot_root")?;
    // The current directory is now ambiguous: go to the old root, see that
    // its unmounting does not reach the host, and drop it.
    rustix::process::fchdir(&old).context(|| "change to the old root")?;
    mount_change(
        ".",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .context(|| "cut off the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context(|| "unmount the old root")?;
    rustix::process::chdir("/").context(|| "change to the new root")
}

/// Where the mount of a line of mountinfo lies, and of which type it is.
pub fn place_and_type(line: &str) -> Option<(String, &str)> {
    let (place, source) = line.split_once(" - ")?;
    let point = place.split(' ').nth(4)?;
    Some((hako_cgroup::unescape(point)?, source.split(' ').next()?))
}

/// `--no-pivot`, for roots on a ramdisk: everything else is unmounted or, where
/// that is refused, hidden; then the root is moved over `/`.
fn move_root(rootfs: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context(|| "read mountinfo")?;
    for line in mounts.lines().rev() {
        let Some((point, kind)) = place_and_type(line) else {
            continue;
        };
        let point = point.as_str();
        let inside = point == rootfs || point.starts_with(&format!("{rootfs}/"));
        if point == "/" || inside || rootfs.starts_with(&format!("{point}/")) {
            continue;
        }
        // What stays would show the host's processes and devices unmasked,
        // wherever it lies: the kernel then lets a user namespace inside mount
        // it anew.
        if !matches!(kind, "proc" | "sysfs") {
            continue;
        }
        mount_change(
            point,
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )
        .context(|| point.to_owned())?;
        if rustix::mount::unmount(point, UnmountFlags::DETACH).is_err() {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tmpfs", point, "tmpfs", flags, None)
                .context(|| format!("cover {point}"))?;
        }
    }
    rustix::mount::mount_move(rootfs, "/").context(|| format!("move {rootfs} to /"))?;
    rustix::process::chroot(".").context(|| "chroot")?;
    rustix::process::chdir("/").context(|| "change to the new root")
}

/// After the change of root: read-only mounts and root, masked and read-only
/// paths.
pub fn finish(plan: &Plan<'_>, prepared: &Prepared) -> Result<()> {
    for late in &prepared.late {
        late.finish()?;
    }
    if plan.config.root.as_ref().is_some_and(|r| r.readonly) {
        let change = Change {
            set: attr::RDONLY,
            ..Change::default()
        };
        hako_sys::mount_attr::set(CWD, c"/", false, change).context(|| "read-only root")?;
    }
    let Some(linux) = plan.config.linux.as_ref() else {
        return Ok(());
    };
    for path in &linux.readonly_paths {
        mask::read_only(&prepared.root, path).context(|| format!("read-only path {path}"))?;
    }
    mask::hide(
        &prepared.root,
        &linux.masked_paths,
        linux.mount_label.as_deref(),
    )
}
