//! `hako run` in the foreground: status, streams, signals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{World, finish, image};

#[test]
fn greeting_from_a_layout() {
    let world = World::new();
    let result = world.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        &image(),
        "echo",
        "hello from hako",
    ]);
    assert_eq!(
        (result.status, result.out.as_str()),
        (0, "hello from hako\n"),
        "{result:?}"
    );
    // The second time nothing is brought, and nothing is said.
    let again = world.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        &image(),
        "echo",
        "again",
    ]);
    assert_eq!((again.out.as_str(), again.err.as_str()), ("again\n", ""));
    world.assert_empty();
}

#[test]
fn statuses() {
    let world = World::with_image();
    // The first process of a pid namespace does not die by its own hand.
    let killed = "sh -c 'kill -9 $$'; exit $?";
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        (killed, 137),
    ] {
        let result = world.sh(&[], script);
        assert_eq!(result.status, status, "{script}: {result:?}");
    }
    for (command, status, words) in [
        ("nope", 127, "not found"),
        ("/bin/nope", 127, "no such file"),
        ("/bin", 126, "is a directory"),
        ("/bin/data", 126, "permission denied"),
    ] {
        let err = world.fails(&["run", "--rm", "--network", "none", "bb", command], status);
        assert!(err.to_lowercase().contains(words), "{command}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    world.fails(
        &[
            "run",
            "--rm",
            "--network",
            "none",
            "--workdir",
            "relative/../..",
            "--user",
            "nobody-here",
            "bb",
            "true",
        ],
        125,
    );
    world.assert_empty();
}

#[test]
fn a_container_that_did_not_start_stays_unless_it_is_transient() {
    let world = World::with_image();
    world.fails(
        &["run", "--name", "a", "--network", "none", "bb", "nope"],
        127,
    );
    assert_eq!(
        world.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]),
        "a Created"
    );
    world.ok(&["rm", "a"]);
    world.fails(
        &["run", "-d", "--rm", "--network", "none", "bb", "nope"],
        127,
    );
    world.assert_empty();
}

#[test]
fn streams() {
    let world = World::with_image();
    let result = world.sh(&[], "echo out; echo err >&2");
    assert_eq!(
        (result.out.as_str(), result.err.as_str()),
        ("out\n", "err\n")
    );
    let run = ["run", "--rm", "--network", "none"];
    let cat = |flags: &[&str], input: &[u8]| {
        world.input(&[&run[..], flags, &["bb", "cat"]].concat(), input)
    };
    assert_eq!(cat(&["-i"], b"in\n").out, "in\n");
    assert_eq!(cat(&["-i"], b"").out, "");
    // Without -i nothing of it is read.
    assert_eq!(cat(&[], b"in\n").out, "");
    // More than any buffer on the way holds, both ways at once.
    let text: Vec<u8> = (0..3_000_000u32)
        .map(|n| b"0123456789abcde\n"[n as usize % 16])
        .collect();
    let result = cat(&["-i"], &text);
    assert_eq!(result.status, 0);
    assert!(result.out.as_bytes() == text, "{} bytes", result.out.len());
    world.assert_empty();
}

#[test]
fn a_reader_who_leaves() {
    let world = World::with_image();
    let mut child = world.spawn(&[
        "run",
        "--rm",
        "--network",
        "none",
        "bb",
        "seq",
        "1",
        "200000",
    ]);
    let mut out = child.stdout.take().unwrap();
    let mut some = [0u8; 10];
    out.read_exact(&mut some).unwrap();
    drop(out);
    let result = finish(child);
    assert_eq!((result.status, result.err.as_str()), (141, ""));
    // The container ends by itself, and goes.
    world.until(&["ps", "-aq"], str::is_empty);
    world.assert_empty();
}

#[test]
fn a_slow_reader_gets_everything() {
    let world = World::with_image();
    let mut child = world.spawn(&[
        "run",
        "--rm",
        "--network",
        "none",
        "bb",
        "seq",
        "1",
        "100000",
    ]);
    let mut out = child.stdout.take().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert_eq!(finish(child).status, 0);
    assert_eq!(text.lines().count(), 100_000);
    assert!(text.ends_with("\n100000\n"));
}

/// Starts a container that says when it is ready, sends it a signal through
/// hako, and gives status and output.
fn signalled(world: &World, flags: &[&str], signal: Signal) -> (i32, String) {
    let script = "for s in INT TERM HUP QUIT USR1; do trap \"echo $s; exit 9\" $s; done; \
                  echo ready; while true; do sleep 0.05; done";
    let args = [
        &["run", "--rm", "--network", "none"],
        flags,
        &["bb", "sh", "-c", script],
    ]
    .concat();
    let mut child = world.spawn(&args);
    let stdin = child.stdin.take();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill_process(Pid::from_child(&child), signal).unwrap();
    line.clear();
    out.read_to_string(&mut line).unwrap();
    drop(stdin);
    (finish(child).status, line)
}

#[test]
fn signals_reach_the_container() {
    let world = World::with_image();
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
    ] {
        assert_eq!(signalled(&world, &[], signal), (9, format!("{name}\n")));
    }
    world.assert_empty();
}

#[test]
fn signals_reach_a_container_that_does_not_read_its_input() {
    let world = World::with_image();
    let script = "trap 'echo int; exit 9' INT; echo ready; while true; do sleep 0.05; done";
    let mut child = world.spawn(&[
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        script,
    ]);
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        // Until hako is gone.
        while stdin.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // The pipes and the monitor fill up.
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    line.clear();
    out.read_to_string(&mut line).unwrap();
    assert_eq!((finish(child).status, line.as_str()), (9, "int\n"));
    writer.join().unwrap();
}

#[test]
fn without_proxy_a_signal_is_for_hako() {
    let world = World::with_image();
    let (status, out) = signalled(&world, &["--sig-proxy=false"], Signal::TERM);
    assert_eq!((status, out.as_str()), (128 + 15, ""));
    assert_eq!(world.ok(&["ps", "-q"]).lines().count(), 1);
}
