//! Options that make more than one field, or parts of lists.

use serde_json::{Value, json};

use super::{apply, at, fails, given, on};
use crate::bundle::generate::seccomp_only;
use hako_spec::runtime::Config;

#[test]
fn process_lists() {
    assert_eq!(
        at("/process/args", &["args=ls", "args=-l"]),
        json!(["ls", "-l"])
    );
    let env = at(
        "/process/env",
        &["env=A=2", "env-file=A=1", "env-file=B=", "env=TERM=vt100"],
    );
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env, json!([path, "TERM=vt100", "A=2", "B="]));
    assert!(fails(&["env=A"]).starts_with("--env \"A\": is not of the form NAME=VALUE"));
    let limits = "/process/rlimits";
    let file = json!({"type": "RLIMIT_NOFILE", "hard": 9, "soft": 8});
    assert_eq!(
        at(limits, &["process-rlimits-add=RLIMIT_NOFILE:9:8"]),
        json!([file])
    );
    let core = json!({"type": "RLIMIT_CORE", "hard": u64::MAX, "soft": 0});
    let options = [
        "process-rlimits-add=RLIMIT_CORE:-1:0",
        "process-rlimits-remove-all",
    ];
    assert_eq!(at(limits, &options), json!([core]));
    assert_eq!(
        at(limits, &["process-rlimits-remove=RLIMIT_NOFILE"]),
        json!(null)
    );
    let error = fails(&["process-rlimits-add=RLIMIT_NOFILE:1:2"]);
    assert!(
        error.contains("process.rlimits[0]") && error.ends_with("from --process-rlimits-add)"),
        "{error}"
    );
    for bad in ["RLIMIT_NOFILE:1", "RLIMIT_NOFILE:x:1", ":1:1"] {
        fails(&[&format!("process-rlimits-add={bad}")]);
    }
}

#[test]
fn capabilities() {
    let set = |set: &str, options: &[&str]| at(&format!("/process/capabilities/{set}"), options);
    let options = [
        "process-cap-drop-all",
        "process-cap-add=CAP_CHOWN,kill",
        "process-cap-drop-ambient=CAP_KILL",
    ];
    assert_eq!(set("ambient", &options), json!(["CAP_CHOWN"]));
    for other in ["bounding", "effective", "inheritable", "permitted"] {
        assert_eq!(
            set(other, &options),
            json!(["CAP_CHOWN", "CAP_KILL"]),
            "{other}"
        );
        let options = [
            &*format!("process-cap-add-{other}=CAP_BPF"),
            "process-cap-drop=CAP_AUDIT_WRITE,CAP_KILL",
        ];
        let left: Value = match other {
            "inheritable" => json!(["CAP_BPF"]),
            _ => json!(["CAP_NET_BIND_SERVICE", "CAP_BPF"]),
        };
        assert_eq!(set(other, &options), left);
        let drop =
            format!("process-cap-drop-{other}=CAP_AUDIT_WRITE,CAP_KILL,CAP_NET_BIND_SERVICE");
        assert_eq!(set(other, &[&drop]), json!(null));
    }
    assert_eq!(
        set("ambient", &["process-cap-add-ambient=bpf"]),
        json!(["CAP_BPF"])
    );
    assert!(fails(&["process-cap-add=CAP_NOPE"]).contains("CAP_NOPE"));
    let all = on(
        Config::template(),
        &[
            "privileged",
            "process-cap-drop=CAP_BPF",
            "linux-masked-paths=/x",
        ],
    )
    .unwrap();
    let count = |set: &str| {
        all["process"]["capabilities"][set]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count("ambient"), count("bounding")), (40, 40));
    assert_eq!(
        all["linux"]["resources"]["devices"],
        json!([{"allow": true, "access": "rwm"}])
    );
    assert_eq!(all["linux"]["maskedPaths"], json!(["/x"]));
    let same = on(Config::template(), &["privileged=false"]).unwrap();
    assert_eq!(same, serde_json::to_value(Config::template()).unwrap());
}

