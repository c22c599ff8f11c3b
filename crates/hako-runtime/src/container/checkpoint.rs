//! A container into files (`checkpoint`): what CRIU has to be told, which does
//! not know what of a container belongs to the host.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hako_cgroup::Host;
use hako_spec::runtime::{Config, NamespaceKind};
use rustix::fs::{FileType, Mode, OFlags};

use super::exec::open_root;
use super::namespaces::file;
use crate::criu::wire::Message;
use crate::criu::{self, Call, Feature, Kind};
use crate::error::{Context, Error, Result};
use crate::log;
use crate::proc::Proc;
use crate::rootfs::inroot::{Root, stat};
use crate::rootfs::{device, idmap, options};
use crate::state::{Container, write_whole};

/// Numbers of `criu_opts`.
pub mod field {
    #![allow(missing_docs)]
    pub const IMAGES: u32 = 1;
    pub const PID: u32 = 2;
    pub const EVASIVE_DEVICES: u32 = 6;
    pub const LOG_LEVEL: u32 = 9;
    pub const LOG_FILE: u32 = 10;
    pub const NOTIFY: u32 = 12;
    pub const ROOT: u32 = 13;
    pub const PARENT: u32 = 14;
    pub const TRACK_MEMORY: u32 = 15;
    pub const WORK: u32 = 17;
    pub const EXTERNAL_MOUNT: u32 = 23;
    pub const MANAGE_CGROUPS: u32 = 24;
    pub const CGROUP_ROOT: u32 = 25;
    pub const SIBLING: u32 = 26;
    pub const INHERIT: u32 = 27;
    pub const EXTERNAL: u32 = 37;
    pub const JOIN: u32 = 39;
    pub const FREEZE: u32 = 44;
    pub const ORPHAN_TERMINAL: u32 = 50;
    pub const CONFIG: u32 = 51;
}

/// Where the standard streams led, as runc and crun write it.
pub const DESCRIPTORS: &str = "descriptors.json";

/// What the command line asked for, of a checkpoint and of a restore.
#[derive(Debug)]
pub struct Request {
    /// CRIU.
    pub program: CString,
    /// `--image-path`.
    pub images: PathBuf,
    /// `--work-path`: where the log is.
    pub work: Option<PathBuf>,
    /// The flags that are CRIU's own.
    pub flags: Message,
    /// `--parent-path`: the files of a pre-dump, relative to the images.
    pub parent: Option<String>,
    /// `--lazy-pages`.
    pub lazy: bool,
    /// `--pre-dump`.
    pub pre_dump: bool,
    /// `--status-fd`: told when the server of lazy pages is ready.
    pub status: Option<OwnedFd>,
}

/// The directories, open, and the log.
#[derive(Debug)]
pub struct Dirs {
    images: OwnedFd,
    work: Option<OwnedFd>,
    /// The log's path.
    pub log: PathBuf,
}

impl Dirs {
    /// Opens the directories; those that are written are made.
    pub fn open(request: &Request, make_images: bool, log: &str) -> Result<Self> {
        let dir = |path: &Path, make: bool| -> Result<OwnedFd> {
            if make {
                std::fs::DirBuilder::new()
                    .mode(0o700)
                    .recursive(true)
                    .create(path)?;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(path, flags, Mode::empty())?)
        };
        let images = dir(&request.images, make_images)
            .context(|| format!("--image-path {}", request.images.display()))?;
        let work = request
            .work
            .as_deref()
            .map(|work| dir(work, true).context(|| format!("--work-path {}", work.display())));
        let log = request.work.as_ref().unwrap_or(&request.images).join(log);
        // An older one would explain this failure by that one's reasons.
        let _ = std::fs::remove_file(&log);
        // It is read from other mount namespaces, too, where "." is another.
        let log = std::path::absolute(log)?;
        Ok(Dirs {
            images,
            work: work.transpose()?,
            log,
        })
    }

    /// Lets root of the container's user namespace, who opens some of them, read
    /// the images: by a mapped mount of their directory, which others write to
    /// as before.
    pub fn for_user_namespace(&mut self, config: &Config) -> Result<()> {
        let linux = config.linux.as_ref();
        let Some(linux) = linux.filter(|l| !l.uid_mappings.is_empty()) else {
            return Ok(());
        };
        match idmap::mapped(&Proc::open()?, linux, self.images.as_fd()) {
            Ok(mapped) => {
                let images = std::mem::replace(&mut self.images, mapped);
                self.work.get_or_insert(images);
            }
            // They may be readable as they are.
            Err(e) => log::warn(&format!("--image-path for a user namespace: {e}")),
        }
        Ok(())
    }

