//! `kill -9` of hako and of monitors: containers run on, and the truth is told.

use std::io::{BufRead as _, BufReader, Read as _};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{World, finish};

fn kill_monitors(world: &World) {
    let pids = world.monitors();
    assert!(!pids.is_empty());
    for pid in pids {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}

#[test]
fn the_monitor_of_a_container_in_the_foreground() {
    for rm in [&[][..], &["--rm"]] {
        let world = World::with_image();
        let go = world.path("dir");
        std::fs::create_dir(&go).unwrap();
        let bind = format!("{}:/go", go.display());
        let script = "echo one; while ! [ -e /go/on ]; do sleep 0.05; done; echo two; exit 3";
        let args = [
            &["run", "--network", "none", "-v", &bind][..],
            rm,
            &["bb", "sh", "-c", script],
        ];
        let mut child = world.spawn(&args.concat());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        out.read_line(&mut text).unwrap();
        assert_eq!(text, "one\n");
        kill_monitors(&world);
        std::fs::write(go.join("on"), "").unwrap();
        out.read_to_string(&mut text).unwrap();
        let result = finish(child);
        assert!(result.err.contains("was killed"), "{result:?}");
        // A new monitor is no parent: it knows the status where the kernel keeps
        // it (Linux 6.15), and says so where it does not.
        match result.status {
            3 => assert_eq!(text, "one\ntwo\n"),
            125 => assert!(result.err.contains("not known"), "{result:?}"),
            other => panic!("{other}: {result:?}"),
        }
        if !rm.is_empty() {
            world.assert_empty();
        }
    }
}

#[test]
fn the_monitor_of_a_container_in_the_background() {
    let world = World::with_image();
    let script = "trap 'exit 7' TERM; while true; do echo tick; sleep 0.05; done";
    world.background("c", &["sh", "-c", script]);
    kill_monitors(&world);
    let status = world.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(status.starts_with("Up "), "{status}");
    let lines = world.ok(&["logs", "c"]).lines().count();
    world.until(&["logs", "c"], |text| text.lines().count() > lines);
    assert_eq!(world.ok(&["exec", "c", "echo", "here"]), "here");
    world.ok(&["stop", "c"]);
    let status = world.ok(&["ps", "-a", "--format", "{{.Status}}"]);
    assert!(
        status.starts_with("Exited (7)") || status.starts_with("Exited (unknown)"),
        "{status}"
    );
    world.ok(&["rm", "c"]);
    world.assert_empty();
}

#[test]
fn hako_in_the_foreground() {
    let world = World::with_image();
    let script = "echo ready; while true; do sleep 0.05; done";
    let mut child = world.spawn(&[
        "run",
        "--rm",
        "--name",
        "c",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        script,
    ]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    assert_eq!(finish(child).status, -9);
    assert_eq!(world.ok(&["ps", "--format", "{{.Names}}"]), "c");
    world.ok(&["rm", "-f", "c"]);
    world.assert_empty();
}

#[test]
fn hako_at_any_moment_of_a_run() {
    let world = World::with_image();
    for (number, delay) in (0..60).step_by(2).enumerate() {
        let network = ["none", "bridge"][number % 2];
        let child = world.spawn(&["run", "--rm", "--network", network, "bb", "true"]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        finish(child);
        let result = world.run(&["ps", "-a"]);
        assert_eq!(result.status, 0, "after {delay} ms: {result:?}");
    }
    world.ok(&["rm", "-f", "-a"]);
    assert_eq!(world.sh(&[], "echo fine").out, "fine\n");
    world.assert_empty();
}

#[test]
fn many_at_once() {
    let world = World::with_image();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for round in 0..5 {
                    let word = format!("{worker}-{round}");
                    let result = world.sh(&[], &format!("echo {word}; exit {worker}"));
                    assert_eq!(
                        (result.status, result.out),
                        (worker, format!("{word}\n")),
                        "{}",
                        result.err
                    );
                }
            });
        }
    });
    world.assert_empty();
}
