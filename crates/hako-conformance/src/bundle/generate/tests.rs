//! Every option, by what it makes of the template.

mod parts;

use serde_json::{Value, json};

use super::*;

/// Options in their order, `NAME=VALUE` or `NAME`, on a configuration.
fn given(options: &[&str]) -> Vec<Given> {
    let mut all: Vec<Given> = Vec::new();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, "true"));
        match all.iter_mut().find(|it| it.option == name) {
            Some(it) => it.values.push(value.into()),
            None => all.push(Given {
                option: name.into(),
                values: vec![value.into()],
            }),
        }
    }
    for it in &all {
        let known = options_named(&it.option);
        assert_eq!(known, 1, "{}", it.option);
    }
    all
}

fn options_named(name: &str) -> usize {
    super::options().filter(|(_, it)| it.name == name).count()
}

fn on(mut config: Config, options: &[&str]) -> Result<Value, String> {
    let given = given(options);
    apply(&mut config, &given).map_err(|e| e.to_string())?;
    let (config, _) = finish(config, &given, &[]).map_err(|e| e.to_string())?;
    Ok(serde_json::to_value(config).unwrap())
}

/// What is at a pointer of the template with these options.
fn at(pointer: &str, options: &[&str]) -> Value {
    let document = on(Config::template(), options).unwrap_or_else(|e| panic!("{options:?}: {e}"));
    document.pointer(pointer).cloned().unwrap_or_default()
}

fn fails(options: &[&str]) -> String {
    on(Config::template(), options).unwrap_err()
}

fn changed(changes: &[&str]) -> Result<Value, String> {
    let read = |text: &&str| match text.strip_prefix('!') {
        Some(pointer) => Change::unset(pointer),
        None => Change::set(text),
    };
    let changes: Vec<Change> = changes
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let (config, _) = finish(Config::template(), &[], &changes).map_err(|e| e.to_string())?;
    Ok(serde_json::to_value(config).unwrap())
}

#[test]
fn the_tables_are_sound() {
    let names: Vec<&str> = options()
        .flat_map(|(_, it)| [Some(it.name), it.alias])
        .flatten()
        .collect();
    for name in &names {
        assert_eq!(names.iter().filter(|it| it == &name).count(), 1, "{name}");
    }
    for (_, it) in options() {
        assert_eq!(it.is_bool(), it.value.is_empty(), "{}", it.name);
        assert!(!it.help.is_empty() && !it.fields.is_empty(), "{}", it.name);
    }
}

/// The options of `oci-runtime-tool generate` that are about Linux's containers.
#[test]
fn upstreams_options_are_all_there() {
    let upstream = "args domainname env env-file hooks-poststart-add hooks-poststart-remove-all \
        hooks-poststop-add hooks-poststop-remove-all hooks-prestart-add hooks-prestart-remove-all \
        hostname label linux-apparmor linux-blkio-leaf-weight linux-blkio-leaf-weight-device \
        linux-blkio-read-bps-device linux-blkio-read-iops-device linux-blkio-weight \
        linux-blkio-weight-device linux-blkio-write-bps-device linux-blkio-write-iops-device \
        linux-cgroups-path linux-cpu-period linux-cpu-quota linux-cpus linux-cpu-shares \
        linux-device-add linux-device-remove linux-device-remove-all linux-device-cgroup-add \
        linux-device-cgroup-remove linux-disable-oom-kill linux-gidmappings \
        linux-hugepage-limits-add linux-hugepage-limits-drop linux-intelRdt-closid \
        linux-intelRdt-l3CacheSchema linux-masked-paths linux-mem-kernel-limit \
        linux-mem-kernel-tcp linux-mem-limit linux-mem-reservation linux-mems linux-mem-swap \
        linux-mem-swappiness linux-mount-label linux-namespace-add linux-namespace-remove \
        linux-namespace-remove-all linux-network-classid linux-network-priorities \
        linux-oom-score-adj linux-pids-limit linux-readonly-paths linux-realtime-period \
        linux-realtime-runtime linux-rootfs-propagation linux-seccomp-allow linux-seccomp-arch \
        linux-seccomp-default linux-seccomp-default-force linux-seccomp-errno linux-seccomp-kill \
        linux-seccomp-remove linux-seccomp-remove-all linux-seccomp-trace linux-seccomp-trap \
        linux-selinux-label linux-sysctl linux-uidmappings mounts-add mounts-remove \
        mounts-remove-all oci-version privileged process-cap-add process-cap-add-ambient \
        process-cap-add-bounding process-cap-add-effective process-cap-add-inheritable \
        process-cap-add-permitted process-cap-drop process-cap-drop-all process-cap-drop-ambient \
        process-cap-drop-bounding process-cap-drop-effective process-cap-drop-inheritable \
        process-cap-drop-permitted process-consolesize process-cwd process-gid process-groups \
        process-no-new-privileges process-rlimits-add process-rlimits-remove \
        process-rlimits-remove-all process-terminal process-uid process-umask rootfs-path \
        rootfs-readonly";
    for name in upstream.split_whitespace() {
        assert_eq!(options_named(name), 1, "{name}");
    }
}

