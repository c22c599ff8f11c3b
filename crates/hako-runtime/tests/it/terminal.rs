//! Terminals: sent over a console socket, and in the foreground.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::harness::{BIN, Bundle, until};

fn with_terminal(script: &str) -> Bundle {
    Bundle::sh(script).edit(|c| c["process"]["terminal"] = json!(true))
}

/// Receives what the runtime sends over the socket.
pub fn receive(listener: &UnixListener) -> std::fs::File {
    let (call, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let n = recvmsg(
        &call,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    assert!(name[..n.bytes].starts_with(b"/dev/"), "{name:?}");
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    assert_eq!(fds.len(), 1);
    fds.remove(0).into()
}

pub fn read_until(master: &mut std::fs::File, wanted: &str) -> String {
    let mut all = String::new();
    let mut buffer = [0; 1024];
    while !all.contains(wanted) {
        match master.read(&mut buffer) {
            Ok(n) if n > 0 => all.push_str(&String::from_utf8_lossy(&buffer[..n])),
            other => panic!("{other:?} after {all:?}"),
        }
    }
    all
}

#[test]
fn the_console_socket_gets_the_terminal() {
    let b = with_terminal(
        "tty; test -t 0 && test -t 2 && stty size; read line; echo got $line; echo err >&2; sleep 1000",
    );
    let b = b.edit(|c| c["process"]["consoleSize"] = json!({ "height": 12, "width": 34 }));
    let path = b.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    b.verb("create", &["--console-socket", path.to_str().unwrap()])
        .ok();
    let mut master = receive(&listener);
    b.start().ok();
    let text = read_until(&mut master, "12 34");
    assert!(
        text.starts_with("/dev/pts/0\r\n") || text.starts_with("/dev/console\r\n"),
        "{text}"
    );
    master.write_all(b"hello\n").unwrap();
    let text = read_until(&mut master, "err\r\n");
    assert!(text.contains("got hello\r\n"), "{text}");
    // exec's own terminal, and the container's console.
    let exec = b.path("exec-socket");
    let listener = UnixListener::bind(&exec).unwrap();
    b.call(&[
        "exec",
        "-d",
        "-t",
        "--console-socket",
        exec.to_str().unwrap(),
        &b.id,
        "sh",
        "-c",
        "tty; echo to console > /dev/console; sleep 1000",
    ])
    .ok();
    let mut second = receive(&listener);
    assert!(read_until(&mut second, "\n").starts_with("/dev/pts/1"));
    read_until(&mut master, "to console");
}

#[test]
fn a_long_socket_name_works() {
    let b = with_terminal("echo hello; sleep 1000");
    let deep = b.path(&"d".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let short = b.path("s");
    let listener = UnixListener::bind(&short).unwrap();
    let long = deep.join("socket");
    std::fs::rename(&short, &long).unwrap();
    b.verb("run", &["-d", "--console-socket", long.to_str().unwrap()])
        .ok();
    read_until(&mut receive(&listener), "hello");
}

#[test]
fn the_terminal_belongs_to_the_user_also_in_a_user_namespace() {
    for user_namespace in [false, true] {
        let mut b = with_terminal(
            "echo $(stat -c %u /dev/pts/0) > /dev/tty; test -c /dev/console && echo console; sleep 1000",
        );
        b = b.edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
        if user_namespace {
            b = b.user_namespace();
        }
        let path = b.path("socket");
        let listener = UnixListener::bind(&path).unwrap();
        b.verb("run", &["-d", "--console-socket", path.to_str().unwrap()])
            .ok();
        let text = read_until(&mut receive(&listener), "console");
        assert!(text.starts_with("1000\r\n"), "{text}");
    }
}

#[test]
fn terminal_and_socket_belong_together() {
    let b = with_terminal("true");
    assert!(b.create().fails().contains("--console-socket is needed"));
    assert!(
        b.verb("run", &["-d"])
            .fails()
            .contains("--console-socket is needed")
    );
    let b = b.edit(|c| c["process"]["terminal"] = json!(false));
    let path = b.path("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let out = b.verb("create", &["--console-socket", path.to_str().unwrap()]);
    assert!(out.fails().contains("process.terminal is not set"));
    let b = b.edit(|c| c["process"]["terminal"] = json!(true));
    let out = b.verb(
        "create",
        &["--console-socket", b.path("none").to_str().unwrap()],
    );
    assert!(out.fails().contains("console socket"));
    assert!(b.cgroups().is_empty());
}

/// `line` in a terminal of script(1); types `input` when it says "ready".
fn in_terminal(line: &str, input: &str) -> (String, Option<i32>) {
    let mut script = Command::new("timeout")
        .args(["-k", "5", "60", "script", "-qec", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) of bsdutils is needed");
    let mut stdin = script.stdin.take().unwrap();
    let mut stdout = std::fs::File::from(OwnedFd::from(script.stdout.take().unwrap()));
    let mut text = String::new();
    if !input.is_empty() {
        text = read_until(&mut stdout, "ready");
    }
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
        stdin
    });
    stdout.read_to_string(&mut text).unwrap();
    drop(writer.join());
    (text, script.wait().unwrap().code())
}

#[test]
fn run_and_exec_in_the_foreground_have_the_callers_terminal() {
    let b = with_terminal("stty size; echo ready; read x; echo got $x; exit 5");
    let run = format!(
        "stty rows 21 cols 43; {BIN} --root {} run -b {} {}",
        b.records().display(),
        b.dir.path().display(),
        b.id
    );
    let (text, code) = in_terminal(&run, "word\n");
    assert!(
        text.contains("21 43") && text.contains("got word"),
        "{text:?}"
    );
    assert_eq!(code, Some(5));
    let mut b = b.edit(|c| c["process"]["terminal"] = json!(false));
    b.args(&["/bin/sleep", "1000"]);
    b.up();
    let exec = format!(
        "stty rows 22 cols 44; {BIN} --root {} exec -t {} sh -c 'stty size; tty; exit 6'",
        b.records().display(),
        b.id
    );
    let (text, code) = in_terminal(&exec, "");
    assert!(
        text.contains("22 44") && text.contains("/dev/pts/0"),
        "{text:?}"
    );
    assert_eq!(code, Some(6));
}

#[test]
fn much_input_and_output_at_once_do_not_block_each_other() {
    // cat writes back what it reads, and the terminal echoes it.
    let b = with_terminal("stty raw; echo ready; head -c 300000 | cat; echo; echo done");
    let run = format!(
        "{BIN} --root {} run -b {} {}",
        b.records().display(),
        b.dir.path().display(),
        b.id
    );
    let (text, code) = in_terminal(&run, &"0123456789".repeat(40_000));
    assert_eq!(code, Some(0));
    assert!(text.contains("done"), "{}", text.len());
    assert!(text.len() > 300_000, "{}", text.len());
}

/// What comes out of the terminal may go into a pipe, as here, or a file.
#[test]
fn lines_from_a_terminal_have_no_carriage_returns() {
    let out = with_terminal("echo one; test -t 1 && echo two").run();
    assert_eq!((out.code, out.stdout.as_str()), (0, "one\ntwo\n"));
}

#[test]
fn a_terminal_that_is_closed_and_opened_again_goes_on() {
    let b =
        with_terminal("exec <&- >&- 2>&-; sleep 0.3; echo back > /dev/console; sleep 0.1; exit 3");
    let run = format!(
        "{BIN} --root {} run -b {} {}",
        b.records().display(),
        b.dir.path().display(),
        b.id
    );
    let (text, code) = in_terminal(&run, "");
    assert_eq!((text.trim(), code), ("back", Some(3)));
}

#[test]
fn what_is_no_multiplexer_is_refused() {
    // CVE-2025-52565: a file of the image in the multiplexer's place.
    let b = with_terminal("true").without_mount("/dev/pts");
    let path = b.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let dev = b.path("dev");
    std::fs::create_dir_all(dev.join("pts")).unwrap();
    std::fs::write(dev.join("pts/ptmx"), "").unwrap();
    let b = b.bind(&dev.join("pts"), "/dev/pts", &["bind"]);
    let out = b.verb("create", &["--console-socket", path.to_str().unwrap()]);
    assert!(out.fails().contains("not the multiplexer"), "{out:#?}");
    let made = Command::new("mknod")
        .arg(dev.join("pts/zero"))
        .args(["c", "1", "5"])
        .status();
    assert!(made.unwrap().success());
    std::fs::rename(dev.join("pts/zero"), dev.join("pts/ptmx")).unwrap();
    let out = b.verb("create", &["--console-socket", path.to_str().unwrap()]);
    assert!(out.fails().contains("not the multiplexer"), "{out:#?}");
    drop(listener);
    until(|| b.cgroups().is_empty());
}
