//! With systemd as process 1 and cgroup v2: the units that it has then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Bundle, CGROUPS, Out, until};

/// `systemctl show`: the values of these properties, a line each.
fn show(unit: &str, properties: &str) -> String {
    let out = Command::new("systemctl")
        .args(["show", "--value", "--property", properties, unit])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let values: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
    values.join(" ")
}

/// One property at a time, since systemctl has its own order.
fn property(unit: &str, name: &str) -> String {
    show(unit, name)
}

/// A container `slice:hako:ID` of systemd.
struct Scope {
    bundle: Bundle,
    unit: String,
    dir: PathBuf,
}

impl Scope {
    fn new(slice: &str, place: &str) -> Self {
        let bundle = Bundle::sleeper();
        let path = format!("{slice}:hako:{}", bundle.id);
        let unit = format!("hako-{}.scope", bundle.id);
        Scope {
            dir: Path::new(CGROUPS).join(place).join(&unit),
            bundle: bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path)),
            unit,
        }
    }

    fn system() -> Self {
        Self::new("", "system.slice")
    }

    fn edit(mut self, change: impl FnOnce(&mut serde_json::Value)) -> Self {
        self.bundle = self.bundle.edit(change);
        self
    }

    fn call(&self, args: &[&str]) -> Out {
        let mut all = vec!["--systemd-cgroup"];
        all.extend(args);
        self.bundle.call(&all)
    }

    fn verb(&self, verb: &str, flags: &[&str]) -> Out {
        let dir = self.bundle.path("").to_str().unwrap().to_owned();
        let mut args = vec![verb, "--bundle", &dir];
        args.extend(flags);
        args.push(&self.bundle.id);
        self.call(&args)
    }

    fn read(&self, file: &str) -> String {
        let path = self.dir.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        text.trim().to_owned()
    }

    fn delete(&self) {
        self.call(&["delete", "--force", &self.bundle.id]).ok();
        self.is_gone();
    }

    #[track_caller]
    fn is_gone(&self) {
        assert!(!self.dir.exists());
        assert_eq!(property(&self.unit, "LoadState"), "not-found");
    }
}

#[test]
#[ignore = "needs systemd as process 1"]
fn a_container_is_a_scope() {
    let s = Scope::system().edit(|c| {
        c["annotations"] = json!({
            "org.systemd.property.TimeoutStopSec": "uint64 123",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
        });
    });
    s.verb("create", &[]).ok();
    for (name, value) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("TimeoutStopUSec", "2min 3s"),
        ("CollectMode", "inactive-or-failed"),
        ("MemoryAccounting", "yes"),
        ("IOAccounting", "yes"),
        ("Transient", "yes"),
    ] {
        assert_eq!(property(&s.unit, name), value, "{name}");
    }
    assert_eq!(
        property(&s.unit, "Description"),
        format!("container {}", s.bundle.id)
    );
    assert_eq!(s.read("cgroup.procs"), s.bundle.pid().to_string());
    // The one for start and the channel: systemd has no connection to it.
    let fds = fs::read_dir(format!("/proc/{}/fd", s.bundle.pid())).unwrap();
    let names = fds.map(|fd| fs::read_link(fd.unwrap().path()).unwrap());
    let sockets = names.filter(|name| name.to_string_lossy().starts_with("socket:"));
    assert!(sockets.count() <= 2);
    s.bundle.start().ok();
    assert_eq!(s.read("cgroup.procs"), s.bundle.pid().to_string());
    assert_eq!(s.bundle.exec(&["cat", "/proc/self/cgroup"]).ok(), "0::/");
    s.delete();
}