/// An option with one value, and the field that it sets.
#[test]
fn single_values() {
    for (option, pointer, value) in [
        ("oci-version=1.0.2", "/ociVersion", json!("1.0.2")),
        ("hostname=web", "/hostname", json!("web")),
        ("domainname=lan", "/domainname", json!("lan")),
        ("label=a=b=c", "/annotations/a", json!("b=c")),
        ("rootfs-path=/r", "/root/path", json!("/r")),
        ("rootfs-readonly=false", "/root/readonly", json!(null)),
        ("process-cwd=/tmp", "/process/cwd", json!("/tmp")),
        ("process-terminal=false", "/process/terminal", json!(null)),
        ("process-terminal", "/process/terminal", json!(true)),
        (
            "process-consolesize=80:24",
            "/process/consoleSize",
            json!({"height": 24, "width": 80}),
        ),
        ("process-uid=7", "/process/user/uid", json!(7)),
        ("process-gid=8", "/process/user/gid", json!(8)),
        (
            "process-groups=9",
            "/process/user/additionalGids",
            json!([9]),
        ),
        ("process-umask=0022", "/process/user/umask", json!(18)),
        (
            "process-no-new-privileges=0",
            "/process/noNewPrivileges",
            json!(null),
        ),
        ("linux-oom-score-adj=-5", "/process/oomScoreAdj", json!(-5)),
        ("linux-apparmor=p", "/process/apparmorProfile", json!("p")),
        ("linux-selinux-label=l", "/process/selinuxLabel", json!("l")),
        (
            "linux-sysctl=net.ipv4.ip_forward=1",
            "/linux/sysctl/net.ipv4.ip_forward",
            json!("1"),
        ),
        (
            "linux-rootfs-propagation=rslave",
            "/linux/rootfsPropagation",
            json!("rslave"),
        ),
        ("linux-mount-label=m", "/linux/mountLabel", json!("m")),
        (
            "linux-personality=linux32",
            "/linux/personality/domain",
            json!("LINUX32"),
        ),
        (
            "linux-intelRdt-closid=c",
            "/linux/intelRdt/closID",
            json!("c"),
        ),
        (
            "linux-intelRdt-l3CacheSchema=L3:0=f",
            "/linux/intelRdt/l3CacheSchema",
            json!("L3:0=f"),
        ),
        (
            "linux-intelRdt-memBwSchema=MB:0=70",
            "/linux/intelRdt/memBwSchema",
            json!("MB:0=70"),
        ),
        (
            "linux-intelRdt-schemata=L2:0=f",
            "/linux/intelRdt/schemata",
            json!(["L2:0=f"]),
        ),
        (
            "linux-net-device-add=eth0:eth1",
            "/linux/netDevices/eth0/name",
            json!("eth1"),
        ),
        (
            "linux-cgroups-path=/a/b",
            "/linux/cgroupsPath",
            json!("/a/b"),
        ),
        (
            "linux-unified=memory.high=1",
            "/linux/resources/unified/memory.high",
            json!("1"),
        ),
        (
            "linux-mem-limit=4096",
            "/linux/resources/memory/limit",
            json!(4096),
        ),
        (
            "linux-mem-reservation=-1",
            "/linux/resources/memory/reservation",
            json!(-1),
        ),
        ("linux-mem-swap=1", "/linux/resources/memory/swap", json!(1)),
        (
            "linux-mem-swappiness=60",
            "/linux/resources/memory/swappiness",
            json!(60),
        ),
        (
            "linux-mem-kernel-limit=1",
            "/linux/resources/memory/kernel",
            json!(1),
        ),
        (
            "linux-mem-kernel-tcp=1",
            "/linux/resources/memory/kernelTCP",
            json!(1),
        ),
        (
            "linux-disable-oom-kill",
            "/linux/resources/memory/disableOOMKiller",
            json!(true),
        ),
        (
            "linux-cpu-shares=5",
            "/linux/resources/cpu/shares",
            json!(5),
        ),
        (
            "linux-cpu-quota=-1",
            "/linux/resources/cpu/quota",
            json!(-1),
        ),
        (
            "linux-cpu-period=7",
            "/linux/resources/cpu/period",
            json!(7),
        ),
        ("linux-cpu-burst=8", "/linux/resources/cpu/burst", json!(8)),
        ("linux-cpu-idle=1", "/linux/resources/cpu/idle", json!(1)),
        (
            "linux-realtime-runtime=9",
            "/linux/resources/cpu/realtimeRuntime",
            json!(9),
        ),
        (
            "linux-realtime-period=10",
            "/linux/resources/cpu/realtimePeriod",
            json!(10),
        ),
        ("linux-cpus=0-1", "/linux/resources/cpu/cpus", json!("0-1")),
        ("linux-mems=0", "/linux/resources/cpu/mems", json!("0")),
        (
            "linux-pids-limit=-1",
            "/linux/resources/pids/limit",
            json!(-1),
        ),
        (
            "linux-blkio-weight=100",
            "/linux/resources/blockIO/weight",
            json!(100),
        ),
        (
            "linux-blkio-leaf-weight=10",
            "/linux/resources/blockIO/leafWeight",
            json!(10),
        ),
        (
            "linux-network-classid=0x100001",
            "/linux/resources/network/classID",
            json!(0x10_0001),
        ),
    ] {
        assert_eq!(at(pointer, &[option]), value, "{option}");
    }
}

