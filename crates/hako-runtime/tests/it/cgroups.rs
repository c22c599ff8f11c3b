//! Limits, as the host sees them, and the cgroups of exec.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::harness::{Bundle, CGROUPS, is_unified};

/// A control file of the container: one of version 1 by its controller and
/// name, or where version 2 is all that there is, the one of it.
fn control(b: &Bundle, controller: &str, file: &str, unified: &str) -> String {
    let (dir, file) = match is_unified() {
        true => (CGROUPS.into(), unified),
        false => (Path::new(CGROUPS).join(controller), file),
    };
    let path = dir.join(b.cgroup.trim_start_matches('/')).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

#[test]
fn limits_are_in_the_hierarchies() {
    let b = Bundle::sleeper().edit(|c| {
        c["linux"]["resources"] = json!({
            "memory": { "limit": 67_108_864, "reservation": 33_554_432 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0" },
            "pids": { "limit": 20 },
            "devices": [{ "allow": false, "access": "rwm" }],
        });
    });
    b.up();
    // Where they are in version 1, what is there, and the same of version 2.
    for (controller, file, value, unified, unified_value) in [
        (
            "memory",
            "memory.limit_in_bytes",
            "67108864",
            "memory.max",
            "67108864",
        ),
        (
            "memory",
            "memory.soft_limit_in_bytes",
            "33554432",
            "memory.low",
            "33554432",
        ),
        ("cpu", "cpu.shares", "512", "cpu.weight", "59"),
        (
            "cpu",
            "cpu.cfs_quota_us",
            "50000",
            "cpu.max",
            "50000 100000",
        ),
        ("cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
        ("pids", "pids.max", "20", "pids.max", "20"),
    ] {
        let value = if is_unified() { unified_value } else { value };
        assert_eq!(control(&b, controller, file, unified), value, "{file}");
    }
    if !is_unified() {
        let devices = control(&b, "devices", "devices.list", "");
        assert!(
            devices.contains("c 1:3 rwm") && !devices.contains("a *:*"),
            "{devices}"
        );
    }
    let pid = b.pid().to_string();
    for controller in [
        "memory", "cpu", "cpuset", "pids", "devices", "freezer", "blkio", "unified",
    ] {
        let procs = control(&b, controller, "cgroup.procs", "cgroup.procs");
        assert_eq!(procs, pid, "{controller}");
    }
    assert_eq!(
        b.exec(&["cat", "/proc/self/cgroup"]).ok(),
        b.exec(&["cat", "/proc/1/cgroup"]).ok()
    );
}

#[test]
fn the_limit_of_processes_holds() {
    let b = Bundle::sh("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait").edit(|c| {
        c["linux"]["resources"]["pids"] = json!({ "limit": 4 });
    });
    let out = b.run();
    assert!(out.stderr.contains("fork"), "{out:#?}");
}

#[test]
fn a_limit_that_cannot_be_is_an_error() {
    let bad = Bundle::new().edit(|c| {
        c["linux"]["resources"]["cpu"] = json!({ "cpus": "900-901" });
    });
    let text = bad.run().fails();
    assert!(text.contains("cpuset.cpus"), "{text}");
    assert!(bad.cgroups().is_empty());
    let bad = Bundle::new().edit(|c| c["linux"]["cgroupsPath"] = json!("../../x"));
    assert!(bad.run().fails().contains("cgroupsPath"));
    let bad = Bundle::new().edit(|c| c["linux"]["cgroupsPath"] = json!("/"));
    assert!(bad.run().fails().contains("cgroupsPath"));
}

#[test]
fn user_namespaces_have_their_cgroups_as_well() {
    let b = Bundle::sleeper().user_namespace().edit(|c| {
        c["linux"]["resources"]["pids"] = json!({ "limit": 21 });
    });
    b.up();
    assert_eq!(control(&b, "pids", "pids.max", "pids.max"), "21");
    for hierarchy in ["pids", "unified"] {
        let procs = control(&b, hierarchy, "cgroup.procs", "cgroup.procs");
        assert_eq!(procs, b.pid().to_string(), "{hierarchy}");
    }
    b.exec(&["true"]).ok();
}

#[test]
fn exec_in_a_cgroup_below() {
    let b = Bundle::sleeper().namespace("cgroup", None);
    b.up();
    for dir in b.cgroups() {
        fs::create_dir(dir.join("sub")).unwrap();
        let cpuset = dir.join("cpuset.cpus");
        if cpuset.exists() && !is_unified() && !dir.starts_with("/sys/fs/cgroup/unified") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::copy(dir.join(file), dir.join("sub").join(file)).unwrap();
            }
        }
    }
    let out = b
        .call(&["exec", "--cgroup", "sub", &b.id, "cat", "/proc/self/cgroup"])
        .ok();
    let wanted = format!("{}/sub", b.cgroup);
    assert!(
        out.lines()
            .all(|l| l.ends_with(&wanted) || l.ends_with("/sub")),
        "{out}"
    );
    assert!(
        b.call(&["exec", "--cgroup", "none", &b.id, "true"])
            .fails()
            .contains("none")
    );
    // In the hierarchies that have it, or in those that are named.
    if !is_unified() {
        let own = |name: &str| {
            Path::new(CGROUPS)
                .join(name)
                .join(b.cgroup.trim_start_matches('/'))
        };
        fs::create_dir(own("pids").join("one")).unwrap();
        let ends = |out: &str, controller: &str, end: &str| {
            let middle = format!(":{controller}:");
            let line = out
                .lines()
                .find(|l| l.contains(&middle))
                .unwrap()
                .to_owned();
            assert!(line.ends_with(end), "{controller} {end}: {out}");
        };
        for place in ["one", "pids:one"] {
            let out = b
                .call(&["exec", "--cgroup", place, &b.id, "cat", "/proc/self/cgroup"])
                .ok();
            ends(&out, "pids", "/one");
            ends(&out, "freezer", ":/");
        }
        let both = [
            "exec",
            "--cgroup",
            "pids:one",
            "--cgroup",
            "freezer:sub",
            &b.id,
            "cat",
            "/proc/self/cgroup",
        ];
        let out = b.call(&both).ok();
        ends(&out, "pids", "/one");
        ends(&out, "freezer", "/sub");
        for bad in ["freezer:one", "nothing:one"] {
            let out = b.call(&["exec", "--cgroup", bad, &b.id, "true"]);
            assert!(out.fails().contains("--cgroup"), "{bad}: {out:#?}");
        }
    }
    assert!(
        b.call(&["exec", "--cgroup", "../x", &b.id, "true"])
            .fails()
            .contains("--cgroup")
    );
}

#[test]
fn version_two_alone() {
    let b = Bundle::sh("cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs; head -c 1 /dev/zero | wc -c; cat /dev/mem2 || echo denied")
        .mount("cgroup", "/sys/fs/cgroup", "cgroup", &["ro"])
        .namespace("cgroup", None)
        .edit(|c| {
            c["linux"]["devices"] = json!([{ "path": "/dev/mem2", "type": "c", "major": 1, "minor": 11 }]);
            c["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
        });
    let script = format!(
        "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; {} --root {} run -b {} {}; ls -d /sys/fs/cgroup{} 2>&1 | grep -c cannot; rmdir /sys/fs/cgroup/{}",
        crate::harness::BIN,
        b.records().display(),
        b.dir.path().display(),
        b.id,
        b.cgroup,
        b.id
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "bash", "-c", &script]);
    let out = b.finish(command);
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines.contains(&"0::/"), "{out:#?}");
    assert!(
        lines.ends_with(&["/sys/fs/cgroup/cgroup.procs", "1", "denied", "1"]),
        "{out:#?}"
    );
    assert!(out.stderr.contains("Operation not permitted"), "{out:#?}");
}

