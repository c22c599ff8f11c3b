//! A systemd of the tests: a unix socket that answers as each test says.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::address::Address;
use super::message::tests::{empty, encode};
use super::wire::{Reader, Writer};
use super::*;
use crate::resources::tests::Fake;

/// Short, for tests of silence.
const SHORT: Duration = Duration::from_millis(300);

/// Systemd's side of a connection.
struct Server {
    stream: UnixStream,
    buffer: Vec<u8>,
    serial: u32,
}

impl Server {
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim().to_owned()
    }

    fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn greet(&mut self) {
        assert_eq!(self.line(), "\0AUTH EXTERNAL");
        assert_eq!(self.line(), "DATA");
        assert_eq!(self.line(), "BEGIN");
        self.say(b"DATA\r\nOK 1234\r\n");
    }

    /// The next call; none when the other side is gone.
    fn call(&mut self) -> Option<Message> {
        loop {
            if let Some((message, len)) = Message::parse(&self.buffer).unwrap() {
                self.buffer.drain(..len);
                return Some(message);
            }
            let mut part = [0; 1024];
            let len = self.stream.read(&mut part).ok().filter(|n| *n > 0)?;
            self.buffer.extend_from_slice(part.get(..len).unwrap());
        }
    }

    fn send(&mut self, mut message: Message) {
        self.serial += 1;
        message.serial = self.serial;
        message.sender = ":1.7".to_owned();
        // In pieces, as a stream may come.
        for part in encode(&message).chunks(7) {
            self.say(part);
        }
    }

    fn answer(&mut self, to: u32, signature: &str, fill: impl FnOnce(&mut Writer)) {
        let mut w = Writer::default();
        fill(&mut w);
        let mut m = empty(Kind::Return);
        m.reply_to = Some(to);
        m.signature = signature.to_owned();
        m.body = w.bytes;
        self.send(m);
    }

    fn refuse(&mut self, to: u32, name: &str) {
        let mut w = Writer::default();
        w.string("no, thanks");
        let mut m = empty(Kind::Error);
        m.reply_to = Some(to);
        m.error = format!("org.freedesktop.systemd1.{name}");
        m.signature = "s".to_owned();
        m.body = w.bytes;
        self.send(m);
    }

    fn removed(&mut self, job: &str, result: &str, sender: &str) {
        let mut w = Writer::default();
        w.u32(1);
        for text in [job, "x.scope", result] {
            w.string(text);
        }
        let mut m = empty(Kind::Signal);
        m.interface = "org.freedesktop.systemd1.Manager".to_owned();
        m.member = "JobRemoved".to_owned();
        m.signature = "uoss".to_owned();
        m.body = w.bytes;
        self.serial += 1;
        m.serial = self.serial;
        m.sender = sender.to_owned();
        let bytes = encode(&m);
        self.say(&bytes);
    }

    /// Answers what is asked of the properties; gives the first other call.
    fn until_work(&mut self) -> Option<Message> {
        loop {
            let call = self.call()?;
            match call.member.as_str() {
                "Get" => {
                    let mut r = Reader::new(&call.body);
                    r.string().unwrap();
                    let value = match r.string().unwrap() {
                        "Version" => "252.38-1~deb12u1",
                        "ControlGroup" => "/up",
                        other => panic!("{other}"),
                    };
                    self.answer(call.serial, "v", |w| {
                        w.signature("s");
                        w.string(value);
                    });
                }
                "Hello" | "AddMatch" | "Subscribe" => self.answer(call.serial, "", |_| {}),
                _ => return Some(call),
            }
        }
    }
}

/// Connects to a server that runs `script`, and does `work`.
fn with<T>(
    bus: bool,
    script: impl FnOnce(&mut Server) + Send,
    work: impl FnOnce(Result<Manager>) -> T,
) -> T {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut server = Server {
                stream,
                buffer: Vec::new(),
                serial: 100,
            };
            script(&mut server);
        });
        let address = Address {
            socket: path.to_str().unwrap().to_owned(),
            bus,
        };
        work(Manager::first(vec![Ok(address)], true, SHORT))
    })
}

