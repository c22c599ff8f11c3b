//! One mount of the configuration (config.md, "Mounts"), by the new mount API:
//! the mount is made detached, gets its attributes, and is then moved onto a
//! handle of its destination, which was resolved inside the root. No path is
//! resolved twice.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_cgroup::Host;
use hako_spec::runtime::Mount;
use hako_sys::mount_attr::{self, Change, attr};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    fspick, move_mount, open_tree,
};

use super::inroot::{Root, stat};
use super::options::{self, Options};
use super::{Sources, cgroup, copyup, idmap};
use crate::error::{Context, Error, Kind, Result};
use crate::sync::Channel;

/// The empty path of the `*_EMPTY_PATH` flags.
pub const HERE: &CStr = c"";

/// What every mount of one container shares.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The container's root.
    pub root: &'a Root,
    /// The bundle: relative sources start here.
    pub bundle: &'a str,
    /// Where the root lies on the host: a path in there means the place in the
    /// container.
    pub rootfs: &'a str,
    /// The container has a user namespace of its own.
    pub user_namespace: bool,
    /// The host's cgroup hierarchies.
    pub host: &'a Host,
    /// The container's own cgroups.
    pub cgroups: &'a [cgroup::Own],
    /// The container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// `linux.mountLabel`.
    pub label: Option<&'a str>,
}

/// A mount whose read-only state waits until everything in it is made.
#[derive(Debug)]
pub struct Late(OwnedFd);

impl Late {
    /// Makes it read-only now.
    pub fn finish(&self) -> Result<()> {
        set(
            self.0.as_fd(),
            false,
            Change {
                set: attr::RDONLY,
                ..Change::default()
            },
        )
    }
}

/// Makes the mount with the place `at` in the configuration, a bind mount of its
/// source among `sources` if that is open already; returns what has to become
/// read-only at the end. The runtime is asked over `channel` to map ids.
pub fn mount(
    cx: &Setup<'_>,
    at: usize,
    mount: &Mount,
    sources: &Sources,
    channel: &Channel,
) -> Result<Option<Late>> {
    let options = options::parse(&mount.options);
    let map = |tree: &OwnedFd| channel.map_source(at, tree);
    one(cx, mount, sources.of(at), &options, &map).context(|| title(mount))
}

/// What a message calls the mount.
pub fn title(mount: &Mount) -> String {
    let source = match (&mount.source, &mount.kind) {
        (Some(source), _) => source,
        (None, Some(kind)) => kind,
        (None, None) => "nothing",
    };
    format!("mount {source} at {}", mount.destination)
}

fn one(
    cx: &Setup<'_>,
    mount: &Mount,
    source: Option<&OwnedFd>,
    o: &Options,
    map: &dyn Fn(&OwnedFd) -> Result<()>,
) -> Result<Option<Late>> {
    let destination = inside(cx.rootfs, &mount.destination).unwrap_or(&mount.destination);
    if o.remount {
        return remount(cx, destination, o);
    }
    let bind = o.bind || mount.kind.as_deref() == Some("bind");
    let mapped = idmap::asked(mount, o) && source.is_none();
    if mapped && !(bind && own_source(cx.rootfs, mount).is_some()) {
        return Err(Error::new(
            "only the source of a bind mount can be id-mapped, and only with rights over it",
        ));
    }
    if bind {
        if let Some((word, _)) = o.data.first() {
            return Err(Error::new(format!(
                "unknown option {word:?} of a bind mount"
            )));
        }
        let tree = match source {
            Some(tree) => tree.try_clone()?,
            None => bind_source(cx.root, cx.rootfs, cx.bundle, mount, o)?,
        };
        if mapped {
            map(&tree)?;
        }
        let target = place(cx.root, &tree, destination)?;
        bind_attributes(cx, tree.as_fd(), o)?;
        attach(&tree, target.as_fd())?;
        propagate(tree.as_fd(), o)?;
        return Ok(None);
    }
    let kind = mount
        .kind
        .as_deref()
        .ok_or_else(|| Error::new("the mount has no type"))?;
    let is_tmpfs = kind == "tmpfs";
    let there = is_tmpfs && cx.root.handle(destination).is_ok();
    let target = match kind {
        "proc" | "sysfs" => unlinked_dir(cx.root, destination, kind)?,
        _ => cx.root.make_dir(destination)?,
    };
    if kind == "cgroup" {
        cgroup::mount(cx, o, target.as_fd())?;
        return Ok(None);
    }
    // A tmpfs is filled, and /dev gets its devices, before it turns read-only.
    let read_only = (o.set | o.recursive_set) & attr::RDONLY != 0;
    let late = read_only && (is_tmpfs || destination == "/dev");
    let hold_back = if late { attr::RDONLY } else { 0 };
    let label = cx
        .label
        .filter(|_| !matches!(kind, "proc" | "sysfs" | "mqueue"));
    let mut data = o.data.clone();
    // Who may write to the image's directory may write to what covers it, and
    // nobody else. A new one has the kernel's default, 1777.
    if there && !data.iter().any(|(key, _)| key == "mode") {
        let mode = stat(target.as_fd())?.st_mode & 0o7777;
        data.push(("mode".to_owned(), Some(format!("{mode:o}"))));
    }
    let tree = match create(kind, mount.source.as_deref(), o, &data, label, hold_back) {
        // A user namespace that does not own its network namespace may not
        // mount sysfs; the host's is what it would see anyway.
        Err(Failure::Kernel(Errno::PERM)) if kind == "sysfs" => {
            let tree = clone("/sys", true).context(|| "open /sys in its place")?;
            attributes(tree.as_fd(), o)?;
            attach(&tree, target.as_fd())?;
            propagate(tree.as_fd(), o)?;
            return Ok(None);
        }
        other => other?,
    };
    if o.copy_up && there {
        copyup::copy(target.as_fd(), tree.as_fd()).context(|| "copy up")?;
    }
    attach(&tree, target.as_fd())?;
    propagate(tree.as_fd(), o)?;
    Ok(late.then_some(Late(tree)))
}

