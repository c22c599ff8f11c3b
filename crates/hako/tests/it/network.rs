//! `--network`: a bridge in a network namespace of the test's own, none, host.

use std::process::{Command, Stdio};

use crate::support::{Result, World, finish, hako};

/// Runs hako where there is nothing but a loopback interface.
fn apart(world: &World, args: &[&str]) -> Result {
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(hako());
    command
        .arg("--root")
        .arg(world.path("root"))
        .arg("--runroot")
        .arg(world.path("run"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

#[test]
fn none() {
    let world = World::with_image();
    let result = world.sh(&[], "ip -o link | grep -c .; ip -o addr show lo");
    assert!(
        result.out.starts_with("1\n") && result.out.contains("127.0.0.1/8"),
        "{result:?}"
    );
}

#[test]
fn host() {
    let world = World::with_image();
    let here = std::fs::read_link("/proc/self/ns/net").unwrap();
    let args = [
        "run",
        "--rm",
        "--network",
        "host",
        "bb",
        "readlink",
        "/proc/self/ns/net",
    ];
    assert_eq!(world.ok(&args), here.to_str().unwrap());
}

#[test]
fn bridge() {
    let world = World::with_image();
    let script = "ip -o -4 addr show eth0; ip route; \
                  gw=$(ip route | grep default | tr -s ' ' | head -1); set -- $gw; ping -c 1 -W 5 $3";
    for flags in [&[][..], &["--net", "bridge"]] {
        let args = [&["run", "--rm"], flags, &["bb", "sh", "-c", script]].concat();
        let result = apart(&world, &args);
        assert_eq!(result.status, 0, "{result:?}");
        assert!(
            result.out.contains("default via ") && result.out.contains("1 packets received"),
            "{result:?}"
        );
    }
    world.assert_empty();
}

#[test]
fn a_network_without_containers_is_pruned() {
    let world = World::with_image();
    let id = world.ok(&["run", "-d", "--network", "bridge", "bb", "sleep", "1000"]);
    let record = world.path("run/networks/hako/network.json");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    let bridge = std::path::Path::new("/sys/class/net").join(record["bridge"].as_str().unwrap());
    assert!(bridge.exists());
    let pruned = world.ok(&["system", "prune", "-f"]);
    assert!(!pruned.contains("network"), "{pruned}");
    assert!(bridge.exists());
    world.ok(&["rm", "-f", &id]);
    let pruned = world.ok(&["system", "prune", "-f"]);
    assert!(pruned.contains("deleted: network hako\n"), "{pruned}");
    assert!(!bridge.exists());
    // And made again. The image has a name, so it is still there.
    world.ok(&["run", "--rm", "--network", "bridge", "bb", "true"]);
}