#[test]
fn mounts_and_hooks() {
    let bind =
        r#"mounts-add={"destination":"/data","type":"bind","source":"/d","options":["rbind"]}"#;
    let data =
        json!({"destination": "/data", "type": "bind", "source": "/d", "options": ["rbind"]});
    assert_eq!(at("/mounts", &[bind, "mounts-remove-all"]), json!([data]));
    assert_eq!(at("/mounts/7", &[bind]), data);
    assert_eq!(
        at("/mounts/6/destination", &["mounts-remove=/proc", bind]),
        json!("/data")
    );
    assert_eq!(
        at("/mounts", &["mounts-remove-all=false"])
            .as_array()
            .unwrap()
            .len(),
        7
    );
    for (text, mount) in [
        ("type=bind,src=/d,dst=/data", data),
        (
            "type=bind,source=/a,target=/b,readonly,bind-nonrecursive=true,bind-propagation=rslave",
            json!({"destination": "/b", "type": "bind", "source": "/a", "options": ["bind", "ro", "rslave"]}),
        ),
        (
            "type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1777,noexec,ro=false",
            json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs",
                   "options": ["size=1m", "mode=1777", "noexec", "rw"]}),
        ),
    ] {
        assert_eq!(
            at("/mounts/7", &[&format!("mount={text}")]),
            mount,
            "{text}"
        );
    }
    for bad in [
        "type=bind,dst=/a",
        "dst=/a",
        "type=tmpfs",
        "type=volume,src=a,dst=/b",
        "type=bind,src,dst=/a",
    ] {
        fails(&[&format!("mount={bad}")]);
    }
    let twice = r#"mounts-add={"destination":"/a","destination":"/b"}"#;
    assert!(fails(&[twice]).contains("twice"));
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        let name: String = kind
            .chars()
            .flat_map(|c| match c.is_uppercase() {
                true => vec!['-', c.to_ascii_lowercase()],
                false => vec![c],
            })
            .collect();
        let hook = json!({"path": "/bin/x", "args": ["x", "y"], "timeout": 5});
        let add = format!("hooks-{name}-add={hook}");
        let pointer = format!("/hooks/{kind}");
        assert_eq!(at(&pointer, &[&add, &add]), json!([hook, hook]));
        let mut before = Config::template();
        apply(&mut before, &given(&[&add])).unwrap();
        let remove = format!("hooks-{name}-remove-all");
        let after = on(before, &[&remove]).unwrap();
        assert_eq!(after.pointer(&pointer), None);
        let error = fails(&[&format!("hooks-{name}-add={{\"path\":\"x\"}}")]);
        assert!(
            error.contains(&format!("from --hooks-{name}-add")),
            "{error}"
        );
    }
}

