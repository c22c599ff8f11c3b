use hako_spec::runtime::{
    Arch, Config, Features, NamespaceKind, Process, ProcessState, Resources, SeccompAction,
    SeccompOp, State, Status, validate,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{add_unknown, chain};

/// A configuration with every field of config.md and config-linux.md, none of
/// them at its default.
fn full() -> Value {
    let device = json!([{"major": 8, "minor": 16, "rate": 600}]);
    let mapping = json!([{"containerID": 1, "hostID": 100_000, "size": 65536}]);
    let hook = json!([{"path": "/bin/hook", "args": ["hook", "x"], "env": ["A=b"], "timeout": 5}]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "consoleSize": {"height": 25, "width": 80},
            "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6]},
            "args": ["sh", "-c", "true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/root",
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 18446744073709551615u64, "soft": 1024}],
            "noNewPrivileges": true,
            "apparmorProfile": "profile",
            "oomScoreAdj": -100,
            "scheduler": {"policy": "SCHED_DEADLINE", "nice": -5, "priority": 10,
                "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"],
                "runtime": 1, "deadline": 2, "period": 3},
            "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0:c124,c675",
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
            "execCPUAffinity": {"initial": "7", "final": "0-3,7"}
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "domainname": "example.test",
        "mounts": [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "size=65536k"], "uidMappings": mapping, "gidMappings": mapping}],
        "hooks": {"prestart": hook, "createRuntime": hook, "createContainer": hook,
            "startContainer": hook, "poststart": hook, "poststop": hook},
        "annotations": {"com.example.key": "2", "empty": ""},
        "linux": {
            "uidMappings": mapping,
            "gidMappings": mapping,
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "resources": {
                "devices": [{"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
                "memory": {"limit": 536870912, "reservation": 1, "swap": 2, "kernel": -1,
                    "kernelTCP": -1, "swappiness": 0, "disableOOMKiller": false,
                    "useHierarchy": true, "checkBeforeUpdate": true},
                "cpu": {"shares": 1024, "quota": -1, "burst": 3, "period": 500000,
                    "realtimeRuntime": 950000, "realtimePeriod": 1000000, "cpus": "2-3",
                    "mems": "0-7", "idle": 0},
                "pids": {"limit": 0},
                "blockIO": {"weight": 10, "leafWeight": 11,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                    "throttleReadBpsDevice": device, "throttleWriteBpsDevice": device,
                    "throttleReadIOPSDevice": device, "throttleWriteIOPSDevice": device},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854772000u64}],
                "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
                "unified": {"io.max": "259:0 rbps=2097152 wiops=120"}
            },
            "cgroupsPath": "/runtime/container",
            "namespaces": [{"type": "pid", "path": "/proc/1234/ns/pid"}, {"type": "network"},
                {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "user"},
                {"type": "cgroup"}, {"type": "time"}],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
                "fileMode": 438, "uid": 0, "gid": 0}],
            "netDevices": {"eth0": {"name": "container_eth0"}},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "listenerPath": "/run/listener", "listenerMetadata": "m",
                "syscalls": [{"names": ["getcwd", "chmod"], "action": "SCMP_ACT_TRACE",
                    "errnoRet": 0,
                    "args": [{"index": 1, "value": 18446744073709551615u64, "valueTwo": 2,
                        "op": "SCMP_CMP_MASKED_EQ"}]}]
            },
            "rootfsPropagation": "slave",
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811",
            "intelRdt": {"closID": "guaranteed", "schemata": ["L3:0=7f0", "MB:0=20"],
                "l3CacheSchema": "L3:0=7f0;1=1f", "memBwSchema": "MB:0=20;1=70",
                "enableMonitoring": true},
            "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3",
                "flags": ["MPOL_F_STATIC_NODES"]},
            "personality": {"domain": "LINUX32", "flags": ["X"]},
            "timeOffsets": {"monotonic": {"secs": -172800, "nanosecs": 1}}
        }
    })
}

