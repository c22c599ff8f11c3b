//! Namespaces: new, joined by path, left out; user and time namespaces.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, host_mounts};

const KINDS: &[(&str, &str)] = &[
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(file: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
    link.to_str().unwrap().to_owned()
}

#[test]
fn new_ones_are_new_and_others_the_callers() {
    for (kind, file) in KINDS {
        let script = format!("readlink /proc/self/ns/{file}");
        let b = Bundle::sh(&script).namespace(kind, None);
        let new = b.run().ok();
        assert_ne!(new, own(file), "{kind}");
        assert!(new.starts_with(&format!("{file}:[")), "{new}");
        if *kind == "mount" {
            continue;
        }
        let b = Bundle::sh(&script).without_namespace(kind).edit(|c| {
            c.as_object_mut().unwrap().remove("hostname");
        });
        assert_eq!(b.run().ok(), own(file), "{kind}");
    }
}

#[test]
fn joined_ones_are_those_of_the_path() {
    let first = Bundle::sleeper()
        .namespace("time", None)
        .namespace("cgroup", None);
    first.up();
    let pid = first.pid();
    for (kind, file) in KINDS.iter().filter(|(k, _)| *k != "mount") {
        let path = format!("/proc/{pid}/ns/{file}");
        let theirs = fs::read_link(&path).unwrap();
        let b = Bundle::sh(&format!("readlink /proc/self/ns/{file}")).namespace(kind, Some(&path));
        assert_eq!(b.run().ok(), theirs.to_str().unwrap(), "{kind}");
        // And exec goes there too.
        let mut b = b;
        b.args(&["/bin/sleep", "1000"]);
        b.up();
        let out = b.exec(&["readlink", &format!("/proc/self/ns/{file}")]).ok();
        assert_eq!(out, theirs.to_str().unwrap(), "{kind}");
    }
    assert_eq!(first.status(), "running");
}

#[test]
fn all_joined_at_once() {
    let first = Bundle::sleeper().edit(|c| c["hostname"] = json!("first"));
    first.up();
    let pid = first.pid();
    let mut b = Bundle::sh("hostname; ps | grep -c '[s]leep 1000'");
    for (kind, file) in [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
    ] {
        b = b.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
    }
    let b = b.edit(|c| {
        c.as_object_mut().unwrap().remove("hostname");
    });
    assert_eq!(b.run().ok(), "first\n1");
}

#[test]
fn a_joined_mount_namespace_keeps_its_root() {
    let first = Bundle::sleeper();
    first.up();
    let path = format!("/proc/{}/ns/mnt", first.pid());
    // The root is a directory of the first container's.
    let inner = first.rootfs().join("inner");
    crate::harness::make_root(&inner);
    fs::write(inner.join("here"), "inner").unwrap();
    let b = Bundle::sh("cat /here")
        .namespace("mount", Some(&path))
        .edit(|c| {
            c["root"]["path"] = json!(inner.to_str().unwrap());
            c["linux"]["maskedPaths"] = json!([]);
            c["linux"]["readonlyPaths"] = json!([]);
            c["mounts"] = json!([]);
        });
    let out = b.run();
    // The path is one of the host, which that namespace does not have.
    assert!(out.fails().contains("root "), "{out:#?}");
    // The caller's own namespace, by path: nothing of it changes.
    let mounts = host_mounts();
    let mut b = b.namespace("mount", Some("/proc/self/ns/mnt"));
    assert_eq!(b.run().ok(), "inner");
    b.args(&["/bin/sleep", "1000"]);
    b.up();
    assert_eq!(b.exec(&["cat", "/here"]).ok(), "inner");
    assert_eq!(host_mounts(), mounts);
    assert_eq!(
        fs::read_link("/proc/self/root").unwrap().to_str(),
        Some("/")
    );
}

#[test]
fn wrong_paths_are_errors() {
    let b = |path: &str| Bundle::new().namespace("network", Some(path)).run().fails();
    assert!(b("/proc/self/ns/uts").contains("another type"));
    assert!(b("/proc/self/status").contains("not a namespace"));
    assert!(b("/no/such").contains("no such file or directory"));
    assert!(b("relative").contains("not an absolute path"));
    let twice = Bundle::new().edit(|c| {
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.push(json!({ "type": "pid" }));
    });
    assert!(twice.run().fails().contains("comes twice"));
}

#[test]
fn what_would_reach_the_host_is_refused() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let out = Bundle::new()
        .without_namespace("uts")
        .edit(|c| c["hostname"] = json!("x"));
    assert!(out.run().fails().contains("hostname needs a uts namespace"));
    let out = Bundle::new().without_namespace("uts").edit(|c| {
        c.as_object_mut().unwrap().remove("hostname");
        c["domainname"] = json!("x");
    });
    assert!(
        out.run()
            .fails()
            .contains("domainname needs a uts namespace")
    );
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        before
    );
}

