//! Limits of resources, as they stand in the container's cgroup on the host,
//! with either version of cgroups, and that they hold.

use std::path::{Path, PathBuf};

use crate::support::World;

const CGROUPS: &str = "/sys/fs/cgroup";

/// The container's cgroup.
struct Group(String);

impl Group {
    fn of(world: &World, container: &str) -> Self {
        let path = world.ok(&["inspect", "-f", "{{.HostConfig.CgroupPath}}", container]);
        Group(path.trim_start_matches('/').to_owned())
    }

    /// Where version 2 alone has it, or version 1 for a controller.
    fn dir(&self, controller: &str) -> PathBuf {
        let root = Path::new(CGROUPS);
        match is_unified() {
            true => root.join(&self.0),
            false => root.join(controller).join(&self.0),
        }
    }

    /// A file by its names in the two versions.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let file = if is_unified() { v2 } else { v1 };
        let path = self.dir(controller).join(file);
        let text = std::fs::read_to_string(&path);
        text.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .trim()
            .to_owned()
    }

    /// Whether any hierarchy still has it.
    fn is_left(&self) -> bool {
        let below = std::fs::read_dir(CGROUPS).unwrap();
        let mut hierarchies = below.map(|e| e.unwrap().path());
        Path::new(CGROUPS).join(&self.0).exists()
            || hierarchies.any(|dir| dir.join(&self.0).exists())
    }
}

fn is_unified() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// Runs a container in the background.
fn background(world: &World, name: &str, flags: &[&str], command: &[&str]) -> Group {
    let run = ["run", "-d", "--name", name, "--network", "none"];
    world.ok(&[&run, flags, &["bb"], command].concat());
    Group::of(world, name)
}

#[test]
fn limits_are_in_the_cgroup_and_go_with_it() {
    let world = World::with_image();
    let flags = [
        "-m",
        "64m",
        "--cpus",
        "0.5",
        "-c",
        "2048",
        "--pids-limit",
        "50",
    ];
    let group = background(&world, "c", &flags, &["sleep", "1000"]);
    for (controller, v1, v1_value, v2, v2_value) in [
        (
            "memory",
            "memory.limit_in_bytes",
            "67108864",
            "memory.max",
            "67108864",
        ),
        // As much swap as memory: version 1 counts both together.
        (
            "memory",
            "memory.memsw.limit_in_bytes",
            "134217728",
            "memory.swap.max",
            "67108864",
        ),
        (
            "cpu",
            "cpu.cfs_quota_us",
            "50000",
            "cpu.max",
            "50000 100000",
        ),
        ("cpu", "cpu.shares", "2048", "cpu.weight", "174"),
        ("pids", "pids.max", "50", "pids.max", "50"),
    ] {
        let value = if is_unified() { v2_value } else { v1_value };
        assert_eq!(group.read(controller, v1, v2), value, "{v1}, {v2}");
    }
    // What is executed later is in there, too.
    let mut exec = world.spawn(&["exec", "-i", "c", "cat"]);
    let procs = || group.read("pids", "cgroup.procs", "cgroup.procs");
    let pid = world.ok(&["inspect", "-f", "{{.State.Pid}}", "c"]);
    world.until(&["ps"], |_| procs().lines().count() == 2);
    assert!(procs().lines().any(|line| line == pid));
    drop(exec.stdin.take());
    assert!(exec.wait().unwrap().success());
    // Again from the start, with the same limits.
    world.ok(&["stop", "-t", "0", "c"]);
    assert!(!group.is_left());
    world.ok(&["start", "c"]);
    assert_eq!(group.read("pids", "pids.max", "pids.max"), "50");
    world.ok(&["rm", "-f", "c"]);
    assert!(!group.is_left());
    world.assert_empty();
    assert_eq!(world.monitors(), [] as [i32; 0]);
}

#[test]
fn without_limits_there_are_none() {
    let world = World::with_image();
    let group = background(&world, "c", &["--pids-limit", "-1"], &["sleep", "1000"]);
    let memory = group.read("memory", "memory.limit_in_bytes", "memory.max");
    assert!(
        memory == "max" || memory.parse::<u64>().unwrap() > 1 << 60,
        "{memory}"
    );
    assert_eq!(group.read("pids", "pids.max", "pids.max"), "max");
    world.ok(&["rm", "-f", "c"]);
    assert!(!group.is_left());
}