#[test]
#[ignore = "needs systemd as process 1"]
fn slices_are_made() {
    let s = Scope::new(
        "hakotest-a-b.slice",
        "hakotest.slice/hakotest-a.slice/hakotest-a-b.slice",
    );
    s.verb("run", &["--detach"]).ok();
    assert_eq!(property(&s.unit, "Slice"), "hakotest-a-b.slice");
    assert!(s.dir.exists());
    s.delete();
    for slice in ["hakotest-a-b", "hakotest-a", "hakotest"] {
        let unit = format!("{slice}.slice");
        let done = Command::new("systemctl").args(["stop", &unit]).status();
        assert!(done.unwrap().success());
    }
}

#[test]
#[ignore = "needs systemd as process 1"]
fn limits_are_systemds_and_the_kernels() {
    let s = Scope::system().edit(|c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 50_000_000, "reservation": 20_000_000, "swap": 70_000_000},
            "cpu": {"shares": 1024, "quota": 25_500, "period": 50_000, "cpus": "0"},
            "pids": {"limit": 77},
            "unified": {"memory.high": "40000000"},
            "devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            ],
        });
    });
    s.verb("run", &["--detach"]).ok();
    let expect = |list: &[(&str, &str)]| {
        for (name, value) in list {
            assert_eq!(property(&s.unit, name), *value, "{name}");
        }
    };
    expect(&[
        ("MemoryMax", "50000000"),
        ("MemoryLow", "20000000"),
        ("MemorySwapMax", "20000000"),
        ("MemoryHigh", "40000000"),
        ("CPUWeight", "100"),
        ("CPUQuotaPerSecUSec", "510ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("AllowedCPUs", "0"),
        ("TasksMax", "77"),
        ("DevicePolicy", "strict"),
    ]);
    let devices = show(&s.unit, "DeviceAllow");
    for device in [
        "/dev/char/10:229 rw",
        "/dev/char/1:3 rwm",
        "char-pts rwm",
        "char-* m",
    ] {
        assert!(devices.contains(device), "{device}: {devices}");
    }
    // Pages are whole.
    for (file, value) in [
        ("memory.max", "49999872"),
        ("memory.high", "39997440"),
        ("cpu.max", "25500 50000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "77"),
    ] {
        assert_eq!(s.read(file), value, "{file}");
    }
    // Both filters agree on what is allowed, and on what is not.
    s.bundle.exec(&["sh", "-c", "echo x > /dev/null"]).ok();
    let node = ["mknod", "/tmp/kmsg", "c", "1", "11"];
    let mut exec = vec!["exec", "--cap", "CAP_MKNOD", s.bundle.id.as_str()];
    exec.extend(node);
    s.call(&exec).ok();
    s.bundle.exec(&["dd", "if=/tmp/kmsg", "count=0"]).fails();

    let id = s.bundle.id.as_str();
    s.call(&[
        "update",
        "--memory",
        "60000000",
        "--memory-swap",
        "-1",
        "--pids-limit",
        "0",
        id,
    ])
    .ok();
    assert_eq!(s.read("pids.max"), "1");
    // With any change systemd writes all that it knows.
    s.call(&["update", "--cpu-quota", "10000", id]).ok();
    expect(&[
        ("MemoryMax", "60000000"),
        ("MemorySwapMax", "infinity"),
        ("TasksMax", "1"),
        ("CPUQuotaPerSecUSec", "200ms"),
    ]);
    assert_eq!(s.read("cpu.max"), "10000 50000");
    // What systemd writes again is what we have told it.
    let done = Command::new("systemctl").arg("daemon-reload").status();
    assert!(done.unwrap().success());
    assert_eq!(s.read("memory.max"), "59998208");
    assert_eq!(s.read("cpuset.cpus"), "0");
    s.bundle.exec(&["true"]).fails();
    s.delete();
}

#[test]
#[ignore = "needs systemd as process 1"]
fn over_the_bus() {
    let s = Scope::system();
    // Without its own socket there is the bus.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind /dev/null /run/systemd/private && exec \"$@\"")
        .arg("sh")
        .arg(crate::harness::BIN)
        .arg("--root")
        .arg(s.bundle.records())
        .args(["--systemd-cgroup", "run", "--detach", "--bundle"])
        .arg(s.bundle.path(""))
        .arg(&s.bundle.id);
    s.bundle.finish(command).ok();
    assert_eq!(property(&s.unit, "ActiveState"), "active");
    s.delete();
}

#[test]
#[ignore = "needs systemd as process 1"]
fn the_end_of_the_process_ends_the_unit() {
    let s = Scope::system();
    s.verb("run", &["--detach"]).ok();
    s.call(&["kill", &s.bundle.id, "KILL"]).ok();
    until(|| property(&s.unit, "ActiveState") == "inactive");
    s.call(&["delete", &s.bundle.id]).ok();
    s.is_gone();
    // The name is free again.
    s.verb("run", &["--detach"]).ok();
    s.delete();
}

#[test]
#[ignore = "needs systemd as process 1"]
fn somebody_elses_unit_is_left_alone() {
    let s = Scope::system();
    let mut other = Command::new("systemd-run");
    other.args(["--scope", "--quiet", "--unit", &s.unit, "sleep", "1000"]);
    let mut other = other.spawn().unwrap();
    until(|| property(&s.unit, "ActiveState") == "active");
    let text = s.verb("run", &[]).fails();
    assert!(text.contains("in use by process"), "{text}");
    assert_eq!(property(&s.unit, "ActiveState"), "active");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
#[ignore = "needs systemd as process 1"]
fn what_a_failed_create_leaves() {
    for (change, word) in [
        (json!({"memory": {"swappiness": 7}}), "memory.swappiness"),
        (json!({"unified": {"pids.max": "x"}}), "pids.max"),
    ] {
        let s = Scope::system().edit(|c| c["linux"]["resources"] = change);
        let text = s.verb("create", &[]).fails();
        assert!(text.contains(word), "{text}");
        s.is_gone();
    }
    let s = Scope::system().edit(|c| {
        c["annotations"] = json!({"org.systemd.property.NoSuchThing": "true"});
    });
    let text = s.verb("create", &[]).fails();
    assert!(
        text.contains("by systemd: ") && text.contains("NoSuchThing"),
        "{text}"
    );
    s.is_gone();
}

#[test]
#[ignore = "needs systemd as process 1"]
fn a_user_namespace_and_a_stage() {
    let user = Bundle::sleeper().user_namespace();
    let time = Bundle::sleeper().namespace("time", None);
    for bundle in [user, time] {
        let path = format!(":hako:{}", bundle.id);
        let unit = format!("hako-{}.scope", bundle.id);
        let s = Scope {
            dir: Path::new(CGROUPS).join("system.slice").join(&unit),
            bundle: bundle.edit(|c| {
                c["linux"]["cgroupsPath"] = json!(path);
                c["linux"]["resources"]["pids"] = json!({"limit": 1});
            }),
            unit,
        };
        s.verb("run", &["--detach"]).ok();
        assert_eq!(s.read("cgroup.procs"), s.bundle.pid().to_string());
        assert_eq!(
            (
                s.read("pids.max").as_str(),
                property(&s.unit, "TasksMax").as_str()
            ),
            ("1", "1")
        );
        s.delete();
    }
}

#[test]
#[ignore = "needs systemd as process 1"]
fn a_killed_create() {
    // At any moment: what is left, delete --force removes.
    for step in 0..12u64 {
        let s = Scope::system();
        let dir = s.bundle.path("").to_str().unwrap().to_owned();
        let args = ["--systemd-cgroup", "create", "--bundle", &dir, &s.bundle.id];
        let mut child = s.bundle.command(&args).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(step * 15));
        child.kill().unwrap();
        child.wait().unwrap();
        s.call(&["delete", "--force", &s.bundle.id]).ok();
        until(|| !s.dir.exists() && property(&s.unit, "LoadState") == "not-found");
    }
}
