//! A container's life by separate commands.

use std::time::Duration;

use crate::support::{World, finish};

/// Starts a container in the background that ends by TERM with status 7.
fn background(world: &World, name: &str) -> String {
    let script =
        "trap 'echo term; exit 7' TERM; echo out; echo err >&2; while true; do sleep 0.05; done";
    let id = world.ok(&[
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        "-l",
        "a=1",
        "bb",
        "sh",
        "-c",
        script,
    ]);
    world.until(&["logs", name], |text| text.contains("out"));
    id
}

#[test]
fn from_creation_to_removal() {
    let world = World::with_image();
    let id = world.ok(&[
        "create",
        "--name",
        "c",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "echo run; exit 4",
    ]);
    assert_eq!(id.len(), 64);
    let state = || world.ok(&["ps", "-a", "--format", "{{.ID}} {{.State}}"]);
    assert_eq!(state(), format!("{} created", &id[..12]));
    assert_eq!(world.ok(&["start", "c"]), "c");
    assert_eq!(world.ok(&["wait", "c"]), "4");
    assert_eq!(state(), format!("{} exited", &id[..12]));
    assert_eq!(world.ok(&["logs", "c"]), "run");
    // Again, in the foreground.
    let again = world.run(&["start", "-a", &id[..6]]);
    assert_eq!((again.status, again.out.as_str()), (4, "run\n"));
    assert_eq!(
        world.ok(&[
            "inspect",
            "-f",
            "{{.State.ExitCode}} {{.State.Running}}",
            "c"
        ]),
        "4 false"
    );
    assert_eq!(world.ok(&["rm", "c"]), "c");
    world.assert_empty();
}

#[test]
fn running_containers() {
    let world = World::with_image();
    let id = background(&world, "web");
    let ps = world.ok(&["ps"]);
    let line = ps.lines().nth(1).unwrap();
    assert!(line.starts_with(&id[..12]) && line.ends_with("web"), "{ps}");
    assert!(
        line.contains("localhost/bb:latest")
            && line.contains(" Up ")
            && line.contains("\"sh -c trap 'echo te…\""),
        "{ps}"
    );
    assert_eq!(world.ok(&["ps", "-q"]), id[..12]);
    let err = world.fails(&["rm", "web"], 125);
    assert!(err.contains("running"), "{err}");
    world.fails(&["start", "web"], 125);
    world.fails(&["run", "--name", "web", "bb", "true"], 125);

    assert_eq!(world.ok(&["stop", "web"]), "web");
    let status = world.ok(&["ps", "-a", "--format", "{{.Status}}"]);
    assert!(
        status.starts_with("Exited (7) ") && status.ends_with(" ago"),
        "{status}"
    );
    let logs = world.run(&["logs", "web"]);
    assert_eq!(
        (logs.out.as_str(), logs.err.as_str()),
        ("out\nterm\n", "err\n")
    );
    world.fails(&["kill", "web"], 125);
    world.fails(&["exec", "web", "true"], 125);
    // Stopping what has ended is fine.
    assert_eq!(world.ok(&["stop", "web"]), "web");
    world.ok(&["rm", "web"]);
    world.assert_empty();
}

#[test]
fn stopping_the_stubborn() {
    let world = World::with_image();
    world.background("s", &["sleep", "1000"]);
    let begin = std::time::Instant::now();
    world.ok(&["stop", "-t", "1", "s"]);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        world.ok(&["inspect", "-f", "{{.State.ExitCode}}", "s"]),
        "137"
    );
    world.ok(&["start", "s"]);
    assert_eq!(world.ok(&["kill", "s"]), "s");
    assert_eq!(world.ok(&["wait", "s"]), "137");
    world.ok(&["start", "s"]);
    assert_eq!(world.ok(&["rm", "-f", "s", "nope"]), "s");
    world.assert_empty();
}

#[test]
fn several_at_once() {
    let world = World::with_image();
    background(&world, "a");
    background(&world, "b");
    let result = world.run(&["stop", "a", "nope", "b"]);
    assert_eq!(
        (result.status, result.out.as_str()),
        (125, "a\nb\n"),
        "{result:?}"
    );
    assert!(result.err.contains("nope"));
    world.ok(&["start", "a"]);
    // Those that run stay.
    world.ok(&["rm", "-a"]);
    assert_eq!(world.ok(&["ps", "-a", "--format", "{{.Names}}"]), "a");
    assert_eq!(
        world.ok(&["kill", "--all", "-s", "TERM"]).lines().count(),
        1
    );
    assert_eq!(world.ok(&["wait", "a"]), "7");
    world.ok(&["container", "prune", "-f"]);
    world.assert_empty();
}