#[test]
fn fields_by_their_pointers() {
    let get = |changes: &[&str], pointer: &str| {
        changed(changes)
            .unwrap()
            .pointer(pointer)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(
        get(&["/process/user/umask=18"], "/process/user/umask"),
        json!(18)
    );
    assert_eq!(
        get(
            &["/process/scheduler/policy=\"SCHED_BATCH\""],
            "/process/scheduler"
        ),
        json!({"policy": "SCHED_BATCH"})
    );
    assert_eq!(
        get(&["/annotations/a~1b~0c=\"x=y\""], "/annotations"),
        json!({"a/b~c": "x=y"})
    );
    let device = r#"/linux/devices/-={"path":"/d","type":"c","major":1,"minor":3}"#;
    assert_eq!(get(&[device], "/linux/devices/0/path"), json!("/d"));
    assert_eq!(
        get(
            &["/process/args/1=\"-l\"", "/process/args/0=\"ls\""],
            "/process/args"
        ),
        json!(["ls", "-l"])
    );
    assert_eq!(
        get(
            &["!/process/args/0", "/process/args/0=\"x\""],
            "/process/args"
        ),
        json!(["x"])
    );
    assert_eq!(
        get(
            &[
                "/process/args/0=\"x\"",
                "!/linux/seccomp/none",
                "!/hostname"
            ],
            "/hostname"
        ),
        json!(null)
    );
    assert_eq!(
        get(&["!/mounts/0", "!/mounts/99"], "/mounts")
            .as_array()
            .unwrap()
            .len(),
        6
    );
    assert_eq!(
        get(
            &["=  {\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"}}"],
            ""
        ),
        json!({"ociVersion": "1.0.0", "root": {"path": "r"}})
    );
    for (bad, says) in [
        ("/hostname=web", "quotes"),
        ("hostname=\"x\"", "start with /"),
        ("/a~2=1", "~0"),
        ("/hostname", "POINTER=JSON"),
        ("/process/args/2=\"x\"", "there is no 2 in /process/args"),
        ("/process/args/01=\"x\"", "no place"),
        ("/process/args/+1=\"x\"", "no place"),
        ("/process/cwd/x=1", "/process/cwd has no members"),
        ("/process/terminal=\"yes\"", "process.terminal"),
        ("/process={\"cwd\":\"/\",\"cwd\":\"/\"}", "twice"),
        ("!", "whole document"),
        ("!/mounts/-", "no place"),
        ("!/ociVersion", "ociVersion"),
        ("!/process/cwd/x", "no members"),
        ("/process/cwd=\"rel\"", "from --set /process/cwd"),
        ("!/process/args", "from --unset /process/args"),
        (
            "/mounts/-={\"destination\":\"/a\",\"type\":\"\\u0000\"}",
            "from --set /mounts/-",
        ),
    ] {
        let error = changed(&[bad]).unwrap_err();
        assert!(error.contains(says), "{bad}: {error}");
    }
}