/// Whether any object of a document kept a field as unknown: what the types
/// serialise is compared with what they would without `extra`.
#[test]
fn every_field_of_the_specification_is_known() {
    let config = Config::from_slice(full().to_string().as_bytes()).unwrap();
    let shown = format!("{config:?}");
    assert!(
        shown.contains("extra: {}") && !shown.contains("extra: {\""),
        "{shown}"
    );
    assert_eq!(serde_json::to_value(&config).unwrap(), full());
    let linux = config.linux.as_ref().unwrap();
    assert_eq!(
        linux.namespace(NamespaceKind::Pid).unwrap().path.as_deref(),
        Some("/proc/1234/ns/pid")
    );
    let seccomp = linux.seccomp.as_ref().unwrap();
    assert_eq!(seccomp.architectures, [Arch::X86, Arch::X32]);
    assert_eq!(seccomp.syscalls[0].action, SeccompAction::Trace);
    assert_eq!(seccomp.syscalls[0].args[0].op, SeccompOp::MaskedEqual);
    assert_eq!(seccomp.syscalls[0].args[0].value, u64::MAX);
}

#[test]
fn unknown_fields_survive_at_every_level() {
    let mut document = full();
    add_unknown(&mut document);
    // Maps of strings and of objects have no unknown fields, only entries.
    for pointer in [
        "/annotations",
        "/linux/sysctl",
        "/linux/resources/unified",
        "/linux/resources/rdma",
        "/linux/netDevices",
        "/linux/timeOffsets",
    ] {
        document
            .pointer_mut(pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("x-future");
    }
    for (name, other) in [
        (
            "windows",
            json!({"layerFolders": ["C:\\x"], "servicing": true}),
        ),
        (
            "solaris",
            json!({"milestone": "svc:/milestone/container:default"}),
        ),
        (
            "vm",
            json!({"hypervisor": {"path": "/x", "parameters": ["a"]}, "kernel": {"path": "/k"}}),
        ),
        ("zos", json!({"namespaces": [{"type": "pid"}]})),
        (
            "freebsd",
            json!({"jail": {"vnet": "new", "allow": {"mount": ["devfs"]}}}),
        ),
    ] {
        document[name] = other;
    }
    document["process"]["commandLine"] = json!("x y");
    document["process"]["user"]["username"] = json!("containeradministrator");
    let config = Config::from_slice(document.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), document);
    let again = Config::from_slice(&serde_json::to_vec_pretty(&config).unwrap()).unwrap();
    assert_eq!(again, config);
}

#[test]
fn defaults_are_not_written() {
    let text = r#"{"ociVersion":"1.0.0","root":{"path":"rootfs"}}"#;
    let config = Config::from_slice(text.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&config).unwrap(), text);
    let text = r#"{"user":{"uid":0,"gid":0},"args":["sh"],"cwd":"/"}"#;
    let process = Process::from_slice(text.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&process).unwrap(), text);
    let empty = r#"{"hostname":"","mounts":null,"linux":{"cgroupsPath":"","namespaces":[{"type":"pid","path":""}]},"ociVersion":"1.0.0"}"#;
    let config = Config::from_slice(empty.as_bytes()).unwrap();
    assert_eq!(config.hostname, None);
    assert_eq!(config.linux.unwrap().namespaces[0].path, None);
}

