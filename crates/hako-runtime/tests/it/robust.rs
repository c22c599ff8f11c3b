//! Again and again, and with sudden ends of the runtime.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Bundle, until};

#[test]
fn two_hundred_times() {
    let b = Bundle::new();
    for _ in 0..200 {
        b.run().ok();
    }
    assert!(b.cgroups().is_empty());
    assert_eq!(fs::read_dir(b.records()).unwrap().count(), 0);
}

#[test]
fn two_hundred_times_in_a_running_container() {
    let b = Bundle::sleeper();
    b.up();
    for _ in 0..200 {
        b.exec(&["true"]).ok();
    }
}

/// Processes of the host that are in a cgroup of this bundle.
fn processes(b: &Bundle) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().map(|e| e.unwrap().path());
    all.filter(|p| {
        let cgroup = fs::read_to_string(p.join("cgroup")).unwrap_or_default();
        let state = fs::read_to_string(p.join("stat")).unwrap_or_default();
        cgroup.contains(&b.cgroup) && !state.contains(") Z ")
    })
    .map(|p| p.display().to_string())
    .collect()
}

fn killed_at_any_moment(verb: &str, mut b: Bundle) {
    let dir = b.dir.path().to_str().unwrap().to_owned();
    let args: Vec<String> = [verb, "-b", &dir, &b.id].map(str::to_owned).to_vec();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let start = Instant::now();
    b.call(&args).ok();
    let whole = start.elapsed();
    b.call(&["delete", "--force", &b.id]).ok();
    b.args(&["/bin/sleep", "1000"]);
    let mut left_something = 0;
    for point in 0..30u32 {
        let mut child = b
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * point / 25);
        child.kill().unwrap();
        child.wait().unwrap();
        left_something += u32::from(!b.cgroups().is_empty());
        // What is still setting itself up finds the runtime gone.
        b.call(&["list"]).ok();
        b.call(&["delete", "--force", &b.id]).ok();
        assert!(b.cgroups().is_empty(), "point {point}: {:?}", b.cgroups());
        assert_eq!(
            fs::read_dir(b.records()).map_or(0, Iterator::count),
            0,
            "point {point}"
        );
        until(|| processes(&b).is_empty());
    }
    assert!(left_something > 3, "the ends were not in the middle");
    // And the id can be used again.
    b.args(&["/bin/true"]);
    b.run().ok();
}

#[test]
fn create_killed_at_any_moment_leaves_nothing_after_delete() {
    killed_at_any_moment("create", Bundle::new());
}

#[test]
fn run_killed_at_any_moment_leaves_nothing_after_delete() {
    killed_at_any_moment("run", Bundle::new());
}

#[test]
fn create_with_stages_killed_at_any_moment_leaves_nothing_after_delete() {
    killed_at_any_moment(
        "create",
        Bundle::new().user_namespace().namespace("time", None),
    );
}

#[test]
fn a_process_that_nobody_has_on_record_ends() {
    // A create that is killed while its hook runs: the container's process
    // waits for a word that never comes.
    let b = Bundle::sleeper().edit(|c| {
        let wait = serde_json::json!({ "path": "/bin/sleep", "args": ["sleep", "0.3"] });
        c["hooks"] = serde_json::json!({ "createRuntime": [wait] });
    });
    let dir = b.dir.path().to_str().unwrap();
    let mut child = b.command(&["create", "-b", dir, &b.id]).spawn().unwrap();
    until(|| !processes(&b).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    until(|| processes(&b).is_empty());
    assert_eq!(b.status(), "creating");
    assert!(b.call(&["delete", &b.id]).fails().contains("creating"));
    b.call(&["delete", "-f", &b.id]).ok();
    assert!(b.cgroups().is_empty());
}

#[test]
fn a_start_killed_before_its_word_can_be_repeated() {
    let b = Bundle::sh("echo started; sleep 1000");
    let out = b.create();
    out.ok();
    // Someone who calls and goes again.
    let socket = b.records().join(&b.id).join("start.sock");
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket as new_socket};
    for _ in 0..3 {
        let call = new_socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&call, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
        drop(call);
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(b.status(), "created");
    b.start().ok();
    until(|| out.now() == "started\n");
}
