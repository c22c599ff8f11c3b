//! Several clients, slow ones and bad ones.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hako_monitor::protocol::{Attach, Frame, Hello};
use hako_monitor::{Client, Driver};

use crate::Test;
use crate::support::{Fixture, collect, eventually, patience, read_until, start, status};

pub(crate) const TESTS: &[Test] = &[
    ("clients::several", several),
    ("clients::tail", tail),
    ("clients::slow_one_is_dropped", slow_one_is_dropped),
    (
        "clients::slow_one_with_back_pressure",
        slow_one_with_back_pressure,
    ),
    ("clients::bad_ones", bad_ones),
    ("clients::log_is_reopened", log_is_reopened),
];

fn several() {
    let f = Fixture::new("i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done");
    f.create();
    let mut clients: Vec<Client> = (0..5).map(|_| f.attached(false)).collect();
    assert_eq!(status(&mut f.client()).clients, 6);
    clients[0].send(&Frame::Start).unwrap();
    let outputs: Vec<String> = clients
        .iter_mut()
        .map(|c| {
            let answers = collect(c);
            assert_eq!(answers.exit.unwrap().code, Some(0));
            answers.stdout
        })
        .collect();
    assert_eq!(outputs[0].lines().count(), 500);
    assert!(outputs.iter().all(|o| *o == outputs[0]));
    assert_eq!(f.log().lines().count(), 501);
}

fn tail() {
    let f = Fixture::new("echo one; echo two >&2; exec sleep 60");
    f.create();
    start(&mut f.client());
    eventually("output", || f.log().contains("two"));
    let mut client = f.client();
    client
        .send(&Frame::Attach(Attach {
            stdout: true,
            tail: 1000,
            ..Attach::default()
        }))
        .unwrap();
    let output = read_until(&mut client, "one\n");
    assert!(!output.contains("two"), "stderr was not asked for");
}

/// Five megabytes for a client that does not read: neither the container nor
/// the log waits for it.
fn slow_one_is_dropped() {
    let mut f = Fixture::new("head -c 5000000 /dev/zero | tr '\\0' 'x'; echo; exit 0");
    f.config.log.driver = Driver::JsonFile;
    f.create();
    let mut slow = f.client();
    slow.send(&Frame::Attach(Attach {
        stdout: true,
        ..Attach::default()
    }))
    .unwrap();
    start(&mut f.client());
    assert_eq!(f.wait_exit().code, Some(0));
    let text = f.log();
    let logged: usize = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .filter(|v| v["log"].as_str().unwrap().starts_with('x'))
        .map(|v| v["log"].as_str().unwrap().trim_end().len())
        .sum();
    assert_eq!(logged, 5_000_000);
    let answers = collect(&mut slow);
    assert!(answers.stdout.len() < 5_000_000);
    assert_eq!(answers.exit, None);
    assert!(
        answers.errors[0].contains("not read fast enough"),
        "{:?}",
        answers.errors
    );
    f.wait_over();
}

/// With back-pressure the container waits, and everything arrives.
fn slow_one_with_back_pressure() {
    let f = Fixture::new(
        "head -c 3000000 /dev/zero | tr '\\0' 'x'; echo done > \"$(dirname \"$0\")/wrote\"; exit 9",
    );
    f.create();
    let mut client = f.attached(false);
    client.send(&Frame::Start).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        !f.config.bundle.join("wrote").exists(),
        "the container did not wait"
    );
    let answers = collect(&mut client);
    assert_eq!(answers.stdout.len(), 3_000_000);
    assert_eq!(answers.exit.unwrap().code, Some(9));

    // One that goes away holds nobody back.
    let f = Fixture::new("head -c 3000000 /dev/zero | tr '\\0' 'x'; exit 8");
    f.create();
    let mut client = f.attached(false);
    client.send(&Frame::Start).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(client);
    assert_eq!(f.wait_exit().code, Some(8));
}

fn bad_ones() {
    let f = Fixture::new("exec sleep 60");
    f.create();
    let hello = |version| {
        Frame::Hello(Hello {
            version,
            id: String::new(),
        })
        .encode()
    };
    for bytes in [
        Frame::Start.encode(),
        vec![3, 255, 255, 255, 255],
        vec![1, 0, 0, 0, 1, b'x'],
        hello(99),
        [hello(1), Frame::Started.encode()].concat(),
    ] {
        let mut socket = UnixStream::connect(f.config.run_dir.join("monitor.sock")).unwrap();
        socket.write_all(&bytes).unwrap();
        // Closed by the monitor, with or without words.
        socket.set_read_timeout(Some(patience(5))).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
    }
    let mut client = f.client();
    assert_eq!(client.hello().version, 1);
    client.send(&Frame::Unknown(77)).unwrap();
    client.send(&Frame::Stdin(b"x".to_vec())).unwrap();
    assert!(matches!(client.receive().unwrap(), Some(Frame::Error(_))));
    assert_eq!(status(&mut client).clients, 1);
}

fn log_is_reopened() {
    let f = Fixture::new(
        "echo a; while ! [ -e \"$(dirname \"$0\")/go\" ]; do sleep 0.01; done; echo b",
    );
    f.create();
    start(&mut f.client());
    eventually("first line", || f.log().contains("F a"));
    let moved = f.config.dir.join("log.moved");
    std::fs::rename(&f.config.log.path, &moved).unwrap();
    f.client()
        .request(&Frame::ReopenLog, |f| {
            matches!(f, Frame::Done).then_some(())
        })
        .unwrap();
    std::fs::write(f.config.bundle.join("go"), "").unwrap();
    f.wait_exit();
    assert!(f.log().contains("F b") && !f.log().contains("F a"));
}