/// Lines of this process' mountinfo below the root of `b`.
fn mounted(b: &Bundle) -> usize {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = b.rootfs();
    all.lines()
        .filter(|line| line.contains(root.to_str().unwrap()))
        .count()
}

#[test]
fn mounts_without_a_mount_namespace_go_with_the_container() {
    let b = Bundle::sh(
        "test -e /proc/self/status && test -c /dev/null && echo here; cat /proc/timer_list; echo x > /bin/x",
    )
    .without_namespace("mount")
    .edit(|c| c["root"]["readonly"] = json!(true));
    let out = b.run();
    assert_eq!(out.stdout, "here\n");
    assert!(out.stderr.contains("Read-only file system"), "{out:#?}");
    assert_eq!(mounted(&b), 0);
    // Nothing was made on the disk below them.
    assert_eq!(fs::read_dir(b.rootfs().join("dev")).unwrap().count(), 0);

    let mut b = b;
    b.args(&["/bin/sleep", "1000"]);
    b.up();
    assert!(mounted(&b) > 5);
    b.exec(&["cat", "/proc/self/status"]).ok();
    b.call(&["delete", "--force", &b.id]).ok();
    assert_eq!(mounted(&b), 0);

    // Somebody else's mount on the root stays.
    let b = b.edit(|c| c["process"]["args"] = json!(["/no/such"]));
    let root = b.rootfs();
    let mut own = std::process::Command::new("mount");
    own.arg("--bind").arg(&root).arg(&root);
    assert!(own.status().unwrap().success());
    b.run().fails();
    let left = mounted(&b);
    let done = std::process::Command::new("umount").arg(&root).status();
    assert!(done.unwrap().success());
    assert_eq!(left, 1);
}

#[test]
fn without_a_mount_namespace_it_is_a_changed_root() {
    let b = Bundle::sh("pwd; cat /here")
        .without_namespace("mount")
        .edit(|c| {
            c["linux"]["maskedPaths"] = json!([]);
            c["linux"]["readonlyPaths"] = json!([]);
            c["mounts"] = json!([]);
        });
    fs::write(b.rootfs().join("here"), "yes").unwrap();
    assert_eq!(b.run().ok(), "/\nyes");
}

#[test]
fn hostname_and_domainname() {
    let b = Bundle::sh("hostname; cat /proc/sys/kernel/domainname").edit(|c| {
        c["hostname"] = json!("box");
        c["domainname"] = json!("example");
    });
    assert_eq!(b.run().ok(), "box\nexample");
    for (value, good) in [("example", true), ("other", false)] {
        let b = Bundle::sh("cat /proc/sys/kernel/domainname").edit(|c| {
            c["domainname"] = json!("example");
            c["linux"]["sysctl"] = json!({ "kernel.domainname": value });
        });
        match good {
            true => assert_eq!(b.run().ok(), "example"),
            false => assert!(b.run().fails().contains("contradicts the field domainname")),
        }
    }
}

#[test]
fn a_new_network_has_its_loopback_up() {
    let b = Bundle::sh("cat /sys/class/net/lo/flags; ls /sys/class/net");
    // IFF_UP | IFF_LOOPBACK (| IFF_RUNNING is not in the file).
    assert_eq!(b.run().ok(), "0x9\nlo");
}