/// Changes the mount that is at the destination, and its file system unless the
/// mount alone is meant (`bind`). What is not named stays as it is.
fn remount(cx: &Setup<'_>, destination: &str, o: &Options) -> Result<Option<Late>> {
    let there = cx.root.handle(destination)?;
    if !(o.bind || o.superblock.is_empty() && o.data.is_empty()) {
        let fs = fspick(&there, HERE, FsPickFlags::FSPICK_EMPTY_PATH)?;
        configure(&fs, "the mount there", o, &o.data).map_err(Error::from)?;
        fsconfig_reconfigure(&fs)?;
    }
    attributes(there.as_fd(), o)?;
    propagate(there.as_fd(), o)?;
    Ok(None)
}

/// The directory for proc or sysfs: they may not be mounted through a link of
/// the image, which could lead the later masks elsewhere (CVE-2019-19921).
fn unlinked_dir(root: &Root, destination: &str, kind: &str) -> Result<OwnedFd> {
    let target = match root.handle_nofollow(destination) {
        Err(Errno::NOENT) => {
            root.make_dir(destination)?;
            root.handle_nofollow(destination)?
        }
        other => other?,
    };
    match FileType::from_raw_mode(stat(target.as_fd())?.st_mode) {
        FileType::Directory => Ok(target),
        FileType::Symlink => Err(Error::new(format!(
            "{kind} must be mounted on ordinary directory, not on a symbolic link"
        ))),
        _ => Err(Errno::NOTDIR.into()),
    }
}

/// The place in the container that the source of `mount` means, if it lies in the
/// root.
pub fn own_source<'m>(rootfs: &str, mount: &'m Mount) -> Option<&'m str> {
    inside(rootfs, mount.source.as_deref()?)
}

/// A detached copy of the source of a bind mount, in `root` or on the host.
pub fn bind_source(
    root: &Root,
    rootfs: &str,
    bundle: &str,
    mount: &Mount,
    o: &Options,
) -> Result<OwnedFd> {
    match own_source(rootfs, mount) {
        Some(path) => (root.handle(path))
            .and_then(|there| clone_fd(there.as_fd(), o.recursive_bind))
            .context(|| format!("bind source {path} of the container")),
        None => clone_source(bundle, mount, o),
    }
}

/// Opens the place of `tree` at `destination`, and makes it where it is missing.
pub fn place(root: &Root, tree: &OwnedFd, destination: &str) -> Result<OwnedFd> {
    match FileType::from_raw_mode(stat(tree.as_fd())?.st_mode).is_dir() {
        true => root.make_dir(destination),
        false => root.make_file(destination, 0o755),
    }
}

/// The host's path of a source; a relative one is below `bundle`.
pub fn on_host<'s>(bundle: &str, source: &'s str) -> Cow<'s, str> {
    match source.starts_with('/') {
        true => source.into(),
        false => format!("{bundle}/{source}").into(),
    }
}

