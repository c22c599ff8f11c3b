//! Devices: the default ones that every container has, those of
//! `linux.devices`, and the links of `/dev` (config-linux.md, "Devices",
//! "Default Devices", "Dev symbolic links").

use std::os::fd::{AsFd, BorrowedFd};

use hako_spec::runtime::{Device, DeviceKind};
use hako_sys::mount_attr::{Change, attr};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;

use super::inroot::{Root, split, stat};
use super::mount::{attach, clone, set};
use crate::error::{Context, Error, Result};

/// Name, major and minor number of the devices that every container has.
pub const DEFAULTS: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes the devices and links of `/dev`. In a user namespace nodes cannot be
/// made, and the host's are bound in their place.
pub fn populate(root: &Root, devices: &[Device], user_namespace: bool) -> Result<()> {
    let old = rustix::process::umask(Mode::empty());
    let result = populate_unmasked(root, devices, user_namespace);
    rustix::process::umask(old);
    result
}

fn populate_unmasked(root: &Root, devices: &[Device], user_namespace: bool) -> Result<()> {
    let dev = root.make_dir("/dev")?;
    for (name, major, minor) in DEFAULTS {
        let path = format!("/dev/{name}");
        if devices.iter().any(|d| d.path == path) {
            continue;
        }
        let node = Node {
            kind: FileType::CharacterDevice,
            device: makedev(*major, *minor),
            mode: 0o666,
            owner: None,
        };
        node.make(root, dev.as_fd(), name, &path, user_namespace)
            .context(|| format!("device {path}"))?;
    }
    for device in devices {
        one(root, device, user_namespace).context(|| format!("device {}", device.path))?;
    }
    link(dev.as_fd(), "ptmx", "pts/ptmx", true)?;
    for (name, target) in LINKS {
        link(dev.as_fd(), name, target, false)?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        link(dev.as_fd(), "core", "/proc/kcore", false)?;
    }
    Ok(())
}

fn link(dev: BorrowedFd<'_>, name: &str, target: &str, replace: bool) -> Result<()> {
    match rustix::fs::symlinkat(target, dev, name) {
        Err(Errno::EXIST) if replace => {
            let old = rustix::fs::readlinkat(dev, name, Vec::new());
            if old.is_ok_and(|old| old.to_bytes() == target.as_bytes()) {
                return Ok(());
            }
            rustix::fs::unlinkat(dev, name, AtFlags::empty())
                .and_then(|()| rustix::fs::symlinkat(target, dev, name))
                .context(|| format!("link /dev/{name}"))
        }
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(Error::from(e).within(format!("link /dev/{name}"))),
    }
}

fn one(root: &Root, device: &Device, user_namespace: bool) -> Result<()> {
    let kind = match device.kind {
        DeviceKind::Char | DeviceKind::Unbuffered => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
        DeviceKind::All => return Err(Error::new("type \"a\" is for cgroup rules alone")),
    };
    let number = |n: Option<i64>, what: &str| {
        let n = n.unwrap_or(0);
        u32::try_from(n).map_err(|_| Error::new(format!("{what} number {n} is out of range")))
    };
    let (dir, name) = split(&device.path)?;
    let parent = root.make_dir(dir)?;
    let node = Node {
        kind,
        device: makedev(
            number(device.major, "major")?,
            number(device.minor, "minor")?,
        ),
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        owner: Some((device.uid.unwrap_or(0), device.gid.unwrap_or(0))),
    };
    node.make(
        root,
        parent.as_fd(),
        name,
        &device.path,
        user_namespace && kind != FileType::Fifo,
    )
}

struct Node {
    kind: FileType,
    device: u64,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Node {
    fn make(
        &self,
        root: &Root,
        parent: BorrowedFd<'_>,
        name: &str,
        path: &str,
        bind: bool,
    ) -> Result<()> {
        if bind {
            return self.bind(root, path);
        }
        match rustix::fs::mknodat(
            parent,
            name,
            self.kind,
            Mode::from_raw_mode(self.mode),
            self.device,
        ) {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.check_existing(parent, name),
            // A user namespace that we were started in, rather than made.
            Err(Errno::PERM) => return self.bind(root, path),
            Err(e) => return Err(e.into()),
        }
        if let Some((uid, gid)) = self.owner.filter(|owner| *owner != (0, 0)) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// "If a file already exists at path that does not match the requested
    /// device, the runtime MUST generate an error."
    fn check_existing(&self, parent: BorrowedFd<'_>, name: &str) -> Result<()> {
        let meta = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let same_kind = FileType::from_raw_mode(meta.st_mode) == self.kind;
        if same_kind && (self.kind == FileType::Fifo || meta.st_rdev == self.device) {
            return Ok(());
        }
        Err(Error::new("another file is there already"))
    }

    fn bind(&self, root: &Root, path: &str) -> Result<()> {
        let tree = clone(path, false).context(|| format!("the host's {path}"))?;
        let meta = stat(tree.as_fd())?;
        if FileType::from_raw_mode(meta.st_mode) != self.kind || meta.st_rdev != self.device {
            return Err(Error::new(format!("the host's {path} is another device")));
        }
        // No other file can come to its place, but it costs nothing.
        let change = Change {
            set: attr::NOSUID | attr::NOEXEC,
            ..Change::default()
        };
        set(tree.as_fd(), false, change)?;
        let target = root.make_file(path, 0o644)?;
        Ok(attach(&tree, target.as_fd())?)
    }
}
