//! podman, with conmon between it and the runtime.

use super::engine::Engine;
use super::{Place, apart};
use crate::harness::BIN;

/// Hard limits cannot be raised everywhere (CAP_SYS_RESOURCE), and podman's own
/// ones are high. Its AppArmor profile is beyond the runtime. `json`: podman then reads the runtime's log, not its standard
/// error.
pub fn configuration(json: bool) -> String {
    let json = if json { "\"hako-runtime\"" } else { "" };
    format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
         apparmor_profile = \"unconfined\"\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
         runtime_supports_json = [{json}]\n"
    )
}

fn podman(place: &Place, json: bool) -> Engine<'_> {
    let mut words = vec!["podman".to_owned()];
    for (flag, value) in [
        ("--root", place.path("root")),
        ("--runroot", place.path("run")),
        ("--tmpdir", place.path("tmp")),
        ("--storage-driver", "vfs".to_owned()),
        ("--runtime", BIN.to_string()),
    ] {
        words.extend([flag.to_owned(), value]);
    }
    let file = place.write(&format!("{json}.conf"), &configuration(json));
    Engine {
        place,
        words,
        variables: vec![("CONTAINERS_CONF", file)],
        missing: 127,
    }
}

#[test]
fn podman_runs_and_execs() {
    apart("podman", |place| {
        let tar = place.tar();
        let engine = podman(place, true);
        engine.ok(&["import", &tar, "busy:1"]);
        engine.foreground();
        engine.confinement();
        engine.background();
        engine.more();
        particular(&engine);
        // By its standard error.
        let plain = podman(place, false);
        plain.refuses("no-such-program", 127, "executable file not found in $PATH");
        assert_eq!(engine.ok(&["ps", "-aq"]), "");
        place.is_clean(&["root/vfs"], &["tmp/exits"]);
    });
}

fn particular(engine: &Engine<'_>) {
    let map = engine.sh(&["--uidmap=0:100000:1000"], "cat /proc/self/uid_map; id -u");
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "1000", "0"]);

    // `create`, `init` (the runtime's create) and `start` one by one.
    engine.ok(&engine.flags("create", &["--name=steps"], &["sleep", "300"]));
    engine.ok(&["init", "steps"]);
    assert_eq!(engine.tells("steps", "{{.State.Status}}"), "initialized");
    engine.ok(&["start", "steps"]);
    engine.remove("steps");

    // systemd's timers are not needed for a check by hand.
    let flags = [
        "-d",
        "--name=health",
        "--health-cmd=test -e /bin/sh",
        "--health-interval=disable",
    ];
    engine.ok(&engine.flags("run", &flags, &["sleep", "300"]));
    engine.ok(&["healthcheck", "run", "health"]);
    engine.remove("health");

    let parent = format!("--cgroup-parent={}", engine.place.cgroup);
    engine.ok(&[
        "pod",
        "create",
        "--name=pod",
        "--network=none",
        "--share=net,ipc,uts",
        &parent,
        "--infra-image=busy:1",
        "--infra-command=sleep 300",
    ]);
    let args = ["run", "--rm", "--pod=pod", "busy:1", "hostname"];
    assert_eq!(engine.ok(&args), "pod");
    engine.ok(&["pod", "rm", "-f", "-t", "0", "pod"]);
    // podman removes the pod's own cgroup only where it knows the controller.
    engine.place.remove_empty_cgroups();

    let mut command = engine.command(&["--cgroup-manager=systemd"]);
    command.args(["run", "--rm", "--network=none", "busy:1", "true"]);
    let told = engine.place.finish(command).fails();
    assert!(told.contains("systemd"), "{told}");
}
