//! Cgroups on this machine's own hierarchies, without processes in them.
//! Needs root and at least one mounted hierarchy; every test works below a
//! cgroup of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use hako_cgroup::{Cgroup, CgroupPath, Devices, Host, Mode, Options};
use hako_spec::runtime::Resources;

struct Scratch {
    host: Host,
    name: String,
}

impl Scratch {
    fn new(name: &str) -> Self {
        Self {
            host: Host::detect().expect("needs a cgroup hierarchy"),
            name: format!("hako-test-{}-{name}", std::process::id()),
        }
    }

    fn path(&self, below: &str) -> CgroupPath {
        CgroupPath::parse(&format!("{}{below}", self.name)).unwrap()
    }

    fn create(&self, below: &str, json: &str) -> hako_cgroup::Result<Cgroup> {
        let resources = Resources::from_slice(json.as_bytes()).unwrap();
        let options = Options {
            devices: Devices::Skip,
            ..Options::default()
        };
        Cgroup::create(&self.host, &self.path(below), &resources, &options)
    }

    fn mounts(&self) -> Vec<String> {
        let v1 = self.host.v1.iter().map(|h| h.mount.clone());
        v1.chain(self.host.v2.iter().map(|u| u.mount.clone()))
            .collect()
    }

    fn left(&self) -> Vec<String> {
        self.mounts()
            .into_iter()
            .map(|m| format!("{m}/{}", self.name))
            .filter(|p| Path::new(p).exists())
            .collect()
    }

    /// The control file of version 2, where that is all that this machine has.
    fn read_v2(&self, below: &str, file: &str) -> Option<String> {
        if self.host.mode() != Some(Mode::V2) {
            return None;
        }
        let mount = &self.host.v2.as_ref()?.mount;
        let path = format!("{mount}/{}{below}/{file}", self.name);
        let text = std::fs::read_to_string(path).unwrap();
        Some(text.trim().to_owned())
    }

    /// The control file of version 1, where this machine has the controller.
    fn read(&self, controller: &str, below: &str, file: &str) -> Option<String> {
        let mount = &self.host.v1_with(controller)?.mount;
        let path = format!("{mount}/{}{below}/{file}", self.name);
        Some(std::fs::read_to_string(path).unwrap().trim().to_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Cgroup::at(&self.host, &self.path("")).delete();
    }
}

#[test]
fn made_in_every_hierarchy_and_removed_from_all() {
    let scratch = Scratch::new("make");
    let cgroup = scratch.create("/a/b", "{}").unwrap();
    assert!(!cgroup.existed());
    for mount in scratch.mounts() {
        assert!(Path::new(&format!("{mount}/{}/a/b", scratch.name)).is_dir());
    }
    let again = scratch.create("/a/b", "{}").unwrap();
    assert!(again.existed());
    assert_eq!(again.saved().existed.len(), scratch.mounts().len());
    // What was there before is not its to remove, also by way of a record.
    again.delete().unwrap();
    Cgroup::open(&again.saved()).delete().unwrap();
    for mount in scratch.mounts() {
        assert!(Path::new(&format!("{mount}/{}/a/b", scratch.name)).is_dir());
    }
    assert_eq!(cgroup.pids().unwrap(), [] as [i32; 0]);
    assert!(!cgroup.is_frozen().unwrap());

    let saved = cgroup.saved();
    let opened = Cgroup::open(&saved);
    assert_eq!(opened.saved(), saved);
    opened.stats().unwrap();
    opened.delete().unwrap();
    opened.delete().unwrap();
    let top = Cgroup::at(&scratch.host, &scratch.path(""));
    // The parents stay; they may have other children.
    assert_eq!(scratch.left().len(), scratch.mounts().len());
    top.delete().unwrap();
    assert_eq!(scratch.left(), [] as [String; 0]);
}

#[test]
fn a_failure_leaves_nothing() {
    let scratch = Scratch::new("fail");
    let e = scratch
        .create("/a/b", r#"{"cpu":{"cpus":"4095"}}"#)
        .unwrap_err();
    assert!(e.to_string().contains("cpu.cpus"), "{e}");
    assert_eq!(scratch.left(), [] as [String; 0]);
}

#[test]
fn limits_reach_the_kernel() {
    let scratch = Scratch::new("limits");
    let cgroup = scratch
        .create(
            "/c",
            r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},
                "cpu":{"shares":512,"quota":50000,"period":100000,"burst":1000,"cpus":"0","mems":"0"},
                "pids":{"limit":17}}"#,
        )
        .unwrap();
    // Version 2 has no such thing, and says so.
    let swappiness = Resources::from_slice(br#"{"memory":{"swappiness":10}}"#).unwrap();
    match cgroup.update(&swappiness) {
        Ok(()) => assert!(scratch.host.v1_with("memory").is_some()),
        Err(e) => assert_eq!(
            (e.to_string().as_str(), scratch.host.mode()),
            (
                "memory.swappiness does not exist in cgroup v2",
                Some(Mode::V2)
            )
        ),
    }
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_burst_us", "1000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "17"),
    ] {
        if let Some(now) = scratch.read(controller, "/c", file) {
            assert_eq!(now, value, "{file}");
        }
    }
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "67108864"),
        ("memory.low", "33554432"),
        ("cpu.weight", "59"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "17"),
    ] {
        if let Some(now) = scratch.read_v2("/c", file) {
            assert_eq!(now, value, "{file}");
        }
    }
    // Both limits grow, then both shrink: the order of writes has to follow.
    for (limit, swap) in [(268_435_456, 536_870_912), (16_777_216, 33_554_432)] {
        let json = format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#);
        cgroup
            .update(&Resources::from_slice(json.as_bytes()).unwrap())
            .unwrap();
        if let Some(now) = scratch.read("memory", "/c", "memory.memsw.limit_in_bytes") {
            assert_eq!(now, swap.to_string());
        }
        if let Some(now) = scratch.read_v2("/c", "memory.swap.max") {
            assert_eq!(now, (swap - limit).to_string());
        }
    }
    let stats = cgroup.stats().unwrap();
    assert_eq!((stats.pids.current, stats.pids.limit), (0, 17));
    assert_eq!(stats.memory.usage.limit, 16_777_216);
    assert_eq!(stats.memory.swap.limit, 33_554_432);
    assert_eq!(stats.cpuset.cpus, [0]);
    if scratch.host.mode() == Some(Mode::V2) {
        return;
    }
    // Out of the kernel's range, which it would clamp without a word.
    let e = cgroup
        .update(&Resources::from_slice(br#"{"cpu":{"shares":1000000}}"#).unwrap())
        .unwrap_err();
    assert!(
        e.to_string()
            .starts_with("cpu.shares 1000000 is out of range"),
        "{e}"
    );
}

#[test]
fn a_cpuset_is_usable_at_every_level() {
    let scratch = Scratch::new("cpuset");
    scratch.create("/a/b/c", "{}").unwrap();
    for below in ["", "/a", "/a/b", "/a/b/c"] {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Some(value) = scratch.read("cpuset", below, file) {
                assert!(!value.is_empty(), "{below} {file}");
            }
        }
    }
}