    /// Adds the directories, and what every request has.
    pub fn options(&self, flags: &Message, config: &Config) -> Message {
        let name = self.log.file_name().unwrap_or_default().to_string_lossy();
        // Where runc's users have their settings of CRIU; an annotation names
        // another file, or none.
        let settings = match config.annotations.get("org.criu.config") {
            Some(path) => Some(path.as_str()).filter(|p| !p.is_empty()),
            None => Some("/etc/criu/runc.conf"),
        };
        let mut options = flags
            .clone()
            .number(field::IMAGES, self.images.as_raw_fd().into())
            .number(field::LOG_LEVEL, 4)
            .text(field::LOG_FILE, &name)
            .switch(field::NOTIFY, true)
            .switch(field::MANAGE_CGROUPS, true)
            .switch(field::ORPHAN_TERMINAL, true)
            .maybe(field::CONFIG, settings);
        if let Some(work) = &self.work {
            options = options.number(field::WORK, work.as_raw_fd().into());
        }
        options
    }

    /// What has to be open in CRIU under the same numbers.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let all = [Some(&self.images), self.work.as_ref()];
        all.into_iter().flatten().map(|fd| fd.as_fd()).collect()
    }
}

/// Writes the container into files. Unless the flags leave it running, its
/// processes end.
pub fn checkpoint(container: &Container, config: &Config, request: &Request) -> Result<()> {
    let dirs = Dirs::open(request, true, "dump.log")?;
    if let Some(parent) = &request.parent
        && (parent.starts_with('/') || !request.images.join(parent).is_dir())
    {
        return Err(Error::new(format!(
            "--parent-path: {parent:?} is no directory relative to --image-path {}",
            request.images.display()
        )));
    }
    let tracking = request.pre_dump || request.parent.is_some();
    for (asked, feature, what) in [
        (
            tracking,
            Feature::MemoryTracking,
            "track written memory, which --pre-dump and --parent-path need",
        ),
        (
            request.lazy,
            Feature::LazyPages,
            "restore memory when it is needed, as --lazy-pages has it",
        ),
    ] {
        if asked && !criu::has(&request.program, feature)? {
            return Err(Error::new(format!("criu cannot {what}, on this kernel")));
        }
    }
    let mut options = dirs
        .options(&request.flags, config)
        .number(field::PID, container.saved.pid.into())
        .text(field::ROOT, &container.saved.rootfs)
        .maybe(field::FREEZE, freezer(container)?.as_deref());
    if let Some(parent) = &request.parent {
        options = options
            .text(field::PARENT, parent)
            .switch(field::TRACK_MEMORY, true);
    }
    for namespace in external(config) {
        let path = namespace.path.as_deref().unwrap_or_default();
        let inode = rustix::fs::stat(path).context(|| path.to_owned())?.st_ino;
        let name = file(namespace.kind);
        let text = format!("{name}[{inode}]:{}", key(namespace.kind));
        options = options.text(field::EXTERNAL, &text);
    }
    if !request.pre_dump {
        let inside = Root::new(open_root(container)?);
        for (place, _) in external_mounts(config, &container.saved.rootfs, Some(&inside)) {
            options = options.within(field::EXTERNAL_MOUNT, &pair(&place, &place));
        }
        let list = serde_json::to_vec(&streams(container.saved.pid))?;
        write_whole(&request.images.join(DESCRIPTORS), &list)?;
    }
    let call = Call {
        program: &request.program,
        kind: match request.pre_dump {
            true => Kind::PreDump,
            false => Kind::Dump,
        },
        passed: dirs.fds(),
        log: dirs.log.clone(),
        place: None,
    };
    let notice = |notice: criu::Notice| {
        if let ("status-ready", Some(status)) = (notice.name.as_str(), &request.status) {
            rustix::io::write(status, b"\0").context(|| "--status-fd")?;
        }
        Ok(())
    };
    call.start()?.ask(&options, notice).map(drop)
}