#[test]
fn namespaces_and_mappings() {
    let list = "/linux/namespaces";
    let options = [
        "linux-namespace-remove-all",
        "linux-namespace-add=network:/run/n",
        "linux-namespace-add=time",
    ];
    assert_eq!(
        at(list, &options),
        json!([{"type": "network", "path": "/run/n"}, {"type": "time"}])
    );
    assert_eq!(
        at("/linux/namespaces/0", &["linux-namespace-remove=pid"]),
        json!({"type": "network"})
    );
    assert!(fails(&["linux-namespace-add=net"]).contains("network"));
    assert!(fails(&["linux-namespace-add=pid:relative"]).contains("linux-namespace-add"));
    let options = [
        "linux-uidmappings=100000:0:65536",
        "linux-gidmappings=200000:1:5",
    ];
    assert_eq!(
        at("/linux/uidMappings", &options),
        json!([{"hostID": 100_000, "containerID": 0, "size": 65536}])
    );
    assert_eq!(
        at("/linux/gidMappings", &options),
        json!([{"hostID": 200_000, "containerID": 1, "size": 5}])
    );
    assert_eq!(at("/linux/namespaces/6", &options), json!({"type": "user"}));
    let error = fails(&options[..1]);
    assert!(
        error.contains("without the other") && error.contains("--linux-uidmappings"),
        "{error}"
    );
    let options = [
        "linux-time-offset=monotonic:-5:7",
        "linux-time-offset=boottime:1",
    ];
    assert_eq!(
        at("/linux/timeOffsets", &options),
        json!({"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {"secs": 1}})
    );
    assert_eq!(at("/linux/namespaces/6", &options), json!({"type": "time"}));
    fails(&["linux-time-offset=monotonic"]);
    fails(&["linux-time-offset=wall:1"]);
}

#[test]
fn devices_and_paths() {
    let fuse = "linux-device-add=c:10:229:/dev/fuse:fileMode=438:uid=1:gid=2";
    let node = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 1, "gid": 2});
    assert_eq!(at("/linux/devices", &[fuse]), json!([node]));
    assert_eq!(
        at(
            "/linux/devices/0/fileMode",
            &["linux-device-add=b:1:1:/d:fileMode=0666"]
        ),
        json!(0o666)
    );
    assert_eq!(
        at(
            "/linux/devices",
            &[
                "linux-device-add=p:0:0:/pipe",
                fuse,
                "linux-device-remove=/dev/fuse"
            ]
        ),
        json!([{"path": "/pipe", "type": "p"}])
    );
    let mut before = Config::template();
    apply(&mut before, &given(&[fuse])).unwrap();
    assert_eq!(
        on(before, &["linux-device-remove-all"])
            .unwrap()
            .pointer("/linux/devices"),
        None
    );
    for bad in [
        "c:1:3",
        "x:1:3:/d",
        "c:1:3:/d:mode=1",
        "c:one:3:/d",
        "c:1:3:relative",
        "a:1:3:/d",
    ] {
        assert!(
            fails(&[&format!("linux-device-add={bad}")]).contains("--linux-device-add"),
            "{bad}"
        );
    }
    assert_eq!(
        at(
            "/linux/maskedPaths/12",
            &["linux-masked-paths=/x", "linux-masked-paths=/proc/acpi"]
        ),
        json!("/x")
    );
    assert_eq!(
        at("/linux/readonlyPaths/5", &["linux-readonly-paths=/x"]),
        json!("/x")
    );
    assert!(fails(&["linux-readonly-paths=x"]).contains("from --linux-readonly-paths"));
}

