use serde_json::{Value, json};

use super::*;

/// A configuration with something in every section, which breaks no rule.
fn sound() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [5]},
            "args": ["sh"], "cwd": "/", "env": ["A=b", "C="],
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
                        {"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615u64}],
            "oomScoreAdj": -1000,
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7},
            "scheduler": {"policy": "SCHED_FIFO", "priority": 1},
            "execCPUAffinity": {"initial": "0-3,7"}
        },
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "data", "source": "/x", "options": ["rbind", "idmap"],
                    "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
                    "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}],
        "hooks": {"poststop": [{"path": "/bin/true", "timeout": 1, "env": ["A=b"]}]},
        "annotations": {"k": ""},
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "user"}, {"type": "time"},
                           {"type": "network", "path": "/run/netns/a"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1},
                            {"containerID": 1, "hostID": 4000000000u32, "size": 1000}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 999999999}},
            "devices": [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
                        {"type": "p", "path": "/fifo"}],
            "netDevices": {"eth0": {"name": "in%d"}, "eth1": {}},
            "cgroupsPath": "/a/b",
            "rootfsPropagation": "rslave",
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            "sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/forwarding": "1"},
            "resources": {
                "devices": [{"allow": false, "access": "rwm"},
                            {"allow": true, "type": "c", "major": -1, "minor": 0, "access": ""}],
                "memory": {"limit": 100, "swap": 100, "kernel": -1, "swappiness": 100},
                "cpu": {"quota": 5, "burst": 5, "cpus": "0-1,3", "mems": "0", "idle": 1},
                "pids": {"limit": 0},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
                "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]},
                "rdma": {"mlx": {"hcaHandles": 1}},
                "unified": {"memory.high": "max", "hugetlb.1GB.max": "0"}
            },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
                "listenerPath": "/run/s", "listenerMetadata": "m",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                              "args": [{"index": 5, "value": 1, "op": "SCMP_CMP_EQ"}]}]
            },
            "intelRdt": {"closID": "/", "memBwSchema": "MB:0=20", "schemata": ["L3:0=f"]},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
            "personality": {"domain": "LINUX32"}
        }
    })
}

fn problems(document: &Value) -> Vec<Problem> {
    let config = Config::from_slice(document.to_string().as_bytes()).unwrap();
    super::config(&config, Purpose::Start)
}

#[test]
fn a_sound_configuration_has_no_problems() {
    assert_eq!(problems(&sound()), []);
}

#[test]
fn minimal_configurations_by_purpose() {
    let minimal = json!({"ociVersion": "1.0.0", "root": {"path": "rootfs"}});
    let config = Config::from_slice(minimal.to_string().as_bytes()).unwrap();
    assert_eq!(super::config(&config, Purpose::Create), []);
    let found = super::config(&config, Purpose::Start);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "process: is missing (config.md \"Process\")"
    );
}

