//! The cgroup that systemd has made, taken over.

use hako_spec::runtime::Resources;

use super::property::InForce;
use crate::cgroup::{Cgroup, Site};
use crate::create::Options;
use crate::error::{Error, Result};
use crate::host::{Host, Membership};
use crate::path::CgroupPath;

impl Cgroup {
    /// Takes the cgroup at `path`, where systemd has put the process `pid`, and
    /// applies `resources` to it. The process goes into the hierarchies of
    /// version 1 that systemd does not know, too.
    pub fn adopt(
        host: &Host,
        path: &CgroupPath,
        pid: u32,
        resources: &Resources,
        options: &Options,
    ) -> Result<Self> {
        let membership = Membership::of(Some(pid))?;
        check(&membership, path, host.v1.is_empty())?;
        let cgroup = Self::take(host, path, resources, options)?;
        for place in &cgroup.v1 {
            let at = membership.v1.iter();
            let mut at = at.filter(|(controllers, _)| *controllers == place.controllers);
            if !at.any(|(_, at)| at == path.as_str()) {
                place.dir()?.write("cgroup.procs", &pid.to_string())?;
            }
        }
        if let Some(place) = &cgroup.v2
            && membership.v2.as_deref() != Some(path.as_str())
        {
            place.dir()?.write("cgroup.procs", &pid.to_string())?;
        }
        Ok(cgroup)
    }
}

/// Systemd keeps its processes apart in version 2, or in a hierarchy of its name.
fn check(membership: &Membership, path: &CgroupPath, unified: bool) -> Result<()> {
    let named = |(names, _): &&(Vec<String>, String)| *names == ["name=systemd"];
    let at = match unified {
        true => membership.v2.as_ref(),
        false => membership.v1.iter().find(named).map(|(_, path)| path),
    };
    match at {
        Some(at) if at != path.as_str() => Err(Error::Elsewhere {
            expected: path.to_string(),
            found: at.clone(),
        }),
        _ => Ok(()),
    }
}

/// What other limits count from; what cannot be read is not in force.
pub(super) fn in_force(cgroup: &Cgroup) -> InForce {
    let mut now = InForce::default();
    if let Ok(Some(Site::V2(dir))) = cgroup.site("memory") {
        let text = dir.read("memory.max").unwrap_or_default();
        now.memory = text.trim().parse().ok();
    }
    match cgroup.site("cpu") {
        Ok(Some(Site::V2(dir))) => {
            let text = dir.read("cpu.max").unwrap_or_default();
            let mut words = text.split_whitespace();
            now.quota = words.next().and_then(|w| w.parse().ok());
            now.period = words.next().and_then(|w| w.parse().ok());
        }
        Ok(Some(Site::V1(dir))) => {
            let read = |name| dir.read(name).unwrap_or_default();
            now.quota = read("cpu.cfs_quota_us").trim().parse().ok();
            now.period = read("cpu.cfs_period_us").trim().parse().ok();
        }
        _ => {}
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::Fake;

    #[test]
    fn only_where_it_should_be() {
        let path = CgroupPath::parse("/a.slice/b.scope").unwrap();
        for (text, unified, right) in [
            ("0::/a.slice/b.scope\n", true, true),
            ("0::/a.slice\n", true, false),
            ("1:name=systemd:/a.slice/b.scope\n0::/x\n", false, true),
            ("1:name=systemd:/x\n0::/a.slice/b.scope\n", false, false),
        ] {
            let membership = Membership::parse(text.as_bytes());
            assert_eq!(check(&membership, &path, unified).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn limits_in_force() {
        let files = [("memory.max", "4096\n"), ("cpu.max", "max 50000\n")];
        let fake = Fake::v2("cpu memory", &files);
        let cgroup = Cgroup::at(&fake.host, &CgroupPath::parse("/c").unwrap());
        let now = in_force(&cgroup);
        assert_eq!(
            (now.memory, now.quota, now.period),
            (Some(4096), None, Some(50_000))
        );
    }

    #[test]
    fn what_systemd_made_is_the_containers() {
        let fake = Fake::v2("cpu io memory pids", &[("pids.max", "")]);
        let path = CgroupPath::parse("/c").unwrap();
        let json = r#"{"pids":{"limit":7}}"#;
        let resources = Resources::from_slice(json.as_bytes()).unwrap();
        let options = Options {
            devices: crate::create::Devices::Skip,
            ..Options::default()
        };
        let cgroup = Cgroup::take(&fake.host, &path, &resources, &options).unwrap();
        assert!(!cgroup.existed());
        assert_eq!(fake.read("c/pids.max"), "7");
    }
}
