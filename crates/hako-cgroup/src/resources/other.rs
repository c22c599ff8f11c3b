//! The small controllers: pids, hugetlb, net_cls and net_prio, rdma, and the
//! free-form files of version 2.

use std::collections::BTreeMap;

use hako_spec::runtime::{HugepageLimit, NetworkResources, Pids, Rdma};

use crate::cgroup::{Cgroup, Site};
use crate::convert::or_max;
use crate::error::{Error, Field, Result};

/// "PIDs": 0 is a limit, -1 is none. The kernel lets nothing fork with 0 nor with
/// 1, and systemd knows only the latter, so that is what is written for both.
pub(super) fn pids(cgroup: &Cgroup, pids: &Pids) -> Result<()> {
    const FIELD: &str = "pids.limit";
    let Some(limit) = pids.limit else {
        return Ok(());
    };
    let dir = match cgroup.site_for("pids", FIELD) {
        // Taking away a limit that cannot exist.
        Err(Error::Unavailable { .. }) if limit < 0 => return Ok(()),
        other => other?.dir(),
    };
    let limit = if limit == 0 { 1 } else { limit };
    dir.write("pids.max", &or_max(limit)).field(FIELD)
}

/// "Huge page limits": the reservation limit where the kernel has one, and the
/// fault limit.
pub(super) fn hugetlb(cgroup: &Cgroup, limits: &[HugepageLimit]) -> Result<()> {
    const FIELD: &str = "hugepageLimits";
    if limits.is_empty() {
        return Ok(());
    }
    let site = cgroup.site_for("hugetlb", FIELD)?;
    let suffix = match site {
        Site::V1(_) => "limit_in_bytes",
        Site::V2(_) => "max",
    };
    for limit in limits {
        let size = &limit.page_size;
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::invalid(
                FIELD,
                format!("has a bad page size {size:?}"),
            ));
        }
        let value = limit.limit.to_string();
        let file = |kind: &str| format!("hugetlb.{size}.{kind}{suffix}");
        site.dir().write(&file(""), &value).field(FIELD)?;
        match site.dir().write(&file("rsvd."), &value) {
            Err(e) if e.is_missing() => {}
            other => other.field(FIELD)?,
        }
    }
    Ok(())
}

/// "Network": version 1 alone has it.
pub(super) fn network(cgroup: &Cgroup, network: &NetworkResources) -> Result<()> {
    if let Some(class) = network.class_id.filter(|c| *c != 0) {
        const FIELD: &str = "network.classID";
        cgroup
            .site_for("net_cls", FIELD)?
            .dir()
            .write("net_cls.classid", &class.to_string())
            .field(FIELD)?;
    }
    for p in &network.priorities {
        const FIELD: &str = "network.priorities";
        if p.name.is_empty() || p.name.contains(char::is_whitespace) {
            return Err(Error::invalid(
                FIELD,
                format!("has a bad interface name {:?}", p.name),
            ));
        }
        cgroup
            .site_for("net_prio", FIELD)?
            .dir()
            .write("net_prio.ifpriomap", &format!("{} {}", p.name, p.priority))
            .field(FIELD)?;
    }
    Ok(())
}

/// "RDMA": the file is the same in both versions.
pub(super) fn rdma(cgroup: &Cgroup, limits: &BTreeMap<String, Rdma>) -> Result<()> {
    const FIELD: &str = "rdma";
    for (device, limit) in limits {
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(Error::invalid(
                FIELD,
                format!("has a bad device name {device:?}"),
            ));
        }
        let mut value = device.clone();
        for (key, number) in [
            ("hca_handle", limit.hca_handles),
            ("hca_object", limit.hca_objects),
        ] {
            if let Some(number) = number {
                value.push_str(&format!(" {key}={number}"));
            }
        }
        if value == *device {
            return Err(Error::invalid(
                FIELD,
                format!("{device} has neither hcaHandles nor hcaObjects"),
            ));
        }
        cgroup
            .site_for("rdma", FIELD)?
            .dir()
            .write("rdma.max", &value)
            .field(FIELD)?;
    }
    Ok(())
}