/// Each change breaks one rule, and is found where it is and nowhere else.
#[test]
fn each_broken_rule_is_found_at_its_place() {
    let nul = "a\0b";
    let long = "h".repeat(65);
    let mapping = |container: u32, host: u32, size: u32| json!({"containerID": container, "hostID": host, "size": size});
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/ociVersion", json!("1.0"), "ociVersion"),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/root", Value::Null, "root"),
        ("/root/path", json!(""), "root.path"),
        ("/hostname", json!(long), "hostname"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([nul]), "process.args[0]"),
        ("/process/cwd", json!("tmp"), "process.cwd"),
        ("/process/cwd", json!(""), "process.cwd"),
        ("/process/env/1", json!("C"), "process.env[1]"),
        ("/process/env/1", json!("=c"), "process.env[1]"),
        ("/process/env/1", json!("A=\0"), "process.env[1]"),
        ("/process/user/uid", json!(u32::MAX), "process.user.uid"),
        (
            "/process/user/additionalGids/0",
            json!(u32::MAX),
            "process.user.additionalGids[0]",
        ),
        (
            "/process/rlimits/0/type",
            json!("RLIMIT_X"),
            "process.rlimits[0].type",
        ),
        (
            "/process/rlimits/0/type",
            json!("RLIMIT_CORE"),
            "process.rlimits[1].type",
        ),
        (
            "/process/rlimits/0/soft",
            json!(2),
            "process.rlimits[0].soft",
        ),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        (
            "/process/ioPriority/priority",
            json!(8),
            "process.ioPriority.priority",
        ),
        (
            "/process/scheduler/priority",
            json!(0),
            "process.scheduler.priority",
        ),
        (
            "/process/scheduler/policy",
            json!("SCHED_BATCH"),
            "process.scheduler.priority",
        ),
        (
            "/process/scheduler/nice",
            json!(20),
            "process.scheduler.nice",
        ),
        ("/process/scheduler/runtime", json!(1), "process.scheduler"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 1}),
            "process.scheduler",
        ),
        (
            "/process/execCPUAffinity/final",
            json!("3-0"),
            "process.execCPUAffinity.final",
        ),
        ("/mounts/0/destination", json!(""), "mounts[0].destination"),
        ("/mounts/0/source", json!(nul), "mounts[0].source"),
        (
            "/mounts/0/options",
            json!(["ro", nul]),
            "mounts[0].options[1]",
        ),
        ("/mounts/1/gidMappings", json!([]), "mounts[1]"),
        ("/mounts/1/uidMappings", json!([]), "mounts[1]"),
        (
            "/mounts/1/uidMappings/0/size",
            json!(0),
            "mounts[1].uidMappings[0].size",
        ),
        (
            "/hooks/poststop/0/path",
            json!("bin/true"),
            "hooks.poststop[0].path",
        ),
        (
            "/hooks/poststop/0/timeout",
            json!(0),
            "hooks.poststop[0].timeout",
        ),
        (
            "/hooks/poststop/0/env",
            json!(["A"]),
            "hooks.poststop[0].env[0]",
        ),
        (
            "/hooks/createRuntime",
            json!([{"path": ""}]),
            "hooks.createRuntime[0].path",
        ),
        ("/annotations", json!({"": "x"}), "annotations"),
        (
            "/linux/namespaces/3/path",
            json!("netns"),
            "linux.namespaces[3].path",
        ),
        ("/linux/namespaces/3", json!({"type": "network"}), ""),
        (
            "/linux/namespaces/0/type",
            json!("network"),
            "linux.namespaces[3].type",
        ),
        ("/linux/namespaces/1/type", json!("uts"), "linux"),
        (
            "/linux/namespaces/2/type",
            json!("uts"),
            "linux.timeOffsets",
        ),
        ("/linux/namespaces/3/type", json!("uts"), "linux.netDevices"),
        ("/linux/gidMappings", json!([]), "linux"),
        (
            "/linux/uidMappings/1",
            mapping(0, 9, 1),
            "linux.uidMappings[1]",
        ),
        (
            "/linux/uidMappings/1",
            mapping(9, 1000, 1),
            "linux.uidMappings[1]",
        ),
        (
            "/linux/uidMappings/1",
            mapping(9, u32::MAX, 1),
            "linux.uidMappings[1].hostID",
        ),
        (
            "/linux/timeOffsets",
            json!({"realtime": {}}),
            "linux.timeOffsets[\"realtime\"]",
        ),
        (
            "/linux/timeOffsets/monotonic/nanosecs",
            json!(1_000_000_000),
            "linux.timeOffsets[\"monotonic\"].nanosecs",
        ),
        (
            "/linux/devices/0/path",
            json!("dev/fuse"),
            "linux.devices[0].path",
        ),
        ("/linux/devices/0/type", json!("a"), "linux.devices[0].type"),
        (
            "/linux/devices/0",
            json!({"type": "b", "path": "/dev/x"}),
            "linux.devices[0]",
        ),
        ("/linux/devices/0/minor", json!(-1), "linux.devices[0]"),
        (
            "/linux/devices/0",
            json!({"type": "c", "path": "/dev/x", "major": 1}),
            "linux.devices[0]",
        ),
        (
            "/linux/devices/0",
            json!({"type": "c", "path": "/dev/x", "minor": 5}),
            "linux.devices[0]",
        ),
        (
            "/linux/devices/0/path",
            json!("/fifo"),
            "linux.devices[1].path",
        ),
        (
            "/linux/netDevices",
            json!({"a/b": {}}),
            "linux.netDevices[\"a/b\"]",
        ),
        (
            "/linux/netDevices",
            json!({"eth0": {"name": "sixteen-letters-"}}),
            "linux.netDevices[\"eth0\"].name",
        ),
        (
            "/linux/netDevices/eth0/name",
            json!("eth1"),
            "linux.netDevices",
        ),
        (
            "/linux/rootfsPropagation",
            json!("rrslave"),
            "linux.rootfsPropagation",
        ),
        (
            "/linux/maskedPaths/0",
            json!("proc"),
            "linux.maskedPaths[0]",
        ),
        (
            "/linux/readonlyPaths/0",
            json!(""),
            "linux.readonlyPaths[0]",
        ),
        (
            "/linux/sysctl",
            json!({"net/../x": "1"}),
            "linux.sysctl[\"net/../x\"]",
        ),
        (
            "/linux/resources/devices/0/access",
            json!("rx"),
            "linux.resources.devices[0].access",
        ),
        (
            "/linux/resources/devices/1/type",
            json!("p"),
            "linux.resources.devices[1].type",
        ),
        (
            "/linux/resources/devices/1/major",
            json!(-2),
            "linux.resources.devices[1].major",
        ),
        (
            "/linux/resources/memory/swap",
            json!(99),
            "linux.resources.memory.swap",
        ),
        (
            "/linux/resources/memory/kernel",
            json!(-2),
            "linux.resources.memory.kernel",
        ),
        (
            "/linux/resources/memory/swappiness",
            json!(101),
            "linux.resources.memory.swappiness",
        ),
        (
            "/linux/resources/cpu/burst",
            json!(6),
            "linux.resources.cpu.burst",
        ),
        (
            "/linux/resources/cpu/cpus",
            json!("0,,1"),
            "linux.resources.cpu.cpus",
        ),
        (
            "/linux/resources/cpu/mems",
            json!("all"),
            "linux.resources.cpu.mems",
        ),
        (
            "/linux/resources/cpu/idle",
            json!(2),
            "linux.resources.cpu.idle",
        ),
        (
            "/linux/resources/pids/limit",
            json!(-2),
            "linux.resources.pids.limit",
        ),
        (
            "/linux/resources/hugepageLimits/0/pageSize",
            json!("2M"),
            "linux.resources.hugepageLimits[0].pageSize",
        ),
        (
            "/linux/resources/blockIO/weightDevice/0/weight",
            Value::Null,
            "linux.resources.blockIO.weightDevice[0]",
        ),
        (
            "/linux/resources/rdma",
            json!({"mlx": {}}),
            "linux.resources.rdma[\"mlx\"]",
        ),
        (
            "/linux/resources/unified",
            json!({"../x.y": "1"}),
            "linux.resources.unified[\"../x.y\"]",
        ),
        (
            "/linux/seccomp/listenerPath",
            Value::Null,
            "linux.seccomp.listenerMetadata",
        ),
        (
            "/linux/seccomp/defaultAction",
            json!("SCMP_ACT_KILL"),
            "linux.seccomp.defaultErrnoRet",
        ),
        (
            "/linux/seccomp/syscalls/0/names",
            json!([]),
            "linux.seccomp.syscalls[0].names",
        ),
        (
            "/linux/seccomp/syscalls/0/errnoRet",
            json!(1),
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (
            "/linux/seccomp/syscalls/0/args/0/index",
            json!(6),
            "linux.seccomp.syscalls[0].args[0].index",
        ),
        (
            "/linux/intelRdt/closID",
            json!("../x"),
            "linux.intelRdt.closID",
        ),
        (
            "/linux/intelRdt/memBwSchema",
            json!("0=20"),
            "linux.intelRdt.memBwSchema",
        ),
        (
            "/linux/intelRdt/schemata/0",
            json!("L3:\nMB:"),
            "linux.intelRdt.schemata[0]",
        ),
        (
            "/linux/memoryPolicy/nodes",
            Value::Null,
            "linux.memoryPolicy.nodes",
        ),
        (
            "/linux/memoryPolicy/mode",
            json!("MPOL_LOCAL"),
            "linux.memoryPolicy.nodes",
        ),
        (
            "/linux/personality/flags",
            json!(["X"]),
            "linux.personality.flags",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut document = sound();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Object(object) => drop(object.insert(key.into(), value.clone())),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
            _ => panic!("{pointer}"),
        }
        let found = problems(&document);
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        let expected = if expected.is_empty() {
            vec![]
        } else {
            vec![expected]
        };
        assert_eq!(paths, expected, "{pointer} = {value}: {found:?}");
        assert!(found.iter().all(|problem| !problem.message.is_empty()));
    }
}

#[test]
fn semantic_versions() {
    for (text, major) in [
        ("1.0.0", Some(1)),
        ("1.0.2-dev", Some(1)),
        ("1.3.0+dev", Some(1)),
        ("1.0.0-rc.1+a.b-c", Some(1)),
        ("1.0.0--", Some(1)),
        ("10.20.30", Some(10)),
        ("1.0.0+0-01", Some(1)),
        ("", None),
        ("1", None),
        ("1.0", None),
        ("1.0.0.0", None),
        ("v1.0.0", None),
        ("01.0.0", None),
        ("1.0.0-", None),
        ("1.0.0-01", None),
        ("1.0.0-a..b", None),
        ("1.0.0+", None),
        ("1. 0.0", None),
        ("99999999999999999999.0.0", None),
    ] {
        assert_eq!(semver(text), major, "{text}");
    }
}