#[test]
fn device_rules_reach_the_kernel() {
    let scratch = Scratch::new("devices");
    let json = r#"{"devices":[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]}"#;
    let resources = Resources::from_slice(json.as_bytes()).unwrap();
    let create = |below: &str, devices| {
        let options = Options {
            devices,
            ..Options::default()
        };
        Cgroup::create(&scratch.host, &scratch.path(below), &resources, &options).unwrap();
        scratch.read("devices", below, "devices.list")
    };
    if let Some(list) = create("/exact", Devices::Exact) {
        assert_eq!(list, "b 8:0 r");
    }
    if let Some(list) = create("/default", Devices::Apply) {
        let lines: Vec<_> = list.lines().collect();
        assert_eq!(lines.len(), 12, "{list}");
        for line in ["b 8:0 r", "c 1:3 rwm", "c 136:* rwm", "c *:* m", "b *:* m"] {
            assert!(lines.contains(&line), "{line} in {list}");
        }
    }
}

#[test]
fn what_is_no_cgroup_is_not_written_to() {
    let scratch = Scratch::new("fake");
    let temp = tempfile::tempdir().unwrap();
    let fake = temp.path().join("c");
    std::fs::create_dir(&fake).unwrap();
    std::fs::write(fake.join("freezer.state"), "THAWED").unwrap();
    std::fs::write(fake.join("cgroup.procs"), "").unwrap();
    let mut saved = Cgroup::at(&scratch.host, &scratch.path("")).saved();
    saved.v1 = vec![("freezer".to_owned(), fake.to_str().unwrap().to_owned())];
    saved.v2 = None;
    let cgroup = Cgroup::open(&saved);
    let e = cgroup.freeze().unwrap_err();
    assert!(
        e.to_string().ends_with("is not on a cgroup file system"),
        "{e}"
    );
    assert!(cgroup.add(1).is_err());
    assert!(cgroup.delete().is_err());
    assert_eq!(
        std::fs::read_to_string(fake.join("freezer.state")).unwrap(),
        "THAWED"
    );
    assert!(fake.exists());
}