#[test]
fn limits_of_devices_and_the_rest() {
    let rules = "/linux/resources/devices";
    let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"});
    let add = "linux-device-cgroup-add=allow,type=c,major=10,minor=229,access=rw";
    assert_eq!(at("/linux/resources/devices/1", &[add]), rule);
    assert_eq!(
        at(rules, &["linux-device-cgroup-remove=deny,access=rwm"]),
        json!(null)
    );
    assert_eq!(
        at(rules, &["linux-device-cgroup-remove=deny"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for bad in ["", "yes", "allow,type=x", "allow,access=z", "allow,nope=1"] {
        fails(&[&format!("linux-device-cgroup-add={bad}")]);
    }
    let weights = "/linux/resources/blockIO/weightDevice";
    let options = [
        "linux-blkio-weight-device=8:0:100",
        "linux-blkio-weight-device=8:16:50",
        "linux-blkio-leaf-weight-device=8:0:20",
        "linux-blkio-weight-device=8:16:-1",
    ];
    assert_eq!(
        at(weights, &options),
        json!([{"major": 8, "minor": 0, "weight": 100, "leafWeight": 20}])
    );
    for (option, field) in [
        ("read-bps", "throttleReadBpsDevice"),
        ("write-bps", "throttleWriteBpsDevice"),
        ("read-iops", "throttleReadIOPSDevice"),
        ("write-iops", "throttleWriteIOPSDevice"),
    ] {
        let with = |value: &str| format!("linux-blkio-{option}-device={value}");
        let options = [with("8:0:5"), with("8:1:6"), with("8:0:7"), with("8:1:-1")];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let value = at(&format!("/linux/resources/blockIO/{field}"), &options);
        assert_eq!(value, json!([{"major": 8, "minor": 0, "rate": 7}]));
        fails(&[&with("8:0")]);
    }
    let huge = [
        "linux-hugepage-limits-add=2MB:10",
        "linux-hugepage-limits-add=2MB:20",
        "linux-hugepage-limits-add=1GB:1",
        "linux-hugepage-limits-drop=1GB",
    ];
    assert_eq!(
        at("/linux/resources/hugepageLimits", &huge),
        json!([{"pageSize": "2MB", "limit": 20}])
    );
    assert!(
        fails(&["linux-hugepage-limits-add=2XB:10"]).contains("from --linux-hugepage-limits-add")
    );
    let priorities = [
        "linux-network-priorities=eth0:5",
        "linux-network-priorities=lo:1",
        "linux-network-priorities=lo:-1",
    ];
    assert_eq!(
        at("/linux/resources/network/priorities", &priorities),
        json!([{"name": "eth0", "priority": 5}])
    );
    let error = fails(&["linux-mem-limit=2000", "linux-mem-swap=1000"]);
    assert!(
        error.contains("linux.resources.memory.swap") && error.contains("--linux-mem-swap"),
        "{error}"
    );
    assert!(fails(&["linux-mem-limit=1g"]).starts_with("--linux-mem-limit \"1g\": "));
}

#[test]
fn system_calls() {
    let rules = |options: &[&str]| at("/linux/seccomp/syscalls", options);
    let alone = ["linux-seccomp-remove-all", "linux-seccomp-default=allow"];
    let with = |more: &[&str]| rules(&[&alone[..], more].concat());
    assert_eq!(with(&["linux-seccomp-allow=read"]), json!(null));
    assert_eq!(
        with(&[
            "linux-seccomp-errno=mkdir,rmdir",
            "linux-seccomp-kill=rmdir"
        ]),
        json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}, {"names": ["rmdir"], "action": "SCMP_ACT_KILL"}])
    );
    assert_eq!(
        with(&[
            "linux-seccomp-trace=personality:0:8:1:ME",
            "linux-seccomp-trap=ptrace"
        ]),
        json!([
            {"names": ["personality"], "action": "SCMP_ACT_TRACE",
             "args": [{"index": 0, "value": 8, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["ptrace"], "action": "SCMP_ACT_TRAP"}
        ])
    );
    assert!(fails(&["linux-seccomp-trap=read:9:0:0:EQ"]).contains("from --linux-seccomp-trap"));
    fails(&["linux-seccomp-errno=read:0:1"]);
    fails(&["linux-seccomp-default=maybe"]);
    // Without a filter the default profile is the start.
    let has = |options: &[&str], name: &str, action: &str| {
        rules(options).as_array().unwrap().iter().any(|rule| {
            rule["action"] == action && rule["names"].as_array().unwrap().contains(&json!(name))
        })
    };
    assert!(has(
        &["linux-seccomp-kill=mkdir"],
        "rmdir",
        "SCMP_ACT_ALLOW"
    ));
    assert!(has(&["linux-seccomp-kill=mkdir"], "mkdir", "SCMP_ACT_KILL"));
    assert!(!has(
        &["linux-seccomp-kill=mkdir"],
        "mkdir",
        "SCMP_ACT_ALLOW"
    ));
    assert!(!has(
        &["linux-seccomp-remove=mkdir,rmdir"],
        "rmdir",
        "SCMP_ACT_ALLOW"
    ));
    assert_eq!(
        at(
            "/linux/seccomp/defaultAction",
            &["linux-seccomp-default-force=kill-process"]
        ),
        json!("SCMP_ACT_KILL_PROCESS")
    );
    let arches = at(
        "/linux/seccomp/architectures",
        &["linux-seccomp-arch=arm64,riscv64,amd64"],
    );
    let arches = arches.as_array().unwrap();
    assert!(
        arches.contains(&json!("SCMP_ARCH_RISCV64"))
            && arches.contains(&json!("SCMP_ARCH_AARCH64"))
    );
    assert_eq!(
        arches
            .iter()
            .filter(|it| **it == "SCMP_ARCH_X86_64")
            .count(),
        1
    );
    let mut config = Config::template();
    apply(&mut config, &given(&alone)).unwrap();
    let seccomp = serde_json::to_value(seccomp_only(&mut config)).unwrap();
    assert_eq!(seccomp["defaultAction"], "SCMP_ACT_ALLOW");
}
