//! Where cgroup v2 is the only hierarchy and has all controllers, with the
//! caller in a cgroup below the root, as under systemd. `cargo xtask vm-test`
//! makes such a machine; on others these tests are ignored, and fail when they
//! are run there all the same.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Bundle, CGROUPS, is_unified, until};

/// A directory of the hierarchy, with what a test looks at.
struct Group(PathBuf);

impl Group {
    /// The container's.
    fn of(b: &Bundle) -> Self {
        assert!(is_unified(), "needs cgroup v2 alone");
        Group(Path::new(CGROUPS).join(b.cgroup.trim_start_matches('/')))
    }

    fn read(&self, file: &str) -> String {
        let text = fs::read_to_string(self.0.join(file));
        text.unwrap_or_else(|e| panic!("{file}: {e}"))
            .trim()
            .to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn owner(&self, file: &str) -> (u32, u32) {
        let metadata = fs::metadata(self.0.join(file)).unwrap();
        (metadata.uid(), metadata.gid())
    }
}

fn resources(value: Value) -> impl FnOnce(&mut Value) {
    move |c| c["linux"]["resources"] = value
}

/// With a cgroup namespace and the cgroup mounted in it.
fn with_cgroup(b: Bundle, access: &str) -> Bundle {
    b.without_mount("/sys/fs/cgroup")
        .namespace("cgroup", None)
        .mount("cgroup", "/sys/fs/cgroup", "cgroup", &["nosuid", access])
}

/// The first disk, as major:minor.
fn disk() -> (u32, u32) {
    let text = fs::read_to_string("/sys/block/vda/dev").expect("needs a disk");
    let (major, minor) = text.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn every_limit_is_in_its_file() {
    let (major, minor) = disk();
    let device = json!({ "major": major, "minor": minor, "rate": 1_048_576 });
    let b = Bundle::sleeper().edit(resources(json!({
        "memory": { "limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432 },
        "cpu": { "shares": 2048, "quota": 20_000, "period": 50_000, "burst": 1000,
                 "cpus": "1", "mems": "0" },
        "pids": { "limit": 20 },
        "blockIO": { "weight": 500, "throttleReadBpsDevice": [device],
                     "throttleWriteIOPSDevice": [{ "major": major, "minor": minor, "rate": 7 }] },
        "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }],
        "unified": { "memory.high": "50331648", "memory.oom.group": "1",
                     "cgroup.max.descendants": "9" },
        "devices": [{ "allow": false, "access": "rwm" }],
    })));
    b.up();
    let group = Group::of(&b);
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("memory.oom.group", "1"),
        ("cpu.weight", "174"),
        ("cpu.max", "20000 50000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "1"),
        ("cpuset.cpus.effective", "1"),
        ("cpuset.mems", "0"),
        ("pids.max", "20"),
        ("io.weight", "default 4950"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
        ("cgroup.max.descendants", "9"),
    ] {
        assert_eq!(group.read(file), value, "{file}");
    }
    let io = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=7");
    assert_eq!(group.read("io.max"), io);
    assert_eq!(group.read("cgroup.procs"), b.pid().to_string());
    // Handed down on the whole way, and no further.
    let parent = Group(group.0.parent().unwrap().to_owned());
    for name in ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"] {
        let enabled = parent.read("cgroup.subtree_control");
        assert!(enabled.split(' ').any(|c| c == name), "{name}: {enabled}");
    }
    assert_eq!(group.read("cgroup.subtree_control"), "");
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn no_swap_and_no_limits() {
    let b = Bundle::sleeper().edit(resources(json!({
        "memory": { "limit": 67_108_864, "swap": 67_108_864 }, "pids": { "limit": -1 },
    })));
    b.up();
    let group = Group::of(&b);
    assert_eq!(group.read("memory.swap.max"), "0");
    assert_eq!(group.read("pids.max"), "max");
    // What every container has, for its statistics.
    let controllers = group.read("cgroup.controllers");
    for name in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|c| c == name), "{controllers}");
    }
    let b = Bundle::sleeper().edit(resources(json!({
        "memory": { "limit": -1, "swap": -1 }, "cpu": { "quota": -1 },
    })));
    b.up();
    let group = Group::of(&b);
    assert_eq!(group.read("memory.max"), "max");
    assert_eq!(group.read("memory.swap.max"), "max");
    assert_eq!(group.read("cpu.max"), "max 100000");
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn what_version_two_cannot_do_is_an_error_that_names_it() {
    for (resources, word) in [
        (
            json!({ "memory": { "swappiness": 60 } }),
            "memory.swappiness",
        ),
        (
            json!({ "memory": { "disableOOMKiller": true } }),
            "disableOOMKiller",
        ),
        (
            json!({ "network": { "classID": 1_048_577 } }),
            "network.classID",
        ),
        (
            json!({ "cpu": { "realtimeRuntime": 1000 } }),
            "realtimeRuntime",
        ),
        (json!({ "unified": { "nonsense.max": "1" } }), "nonsense"),
        (
            json!({ "unified": { "memory.nonsense": "1" } }),
            "memory.nonsense",
        ),
        (
            json!({ "unified": { "memory.max": "nonsense" } }),
            "memory.max",
        ),
        (json!({ "cpu": { "cpus": "900" } }), "cpuset.cpus"),
        (
            json!({ "hugepageLimits": [{ "pageSize": "3MB", "limit": 1 }] }),
            "3MB",
        ),
    ] {
        let b = Bundle::new().edit(|c| c["linux"]["resources"] = resources.clone());
        let text = b.run().fails();
        assert!(text.contains(word), "{word}: {text}");
        assert!(!Group::of(&b).0.exists(), "{word}");
    }
}

/// cgroups(7), "no internal processes": where the parent has processes, it
/// cannot hand controllers down.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn a_parent_with_processes() {
    let parent = Bundle::sleeper();
    parent.up();
    let mut b = Bundle::sleeper().edit(resources(json!({ "memory": { "limit": 67_108_864 } })));
    b.cgroup = format!("{}/child", parent.cgroup);
    b.config["linux"]["cgroupsPath"] = json!(b.cgroup);
    b.write();
    let text = b.run().fails();
    assert!(
        text.contains(&parent.cgroup) && text.contains("processes"),
        "{text}"
    );
    assert!(!Group::of(&b).0.exists());
    // The parent stays as it was; statistics are no reason to change it.
    let above = Group::of(&parent);
    let unchanged = || {
        assert_eq!(above.read("cgroup.type"), "domain");
        assert_eq!(above.read("cgroup.subtree_control"), "");
    };
    unchanged();
    // Without a limit there is no need of a controller.
    let b = b.edit(resources(json!({})));
    b.up();
    let group = Group::of(&b);
    assert_eq!(group.read("cgroup.procs"), b.pid().to_string());
    unchanged();
    b.call(&["delete", "--force", &b.id]).ok();
    assert!(!group.0.exists());
    // What threads can share makes a threaded tree of both.
    let b = b.edit(resources(json!({ "pids": { "limit": 9 } })));
    b.up();
    assert_eq!(group.read("pids.max"), "9");
    assert_eq!(group.read("cgroup.type"), "threaded");
    assert_eq!(above.read("cgroup.type"), "domain threaded");
    b.exec(&["true"]).ok();
    b.call(&["pause", &b.id]).ok();
    b.call(&["resume", &b.id]).ok();
    b.call(&["delete", "--force", &b.id]).ok();
    assert!(!group.0.exists());
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn out_of_memory_kills_inside_alone() {
    let b = Bundle::sh("tail /dev/zero; echo $?; cat /sys/fs/cgroup/memory.events").edit(
        resources(json!({ "memory": { "limit": 33_554_432, "swap": 33_554_432 } })),
    );
    let out = with_cgroup(b, "ro").run().ok();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("137"), "{out}");
    assert!(lines.any(|l| l == "oom_kill 1"), "{out}");
    // As the first process, or with memory.oom.group, all of it goes.
    for group in ["0", "1"] {
        let script = match group {
            "0" => "exec tail /dev/zero",
            _ => "tail /dev/zero; echo survived",
        };
        let b = Bundle::sh(script).edit(resources(json!({
            "memory": { "limit": 33_554_432, "swap": 33_554_432 },
            "unified": { "memory.oom.group": group },
        })));
        let out = b.run();
        assert_eq!((out.code, out.stdout.as_str()), (137, ""), "{out:#?}");
    }
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn the_limit_of_processes_holds_for_exec() {
    let b = Bundle::sleeper().edit(resources(json!({ "pids": { "limit": 1 } })));
    b.up();
    let text = b.exec(&["true"]).fails();
    assert!(text.contains("the limit of processes is reached"), "{text}");
    Group::of(&b).write("pids.max", "2");
    b.exec(&["true"]).ok();
    let text = b.exec(&["sh", "-c", "true & wait; true | true"]).fails();
    assert!(text.contains("fork"), "{text}");
    assert_eq!(b.status(), "running");
}

/// Limits that leave no room for the set-up are kept all the same.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn a_limit_of_none_or_one_process() {
    for limit in [0, 1] {
        let new = || {
            let script = "read x < /sys/fs/cgroup/pids.max; echo $x; true & echo not reached";
            with_cgroup(Bundle::sh(script), "ro")
                .edit(resources(json!({ "pids": { "limit": limit } })))
        };
        // In one step, and with a stage between.
        for b in [new(), new().namespace("time", None)] {
            let out = b.run();
            assert_eq!(out.stdout, "1\n", "{out:#?}");
            assert!(out.stderr.contains("fork"), "{out:#?}");
        }
    }
}

/// systemd in a container does as much: groups of its own, itself in one of
/// them, and controllers handed down. The top one can then have no processes.
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn exec_into_a_container_that_has_groups_of_its_own() {
    let script = "cd /sys/fs/cgroup && mkdir init other && echo 1 > init/cgroup.procs && \
                  echo '+memory +pids' > cgroup.subtree_control && echo ready; exec sleep 1000";
    let b = with_cgroup(Bundle::sh(script), "rw");
    let out = b.up();
    until(|| out.now().contains("ready"));
    let group = Group::of(&b);
    assert_eq!(group.read("cgroup.subtree_control"), "memory pids");
    assert_eq!(b.exec(&["cat", "/proc/self/cgroup"]).ok(), "0::/init");
    let below = b.call(&[
        "exec",
        "--cgroup",
        "other",
        &b.id,
        "cat",
        "/proc/self/cgroup",
    ]);
    assert_eq!(below.ok(), "0::/other");
    b.call(&["pause", &b.id]).ok();
    assert_eq!(b.status(), "paused");
    assert_eq!(group.read("cgroup.events"), "populated 1\nfrozen 1");
    b.call(&["resume", &b.id]).ok();
    let ps: Vec<i32> = serde_json::from_str(&b.call(&["ps", "-f", "json", &b.id]).ok()).unwrap();
    assert_eq!(ps, [b.pid()]);
    b.call(&["delete", "--force", &b.id]).ok();
    assert!(!group.0.exists());
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn a_frozen_container_is_killed_whole() {
    let b = Bundle::sh("for i in 1 2 3; do (sleep 1000; sleep 1000) & done; echo up; wait");
    let out = b.up();
    until(|| out.now().contains("up"));
    let group = Group::of(&b);
    until(|| group.read("cgroup.procs").lines().count() >= 7);
    b.call(&["pause", &b.id]).ok();
    assert_eq!(group.read("cgroup.freeze"), "1");
    assert!(b.exec(&["true"]).fails().contains("is paused"));
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    b.call(&["delete", &b.id]).ok();
    assert!(!group.0.exists());
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn devices_are_denied_by_the_filter() {
    let script = "head -c 1 /dev/null; head -c 1 /dev/zero | wc -c; \
                  for d in kmsg disk; do head -c 1 /dev/$d >/dev/null && echo $d; done; \
                  mknod /dev/new c 1 11 && echo made; true > /dev/full-copy || echo denied";
    let (major, minor) = disk();
    let devices = json!([
        { "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 },
        { "path": "/dev/disk", "type": "b", "major": major, "minor": minor },
        { "path": "/dev/full-copy", "type": "c", "major": 1, "minor": 11 },
    ]);
    let with = |rules: Value| {
        let b = Bundle::sh(script).edit(|c| {
            c["linux"]["devices"] = devices.clone();
            c["linux"]["resources"]["devices"] = rules;
            for set in ["bounding", "permitted", "effective"] {
                c["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
            }
        });
        let out = b.run();
        assert_eq!(out.code, 0, "{out:#?}");
        out.stdout
    };
    let deny = json!({ "allow": false, "access": "rwm" });
    assert_eq!(with(json!([deny])), "1\nmade\ndenied\n");
    let read = json!({ "allow": true, "type": "b", "major": major, "minor": minor, "access": "r" });
    assert_eq!(with(json!([deny, read])), "1\ndisk\nmade\ndenied\n");
    let all = json!({ "allow": true, "access": "rwm" });
    assert_eq!(with(json!([all])), "1\nkmsg\ndisk\nmade\n");
}

/// runtime-spec, "Cgroup ownership".
#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn the_cgroup_belongs_to_the_containers_user() {
    let script = "mkdir /sys/fs/cgroup/own && echo 1 > /sys/fs/cgroup/own/cgroup.procs && \
                  cat /proc/1/cgroup; echo 9 > /sys/fs/cgroup/pids.max || echo refused; \
                  exec sleep 1000";
    let user = |b: Bundle| {
        b.edit(|c| {
            c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            c["linux"]["resources"]["pids"] = json!({ "limit": 30 });
        })
    };
    for (b, owner) in [
        (user(Bundle::sh(script)), 1000),
        (user(Bundle::sh(script)).user_namespace(), 101_000),
    ] {
        let b = with_cgroup(b, "rw");
        let out = b.verb("run", &["--detach"]);
        out.ok();
        until(|| out.now().contains("refused"));
        assert_eq!(out.now(), "0::/own\nrefused\n");
        let group = Group::of(&b);
        assert_eq!(group.read("pids.max"), "30");
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            assert_eq!(group.owner(file), (owner, 0), "{file}");
        }
        for file in ["pids.max", "memory.max", "cgroup.freeze", "cgroup.kill"] {
            assert_eq!(group.owner(file), (0, 0), "{file}");
        }
        b.call(&["delete", "--force", &b.id]).ok();
        assert!(!group.0.exists());
    }
    // Not where it is mounted read-only, nor without a namespace of its own.
    let read_only = with_cgroup(user(Bundle::sleeper()), "ro");
    let shared = with_cgroup(user(Bundle::sleeper()), "rw").without_namespace("cgroup");
    for b in [read_only, shared] {
        b.up();
        assert_eq!(Group::of(&b).owner("cgroup.procs"), (0, 0));
    }
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn the_own_cgroup_is_the_root_of_the_namespace() {
    let b = with_cgroup(
        Bundle::sh(
            "cat /proc/self/cgroup; cd /sys/fs/cgroup; cat pids.max cgroup.procs | head -n 2",
        ),
        "ro",
    )
    .edit(resources(json!({ "pids": { "limit": 33 } })));
    assert_eq!(b.run().ok(), "0::/\n33\n1");
    // Joined, it is the other one's.
    let first = with_cgroup(Bundle::sleeper(), "ro");
    first.up();
    let path = format!("/proc/{}/ns/cgroup", first.pid());
    let b = Bundle::sh("cat /proc/self/cgroup").namespace("cgroup", Some(&path));
    let second = b.cgroup.clone();
    // Scopes are neighbours.
    let from_first = match crate::harness::by_systemd() {
        true => second.replace("/system.slice/", "/"),
        false => format!("/..{second}"),
    };
    assert_eq!(b.run().ok(), format!("0::/..{from_first}"));
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn limits_that_hold() {
    // A tenth of a processor, for some time: no more than a fifth is used.
    let b = Bundle::sh("while :; do :; done").edit(resources(
        json!({ "cpu": { "quota": 10_000, "period": 100_000 } }),
    ));
    b.up();
    let group = Group::of(&b);
    let usage = || -> u64 {
        let text = group.read("cpu.stat");
        let line = text.lines().find_map(|l| l.strip_prefix("usage_usec "));
        line.unwrap().parse().unwrap()
    };
    let (start, before) = (std::time::Instant::now(), usage());
    std::thread::sleep(std::time::Duration::from_secs(4));
    let (used, passed) = (usage() - before, start.elapsed().as_micros());
    assert!(u128::from(used) < passed / 5, "{used} of {passed}");
    assert!(!group.read("cpu.stat").contains("nr_throttled 0"));
    let mut kill = b.command(&["kill", &b.id, "KILL"]);
    assert!(kill.stdout(Stdio::null()).status().unwrap().success());
    b.wait_status("stopped");
    b.call(&["delete", &b.id]).ok();
    assert!(!group.0.exists());
}

#[test]
#[ignore = "needs cgroup v2 alone: cargo xtask vm-test"]
fn exec_finds_a_container_that_has_left_its_cgroup() {
    let b = Bundle::sleeper().without_namespace("cgroup");
    b.up();
    let elsewhere = format!("/sys/fs/cgroup/{}-elsewhere", b.id);
    fs::create_dir(&elsewhere).unwrap();
    fs::write(format!("{elsewhere}/cgroup.procs"), b.pid().to_string()).unwrap();
    // Systemd may have removed it by itself.
    let _ = fs::remove_dir(format!("/sys/fs/cgroup{}", b.cgroup));
    let seen = b.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(seen, format!("0::/{}-elsewhere", b.id));
    // Its own, and no other one in its place, is not there any more.
    let out = b.call(&["exec", "--cgroup", "/", &b.id, "/bin/true"]);
    assert!(
        out.fails().contains("no such file or directory"),
        "{out:#?}"
    );
    b.call(&["delete", "--force", &b.id]).ok();
    fs::remove_dir(&elsewhere).unwrap();
}