#[test]
fn exec() {
    let world = World::with_image();
    background(&world, "e");
    let exec = |flags: &[&str], script: &str| {
        world.run(&[&["exec"], flags, &["e", "sh", "-c", script]].concat())
    };
    let result = exec(&[], "echo out; echo err >&2; exit 5");
    assert_eq!(
        (result.status, result.out.as_str(), result.err.as_str()),
        (5, "out\n", "err\n")
    );
    assert_eq!(
        exec(
            &["-e", "X=1", "-w", "/etc", "-u", "ann"],
            "echo $X; pwd; id -u"
        )
        .out,
        "1\n/etc\n1234\n"
    );
    assert_eq!(world.input(&["exec", "-i", "e", "cat"], b"in").out, "in");
    assert_eq!(world.input(&["exec", "e", "cat"], b"in").out, "");
    assert_eq!(world.fails(&["exec", "e", "nope"], 127).lines().count(), 1);
    world.fails(&["exec", "e", "/bin"], 126);
    world.ok(&["exec", "-d", "e", "sh", "-c", "echo done > /tmp/x"]);
    world.until(&["exec", "e", "cat", "/tmp/x"], |text| text == "done\n");
    // Nothing is left of the descriptions.
    let id = world.ok(&["ps", "-q", "--no-trunc"]);
    let run_dir = world.path("run/containers").join(id);
    let left = std::fs::read_dir(run_dir).unwrap().flatten();
    assert_eq!(
        left.filter(|e| e.file_name().to_string_lossy().starts_with("exec-"))
            .count(),
        0
    );
}

#[test]
fn signals_reach_what_exec_runs() {
    use std::io::{BufRead as _, BufReader};
    let world = World::with_image();
    background(&world, "e");
    let script = "trap 'exit 8' TERM; echo ready; while true; do sleep 0.05; done";
    let mut child = world.spawn(&["exec", "e", "sh", "-c", script]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(finish(child).status, 8);
}

#[test]
fn logs() {
    let world = World::with_image();
    let script = "for i in 1 2 3 4 5; do echo $i; done; echo half | tr -d '\\n'";
    world.ok(&[
        "run",
        "--name",
        "l",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(world.ok(&["logs", "--tail", "2", "l"]), "5\nhalf");
    assert_eq!(world.ok(&["logs", "-n", "0", "l"]), "");
    assert_eq!(
        world.ok(&["logs", "--tail", "all", "l"]),
        "1\n2\n3\n4\n5\nhalf"
    );
    let stamped = world.ok(&["logs", "-t", "--tail", "1", "l"]);
    assert!(
        stamped.starts_with("20") && stamped.ends_with("Z half"),
        "{stamped}"
    );
    assert_eq!(world.ok(&["logs", "--since", "1h", "l"]).lines().count(), 6);
    assert_eq!(world.ok(&["logs", "--until", "1h", "l"]), "");
    world.ok(&[
        "create",
        "--name",
        "silent",
        "--log-driver",
        "none",
        "bb",
        "true",
    ]);
    assert!(
        world
            .fails(&["logs", "silent"], 125)
            .contains("keeps no log")
    );
    // Following ends with the container.
    background(&world, "f");
    let child = world.spawn(&["logs", "-f", "f"]);
    std::thread::sleep(Duration::from_millis(200));
    world.ok(&["stop", "f"]);
    assert_eq!(finish(child).out, "out\nterm\n");
}

#[test]
fn formats_and_filters() {
    let world = World::with_image();
    let id = background(&world, "one");
    world.ok(&["create", "--name", "two", "-l", "a=2", "bb", "true"]);
    let names =
        |filter: &[&str]| world.ok(&[&["ps", "-a", "--format", "{{.Names}}"], filter].concat());
    assert_eq!(names(&[]), "two\none");
    assert_eq!(names(&["-f", "name=^one$"]), "one");
    assert_eq!(names(&["-f", "status=created"]), "two");
    assert_eq!(names(&["-f", "label=a"]), "two\none");
    assert_eq!(names(&["-f", "label=a=1"]), "one");
    assert_eq!(names(&["-f", "label=from=image", "-f", "name=two"]), "two");
    assert_eq!(names(&["-f", &format!("id={}", &id[..8])]), "one");
    assert_eq!(names(&["-f", "ancestor=localhost/bb"]), "two\none");
    assert_eq!(names(&["-f", "ancestor=localhost/other"]), "");
    assert_eq!(names(&["-n", "1"]), "two");
    let labels = world.ok(&["ps", "--format", "{{.Label \"a\"}} {{.Labels}}"]);
    assert_eq!(labels, "1 a=1,from=image");
    let table = world.ok(&["ps", "--format", "table {{.Names}}\t{{.State}}"]);
    assert_eq!(table, "NAMES     STATE\none       running");
    let json = world.ok(&["ps", "--format", "json"]);
    let row: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (row["Names"].as_str(), row["State"].as_str()),
        (Some("one"), Some("running"))
    );
    world.fails(&["ps", "--format", "{{.Nope}}"], 125);

    let all: serde_json::Value =
        serde_json::from_str(&world.ok(&["inspect", "one", "two"])).unwrap();
    assert_eq!(
        (all[0]["Id"].as_str(), all[1]["Name"].as_str()),
        (Some(id.as_str()), Some("two"))
    );
    assert!(all[0]["State"]["Pid"].as_i64().unwrap() > 0);
    let pid = world.ok(&[
        "inspect",
        "--format",
        "{{.State.Pid}} {{json .Config.Labels}}",
        "one",
    ]);
    assert_eq!(
        pid,
        format!(
            "{} {{\"a\":\"1\",\"from\":\"image\"}}",
            all[0]["State"]["Pid"]
        )
    );
    let partly = world.run(&["inspect", "-f", "{{.Name}}", "one", "nope"]);
    assert_eq!((partly.status, partly.out.as_str()), (125, "one\n"));
}
