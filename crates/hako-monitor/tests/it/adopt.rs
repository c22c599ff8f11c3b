//! The monitor's death, which is not the container's.

use hako_monitor::protocol::{Frame, State};
use hako_monitor::{Known, Ready, Stdin};

use crate::Test;
use crate::support::{
    Fixture, collect, ended_elsewhere, eventually, kill, read_until, start, status,
};

pub(crate) const TESTS: &[Test] = &[
    ("adopt::while_it_writes", while_it_writes),
    ("adopt::kept_stdin", kept_stdin),
    ("adopt::created_only", created_only),
    ("adopt::of_one_that_is_dying", of_one_that_is_dying),
    ("adopt::too_late", too_late),
    ("adopt::only_one", only_one),
];

const COUNT: &str =
    "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.002; done; exit 23";

fn kill_monitor(f: &Fixture) {
    let monitor = status(&mut f.client()).monitor_pid;
    kill(monitor, 9);
    eventually("dead monitor", || {
        hako_monitor::Client::connect(&f.config.run_dir).is_err()
    });
}

fn adopt(f: &mut Fixture) -> Ready {
    f.config.adopt = true;
    f.monitor()
}

fn while_it_writes() {
    let mut f = Fixture::new(COUNT);
    let pid = f.create();
    start(&mut f.client());
    eventually("some output", || f.log().contains("line 20"));
    kill_monitor(&f);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(adopt(&mut f), Ready::Adopted { pid, running: true });
    let mut client = f.attached(false);
    assert_eq!(status(&mut f.client()).state, State::Running);
    let exit = collect(&mut client).exit.unwrap();
    // Not a child any more, and still no guess.
    ended_elsewhere(&exit, 23);
    assert!(exit.started_at.is_some());
    let log = f.log();
    assert!(
        log.contains("stderr F [hako-monitor: output may be missing here: "),
        "{log}"
    );
    // What was in the FIFO has waited there; at most what the first monitor
    // had read and not yet written is gone.
    let lines = log.lines().filter(|l| l.contains(" F line ")).count();
    assert!((290..=300).contains(&lines), "{lines}");
    assert!(log.contains("line 299"));
    assert_eq!(f.journal(), ["created", "started", "adopted", "exited"]);
    f.wait_over();
}

fn kept_stdin() {
    let mut f = Fixture::new("cat");
    f.config.stdin = Stdin::Keep;
    f.create();
    let mut client = f.attached(true);
    client.send(&Frame::Start).unwrap();
    client.send_stdin(b"one\n").unwrap();
    read_until(&mut client, "one\n");
    // Neither its client's end nor the monitor's is the end of the input.
    client.send(&Frame::StdinEof).unwrap();
    drop(client);
    kill_monitor(&f);
    let ready = adopt(&mut f);
    assert!(
        matches!(ready, Ready::Adopted { running: true, .. }),
        "{ready:?}"
    );
    let mut client = f.attached(true);
    client.send_stdin(b"two\n").unwrap();
    read_until(&mut client, "two\n");
    f.client()
        .request(&Frame::Signal(15), |f| {
            matches!(f, Frame::Done).then_some(())
        })
        .unwrap();
    let exit = collect(&mut client).exit.unwrap();
    ended_elsewhere(&exit, 128 + 15);
    assert_eq!(exit.signal, exit.code.map(|_| 15));
}

fn created_only() {
    let mut f = Fixture::new("echo hello");
    f.create();
    kill_monitor(&f);
    let ready = adopt(&mut f);
    assert!(
        matches!(ready, Ready::Adopted { running: true, .. }),
        "{ready:?}"
    );
    let mut client = f.attached(false);
    assert_eq!(status(&mut f.client()).state, State::Created);
    client.send(&Frame::Start).unwrap();
    let answers = collect(&mut client);
    assert!(
        answers.started && answers.stdout == "hello\n",
        "{answers:?}"
    );
    ended_elsewhere(&answers.exit.unwrap(), 0);
}

/// The kernel closes a killed monitor's socket before it lets go of its lock.
fn of_one_that_is_dying() {
    use rustix::fs::{FlockOperation, flock};
    let mut f = Fixture::new("exec sleep 60");
    f.create();
    kill_monitor(&f);
    let lock = std::fs::File::open(f.config.run_dir.join("monitor.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let dying = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(lock);
    });
    let ready = adopt(&mut f);
    dying.join().unwrap();
    assert!(
        matches!(ready, Ready::Adopted { running: true, .. }),
        "{ready:?}"
    );
}

/// The container ends while nobody looks.
fn too_late() {
    let mut f = Fixture::new("exec sleep 60");
    let hook = "#!/bin/sh\ntouch \"$(dirname \"$0\")/hooked\"\n";
    f.config.on_event = vec![f.script("hook", hook)];
    let pid = f.create();
    start(&mut f.client());
    kill_monitor(&f);
    kill(pid.try_into().unwrap(), 9);
    eventually("reaped container", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    assert_eq!(
        adopt(&mut f),
        Ready::Adopted {
            pid,
            running: false
        }
    );
    let exit = f.wait_exit();
    assert_eq!(
        (exit.code, exit.signal, exit.known),
        (None, None, Known::Unknown)
    );
    f.wait_over();
    assert!(f.temp.path().join("hooked").exists());
    assert!(f.log().contains("and then the container"));

    // A process that merely has the number is not the container.
    let me = std::process::id();
    std::fs::write(
        f.config.run_dir.join("init.json"),
        format!(r#"{{"version":1,"pid":{me},"start_time":1,"started_at":null}}"#),
    )
    .unwrap();
    assert!(matches!(f.monitor(), Ready::Adopted { running: false, .. }));
    f.wait_over();
    std::fs::remove_file(f.config.run_dir.join("init.json")).unwrap();
    assert!(matches!(f.monitor(), Ready::Error { .. }));
}

fn only_one() {
    let mut f = Fixture::new("exec sleep 60");
    f.create();
    let Ready::Error { message, .. } = adopt(&mut f) else {
        panic!("two monitors");
    };
    assert_eq!(message, "this container has a living monitor already");
    assert_eq!(status(&mut f.client()).state, State::Created);
}