/// Each wrong value is an error with the path, the value and what was expected.
#[test]
fn wrong_values_are_named() {
    for (pointer, value, message) in [
        (
            "/process/user/uid",
            json!(-1),
            "at `process.user.uid`: invalid value: integer `-1`, expected u32",
        ),
        (
            "/process/user/uid",
            json!(4294967296u64),
            "at `process.user.uid`",
        ),
        (
            "/process/user/uid",
            json!("0"),
            "invalid type: string \"0\", expected u32",
        ),
        (
            "/process/args",
            json!("sh"),
            "at `process.args`: invalid type: string \"sh\", expected a list",
        ),
        (
            "/process/args/1",
            Value::Null,
            "at `process.args[1]`: invalid type: null",
        ),
        ("/process/terminal", json!(1), "at `process.terminal`"),
        (
            "/process/ioPriority/class",
            json!("X"),
            "invalid I/O priority class \"X\"",
        ),
        (
            "/process/scheduler/policy",
            json!("X"),
            "at `process.scheduler.policy`: invalid scheduling policy \"X\"",
        ),
        (
            "/process/scheduler/flags/1",
            json!("X"),
            "at `process.scheduler.flags[1]`: invalid scheduler flag",
        ),
        (
            "/process/oomScoreAdj",
            json!(1.5),
            "at `process.oomScoreAdj`",
        ),
        (
            "/linux/namespaces/2/type",
            json!("net"),
            "at `linux.namespaces[2].type`: invalid namespace type \"net\"",
        ),
        (
            "/linux/seccomp/defaultAction",
            json!("ALLOW"),
            "invalid seccomp action \"ALLOW\"",
        ),
        (
            "/linux/seccomp/syscalls/0/action",
            json!("X"),
            "at `linux.seccomp.syscalls[0].action`",
        ),
        (
            "/linux/seccomp/syscalls/0/args/0/op",
            json!("=="),
            "invalid seccomp operator \"==\"",
        ),
        (
            "/linux/seccomp/syscalls/0/args/0/value",
            json!(-1),
            "at `linux.seccomp.syscalls[0].args[0].value`",
        ),
        (
            "/linux/seccomp/architectures/0",
            json!("x86"),
            "invalid seccomp architecture \"x86\"",
        ),
        (
            "/linux/seccomp/flags/0",
            json!("X"),
            "invalid seccomp flag \"X\"",
        ),
        (
            "/linux/devices/0/type",
            json!("d"),
            "invalid device type \"d\"",
        ),
        (
            "/linux/devices/0/fileMode",
            json!("0666"),
            "at `linux.devices[0].fileMode`",
        ),
        (
            "/linux/personality/domain",
            json!("BSD"),
            "invalid personality domain \"BSD\"",
        ),
        (
            "/linux/memoryPolicy/mode",
            json!("X"),
            "invalid memory policy mode \"X\"",
        ),
        (
            "/linux/memoryPolicy/flags/0",
            json!("X"),
            "invalid memory policy flag \"X\"",
        ),
        (
            "/linux/resources/memory/limit",
            json!("1g"),
            "at `linux.resources.memory.limit`: invalid type: string \"1g\", expected i64",
        ),
        (
            "/linux/resources/hugepageLimits/0/pageSize",
            json!(1),
            "at `linux.resources.hugepageLimits[0].pageSize`",
        ),
        (
            "/linux/resources/rdma/mlx5_1/hcaHandles",
            json!(-1),
            "at `linux.resources.rdma[\"mlx5_1\"].hcaHandles`",
        ),
        (
            "/linux/resources/blockIO/weight",
            json!(65536),
            "expected u16",
        ),
        (
            "/linux/resources/unified/io.max",
            json!(1),
            "at `linux.resources.unified[\"io.max\"]`",
        ),
        (
            "/linux/resources/network/priorities/0",
            json!({"name": "a"}),
            "\"priority\" is missing",
        ),
        (
            "/linux/netDevices/eth0",
            json!("eth1"),
            "at `linux.netDevices[\"eth0\"]`",
        ),
        (
            "/annotations/empty",
            json!(1),
            "at `annotations[\"empty\"]`",
        ),
        (
            "/mounts/0",
            json!({"source": "x"}),
            "at `mounts[0]`: the required field \"destination\" is missing",
        ),
        (
            "/hooks/poststop/0",
            json!({}),
            "at `hooks.poststop[0]`: the required field \"path\" is missing",
        ),
        (
            "/linux/uidMappings/0",
            json!({"containerID": 0, "size": 1}),
            "\"hostID\" is missing",
        ),
        (
            "/process/rlimits/0",
            json!({"type": "RLIMIT_CORE", "soft": 0}),
            "\"hard\" is missing",
        ),
        (
            "/linux/resources/devices/0",
            json!({"access": "r"}),
            "\"allow\" is missing",
        ),
        (
            "/root",
            json!({}),
            "at `root`: the required field \"path\" is missing",
        ),
        (
            "/process",
            json!({}),
            "at `process`: the required field \"cwd\" is missing",
        ),
        ("/ociVersion", Value::Null, "at `ociVersion`"),
    ] {
        let mut document = full();
        *document
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value;
        let error = chain(&Config::from_slice(document.to_string().as_bytes()).unwrap_err());
        assert!(
            error.starts_with("the runtime configuration cannot be read: "),
            "{error}"
        );
        assert!(error.contains(message), "{pointer}: {error}");
        assert!(error.contains(" at line 1 column "), "{error}");
    }
}