/// "Unified": any file of the version 2 directory, a line at a time, since
/// files such as `io.max` take one entry per write.
pub(super) fn unified(cgroup: &Cgroup, files: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in files {
        let field = format!("unified {name:?}");
        let Some((controller, _)) = name.split_once('.') else {
            return Err(Error::invalid(
                &field,
                "is not of the form controller.parameter",
            ));
        };
        if controller.is_empty() || name.contains('/') {
            return Err(Error::invalid(&field, "is not the name of a control file"));
        }
        let unavailable = || Error::Unavailable {
            field: field.clone(),
            controller: controller.to_owned(),
        };
        let dir = cgroup.v2_dir()?.ok_or_else(unavailable)?;
        if controller != "cgroup" && !cgroup.v2_controllers()?.iter().any(|c| c == controller) {
            return Err(unavailable());
        }
        if value.trim_end().is_empty() {
            dir.write(name, value).field(&field)?;
        }
        for line in value.trim_end().lines() {
            dir.write(name, line).field(&field)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::resources::tests::{Fake, chain};

    #[test]
    fn pids_and_hugetlb() {
        let v1 = Fake::v1(&[
            ("pids.max", ""),
            ("hugetlb.2MB.limit_in_bytes", ""),
            ("hugetlb.2MB.rsvd.limit_in_bytes", ""),
        ]);
        v1.apply(r#"{"pids":{"limit":0},"hugepageLimits":[{"pageSize":"2MB","limit":7}]}"#)
            .unwrap();
        assert_eq!(v1.read("pids/c/pids.max"), "1");
        assert_eq!(v1.read("hugetlb/c/hugetlb.2MB.rsvd.limit_in_bytes"), "7");
        v1.apply(r#"{"pids":{"limit":-1}}"#).unwrap();
        assert_eq!(v1.read("pids/c/pids.max"), "max");

        let v2 = Fake::v2("hugetlb", &[("hugetlb.1GB.max", "")]);
        v2.apply(r#"{"pids":{"limit":-1},"hugepageLimits":[{"pageSize":"1GB","limit":8}]}"#)
            .unwrap();
        assert_eq!(v2.read("c/hugetlb.1GB.max"), "8");
        for bad in ["../x", "", "2MB/"] {
            let json = format!(r#"{{"hugepageLimits":[{{"pageSize":"{bad}","limit":8}}]}}"#);
            assert!(v2.apply(&json).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn network_is_version_one() {
        let v1 = Fake::v1(&[("net_cls.classid", "")]);
        v1.apply(r#"{"network":{"classID":1048577}}"#).unwrap();
        assert_eq!(v1.read("net_cls/c/net_cls.classid"), "1048577");
        let priorities = r#"{"network":{"priorities":[{"name":"eth0","priority":5}]}}"#;
        assert_eq!(
            chain(&v1.apply(priorities).unwrap_err()),
            "invalid configuration: network.priorities cannot be set: this container's cgroup has no net_prio controller"
        );
        let v2 = Fake::v2("cpu", &[]);
        assert!(v2.apply(r#"{"network":{"classID":1}}"#).is_err());
        v2.apply(r#"{"network":{"classID":0}}"#).unwrap();
    }

    #[test]
    fn rdma_lines() {
        let v2 = Fake::v2("rdma", &[("rdma.max", "")]);
        v2.apply(r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}}}"#)
            .unwrap();
        assert_eq!(
            v2.read("c/rdma.max"),
            "mlx5_1 hca_handle=3 hca_object=10000"
        );
        assert!(v2.apply(r#"{"rdma":{"mlx5_1":{}}}"#).is_err());
    }

    #[test]
    fn unified_files() {
        let v2 = Fake::v2("io", &[("io.max", ""), ("cgroup.max.depth", "")]);
        v2.apply(r#"{"unified":{"io.max":"8:0 rbps=1\n8:16 wbps=2\n","cgroup.max.depth":"3"}}"#)
            .unwrap();
        assert_eq!(v2.read("c/io.max"), "8:16 wbps=2");
        assert_eq!(v2.read("c/cgroup.max.depth"), "3");
        for (json, text) in [
            (
                r#"{"unified":{"memory.max":"1"}}"#,
                "invalid configuration: unified \"memory.max\" cannot be set: this container's cgroup has no memory controller",
            ),
            (
                r#"{"unified":{"io.x/../y":"1"}}"#,
                "unified \"io.x/../y\" is not the name of a control file",
            ),
            (
                r#"{"unified":{"nonsense":"1"}}"#,
                "unified \"nonsense\" is not of the form controller.parameter",
            ),
        ] {
            assert_eq!(chain(&v2.apply(json).unwrap_err()), text);
        }
        let v1 = Fake::v1(&[]);
        assert!(v1.apply(r#"{"unified":{"memory.max":"1"}}"#).is_err());
    }
}
