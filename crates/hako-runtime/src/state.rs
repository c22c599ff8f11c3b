//! What is known of a container between two commands: one directory a
//! container below `--root`, with
//!
//! - `config.json`, the configuration as it was at create: later changes of the
//!   bundle have no effect (runtime.md, "Lifecycle"),
//! - `state.json`, this module's [`Saved`],
//! - `start.sock`, on which a created container waits; gone once started.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hako_cgroup::{Cgroup, Saved as SavedCgroup};
use hako_spec::id::ContainerId;
use hako_spec::runtime::{Config, Hook, NamespaceKind, State, Status};
use serde::{Deserialize, Serialize};

use crate::container::filters::{Filters, Read};
use crate::container::rdt::Saved as SavedRdt;
use crate::container::scope::Saved as SavedScope;
use crate::error::{Context, Error, Kind, Result};
use crate::proc::Identity;

/// Why a container cannot be started that can be created.
pub const NO_PROCESS: &str = "config.json has no process: there is nothing to start";

/// The contents of `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// Form of this file; a reader refuses others.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// Process 1 of the container, as the host numbers it; 0 before it exists.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub pid_start: u64,
    /// The bundle's absolute path.
    pub bundle: String,
    /// The root's absolute path.
    pub rootfs: String,
    /// `ociVersion` of its configuration.
    pub oci_version: String,
    /// Annotations of its configuration.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339.
    pub created: String,
    /// Numeric uid of who made it.
    pub owner: u32,
    /// Version 1 cgroups: hierarchy and directory.
    pub cgroup_v1: Vec<(String, String)>,
    /// Version 2 cgroup directory.
    pub cgroup_v2: Option<String>,
    /// Those of the directories that were there before the container: they are
    /// emptied, and left where they are.
    pub cgroup_existed: Vec<String>,
    /// The mount of the root on the host, where the container has no mount
    /// namespace: its mounts are below it.
    pub root_mount: Option<u64>,
    /// The unit, where systemd makes the cgroups.
    pub scope: Option<SavedScope>,
    /// Its groups in resctrl.
    pub rdt: Option<SavedRdt>,
    /// What its configuration says to most of the commands.
    pub excerpt: Excerpt,
}

/// A part of the configuration, kept in the record: a command that needs no more
/// is spared the reading of `config.json`, which is thirty times as long.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excerpt {
    /// The container's program, for messages.
    pub program: String,
    /// Whether the container has a pid namespace that was made for it.
    pub makes_pid_namespace: bool,
    /// To call after `start`.
    pub poststart: Vec<Hook>,
    /// To call after `delete`.
    pub poststop: Vec<Hook>,
}

impl Excerpt {
    fn of(config: &Config) -> Self {
        let program = config.process.as_ref().and_then(|p| p.args.first());
        let mut namespaces = config.linux.iter().flat_map(|l| &l.namespaces);
        let hooks = config.hooks.as_ref();
        Excerpt {
            program: program.cloned().unwrap_or_default(),
            makes_pid_namespace: namespaces
                .any(|n| n.kind == NamespaceKind::Pid && n.path.is_none()),
            poststart: hooks.map(|h| h.poststart.clone()).unwrap_or_default(),
            poststop: hooks.map(|h| h.poststop.clone()).unwrap_or_default(),
        }
    }
}

const VERSION: u32 = 4;

impl Saved {
    /// A container that is being made.
    pub fn new(id: &ContainerId, bundle: &str, rootfs: &str, config: &Config) -> Self {
        Saved {
            version: VERSION,
            id: id.to_string(),
            pid: 0,
            pid_start: 0,
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            oci_version: config.oci_version.clone(),
            annotations: config.annotations.clone(),
            created: crate::time::now(),
            owner: rustix::process::getuid().as_raw(),
            cgroup_v1: Vec::new(),
            cgroup_v2: None,
            cgroup_existed: Vec::new(),
            root_mount: None,
            scope: None,
            rdt: None,
            excerpt: Excerpt::of(config),
        }
    }