#[test]
fn documents_that_are_none() {
    for text in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "1",
        "{}x",
        "{\"ociVersion\":\"1.0.0\",}",
        "\u{feff}{}",
    ] {
        assert!(Config::from_slice(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(Config::from_slice(&[0xff, 0xfe]).is_err());
    assert!(Config::from_slice(b"{\"ociVersion\":\"\xff\"}").is_err());
    let long = vec![b' '; Config::MAX_LEN + 1];
    assert!(
        Config::from_slice(&long)
            .unwrap_err()
            .to_string()
            .contains("bytes, more than")
    );
    let twice = r#"{"ociVersion":"1.0.0","process":{"cwd":"/","cwd":"/"}}"#;
    let error = chain(&Config::from_slice(twice.as_bytes()).unwrap_err());
    assert!(
        error.contains("at `process`: the key \"cwd\" comes twice"),
        "{error}"
    );
}

#[test]
fn states() {
    let text = r#"{"ociVersion":"0.2.0","id":"oci-container1","status":"running","pid":4422,"bundle":"/containers/redis","annotations":{"myKey":"myValue"}}"#;
    let state: State = serde_json::from_str(text).unwrap();
    assert_eq!((state.status, state.pid), (Status::Running, 4422));
    assert_eq!(serde_json::to_string(&state).unwrap(), text);
    // runc prints more, and no pid once the container has stopped.
    let runc = r#"{"ociVersion":"1.2.1","id":"a","pid":0,"status":"stopped","bundle":"/b","rootfs":"/b/r","created":"2026-01-01T00:00:00Z","owner":""}"#;
    let state: State = serde_json::from_str(runc).unwrap();
    assert_eq!((state.pid, state.extra.len()), (0, 3));
    for status in Status::ALL {
        assert_eq!(status.to_string().parse::<Status>().unwrap(), *status);
    }
    assert!(serde_json::from_str::<State>(&text.replace("running", "dead")).is_err());
    let seccomp = format!(
        r#"{{"ociVersion":"1.0.2","fds":["seccompFd"],"pid":4422,"metadata":"MKNOD=/dev/null","state":{text}}}"#
    );
    let state: ProcessState = serde_json::from_str(&seccomp).unwrap();
    assert_eq!(serde_json::to_string(&state).unwrap(), seccomp);
}

#[test]
fn features_keep_empty_lists() {
    // An empty list says "none", an absent one "unknown" (features.md).
    let text = r#"{"ociVersionMin":"1.0.0","ociVersionMax":"1.3.0","hooks":[],"mountOptions":["ro"],"linux":{"namespaces":["mount","new-one"],"capabilities":[],"cgroup":{"v1":true,"v2":false,"systemd":true,"systemdUser":true,"rdma":false},"seccomp":{"enabled":true,"actions":["SCMP_ACT_NEW"],"operators":[],"archs":["SCMP_ARCH_X86_64"],"knownFlags":["X"],"supportedFlags":[]},"apparmor":{"enabled":true},"selinux":{"enabled":false},"intelRdt":{"enabled":true,"schemata":true,"monitoring":false},"memoryPolicy":{"modes":["MPOL_BIND"],"flags":[]},"mountExtensions":{"idmap":{"enabled":true}},"netDevices":{"enabled":true}},"annotations":{"a":"b"},"potentiallyUnsafeConfigAnnotations":["com.example.foo."]}"#;
    let features: Features = serde_json::from_str(text).unwrap();
    assert!(!format!("{features:?}").contains("extra: {\""));
    assert_eq!(serde_json::to_string(&features).unwrap(), text);
    assert!(serde_json::from_str::<Features>(r#"{"ociVersionMin":"1.0.0"}"#).is_err());
}

#[test]
fn parts_by_themselves() {
    let resources = full()["linux"]["resources"].to_string();
    let resources = Resources::from_slice(resources.as_bytes()).unwrap();
    assert_eq!(resources.pids.as_ref().unwrap().limit, Some(0));
    let paths: Vec<_> = validate::resources(&resources)
        .into_iter()
        .map(|p| p.path)
        .collect();
    assert_eq!(paths, ["resources.memory.swap"]);
    let process = Process::from_slice(full()["process"].to_string().as_bytes()).unwrap();
    assert_eq!(
        validate::process(&process)[0].path,
        "process.scheduler.priority"
    );
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        let _ = Config::from_slice(&bytes);
    }

    /// A document with one byte changed is refused, or read into something
    /// that writes and reads back as itself, and validation never panics.
    #[test]
    fn a_changed_byte_is_harmless(place: prop::sample::Index, byte: u8) {
        let mut text = full().to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = byte;
        if let Ok(config) = Config::from_slice(&text) {
            let _ = validate::config(&config, validate::Purpose::Start);
            let written = serde_json::to_vec(&config).unwrap();
            prop_assert_eq!(Config::from_slice(&written).unwrap(), config);
        }
    }
}
