//! The `resources` of the runtime-spec (config-linux.md, "Control groups")
//! into control files, for both versions.
//!
//! Zero and absent values are left alone. A limit whose controller the cgroup
//! does not have is an error that names both, and so is a limit that the
//! version at hand cannot express: a container must not run with less
//! confinement than its configuration says.

mod cpu;
mod io;
mod memory;
mod other;

use hako_spec::runtime::Resources;

use crate::cgroup::Cgroup;
use crate::create::{Devices, Options, Permission};
use crate::device;
use crate::error::{Error, Result};

/// Applies everything that `resources` asks for. Order: what other writes
/// depend on first, device rules and free-form files last.
pub(crate) fn apply(cgroup: &Cgroup, resources: &Resources, options: &Options) -> Result<()> {
    if let Some(pids) = &resources.pids {
        other::pids(cgroup, pids)?;
    }
    if let Some(memory) = &resources.memory {
        memory::apply(cgroup, memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu::apply(cgroup, cpu)?;
    }
    if let Some(block_io) = &resources.block_io {
        io::apply(cgroup, block_io)?;
    }
    other::hugetlb(cgroup, &resources.hugepage_limits)?;
    if let Some(network) = &resources.network {
        other::network(cgroup, network)?;
    }
    other::rdma(cgroup, &resources.rdma)?;
    if options.devices != Devices::Skip {
        match device::apply(cgroup, &resources.devices, options.devices) {
            // A rootless container cannot make device nodes anyway.
            Err(e) if options.permission == Permission::Ignore && e.is_permission() => {}
            Err(Error::Unavailable { .. }) if options.permission == Permission::Ignore => {}
            other => other?,
        }
    }
    other::unified(cgroup, &resources.unified)
}

/// Refuses what [`apply`] would refuse for what is in use now, before anybody
/// else is told of the limits.
pub(crate) fn check(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    match &resources.memory {
        Some(memory) => memory::check(cgroup, memory),
        None => Ok(()),
    }
}

/// The controllers, named as in version 1, that the limits need.
pub(crate) fn controllers(resources: &Resources) -> Vec<String> {
    let mut needed: Vec<&str> = Vec::new();
    if resources.pids.as_ref().is_some_and(|p| p.limit.is_some()) {
        needed.push("pids");
    }
    if resources.memory.as_ref().is_some_and(memory::is_set) {
        needed.push("memory");
    }
    if let Some(cpu) = &resources.cpu {
        if cpu::is_time_set(cpu) {
            needed.push("cpu");
        }
        if cpu::is_set_set(cpu) {
            needed.push("cpuset");
        }
    }
    if resources.block_io.as_ref().is_some_and(io::is_set) {
        needed.push("blkio");
    }
    if !resources.hugepage_limits.is_empty() {
        needed.push("hugetlb");
    }
    if !resources.rdma.is_empty() {
        needed.push("rdma");
    }
    let mut needed: Vec<String> = needed.into_iter().map(str::to_owned).collect();
    needed.extend(
        resources
            .unified
            .keys()
            .filter_map(|key| key.split_once('.'))
            .map(|(controller, _)| controller.to_owned())
            .filter(|controller| controller != "cgroup"),
    );
    needed
}

impl Cgroup {
    /// Changes the limits of a container that runs. Devices are left alone.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        let options = Options {
            devices: Devices::Skip,
            ..Options::default()
        };
        apply(self, resources, &options)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::host::{Hierarchy, Host, Unified};
    use crate::path::CgroupPath;
    use std::path::Path;

    /// Two ordinary directories that stand for hierarchies of the machine;
    /// the files given exist in the container's directory.
    pub(crate) struct Fake {
        pub(crate) temp: tempfile::TempDir,
        pub(crate) host: Host,
    }

    pub(crate) const V1: [&str; 9] = [
        "blkio", "cpu", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "pids",
    ];

    impl Fake {
        pub(crate) fn v1(files: &[(&str, &str)]) -> Self {
            let temp = tempfile::tempdir().unwrap();
            let mut host = Host {
                plain: true,
                ..Host::default()
            };
            for controller in V1 {
                let mount = temp.path().join(controller);
                std::fs::create_dir_all(mount.join("c")).unwrap();
                host.v1.push(Hierarchy {
                    controllers: vec![controller.to_owned()],
                    mount: mount.to_str().unwrap().to_owned(),
                    root: "/".to_owned(),
                });
            }
            for dir in ["cpuset", "cpuset/c"] {
                std::fs::write(temp.path().join(dir).join("cpuset.cpus"), "0-1\n").unwrap();
                std::fs::write(temp.path().join(dir).join("cpuset.mems"), "0\n").unwrap();
            }
            let fake = Self { temp, host };
            for (name, text) in files {
                let controller = name.split_once('.').unwrap().0;
                fake.put(&format!("{controller}/c/{name}"), text);
            }
            fake
        }

        pub(crate) fn v2(controllers: &str, files: &[(&str, &str)]) -> Self {
            let temp = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(temp.path().join("c")).unwrap();
            let host = Host {
                v2: Some(Unified {
                    mount: temp.path().to_str().unwrap().to_owned(),
                    root: "/".to_owned(),
                }),
                plain: true,
                ..Host::default()
            };
            let fake = Self { temp, host };
            for at in ["", "c/"] {
                fake.put(&format!("{at}cgroup.controllers"), controllers);
                fake.put(&format!("{at}cgroup.subtree_control"), controllers);
            }
            for (name, text) in files {
                fake.put(&format!("c/{name}"), text);
            }
            fake
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.temp.path().join(name), text).unwrap();
        }

        pub(crate) fn read(&self, name: &str) -> String {
            read(&self.temp.path().join(name))
        }

        pub(crate) fn apply(&self, json: &str) -> Result<()> {
            let resources = Resources::from_slice(json.as_bytes()).unwrap();
            let cgroup = Cgroup::at(&self.host, &CgroupPath::parse("/c").unwrap());
            cgroup.update(&resources)
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    /// The chain of an error in one line.
    pub(crate) fn chain(e: &Error) -> String {
        let mut text = e.to_string();
        let mut source = std::error::Error::source(e);
        while let Some(e) = source {
            text.push_str(": ");
            text.push_str(&e.to_string());
            source = e.source();
        }
        text
    }

    #[test]
    fn a_limit_without_its_controller_is_an_error_with_both_names() {
        let fake = Fake::v2("cpu pids", &[]);
        for (json, text) in [
            (
                r#"{"memory":{"limit":100}}"#,
                "invalid configuration: memory.limit cannot be set: this container's cgroup has no memory controller",
            ),
            (
                r#"{"cpu":{"cpus":"0"}}"#,
                "invalid configuration: cpu.cpus cannot be set: this container's cgroup has no cpuset controller",
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#,
                "invalid configuration: hugepageLimits cannot be set: this container's cgroup has no hugetlb controller",
            ),
        ] {
            assert_eq!(chain(&fake.apply(json).unwrap_err()), text);
        }
        // Zero and absent are no limits.
        fake.apply(r#"{"memory":{"limit":0,"checkBeforeUpdate":true},"blockIO":{"weight":0}}"#)
            .unwrap();
    }

    #[test]
    fn which_controllers_limits_need() {
        let json = r#"{"pids":{"limit":0},"memory":{"swap":-1},"cpu":{"idle":1,"mems":"0"},
            "unified":{"misc.max":"a 1","cgroup.max.depth":"3"}}"#;
        let resources = Resources::from_slice(json.as_bytes()).unwrap();
        assert_eq!(
            controllers(&resources),
            ["pids", "memory", "cpu", "cpuset", "misc"]
        );
    }
}
