//! A limit of processes that leaves no room for the set-up. With version 2 a
//! process is born in its cgroup, and a first stage makes a second one there:
//! the kernel refuses both where the limit is 0 or 1, which are limits as good
//! as any (config-linux.md, "PIDs"). So these come into force a moment before
//! the program starts; what is over a limit then is not killed for it.
//!
//! Before version 1.3 of the specification 0 was not spoken of, and engines
//! wrote it for "no limit".

use hako_cgroup::{Cgroup, Host};
use hako_spec::runtime::{Pids, Resources};

use super::scope::Scope;
use crate::error::{Context, Result};

/// What the first stage and the container's process need.
const ROOM: i64 = 2;

/// Makes a limit of 0 what a configuration of that version meant by it.
pub fn translate(oci_version: &str, resources: &mut Resources) {
    let minor = oci_version.strip_prefix("1.").unwrap_or_default();
    let minor = minor.split('.').next().and_then(|n| n.parse::<u32>().ok());
    if let Some(pids) = &mut resources.pids
        && pids.limit == Some(0)
        && minor.is_some_and(|minor| minor < 3)
    {
        pids.limit = Some(-1);
    }
}

/// The resources to set up with, where they differ from those in the end.
pub fn roomy(host: &Host, resources: &Resources) -> Option<Resources> {
    let limit = resources.pids.as_ref()?.limit?;
    if !(0..ROOM).contains(&limit) || host.v2.is_none() || host.v1_with("pids").is_some() {
        return None;
    }
    let mut roomy = resources.clone();
    roomy.pids = Some(Pids {
        limit: Some(ROOM),
        ..Pids::default()
    });
    Some(roomy)
}

/// Sets the limit that [`roomy`] has put off.
pub fn tighten(
    host: &Host,
    cgroup: &Cgroup,
    resources: &Resources,
    scope: Option<&mut Scope>,
) -> Result<()> {
    if roomy(host, resources).is_none() {
        return Ok(());
    }
    let last = Resources {
        pids: resources.pids.clone(),
        ..Resources::default()
    };
    let what = || "limit the number of processes";
    if let Some(scope) = scope {
        scope.update(cgroup, &last).context(what)?;
    }
    cgroup.update(&last).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_limit_since_1_3() {
        let translated = |version, limit| {
            let mut resources = Resources {
                pids: Some(Pids {
                    limit,
                    ..Pids::default()
                }),
                ..Resources::default()
            };
            translate(version, &mut resources);
            resources.pids.unwrap().limit
        };
        for version in ["1.0.0", "1.0.2-dev", "1.2.1+x"] {
            assert_eq!(translated(version, Some(0)), Some(-1), "{version}");
        }
        for version in ["1.3.0", "1.3.0-rc.1", "1.10.0"] {
            assert_eq!(translated(version, Some(0)), Some(0), "{version}");
        }
        for limit in [None, Some(-1), Some(1)] {
            assert_eq!(translated("1.0.0", limit), limit);
        }
    }

    #[test]
    fn only_the_smallest_limits_of_version_two() {
        let v2 = Host::parse(b"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let v1 = Host::parse(b"30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n");
        let room = |host: &Host, limit: i64| {
            let json = format!(r#"{{"pids":{{"limit":{limit}}},"cpu":{{"shares":7}}}}"#);
            let resources = Resources::from_slice(json.as_bytes()).unwrap();
            let roomy = roomy(host, &resources)?;
            assert_eq!(roomy.cpu, resources.cpu);
            roomy.pids.unwrap().limit
        };
        assert_eq!(
            [-1, 0, 1, 2].map(|n| room(&v2, n)),
            [None, Some(2), Some(2), None]
        );
        assert_eq!([-1, 0, 1, 2].map(|n| room(&v1, n)), [None; 4]);
        assert_eq!(roomy(&v2, &Resources::default()), None);
    }
}