fn start(manager: &mut Manager) -> Result<()> {
    let unit = Unit::resolve(Some("a-b.slice:p:n"), "c", false)?;
    assert_eq!(
        manager.path(&unit)?.as_str(),
        "/up/a.slice/a-b.slice/p-n.scope"
    );
    let resources = Resources::from_slice(br#"{"memory":{"limit":4096}}"#).unwrap();
    manager.start(&Scope {
        unit: &unit,
        pid: 42,
        description: "container c",
        resources: &resources,
        devices: Devices::Apply,
        annotations: &BTreeMap::new(),
    })
}

fn text(e: &Error) -> String {
    use std::error::Error as _;
    match e.source() {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}

#[test]
fn a_scope_is_started() {
    for bus in [false, true] {
        let script = |s: &mut Server| {
            s.greet();
            let call = s.until_work().unwrap();
            assert_eq!(call.member, "StartTransientUnit");
            assert_eq!(call.signature, "ssa(sv)a(sa(sv))");
            let mut r = Reader::new(&call.body);
            assert_eq!(r.string().unwrap(), "p-n.scope");
            assert_eq!(r.string().unwrap(), "fail");
            r.skip("a(sv)").unwrap();
            assert_eq!(r.u32().unwrap(), 0);
            r.align(8).unwrap();
            assert!(r.is_empty());
            // Other people's jobs, and others who speak of ours; and ours is
            // over before its number is told.
            s.removed("/job/1", "failed", ":1.7");
            if bus {
                s.removed("/job/2", "failed", ":1.8");
            }
            s.removed("/job/2", "done", ":1.7");
            s.answer(call.serial + 1000, "o", |w| w.string("/job/1"));
            s.answer(call.serial, "o", |w| w.string("/job/2"));
            assert_eq!(s.until_work(), None);
        };
        with(bus, script, |m| start(&mut m.unwrap()).unwrap());
    }
}

#[test]
fn a_unit_of_that_name_makes_room() {
    let script = |s: &mut Server| {
        s.greet();
        let call = s.until_work().unwrap();
        s.refuse(call.serial, "UnitExists");
        let call = s.until_work().unwrap();
        assert_eq!(call.member, "ResetFailedUnit");
        s.refuse(call.serial, "NoSuchUnit");
        let call = s.until_work().unwrap();
        s.answer(call.serial, "o", |w| w.string("/job/2"));
        s.removed("/job/2", "done", ":1.7");
        s.until_work();
    };
    with(false, script, |m| start(&mut m.unwrap()).unwrap());
}

#[test]
fn what_systemd_says_is_told() {
    let script = |s: &mut Server| {
        s.greet();
        let call = s.until_work().unwrap();
        s.refuse(call.serial, "BadUnitSetting");
        let call = s.until_work().unwrap();
        s.answer(call.serial, "o", |w| w.string("/job/2"));
        s.removed("/job/2", "timeout", ":1.7");
        let reset = s.until_work().unwrap();
        assert_eq!(reset.member, "ResetFailedUnit");
        s.answer(reset.serial, "", |_| {});
        s.until_work();
    };
    with(false, script, |m| {
        let mut manager = m.unwrap();
        assert_eq!(
            text(&start(&mut manager).unwrap_err()),
            "cannot start p-n.scope by systemd: no, thanks \
             (org.freedesktop.systemd1.BadUnitSetting)"
        );
        assert_eq!(
            text(&start(&mut manager).unwrap_err()),
            "cannot start p-n.scope by systemd: the job ended with \"timeout\""
        );
    });
}

#[test]
fn silence_and_the_end_are_errors() {
    let silent = |s: &mut Server| {
        s.greet();
        s.until_work();
        assert_eq!(s.call(), None);
    };
    let begin = Instant::now();
    let e = with(false, silent, |m| start(&mut m.unwrap()).unwrap_err());
    assert!(text(&e).contains("no answer within"), "{}", text(&e));
    assert!(begin.elapsed() < Duration::from_secs(20));

    let gone = |s: &mut Server| {
        s.greet();
        let call = s.until_work().unwrap();
        let mut m = empty(Kind::Return);
        m.reply_to = Some(call.serial);
        let half = encode(&m);
        s.say(half.get(..20).unwrap());
        s.stream.shutdown(std::net::Shutdown::Both).unwrap();
    };
    let e = with(false, gone, |m| start(&mut m.unwrap()).unwrap_err());
    assert!(
        text(&e).ends_with("the connection was closed"),
        "{}",
        text(&e)
    );

    let nonsense = |s: &mut Server| {
        s.greet();
        s.until_work();
        s.say(&[b'x'; 64]);
        s.call();
    };
    let e = with(false, nonsense, |m| start(&mut m.unwrap()).unwrap_err());
    assert!(text(&e).contains("makes no sense"), "{}", text(&e));
}

#[test]
fn who_we_are_may_be_refused() {
    let refused = |s: &mut Server| {
        s.line();
        s.say(b"REJECTED\r\n");
        s.stream.read_to_end(&mut Vec::new()).unwrap();
    };
    let e = with(false, refused, |m| m.unwrap_err());
    let e = text(&e);
    assert!(e.starts_with("cannot reach systemd: tried /"), "{e}");
    assert!(
        e.ends_with("/socket (authentication is refused: \"REJECTED\")"),
        "{e}"
    );
    let endless = |s: &mut Server| s.say(&[b'x'; 9000]);
    assert!(with(false, endless, |m| m.is_err()));
}

#[test]
fn nobody_there() {
    let address = |socket: &str| {
        Ok(Address {
            socket: socket.to_owned(),
            bus: false,
        })
    };
    let candidates = vec![
        address("/nonexistent/a"),
        Err(BusError::Address),
        address(&"x".repeat(200)),
    ];
    let e = Manager::first(candidates, true, SHORT).unwrap_err();
    let e = e.to_string();
    assert!(
        e.starts_with(
            "cannot reach systemd: tried /nonexistent/a (cannot connect: no such file or directory), \
             the address is not that of a unix socket, xxx"
        ),
        "{e}"
    );
    let e = Manager::first(Vec::new(), true, SHORT).unwrap_err();
    assert!(e.to_string().contains("XDG_RUNTIME_DIR"), "{e}");
}

#[test]
fn stop_and_update() {
    let script = |s: &mut Server| {
        s.greet();
        let call = s.until_work().unwrap();
        assert_eq!(call.member, "SetUnitProperties");
        let mut r = Reader::new(&call.body);
        assert_eq!((r.string().unwrap(), r.u32().unwrap()), ("p-n.scope", 1));
        s.answer(call.serial, "", |_| {});
        let call = s.until_work().unwrap();
        assert_eq!(call.member, "StopUnit");
        s.answer(call.serial, "o", |w| w.string("/job/3"));
        s.removed("/job/3", "done", ":1.7");
        let call = s.until_work().unwrap();
        assert_eq!(call.member, "ResetFailedUnit");
        s.refuse(call.serial, "NoSuchUnit");
        let call = s.until_work().unwrap();
        s.refuse(call.serial, "NoSuchUnit");
        assert_eq!(s.until_work(), None);
    };
    let fake = Fake::v2(
        "memory",
        &[("memory.max", "max\n"), ("memory.current", "500\n")],
    );
    let cgroup = Cgroup::at(&fake.host, &CgroupPath::parse("/c").unwrap());
    with(false, script, |m| {
        let mut manager = m.unwrap();
        let resources = |json: &str| Resources::from_slice(json.as_bytes()).unwrap();
        let mut update = |json: &str| manager.update("p-n.scope", &cgroup, &resources(json));
        update("{}").unwrap();
        update(r#"{"memory":{"limit":4096}}"#).unwrap();
        // Refused before systemd hears of it.
        let low = r#"{"memory":{"limit":400,"checkBeforeUpdate":true}}"#;
        assert!(
            update(low)
                .unwrap_err()
                .to_string()
                .contains("below the current usage")
        );
        manager.stop("p-n.scope").unwrap();
        manager.stop("p-n.scope").unwrap();
    });
}

#[test]
fn versions() {
    for (text, number) in [
        ("252.38-1~deb12u1", Some(252)),
        ("v245", Some(245)),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(version(text), number);
    }
}