    /// Records where the container's cgroups are.
    pub fn set_cgroup(&mut self, cgroup: &Cgroup) {
        let saved = cgroup.saved();
        self.cgroup_v1 = saved.v1;
        self.cgroup_v2 = saved.v2;
        self.cgroup_existed = saved.existed;
    }

    /// Records the unit. Its cgroup is the container's even where it is there
    /// already, as one that systemd is about to remove.
    pub fn set_scope(&mut self, scope: SavedScope) {
        self.scope = Some(scope);
        self.cgroup_existed.clear();
    }

    /// The container's cgroups.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::open(&SavedCgroup {
            v1: self.cgroup_v1.clone(),
            v2: self.cgroup_v2.clone(),
            existed: self.cgroup_existed.clone(),
        })
    }
}

/// A container's directory.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

/// A container with everything that is known of it.
#[derive(Debug)]
pub struct Container {
    /// Where it is kept.
    pub dir: Directory,
    /// Its record.
    pub saved: Saved,
}

impl Directory {
    /// The directory of container `id` below `root`; it need not exist.
    pub fn of(root: &Path, id: &ContainerId) -> Self {
        Directory(root.join(id.as_str()))
    }

    /// Makes it; a container of that id must not exist.
    pub fn make(root: &Path, id: &ContainerId) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let dir = Self::of(root, id);
        let mut made = builder.create(&dir.0);
        if made
            .as_ref()
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        {
            fs::DirBuilder::new()
                .mode(0o711)
                .recursive(true)
                .create(root)
                .context(|| root.display().to_string())?;
            made = builder.create(&dir.0);
        }
        match made {
            Ok(()) => Ok(dir),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::new(format!("container {id} already exists")))
            }
            Err(e) => Err(Error::from(e).within(dir.0.display())),
        }
    }

    /// A file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The socket on which a created container waits.
    pub fn start_socket(&self) -> PathBuf {
        self.file("start.sock")
    }

    /// Writes `config.json`, which nobody reads before there is a record.
    pub fn keep_config(&self, text: &[u8]) -> Result<()> {
        let path = self.file("config.json");
        fs::write(&path, text).context(|| path.display().to_string())
    }

    /// Writes `state.json` whole or not at all.
    pub fn save(&self, saved: &Saved) -> Result<()> {
        self.prepare(saved)?.publish()
    }

    /// Writes what is to become `state.json`.
    pub fn prepare(&self, saved: &Saved) -> Result<Aside> {
        Aside::write(self.file("state.json"), &serde_json::to_vec(saved)?)
    }

    /// Removes everything.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(e).within(format!("remove {}", self.0.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Writes `bytes` beside `path` and renames: readers see the old or the new
/// file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    Aside::write(path.to_owned(), bytes)?.publish()
}

/// A file that is written, beside the one whose place it is to take.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    aside: PathBuf,
}

impl Aside {
    fn write(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let aside = path.with_file_name(name);
        fs::File::create(&aside)
            .and_then(|mut file| file.write_all(bytes))
            .context(|| format!("write {}", path.display()))?;
        Ok(Aside { path, aside })
    }

    /// Puts it in its place.
    pub fn publish(self) -> Result<()> {
        fs::rename(&self.aside, &self.path).context(|| format!("write {}", self.path.display()))
    }
}

impl Container {
    /// Reads the record of container `id`.
    pub fn load(root: &Path, id: &ContainerId) -> Result<Self> {
        Self::find(root, id)?.ok_or_else(|| Error::new(format!("container {id} does not exist")))
    }