#[test]
fn sysctls_are_set_in_their_namespaces() {
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni \
                  /proc/sys/fs/mqueue/msg_max";
    let sysctls = json!({
        "net.ipv4.ip_unprivileged_port_start": "7",
        "kernel/shmmni": "77",
        "fs.mqueue.msg_max": "17",
    });
    for user in [false, true] {
        let mut b = Bundle::sh(script).edit(|c| c["linux"]["sysctl"] = sysctls.clone());
        if user {
            b = b.user_namespace();
        }
        assert_eq!(b.run().ok(), "7\n77\n17", "user namespace: {user}");
    }
    assert_eq!(
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap(),
        before
    );
    let bad = Bundle::new().edit(|c| c["linux"]["sysctl"] = json!({ "kernel.panic": "1" }));
    assert!(bad.run().fails().contains("would change the host"));
    let bad = Bundle::new().edit(|c| c["linux"]["sysctl"] = json!({ "net.ipv4.no_such": "1" }));
    assert!(bad.run().fails().contains("net.ipv4.no_such"));
    let bad = Bundle::new()
        .namespace("network", Some("/proc/self/ns/net"))
        .edit(|c| c["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" }));
    assert!(bad.run().fails().contains("would change the host's"));
}

#[test]
fn a_user_namespace_maps_ids() {
    let flags = "grep -c ' /dev/null .*nosuid.*noexec' /proc/self/mountinfo";
    assert_eq!(Bundle::sh(flags).user_namespace().run().ok(), "1");
    let script = "id; cat /proc/self/uid_map; touch /tmp/x; stat -c %u:%g /tmp/x; echo ok > /dev/null && echo null";
    let b = Bundle::sh(script).user_namespace();
    let out = b.run().ok();
    let map = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(map, "uid=0(root) gid=0 0 100000 65536 0:0 null");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        fs::metadata(b.rootfs().join("tmp/x")).unwrap().uid(),
        100_000
    );
}

#[test]
fn exec_in_a_user_namespace() {
    let b = Bundle::sleeper().user_namespace();
    b.up();
    let out = b
        .exec(&["sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/y"])
        .ok();
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "100000", "65536"]
    );
    let out = b.call(&["exec", "--user", "5:6", &b.id, "id", "-u"]).ok();
    assert_eq!(out, "5");
    let out = b.call(&["exec", "--user", "99999999", &b.id, "id"]).fails();
    assert!(out.contains("not mapped"), "{out}");
}

#[test]
fn a_joined_user_namespace() {
    let first = Bundle::sleeper().user_namespace();
    first.up();
    let pid = first.pid();
    let path = |file| format!("/proc/{pid}/ns/{file}");
    for others in [
        &[][..],
        &[("network", "net"), ("ipc", "ipc")],
        &[("pid", "pid"), ("uts", "uts")],
    ] {
        let mut b = Bundle::sh("id -u; readlink /proc/self/ns/user").user_namespace();
        b = b.namespace("user", Some(&path("user"))).edit(|c| {
            c["linux"].as_object_mut().unwrap().remove("uidMappings");
            c["linux"].as_object_mut().unwrap().remove("gidMappings");
            c.as_object_mut().unwrap().remove("hostname");
        });
        for (kind, file) in others {
            b = b.namespace(kind, Some(&path(file)));
        }
        let theirs = fs::read_link(path("user")).unwrap();
        assert_eq!(
            b.run().ok(),
            format!("0\n{}", theirs.display()),
            "{others:?}"
        );
    }
}

#[test]
fn a_new_user_namespace_with_the_hosts_network() {
    // The network namespace is not the user namespace's: it has to be joined
    // first, and sysfs cannot be mounted new.
    let holder = Bundle::sleeper();
    holder.up();
    let path = format!("/proc/{}/ns/net", holder.pid());
    let theirs = fs::read_link(&path).unwrap();
    let b = Bundle::sh("readlink /proc/self/ns/net; ls -d /sys/kernel").user_namespace();
    let b = b.namespace("network", Some(&path));
    assert_eq!(b.run().ok(), format!("{}\n/sys/kernel", theirs.display()));
    // Both joined, the network first or not.
    let user = Bundle::sleeper().user_namespace();
    user.up();
    let b = b
        .namespace("user", Some(&format!("/proc/{}/ns/user", user.pid())))
        .edit(|c| {
            c["linux"].as_object_mut().unwrap().remove("uidMappings");
            c["linux"].as_object_mut().unwrap().remove("gidMappings");
        });
    assert_eq!(b.run().ok(), format!("{}\n/sys/kernel", theirs.display()));
}

