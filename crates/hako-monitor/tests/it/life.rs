//! A container's life from create to exit.

use hako_monitor::protocol::{Frame, State};
use hako_monitor::{Driver, Known, Ready, Stdin};

use crate::Test;
use crate::support::{Fixture, collect, eventually, kill, patience, read_until, start, status};

pub(crate) const TESTS: &[Test] = &[
    ("life::whole", whole),
    ("life::fast_exits", fast_exits),
    ("life::create_fails", create_fails),
    ("life::start_fails", start_fails),
    ("life::signals", signals),
    ("life::ends_before_start", ends_before_start),
    ("life::stdin_once", stdin_once),
    (
        "life::stdin_ends_with_its_client",
        stdin_ends_with_its_client,
    ),
    ("life::long_names", long_names),
    ("life::own_cgroup", own_cgroup),
    ("life::successor", successor),
    (
        "life::survivors_may_write_a_while",
        survivors_may_write_a_while,
    ),
];

fn whole() {
    let mut f = Fixture::new("echo out; echo err >&2; exit 42");
    let hook = "#!/bin/sh\necho \"$@\" > \"$(dirname \"$0\")/hooked\"\ncat \"$(dirname \"$0\")/dir/exit.json\" >> \"$(dirname \"$0\")/hooked\"\n";
    f.config.on_event = vec![f.script("hook", hook), "fixed".to_owned()];
    let pid = f.create();
    let mut other = f.client();
    let before = status(&mut other);
    assert_eq!((before.state, before.pid), (State::Created, pid));
    assert_eq!(other.hello().id, "c1");
    // Nothing of the caller's is left open, and nobody's session is used.
    let monitor = before.monitor_pid;
    for entry in std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap() {
        let to = std::fs::read_link(entry.unwrap().path()).unwrap();
        assert_ne!(to.to_str(), Some("/etc/passwd"));
    }
    let stat = std::fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
    assert_eq!(stat.split(' ').nth(5).unwrap(), monitor.to_string());

    let mut client = f.attached(false);
    client.send(&Frame::Start).unwrap();
    let answers = collect(&mut client);
    assert!(answers.started);
    assert_eq!(answers.stdout, "out\n");
    assert_eq!(answers.stderr, "err\n");
    let exit = answers.exit.unwrap();
    assert_eq!(
        (exit.code, exit.signal, exit.known),
        (Some(42), None, Known::Waited)
    );
    assert!(!exit.oom_killed);
    assert!(exit.started_at.as_ref().unwrap() <= &exit.finished_at);
    assert_eq!(f.exit(), Some(exit));
    let log: Vec<String> = f
        .log()
        .lines()
        .map(|l| l.split_once(' ').unwrap().1.to_owned())
        .collect();
    assert!(log.contains(&"stdout F from create".to_owned()), "{log:?}");
    assert!(log.contains(&"stdout F out".to_owned()), "{log:?}");
    assert!(log.contains(&"stderr F err".to_owned()), "{log:?}");
    assert_eq!(f.journal(), ["created", "started", "exited"]);
    // The event command came before the exit message and saw exit.json.
    let hooked = std::fs::read_to_string(f.temp.path().join("hooked")).unwrap();
    assert!(hooked.starts_with("fixed exit c1\n{"), "{hooked}");
    f.wait_over();
    assert!(!f.config.dir.join("monitor.log").exists());
}

/// Exits that come before anybody looks are neither missed nor waited for.
fn fast_exits() {
    let count = std::env::var("HAKO_FAST_EXITS").map_or(100, |n| n.parse().unwrap());
    for round in 0..count {
        let mut f = Fixture::new(&format!("echo {round}; exit {}", round % 200));
        f.config.log.driver = Driver::None;
        let (stdout, _, exit) = f.run();
        assert_eq!(exit.code, Some(round % 200));
        assert_eq!(exit.known, Known::Waited);
        assert_eq!(stdout, format!("{round}\n"));
    }
}

fn create_fails() {
    for (file, message, exit) in [
        ("fail-log", "the log says no", 3),
        ("fail-print", "printed no", 4),
    ] {
        let f = Fixture::new("");
        std::fs::write(f.config.bundle.join(file), "").unwrap();
        let expected = Ready::Error {
            message: message.to_owned(),
            exit,
        };
        assert_eq!(f.monitor(), expected);
        assert_eq!(f.journal(), ["create-failed"]);
        f.wait_over();
    }
    let mut f = Fixture::new("");
    f.config.runtime.path = "/no/such/runtime".into();
    let Ready::Error { message, .. } = f.monitor() else {
        panic!("no runtime, no error");
    };
    assert_eq!(
        message,
        "cannot execute /no/such/runtime: No such file or directory (os error 2)"
    );
    let mut f = Fixture::new("");
    f.config.version = 9;
    assert!(matches!(f.monitor(), Ready::Error { .. }));
}

fn start_fails() {
    let f = Fixture::new("echo once; sleep 0.5");
    f.create();
    std::fs::write(f.config.bundle.join("fail-start"), "").unwrap();
    let mut client = f.client();
    let e = client
        .request(&Frame::Start, |f| matches!(f, Frame::Started).then_some(()))
        .unwrap_err();
    assert_eq!(e.to_string(), "start said no");
    assert_eq!(status(&mut client).state, State::Created);
    assert_eq!(status(&mut client).started_at, None);
    // It can be tried again.
    std::fs::remove_file(f.config.bundle.join("fail-start")).unwrap();
    start(&mut client);
    let e = client
        .request(&Frame::Start, |f| matches!(f, Frame::Started).then_some(()))
        .unwrap_err()
        .to_string();
    assert!(
        [
            "the container has been started already",
            "the container has ended"
        ]
        .contains(&e.as_str()),
        "{e}"
    );
    assert_eq!(f.wait_exit().code, Some(0));
}

