//! A container's cgroup: one directory in every hierarchy, opened when first
//! needed, since most calls of a runtime touch one or none of them.

use std::sync::OnceLock;

use rustix::fs::OFlags;

use crate::dir::{Dir, Kind};
use crate::error::{Error, Result};
use crate::host::{Host, Membership};
use crate::path::CgroupPath;

/// Where a container's cgroup is, for keeping in a state file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Version 1: the hierarchy's controllers, joined by commas
    /// (`cpu,cpuacct`, `name=systemd`), and the directory's absolute path.
    pub v1: Vec<(String, String)>,
    /// Version 2: the directory's absolute path.
    pub v2: Option<String>,
    /// Those of the directories that were there before the container.
    pub existed: Vec<String>,
}

/// A container's cgroup in all hierarchies.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) v1: Vec<Place>,
    pub(crate) v2: Option<Place>,
    /// What `cgroup.controllers` of the version 2 directory says.
    controllers: OnceLock<Vec<String>>,
}

/// The directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) controllers: Vec<String>,
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// Whether it was there before [`Cgroup::create`].
    pub(crate) existed: bool,
    dir: OnceLock<Dir>,
}

/// Where a controller of this cgroup is driven from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Site<'a> {
    V1(&'a Dir),
    V2(&'a Dir),
}

impl<'a> Site<'a> {
    /// The directory, whatever the version.
    pub(crate) fn dir(&self) -> &'a Dir {
        match self {
            Self::V1(dir) | Self::V2(dir) => dir,
        }
    }
}

impl Place {
    pub(crate) fn new(controllers: Vec<String>, path: String, kind: Kind) -> Self {
        Self {
            controllers,
            path,
            kind,
            existed: false,
            dir: OnceLock::new(),
        }
    }

    pub(crate) fn opened(controllers: Vec<String>, dir: Dir, kind: Kind, existed: bool) -> Self {
        let mut place = Self::new(controllers, dir.path().to_owned(), kind);
        place.existed = existed;
        // A fresh cell takes its first value.
        let _ = place.dir.set(dir);
        place
    }