/// Where version 2 is all that is mounted, a container with a cgroup namespace
/// and a writable mount owns its cgroup, and of its files those alone that the
/// kernel lets be given away.
#[test]
fn a_writable_cgroup_is_the_containers() {
    let owners =
        |options: &[&str]| {
            let b = Bundle::sh(
            "cd /sys/fs/cgroup; stat -c %u . cgroup.procs cgroup.subtree_control cgroup.max.depth",
        )
        .namespace("cgroup", None)
        .edit(|c| {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
            let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({ "type": "user" }));
            c["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "cgroup");
            c["linux"]["resources"] = json!({});
            let mount = json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": options,
            });
            c["mounts"].as_array_mut().unwrap().push(mount);
        });
            fs::set_permissions(b.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let script = "grep -o '/sys/fs/cgroup/[^ ]*' /proc/self/mountinfo | xargs -r umount \
            && { test -e /sys/fs/cgroup/cgroup.procs || mount -t cgroup2 cgroup2 /sys/fs/cgroup; } \
            && exec \"$@\"";
            let run = b.command(&["run", "-b", b.dir.path().to_str().unwrap(), &b.id]);
            let mut command = std::process::Command::new("unshare");
            command.args(["-m", "sh", "-c", script, "sh"]);
            command.arg(run.get_program()).args(run.get_args());
            b.finish(command).ok()
        };
    assert_eq!(owners(&["nosuid"]), "0\n0\n0\n65534");
    assert_eq!(owners(&["nosuid", "ro"]), "65534\n65534\n65534\n65534");
}