#[test]
fn a_user_namespace_reaches_what_its_root_may_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let b = Bundle::sh("cat /data/secret; cat /here").user_namespace();
    let hidden = b.path("hidden");
    fs::create_dir_all(hidden.join("data")).unwrap();
    fs::write(hidden.join("data/secret"), "given\n").unwrap();
    let b = b.bind(&hidden.join("data"), "/data", &["rbind", "ro"]);
    fs::write(b.rootfs().join("here"), "root").unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    // The root itself is out of reach as well.
    fs::set_permissions(b.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(b.run().ok(), "given\nroot");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(b.dir.path().to_str().unwrap()));
}

#[test]
fn a_user_namespace_needs_mappings() {
    let b = Bundle::new().namespace("user", None);
    assert!(b.run().fails().contains("uidMappings"));
    let b = Bundle::new().user_namespace().without_namespace("user");
    assert!(b.run().fails().contains("without a user namespace"));
}

#[test]
fn a_time_namespace_has_offsets() {
    for user in [false, true] {
        let mut b = Bundle::sh("cut -d. -f1 /proc/uptime")
            .namespace("time", None)
            .edit(|c| {
                c["linux"]["timeOffsets"] = json!({
                    "monotonic": { "secs": 7_000_000, "nanosecs": 5 },
                    "boottime": { "secs": 9_000_000 }
                });
            });
        if user {
            b = b.user_namespace();
        }
        let seconds: u64 = b.run().ok().parse().unwrap();
        assert!(
            (9_000_000..9_900_000).contains(&seconds),
            "{seconds}, user namespace: {user}"
        );
        b.args(&["/bin/sleep", "1000"]);
        b.up();
        let seconds: u64 = b
            .exec(&["cut", "-d.", "-f1", "/proc/uptime"])
            .ok()
            .parse()
            .unwrap();
        assert!((9_000_000..9_900_000).contains(&seconds), "exec: {seconds}");
    }
    let bad =
        Bundle::new().edit(|c| c["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1 } }));
    assert!(bad.run().fails().contains("without a time namespace"));
}

/// In a network namespace of its own in the host's place: `hako0` moves under
/// another name, up, and with its addresses.
#[test]
fn network_devices_move_with_their_addresses() {
    let b = Bundle::sh(
        "cat /sys/class/net/in0/flags /sys/class/net/in0/mtu; cat /proc/net/if_inet6 /proc/net/fib_trie",
    )
    .edit(|c| c["linux"]["netDevices"] = json!({ "hako0": { "name": "in%d" } }));
    let script = "ip link add hako0 mtu 1400 type veth peer name peer0 \
        && ip address add 192.0.2.7/24 dev hako0 \
        && ip address add 2001:db8::7/64 dev hako0 \
        && exec \"$@\"";
    let run = b.command(&["run", "-b", b.dir.path().to_str().unwrap(), &b.id]);
    let mut command = std::process::Command::new("unshare");
    command.args(["-n", "sh", "-c", script, "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    let out = b.finish(command).ok();
    let mut lines = out.lines();
    let flags = lines.next().unwrap().trim_start_matches("0x");
    assert_eq!(u32::from_str_radix(flags, 16).unwrap() & 1, 1, "{out}");
    assert_eq!(lines.next(), Some("1400"), "{out}");
    assert!(out.contains("20010db8000000000000000000000007"), "{out}");
    assert!(out.contains("192.0.2.7"), "{out}");
}

#[test]
fn a_network_device_that_cannot_move_is_an_error() {
    for (devices, word) in [
        (json!({ "hako-none": {} }), "linux.netDevices: hako-none"),
        (
            json!({ "lo": { "name": "lo" } }),
            "the container has a device lo",
        ),
        (
            json!({ "lo": { "name": "other" } }),
            "move to the container",
        ),
    ] {
        let b = Bundle::new().edit(|c| c["linux"]["netDevices"] = devices);
        let text = b.run().fails();
        assert!(text.contains(word), "{word}: {text}");
    }
}