    pub(crate) fn dir(&self) -> Result<&Dir> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let dir = Dir::open(&self.path, self.kind)?;
        Ok(self.dir.get_or_init(|| dir))
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Cgroup {
    pub(crate) fn assemble(v1: Vec<Place>, v2: Option<Place>) -> Self {
        Self {
            v1,
            v2,
            controllers: OnceLock::new(),
        }
    }

    /// The cgroup that was saved. Nothing is opened yet; each directory is
    /// checked to be on a cgroup file system when it is first used.
    #[must_use]
    pub fn open(saved: &Saved) -> Self {
        let v1 = saved
            .v1
            .iter()
            .map(|(controllers, path)| {
                let controllers = controllers.split(',').map(str::to_owned).collect();
                Place::new(controllers, path.clone(), Kind::V1)
            })
            .collect();
        let v2 = saved
            .v2
            .as_ref()
            .map(|path| Place::new(Vec::new(), path.clone(), Kind::V2));
        let mut cgroup = Self::assemble(v1, v2);
        for place in cgroup.places_mut() {
            place.existed = saved.existed.contains(&place.path);
        }
        cgroup
    }

    /// The cgroup at `path` in every hierarchy of the host, without making it.
    #[must_use]
    pub fn at(host: &Host, path: &CgroupPath) -> Self {
        let full = |mount: &str| format!("{}{path}", mount.trim_end_matches('/'));
        let v1 = host
            .v1
            .iter()
            .map(|h| Place::new(h.controllers.clone(), full(&h.mount), host.kind_v1()))
            .collect();
        let v2 = host
            .v2
            .as_ref()
            .map(|u| Place::new(Vec::new(), full(&u.mount), host.kind_v2()));
        Self::assemble(v1, v2)
    }

    /// As [`Cgroup::at`], for a container that is about to be made: directories
    /// that are there now, also those that cannot be opened, are not the
    /// container's ([`Cgroup::delete`]).
    #[must_use]
    pub fn foreseen(host: &Host, path: &CgroupPath) -> Self {
        let mut cgroup = Self::at(host, path);
        for place in cgroup.places_mut() {
            place.existed = !place.dir().is_err_and(|e| e.is_missing());
        }
        cgroup
    }

    /// The cgroup in which a process is, per hierarchy; what it is in outside
    /// of the mounts' roots is left out. An init that has moved itself into
    /// groups of its own (systemd in a container) is found so.
    #[must_use]
    pub fn of_process(host: &Host, membership: &Membership) -> Self {
        let full = |mount: &str, root: &str, path: &str| {
            let inner = path.strip_prefix(root.trim_end_matches('/'))?;
            (inner.is_empty() || inner.starts_with('/'))
                .then(|| format!("{}{inner}", mount.trim_end_matches('/')))
                .filter(|p| !p.split('/').any(|part| part == ".."))
        };
        let v1 = host
            .v1
            .iter()
            .filter_map(|h| {
                let (_, path) = membership.v1.iter().find(|(c, _)| *c == h.controllers)?;
                let path = full(&h.mount, &h.root, path)?;
                Some(Place::new(h.controllers.clone(), path, host.kind_v1()))
            })
            .collect();
        let v2 = host.v2.as_ref().and_then(|u| {
            let path = full(&u.mount, &u.root, membership.v2.as_deref()?)?;
            Some(Place::new(Vec::new(), path, host.kind_v2()))
        });
        Self::assemble(v1, v2)
    }

    /// This cgroup with the one at `path` below it (or itself) in its place, in the
    /// hierarchies of `controllers` (`cpu,memory`), where it must exist, or
    /// else wherever it does.
    pub fn descend(mut self, controllers: Option<&str>, path: Option<&CgroupPath>) -> Result<Self> {
        let mut missing = None;
        let mut found = false;
        for place in self.places_mut() {
            if controllers.is_some_and(|list| !list.split(',').any(|c| place.has(c))) {
                continue;
            }
            let mut below = place.path.clone();
            if let Some(path) = path {
                below.push_str(path.as_str());
            }
            let below = Place::new(place.controllers.clone(), below, place.kind);
            match below.dir() {
                Err(e) if e.is_missing() && controllers.is_none() => missing = Some(e),
                Err(e) => return Err(e),
                Ok(_) => {
                    *place = below;
                    found = true;
                }
            }
        }
        match (found, missing, controllers) {
            (true, _, _) => Ok(self),
            (false, Some(e), _) => Err(e),
            (false, None, None) => Err(Error::NoHierarchy),
            (false, None, Some(list)) => Err(Error::UnknownController {
                controllers: list.to_owned(),
            }),
        }
    }

    /// What [`Cgroup::open`] needs to find this cgroup again.
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved {
            v1: self
                .v1
                .iter()
                .map(|p| (p.controllers.join(","), p.path.clone()))
                .collect(),
            v2: self.v2.as_ref().map(|p| p.path.clone()),
            existed: self
                .places()
                .filter(|p| p.existed)
                .map(|p| p.path.clone())
                .collect(),
        }
    }

    /// Whether one of the directories was there before [`Cgroup::create`]; a
    /// runtime then looks whether it is frozen or has processes.
    #[must_use]
    pub fn existed(&self) -> bool {
        self.places().any(|p| p.existed)
    }

    /// Whether there is no directory at all, as for a rootless container
    /// without the right to make one.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }

    /// The directories, version 2 last.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.v1.iter().chain(&self.v2)
    }

    pub(crate) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.v1.iter_mut().chain(&mut self.v2)
    }

    /// The directory of version 1 that has `controller`.
    pub(crate) fn v1_with(&self, controller: &str) -> Result<Option<&Dir>> {
        self.v1
            .iter()
            .find(|p| p.has(controller))
            .map(Place::dir)
            .transpose()
    }

    /// The directory of version 2, whatever its controllers.
    pub(crate) fn v2_dir(&self) -> Result<Option<&Dir>> {
        self.v2.as_ref().map(Place::dir).transpose()
    }

    /// The controllers enabled for the directory of version 2.
    pub(crate) fn v2_controllers(&self) -> Result<&[String]> {
        if let Some(list) = self.controllers.get() {
            return Ok(list);
        }
        let list = match self.v2_dir()? {
            Some(dir) => dir
                .read("cgroup.controllers")?
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            None => Vec::new(),
        };
        Ok(self.controllers.get_or_init(|| list))
    }

    /// Where `controller`, named as in version 1, is driven from.
    pub(crate) fn site(&self, controller: &str) -> Result<Option<Site<'_>>> {
        if let Some(dir) = self.v1_with(controller)? {
            return Ok(Some(Site::V1(dir)));
        }
        let name = unified_name(controller);
        if let Some(dir) = self.v2_dir()?
            && self.v2_controllers()?.iter().any(|c| c == name)
        {
            return Ok(Some(Site::V2(dir)));
        }
        Ok(None)
    }

    /// As [`Cgroup::site`]; not having it is an error that names `field`.
    pub(crate) fn site_for(&self, controller: &str, field: &str) -> Result<Site<'_>> {
        self.site(controller)?.ok_or_else(|| Error::Unavailable {
            field: field.to_owned(),
            controller: controller.to_owned(),
        })
    }

    /// The directory whose `cgroup.procs` is taken as the list of the
    /// container's processes.
    pub(crate) fn main_place(&self) -> Option<&Place> {
        self.v2
            .as_ref()
            .or_else(|| self.v1.iter().find(|p| p.has("freezer")))
            .or_else(|| self.v1.iter().find(|p| p.has("pids")))
            .or_else(|| self.v1.first())
    }

    /// Moves the process `pid`, with all its threads, into every hierarchy.
    ///
    /// This is the slow way: writing another process' number waits for an RCU
    /// grace period (5 to 20 ms on a quiet machine). See [`Cgroup::join`].
    pub fn add(&self, pid: u32) -> Result<()> {
        let text = pid.to_string();
        for place in self.places() {
            place.dir()?.write("cgroup.procs", &text)?;
        }
        Ok(())
    }

    /// Gives the version 2 directory, and those files in it that may be handed
    /// over, to `uid`, for a container with a cgroup namespace and a
    /// writable cgroup mount (runtime-spec, "Cgroup ownership"). Version 1 is
    /// left alone, since delegation is not safe there.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let Some(dir) = self.v2_dir()? else {
            return Ok(());
        };
        let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| {
            "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned()
        });
        let uid = Some(rustix::fs::Uid::from_raw(uid));
        let chown = |path: String, fd: std::os::fd::BorrowedFd<'_>| {
            rustix::fs::fchown(fd, uid, None).map_err(|source| Error::Write {
                path,
                value: "owner".to_owned(),
                source,
            })
        };
        chown(dir.path().to_owned(), dir.fd())?;
        for name in list.split_whitespace() {
            match dir.open_file(name, OFlags::RDONLY) {
                Ok(fd) => chown(dir.join(name), std::os::fd::AsFd::as_fd(&fd))?,
                // A file that may only be written cannot be opened so.
                Err(e) if e.is_missing() => {}
                Err(Error::Open { .. }) => {
                    let fd = dir.open_file(name, OFlags::WRONLY)?;
                    chown(dir.join(name), std::os::fd::AsFd::as_fd(&fd))?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The name in version 2 of a controller of version 1.
pub(crate) fn unified_name(controller: &str) -> &str {
    match controller {
        "blkio" => "io",
        "cpuacct" => "cpu",
        other => other,
    }
}