/// What the template has beside the specification stays, and is told of.
#[test]
fn what_is_unknown_survives() {
    let text = br#"{"ociVersion":"1.0.0","root":{"path":"r"},"vm":{"a":[1]},"x":1}"#;
    let config = Config::from_slice(text).unwrap();
    let given = given(&["hostname=h"]);
    let mut edited = config;
    apply(&mut edited, &given).unwrap();
    let (config, notes) = finish(edited, &given, &[]).unwrap();
    let value = serde_json::to_value(config).unwrap();
    assert_eq!(
        value,
        json!({"ociVersion": "1.0.0", "root": {"path": "r"}, "hostname": "h", "vm": {"a": [1]}, "x": 1})
    );
    let places: Vec<_> = notes.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(places, ["process", "x"]);
    // A template's own fault is nobody's option.
    let bad = Config::from_slice(br#"{"ociVersion":"1","root":{"path":"r"}}"#).unwrap();
    let error = finish(bad, &given_none(), &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("(config.md \"Specification version\")"),
        "{error}"
    );
}

fn given_none() -> Vec<Given> {
    Vec::new()
}

/// On an empty configuration every option makes what it needs.
#[test]
fn nothing_is_taken_for_granted() {
    let empty = || Config::from_slice(br#"{"ociVersion":"1.0.0"}"#).unwrap();
    for (_, entry) in options() {
        let value = match entry.value {
            "" => "true",
            "JSON" => r#"{"destination":"/a","path":"/a"}"#,
            "KEY=VALUE,…" => "type=tmpfs,dst=/a",
            "CAP,…" => "CAP_KILL",
            "HOST:CONTAINER:SIZE"
            | "TYPE:HARD:SOFT"
            | "MAJOR:MINOR:WEIGHT"
            | "MAJOR:MINOR:RATE" => "1:2:3",
            "TYPE[:PATH]" | "TYPE" => "pid",
            "TYPE:MAJOR:MINOR:PATH[:OPTION…]" => "c:1:3:/d",
            "CLOCK:SECONDS[:NANOSECONDS]" => "boottime:1",
            "RULE" => "allow",
            "ACTION" => "errno",
            "ARCH,…" => "amd64",
            "DOMAIN" => "LINUX",
            "KEY=VALUE" | "NAME=VALUE" | "FILE=VALUE" => "a=b",
            "FILE" => "A=b",
            "WIDTH:HEIGHT" | "SIZE:BYTES" => "1:2",
            "NAME:PRIORITY" => "lo:1",
            _ => "1",
        };
        let given = Given {
            option: entry.name.into(),
            values: vec![value.into()],
        };
        apply(&mut empty(), &[given]).unwrap_or_else(|e| panic!("{e}"));
    }
}
