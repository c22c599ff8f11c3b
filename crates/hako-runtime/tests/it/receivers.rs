//! Handles on processes over sockets: runc's `--pidfd-socket`, crun's
//! annotation `run.oci.pidfd_receiver`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::json;

use crate::harness::{Bundle, until};

fn listen(b: &Bundle, name: &str) -> (UnixListener, PathBuf) {
    let path = b.path(name);
    (UnixListener::bind(&path).unwrap(), path)
}

/// The text and the handle that came; nothing comes after them.
fn receive(listener: &UnixListener) -> (String, OwnedFd) {
    let (call, _) = listener.accept().unwrap();
    let hear = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 64];
        let mut slices = [IoSliceMut::new(&mut text)];
        let n = recvmsg(&call, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC);
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        let n = n.unwrap().bytes;
        (String::from_utf8_lossy(&text[..n]).into_owned(), fds)
    };
    let (text, mut fds) = hear();
    assert_eq!(fds.len(), 1);
    assert!(hear().0.is_empty());
    (text, fds.remove(0))
}

fn pid_of(pidfd: &OwnedFd) -> i32 {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("Pid:"));
    line.unwrap().trim().parse().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn create_run_and_exec_send_a_handle() {
    for verb in ["create", "run"] {
        let b = Bundle::sleeper();
        let (listener, path) = listen(&b, "pidfd");
        let mut flags = vec!["--pidfd-socket", text(&path)];
        flags.extend((verb == "run").then_some("--detach"));
        b.verb(verb, &flags).ok();
        let (said, pidfd) = receive(&listener);
        assert_eq!((said.as_str(), pid_of(&pidfd)), ("standard", b.pid()));
        if verb == "run" {
            let (listener, path) = listen(&b, "exec-pidfd");
            let file = b.path("pid");
            let flags = ["-d", "--pidfd-socket", text(&path), "--pid-file"];
            let mut args = flags.to_vec();
            args.extend([text(&file), &b.id, "/bin/sleep", "1000"]);
            let mut all = vec!["exec"];
            all.extend(args);
            b.call(&all).ok();
            let (said, pidfd) = receive(&listener);
            let pid: i32 = std::fs::read_to_string(file).unwrap().parse().unwrap();
            assert_eq!((said.as_str(), pid_of(&pidfd)), ("setns", pid));
        }
        pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
        b.wait_status("stopped");
    }
}

/// Where a first stage makes the process, the handle is the process'.
#[test]
fn a_staged_process_is_the_one_that_is_told() {
    let other = Bundle::sleeper();
    other.up();
    let b = Bundle::sleeper();
    let b = b.namespace("ipc", Some(&format!("/proc/{}/ns/ipc", other.pid())));
    let (listener, path) = listen(&b, "pidfd");
    b.verb("run", &["-d", "--pidfd-socket", text(&path)]).ok();
    assert_eq!(pid_of(&receive(&listener).1), b.pid());
}

#[test]
fn the_annotation_of_crun_is_heeded() {
    let b = Bundle::sleeper();
    let (listener, path) = listen(&b, "pidfd");
    let b = b.edit(|c| c["annotations"] = json!({ "run.oci.pidfd_receiver": path }));
    b.up();
    let (said, pidfd) = receive(&listener);
    assert_eq!((said.as_str(), pid_of(&pidfd)), (" ", b.pid()));
}

#[test]
fn a_receiver_that_is_not_there_is_an_error_and_leaves_nothing() {
    let b = Bundle::sleeper();
    let path = b.path("nobody");
    let out = b.verb("create", &["--pidfd-socket", text(&path)]).fails();
    assert!(
        out.contains("--pidfd-socket") && out.contains("nobody"),
        "{out}"
    );
    assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
    let b = b.edit(|c| c["annotations"] = json!({ "run.oci.pidfd_receiver": path }));
    assert!(b.create().fails().contains("run.oci.pidfd_receiver"));
    let b = b.edit(|c| c["annotations"] = json!({}));
    b.up();
    let out = b.call(&["exec", "--pidfd-socket", text(&path), &b.id, "true"]);
    assert!(out.fails().contains("--pidfd-socket"));
    until(|| b.status() == "running");
}