/// A detached copy of the source of a bind mount on the host.
pub fn clone_source(bundle: &str, mount: &Mount, o: &Options) -> Result<OwnedFd> {
    let source = mount
        .source
        .as_deref()
        .ok_or_else(|| Error::new("the bind mount has no source"))?;
    let path = &*on_host(bundle, source);
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if o.recursive_bind {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if o.source_nofollow {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    // "no such file" here is about the host's path, never about the program.
    open_tree(CWD, path, flags)
        .map_err(|e| Error::of(Kind::Runtime, Error::from(e).to_string()))
        .context(|| format!("bind source {path}"))
}

/// A detached copy of the mount at the host's `path`.
pub fn clone(path: &str, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// A detached copy of what `fd` refers to.
pub fn clone_fd(fd: BorrowedFd<'_>, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, HERE, flags)
}

/// Moves the detached mount `tree` onto `target`.
pub fn attach(tree: &OwnedFd, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, HERE, target, HERE, flags)
}

/// Changes the mount that `tree` refers to.
pub fn set(tree: BorrowedFd<'_>, recursive: bool, change: Change<'_>) -> Result<()> {
    mount_attr::set(tree, HERE, recursive, change).context(|| "set mount attributes")
}

/// The place in the container that `path` means, where that is a path of the
/// host in its root, as runc's callers may write it.
pub fn inside<'p>(rootfs: &str, path: &'p str) -> Option<&'p str> {
    match path.strip_prefix(rootfs)? {
        _ if rootfs == "/" => None,
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// Applies the attributes of a bind mount. One without any has those of its
/// source; with one, those that are not named are cleared, as runc and crun have
/// it, but for what the owner of a user namespace could not clear. The times of
/// access stay as they are until they are spoken of.
fn bind_attributes(cx: &Setup<'_>, tree: BorrowedFd<'_>, o: &Options) -> Result<()> {
    if o.set | o.clear == 0 {
        return attributes(tree, o);
    }
    let mut all = o.clone();
    all.clear |= attr::NOSYMFOLLOW;
    if !cx.user_namespace {
        all.clear |= attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    }
    if o.clear & attr::ATIME != 0 || o.set & attr::NODIRATIME != 0 {
        all.clear |= attr::ATIME | attr::NODIRATIME;
    }
    all.clear &= !(o.set & !attr::ATIME);
    attributes(tree, &all)
}

/// Applies the attributes of `o` to a mount, and the recursive ones also to all
/// below.
fn attributes(tree: BorrowedFd<'_>, o: &Options) -> Result<()> {
    let own = (o.set, o.clear, false);
    let all = (o.recursive_set, o.recursive_clear, true);
    for (bits, clear, recursive) in [own, all] {
        if bits | clear != 0 {
            let change = Change {
                set: bits,
                clear,
                ..Change::default()
            };
            set(tree, recursive, change)?;
        }
    }
    Ok(())
}

fn propagate(tree: BorrowedFd<'_>, o: &Options) -> Result<()> {
    for (kind, recursive) in &o.propagation {
        set(
            tree,
            *recursive,
            Change {
                propagation: *kind,
                ..Change::default()
            },
        )?;
    }
    Ok(())
}

/// Why a file system could not be made.
#[derive(Debug)]
pub enum Failure {
    /// fsopen, create or fsmount failed.
    Kernel(Errno),
    /// An option was refused.
    Option(Error),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Failure::Kernel(e)
    }
}

impl From<Failure> for Error {
    fn from(f: Failure) -> Self {
        match f {
            Failure::Kernel(e) => e.into(),
            Failure::Option(e) => e,
        }
    }
}

/// A detached mount of a new file system of type `kind`.
pub fn create(
    kind: &str,
    source: Option<&str>,
    o: &Options,
    data: &[(String, Option<String>)],
    label: Option<&str>,
    hold_back: u64,
) -> std::result::Result<OwnedFd, Failure> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = source {
        fsconfig_set_string(&fs, "source", source)?;
    }
    // Read-only is an attribute of the mount; a real file system must also not
    // be written by its own driver.
    let pseudo = matches!(
        kind,
        "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2" | "ramfs"
    );
    if o.set & attr::RDONLY != 0 && !pseudo {
        fsconfig_set_flag(&fs, "ro").map_err(|e| refused("ro", kind, e))?;
    }
    configure(&fs, kind, o, data)?;
    if let Some(label) = label {
        fsconfig_set_string(&fs, "context", label).map_err(|e| refused("context", kind, e))?;
    }
    fsconfig_create(&fs)?;
    // Recursive words act on a new file system's only mount.
    let bits = (o.set | o.recursive_set) & !o.recursive_clear & !hold_back;
    let flags = MountAttrFlags::from_bits_retain(bits as u32);
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// Hands the file system `fs` its options.
fn configure(
    fs: &OwnedFd,
    kind: &str,
    o: &Options,
    data: &[(String, Option<String>)],
) -> std::result::Result<(), Failure> {
    for flag in &o.superblock {
        fsconfig_set_flag(fs, *flag).map_err(|e| refused(flag, kind, e))?;
    }
    for (key, value) in data {
        match value {
            Some(value) => fsconfig_set_string(fs, key.as_str(), value.as_str()),
            None => fsconfig_set_flag(fs, key.as_str()),
        }
        .map_err(|e| refused(key, kind, e))?;
    }
    Ok(())
}

fn refused(text: &str, kind: &str, e: Errno) -> Failure {
    Failure::Option(Error::from(e).within(format!("option {text:?} of {kind}")))
}

/// Opens `path` in `root` for reading, as the copy and checks need it.
pub fn reopen_dir(fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(fd, ".", flags, Mode::empty())
}
