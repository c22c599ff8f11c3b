//! The container as a scope of systemd (`--systemd-cgroup`): systemd makes the
//! cgroup around the process, which waits for that.

use hako_cgroup::systemd::{self, Manager, Unit};
use hako_cgroup::{Cgroup, CgroupPath, Host, Options};
use hako_spec::id::ContainerId;
use hako_spec::runtime::{Config, Resources};
use serde::{Deserialize, Serialize};

use super::launch::Guard;
use crate::error::{Context, Error, Result};

/// Which scope a container is, for its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The unit's name.
    pub unit: String,
    /// Whether it is a unit of the user's systemd.
    pub user: bool,
}

/// A scope that is to be made.
#[derive(Debug)]
pub struct Scope {
    manager: Manager,
    unit: Unit,
    path: CgroupPath,
    user: bool,
}

impl Scope {
    /// Finds out where the container's cgroup will be. `user`: the calling
    /// user's systemd makes it.
    pub fn plan(host: &Host, config: &Config, id: &ContainerId, user: bool) -> Result<Self> {
        let linux = config.linux.as_ref();
        let path = linux.and_then(|l| l.cgroups_path.as_deref());
        let unit =
            Unit::resolve(path, id.as_str(), user).context(|| "linux.cgroupsPath".to_owned())?;
        let manager = Manager::connect(host, user)?;
        let path = manager.path(&unit)?;
        Ok(Scope {
            manager,
            unit,
            path,
            user,
        })
    }

    /// The cgroup.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// What the record has of it.
    pub fn saved(&self) -> Saved {
        Saved {
            unit: self.unit.name().to_owned(),
            user: self.user,
        }
    }

    /// Puts the process `pid` into the scope and sets its limits.
    pub fn enter(
        &mut self,
        guard: &mut Guard,
        (host, config): (&Host, &Config),
        pid: i32,
        resources: &Resources,
        options: &Options,
    ) -> Result<Cgroup> {
        let pid = u32::try_from(pid).map_err(|_| Error::new(format!("pid {pid}")))?;
        let scope = systemd::Scope {
            unit: &self.unit,
            pid,
            description: &format!("container {}", guard.id()),
            resources,
            devices: options.devices,
            annotations: &config.annotations,
        };
        self.manager.start(&scope).context(|| "make the cgroup")?;
        guard.take_scope(self.saved(), Cgroup::at(host, &self.path));
        Cgroup::adopt(host, &self.path, pid, resources, options).context(|| "make the cgroup")
    }

    /// Tells systemd of other limits.
    pub fn update(&mut self, cgroup: &Cgroup, resources: &Resources) -> Result<()> {
        Ok(self.manager.update(self.unit.name(), cgroup, resources)?)
    }
}

fn manager(saved: &Saved) -> Result<Manager> {
    let host = Host::detect().context(|| "find the cgroup hierarchies")?;
    Ok(Manager::connect(&host, saved.user)?)
}

/// Tells systemd of other limits of a container that is there.
pub fn update(saved: &Saved, cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    Ok(manager(saved)?.update(&saved.unit, cgroup, resources)?)
}

/// Ends the unit of a container whose processes have ended.
pub fn stop(saved: &Saved) -> Result<()> {
    Ok(manager(saved)?.stop(&saved.unit)?)
}