#[test]
fn out_of_memory_is_told() {
    let world = World::with_image();
    let run = |name: &str, command: &[&str]| {
        let flags = [
            "run",
            "--name",
            name,
            "--network",
            "none",
            "-m",
            "24m",
            "bb",
        ];
        let result = world.run(&[&flags, command].concat());
        let format = "{{.State.ExitCode}} {{.State.OOMKilled}}";
        (result.status, world.ok(&["inspect", "-f", format, name]))
    };
    let hungry = ["busybox", "tail", "/dev/zero"];
    assert_eq!(run("first", &hungry), (137, "137 true".to_owned()));
    // A child is killed, and the container goes on.
    let script = "busybox tail /dev/zero; [ $? = 137 ] && exit 3";
    let child = run("child", &["sh", "-c", script]);
    assert_eq!(child, (3, "3 true".to_owned()));
    // The same signal from elsewhere is something else.
    let killed = run(
        "killed",
        &["sh", "-c", "kill -KILL $$; busybox kill -9 1; exit 4"],
    );
    assert!(killed.1.ends_with(" false"), "{killed:?}");
    background(&world, "by-hand", &["-m", "24m"], &["sleep", "1000"]);
    world.ok(&["kill", "by-hand"]);
    world.ok(&["wait", "by-hand"]);
    let format = "{{.State.ExitCode}} {{.State.OOMKilled}}";
    assert_eq!(world.ok(&["inspect", "-f", format, "by-hand"]), "137 false");
    world.ok(&["rm", "-a"]);
    world.assert_empty();
}

#[test]
fn the_limit_of_processes_holds() {
    let world = World::with_image();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done";
    let result = world.sh(&["--pids-limit", "5"], script);
    assert!(result.err.contains("fork"), "{result:?}");
    let group = background(&world, "c", &["--pids-limit", "2"], &["sleep", "1000"]);
    world.ok(&["exec", "c", "true"]);
    let result = world.run(&["exec", "c", "sh", "-c", "true & true"]);
    assert!(result.err.contains("fork"), "{result:?}");
    let peak = group.read("pids", "pids.current", "pids.current");
    assert_eq!(peak, "1");
    world.ok(&["rm", "-f", "c"]);
}

#[test]
fn devices_are_denied() {
    let world = World::with_image();
    // The node of kmsg can be made, and not be used.
    let script = "busybox mknod /tmp/x c 1 11 && echo made; \
                  busybox head -c 1 /tmp/x > /tmp/out && busybox wc -c < /tmp/out";
    let result = world.sh(&[], script);
    assert_eq!(result.out, "made\n", "{result:?}");
    assert!(result.err.contains("Operation not permitted"), "{result:?}");
    let result = world.sh(&["--privileged"], script);
    assert_eq!(result.out, "made\n1\n", "{result:?}");
}

#[test]
fn a_parent_cgroup_and_its_limits() {
    let world = World::with_image();
    let name = format!("hako-it-parent-{}", std::process::id());
    let parents: Vec<PathBuf> = match is_unified() {
        true => vec![Path::new(CGROUPS).join(&name)],
        false => ["memory", "pids"]
            .map(|c| Path::new(CGROUPS).join(c).join(&name))
            .to_vec(),
    };
    for dir in &parents {
        std::fs::create_dir(dir).unwrap();
    }
    let flags = ["--cgroup-parent", &name, "-m", "64m"];
    let group = background(&world, "c", &flags, &["sleep", "1000"]);
    assert!(group.0.starts_with(&format!("{name}/")), "{}", group.0);
    let memory = group.read("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(memory, "67108864");
    world.ok(&["rm", "-f", "c"]);
    assert!(!group.is_left());
    // It is not ours to remove.
    for dir in &parents {
        assert!(dir.exists());
    }
    let all = std::fs::read_dir(CGROUPS).unwrap();
    for dir in all.map(|e| e.unwrap().path()).chain([CGROUPS.into()]) {
        let _ = std::fs::remove_dir(dir.join(&name));
    }
}
