//! Whether limits can be set at all. An unprivileged user has no rights over
//! cgroups unless somebody gave him one: his containers run without cgroups of
//! their own, and a limit that would not be kept is refused when it is asked for.

use std::path::Path;

use hako_cgroup::Host;
use rustix::fs::Access;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::options::Create;

impl Engine {
    /// Refuses limits where this user may not make the cgroups for them.
    ///
    /// Errors: [`Error::Unsupported`], with what to do.
    pub(crate) fn may_limit(&self, options: &Create) -> Result<()> {
        if !self.places.rootless {
            return Ok(());
        }
        let limits = &options.limits;
        let asked = [
            ("memory", limits.memory.is_some()),
            (
                "cpu",
                limits.milli_cpus.is_some() || limits.cpu_shares.is_some(),
            ),
            ("pids", limits.pids.is_some()),
        ];
        let host = Host::detect().unwrap_or_default();
        let parent = options.cgroup_parent.as_deref().unwrap_or_default();
        for (controller, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            let v1 = host
                .v1
                .iter()
                .find(|h| h.controllers.iter().any(|c| c == controller));
            let mount = v1
                .map(|h| &h.mount)
                .or(host.v2.as_ref().map(|v2| &v2.mount));
            let place = mount.map(|m| Path::new(m).join(parent.trim_start_matches('/')));
            let writable =
                |place: &Path| rustix::fs::access(place, Access::WRITE_OK | Access::EXEC_OK);
            if place.is_some_and(|place| writable(&place).is_ok()) {
                continue;
            }
            return Err(Error::Unsupported(format!(
                "a limit of {controller} cannot be set: this user may not make cgroups; leave the limit out, or name with --cgroup-parent a cgroup that belongs to the user"
            )));
        }
        Ok(())
    }
}