    /// Reads the record of container `id`; there is none before a create has
    /// got that far.
    pub fn find(root: &Path, id: &ContainerId) -> Result<Option<Self>> {
        let dir = Directory::of(root, id);
        let path = dir.file("state.json");
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.context(|| path.display().to_string())?,
        };
        let saved = parse(&text).context(|| path.display().to_string())?;
        if saved.id != id.as_str() {
            return Err(Error::new(format!(
                "{} is of another container",
                path.display()
            )));
        }
        Ok(Some(Container { dir, saved }))
    }

    /// The configuration as it was at create.
    pub fn config(&self) -> Result<Config> {
        let (path, text) = self.text()?;
        Config::from_slice(&text).context(|| path.display().to_string())
    }

    /// The same, for a process that gets its filter.
    pub fn read(&self, filters: &Filters) -> Result<Read> {
        let (path, text) = self.text()?;
        filters.read(text).context(|| path.display().to_string())
    }

    fn text(&self) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.dir.file("config.json");
        let text = fs::read(&path).context(|| path.display().to_string())?;
        Ok((path, text))
    }

    /// Whether its process is still to come.
    pub fn is_creating(&self) -> bool {
        self.saved.pid == 0
    }

    /// The container's status now.
    pub fn status(&self) -> Status {
        if self.is_creating() {
            return Status::Creating;
        }
        if !self.alive() {
            return Status::Stopped;
        }
        if self.saved.cgroup().is_frozen().unwrap_or(false) {
            return Status::Paused;
        }
        if self.dir.start_socket().exists() {
            return Status::Created;
        }
        Status::Running
    }

    /// Whether process 1 of the container runs.
    pub fn alive(&self) -> bool {
        Identity::of(self.saved.pid)
            .is_some_and(|now| now.alive() && now.start == self.saved.pid_start)
    }

    /// The state that hooks and callers get (runtime.md, "State").
    pub fn state(&self, status: Status) -> State {
        State {
            oci_version: self.saved.oci_version.clone(),
            id: self.saved.id.clone(),
            status,
            pid: if status == Status::Stopped {
                0
            } else {
                self.saved.pid
            },
            bundle: self.saved.bundle.clone(),
            annotations: self.saved.annotations.clone(),
            ..State::default()
        }
    }

    /// What a command says that needs a running container; engines look for
    /// the words "container not running".
    pub fn not_running(&self) -> Error {
        Error::new(format!("{}: container not running", self.saved.id))
    }

    /// A handle on process 1, certainly the container's.
    pub fn pidfd(&self) -> Result<std::os::fd::OwnedFd> {
        let gone = || self.not_running();
        let pid = rustix::process::Pid::from_raw(self.saved.pid).ok_or_else(gone)?;
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map_err(|_| gone())?;
        // The number may have been given to another process before the open.
        if self.alive() { Ok(fd) } else { Err(gone()) }
    }
}

/// Reads a `state.json`. One that is no record at all is
/// [damaged](Kind::Damaged); that of another version is another runtime's.
pub fn parse(text: &[u8]) -> Result<Saved> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |e: serde_json::Error| Error::of(Kind::Damaged, e.to_string());
    let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version != VERSION {
        return Err(Error::new(format!(
            "version {version} of the record is not known"
        )));
    }
    serde_json::from_slice(text).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_of_a_record_is_fatal() {
        let id = "a".parse().unwrap();
        let mut saved = Saved::new(&id, "/b", "/b/rootfs", &Config::default());
        saved.cgroup_v1 = vec![("cpu,cpuacct".to_owned(), "/sys/fs/cgroup/cpu/a".to_owned())];
        let text = serde_json::to_vec(&saved).unwrap();
        for at in 0..text.len() {
            for byte in [0, b'"', b'9', b'-', b'}', 0xff] {
                let mut other = text.clone();
                other[at] = byte;
                // What can be read at all can be used.
                if let Ok(saved) = parse(&other) {
                    let _ = saved.cgroup().is_none();
                }
            }
        }
    }

    #[test]
    fn records_of_others_are_not_damaged_ones() {
        let id = "a".parse().unwrap();
        let saved = Saved::new(&id, "/b", "/b/rootfs", &Config::default());
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap().bundle, "/b");
        let newer = text.replace(&format!("\"version\":{VERSION}"), "\"version\":999");
        assert_eq!(parse(newer.as_bytes()).unwrap_err().kind, Kind::Runtime);
        for cut in 0..text.len() {
            let e = parse(text.get(..cut).unwrap().as_bytes()).unwrap_err();
            assert_eq!(e.kind, Kind::Damaged, "{cut}");
        }
    }
}