/// A message of two texts.
pub fn pair(key: &str, value: &str) -> Message {
    Message::default().text(1, key).text(2, value)
}

/// Network and pid namespaces that the container has joined: CRIU leaves them
/// as they are.
pub fn external(config: &Config) -> impl Iterator<Item = &hako_spec::runtime::Namespace> {
    let all = config.linux.as_ref().map(|l| l.namespaces.as_slice());
    all.unwrap_or_default().iter().filter(|n| {
        let kind = matches!(n.kind, NamespaceKind::Network | NamespaceKind::Pid);
        kind && n.path.as_deref().is_some_and(|p| !p.is_empty())
    })
}

/// The name under which such a namespace is found again, runc's and crun's.
pub fn key(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Pid => "extRootPidNS",
        _ => "extRootNetNS",
    }
}

/// Mounts of what is the host's: the place inside the root, and the source on
/// the host. `inside` is the root of a container that runs.
pub fn external_mounts(
    config: &Config,
    rootfs: &str,
    inside: Option<&Root>,
) -> Vec<(String, String)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, flags, Mode::empty()).map(Root::new);
    let bound = config.mounts.iter().filter(|m| {
        let o = options::parse(&m.options);
        (o.bind || m.kind.as_deref() == Some("bind")) && !o.remount
    });
    let mut all: Vec<(String, String)> = bound
        .map(|m| {
            // Where links of the image lead, as CRIU sees the mount.
            let real = root.as_ref().ok().and_then(|root| {
                let there = root.handle(&m.destination).ok()?;
                let link = format!("/proc/self/fd/{}", there.as_raw_fd());
                let path = std::fs::read_link(link).ok()?;
                Some(path.to_str()?.strip_prefix(rootfs)?.to_owned())
            });
            let place = real.unwrap_or_else(|| m.destination.clone());
            (place, m.source.clone().unwrap_or_default())
        })
        .collect();
    all.extend(devices(config, inside));
    all
}

/// The host's devices that stand in a container with a user namespace for those
/// that cannot be made there, and cover its masked files.
fn devices(config: &Config, inside: Option<&Root>) -> Vec<(String, String)> {
    let linux = config.linux.as_ref();
    let Some(linux) = linux.filter(|l| l.namespace(NamespaceKind::User).is_some()) else {
        return Vec::new();
    };
    let same = |path: String| (path.clone(), path);
    let defaults = device::DEFAULTS.iter();
    let mut all: Vec<_> = defaults
        .map(|(name, ..)| same(format!("/dev/{name}")))
        .collect();
    let own = linux.devices.iter().map(|d| same(d.path.clone()));
    all.extend(own.filter(|d| !all.contains(d)).collect::<Vec<_>>());
    // Directories are covered by file systems of the container's own.
    let is_file = |path: &&String| {
        let there = inside.map(|root| root.handle(path));
        let kind = |fd: OwnedFd| stat(fd.as_fd()).map(|m| FileType::from_raw_mode(m.st_mode));
        there.is_none_or(|t| t.and_then(kind).is_ok_and(|kind| !kind.is_dir()))
    };
    let masked = linux.masked_paths.iter().filter(is_file);
    all.extend(masked.map(|path| (path.clone(), "/dev/null".to_owned())));
    all
}

/// Where the standard streams of process `pid` lead.
fn streams(pid: i32) -> Vec<String> {
    let link = |fd| std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    let text = |path: std::io::Result<PathBuf>| {
        path.map_or_else(|_| String::new(), |p| p.to_string_lossy().into_owned())
    };
    (0..3).map(|fd| text(link(fd))).collect()
}

/// The cgroup by which all processes are stopped at once.
fn freezer(container: &Container) -> Result<Option<String>> {
    let saved = &container.saved;
    let host = Host::detect().context(|| "find the cgroup hierarchies")?;
    if host.v1_with("freezer").is_some() {
        let has = |(names, _): &&(String, String)| names.split(',').any(|n| n == "freezer");
        return Ok(saved
            .cgroup_v1
            .iter()
            .find(has)
            .map(|(_, path)| path.clone()));
    }
    Ok(saved.cgroup_v2.clone())
}

/// Refuses what CRIU cannot do for who is calling.
pub fn check_caller() -> Result<()> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::new("checkpoint and restore need root, as criu does")),
    }
}