fn signals() {
    let f = Fixture::new("trap 'exit 7' USR1; echo ready; while :; do sleep 0.01; done");
    f.create();
    let mut client = f.attached(false);
    client.send(&Frame::Start).unwrap();
    read_until(&mut client, "ready\n");
    let mut other = f.client();
    other
        .request(&Frame::Signal(10), |f| {
            matches!(f, Frame::Done).then_some(())
        })
        .unwrap();
    assert_eq!(collect(&mut client).exit.unwrap().code, Some(7));

    // A signal that ends it, and the monitor's own SIGTERM, which becomes the
    // container's stop signal.
    let mut f = Fixture::new("exec sleep 60");
    f.config.stop_signal = 12;
    f.create();
    let mut client = f.client();
    start(&mut client);
    kill(status(&mut client).monitor_pid, 15);
    let exit = f.wait_exit();
    assert_eq!((exit.code, exit.signal), (Some(140), Some(12)));
    f.wait_over();
}

fn ends_before_start() {
    let f = Fixture::new("");
    let pid = f.create();
    kill(pid.try_into().unwrap(), 9);
    let exit = f.wait_exit();
    assert_eq!((exit.code, exit.started_at), (Some(137), None));
    assert_eq!(f.journal(), ["created", "exited"]);
}

fn stdin_once() {
    let mut f = Fixture::new("tr a-z A-Z; echo end");
    f.config.stdin = Stdin::Once;
    f.create();
    let mut client = f.attached(true);
    client.send(&Frame::Start).unwrap();
    // More than a FIFO holds, both ways at once.
    let text = "abcdefgh".repeat(64 << 10);
    let mut output = String::new();
    for piece in text.as_bytes().chunks(4096) {
        client.send_stdin(piece).unwrap();
        while let Some(frame) = client.buffered().unwrap() {
            if let Frame::Stdout(b) = frame {
                output.push_str(&String::from_utf8_lossy(&b));
            }
        }
    }
    client.send(&Frame::StdinEof).unwrap();
    let answers = collect(&mut client);
    output.push_str(&answers.stdout);
    assert_eq!(output.len(), text.len() + 4);
    assert!(output.ends_with("GHend\n"));
    assert_eq!(answers.exit.unwrap().code, Some(0));
}

fn stdin_ends_with_its_client() {
    let mut f = Fixture::new("cat");
    f.config.stdin = Stdin::Once;
    f.create();
    let mut client = f.attached(true);
    client.send(&Frame::Start).unwrap();
    client.send_stdin(b"hello\n").unwrap();
    read_until(&mut client, "hello\n");
    drop(client);
    assert_eq!(f.wait_exit().code, Some(0));

    let f = Fixture::new("exec sleep 60");
    f.create();
    let mut client = f.attached(true);
    let Some(Frame::Error(e)) = client.receive().unwrap() else {
        panic!("attached to a stdin that is closed");
    };
    assert_eq!(e.message, "the container's stdin is not open");
}

fn long_names() {
    let mut f = Fixture::new("echo fine");
    let deep = f.config.run_dir.join("x".repeat(100)).join("y".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    f.config.run_dir = deep;
    let (stdout, _, exit) = f.run();
    assert_eq!((stdout.as_str(), exit.code), ("fine\n", Some(0)));
}

fn own_cgroup() {
    let mut f = Fixture::new("exec sleep 60");
    let name = format!("/hako-monitor-test-{}", std::process::id());
    f.config.cgroup = Some(name.clone());
    f.create();
    let mut client = f.client();
    let monitor = status(&mut client).monitor_pid;
    let cgroups = std::fs::read_to_string(format!("/proc/{monitor}/cgroup")).unwrap();
    assert!(cgroups.lines().all(|l| l.ends_with(&name)), "{cgroups}");
    client
        .request(&Frame::Signal(9), |f| {
            matches!(f, Frame::Done).then_some(())
        })
        .unwrap();
    f.wait_over();
    let host = hako_cgroup::Host::detect().unwrap();
    let path = hako_cgroup::CgroupPath::parse(&name).unwrap();
    hako_cgroup::Cgroup::at(&host, &path).delete().unwrap();
}

/// The event command may start the next monitor in the same place, as a
/// restart does, while the first one still waits for it.
fn successor() {
    let mut f = Fixture::new("sleep 0.05; exit 1");
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n[ -e again ] && exit 0\ntouch again\nrm -f root/*\n\
         exec {} --config \"$PWD/config.json\"\n",
        exe.to_str().unwrap()
    );
    f.config.on_event = vec![f.script("restart", &script)];
    f.create();
    start(&mut f.client());
    assert_eq!(f.wait_exit().code, Some(1));
    eventually("second container", || {
        f.journal() == ["created", "started", "exited", "created"]
    });
    // The first one has not taken the second one's socket with it.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let mut client = f.client();
    assert_eq!(status(&mut client).state, State::Created);
    start(&mut client);
    eventually("second end", || f.journal().len() == 6);
    f.wait_over();
}

fn survivors_may_write_a_while() {
    // A process that outlives the first one, as without a pid namespace.
    let long = patience(1);
    let f = Fixture::new(&format!(
        "(sleep 0.05; echo late; exec sleep {}) & echo first; exit 5",
        long.as_secs()
    ));
    let start = std::time::Instant::now();
    let (stdout, _, exit) = f.run();
    assert_eq!(exit.code, Some(5));
    assert_eq!(stdout, "first\nlate\n");
    assert!(
        start.elapsed() < long.mul_f32(0.95),
        "waited for the survivor"
    );
}
