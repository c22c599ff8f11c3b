//! What goes along into the container, and what is told outside: descriptors,
//! messages.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{BIN, Bundle};

/// The runtime by a shell that opens descriptors before.
fn by_shell(b: &Bundle, prefix: &str, flags: &str) -> Command {
    let script = format!(
        "{prefix} exec {BIN} --root {} run -b {} {flags} {}",
        b.records().display(),
        b.dir.path().display(),
        b.id
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    command
}

fn lister() -> Bundle {
    let mut b = Bundle::new();
    b.args(&["/bin/ls", "-l", "/proc/self/fd"]);
    b
}

fn numbers(listing: &str) -> Vec<u32> {
    let links = listing.lines().filter(|l| l.starts_with('l'));
    let mut all: Vec<u32> = links
        .map(|l| l.split_whitespace().nth(8).unwrap().parse().unwrap())
        .collect();
    all.sort_unstable();
    all
}

/// CVE-2016-9962, CVE-2024-21626: descriptors of the host reach nobody inside.
#[test]
fn cve_2024_21626_no_descriptor_of_the_host_leaks() {
    let prefix = "exec 3</ 4</etc/passwd 5</proc 6<> /dev/null 77</sys/fs/cgroup 200</;";
    let b = lister();
    // 3 is the directory that ls reads.
    let out = b.finish(by_shell(&b, prefix, "")).ok();
    assert_eq!(numbers(&out), [0, 1, 2, 3], "{out}");
    let mut b = b;
    b.args(&["/bin/sleep", "1000"]);
    b.finish(by_shell(&b, prefix, "-d")).ok();
    let list = fs::read_dir(format!("/proc/{}/fd", b.pid())).unwrap();
    let mut open: Vec<String> = list
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    let script = format!(
        "{prefix} exec {BIN} --root {} exec {} ls -l /proc/self/fd",
        b.records().display(),
        b.id
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    let out = b.finish(command).ok();
    assert_eq!(numbers(&out), [0, 1, 2, 3], "{out}");
}

#[test]
fn descriptors_are_passed_on_where_asked() {
    let b = Bundle::sh("cat <&4; ls /proc/self/fd | wc -l");
    fs::write(b.path("given"), "given\n").unwrap();
    let prefix = format!("exec 3</dev/null 4<{} 5</;", b.path("given").display());
    // 0 to 4, and the directory that ls reads; not 5.
    let out = b.finish(by_shell(&b, &prefix, "--preserve-fds=2")).ok();
    assert_eq!(out, "given\n6");
    let out = b.finish(by_shell(&b, &prefix, "--preserve-fds 9"));
    assert!(out.fails().contains("descriptor 6"), "{out:#?}");
    let out = b.finish(by_shell(&b, &prefix, "--preserve-fds 4294967295"));
    out.fails();
    let out = b.finish(by_shell(&b, &prefix, "--preserve-fds x"));
    assert!(out.fails().contains("not a number"));
}

#[test]
fn socket_activation_is_passed_on() {
    let b = Bundle::sh("echo $LISTEN_FDS $LISTEN_PID $$; ls /proc/self/fd | wc -l");
    // The shell becomes the runtime: the number stays.
    let out = b
        .finish(by_shell(
            &b,
            "exec 3</ 4</; export LISTEN_FDS=2 LISTEN_PID=$$;",
            "",
        ))
        .ok();
    assert_eq!(out, "2 1 1\n6");
    let out = b
        .finish(by_shell(
            &b,
            "exec 3</ 4</; export LISTEN_FDS=2 LISTEN_PID=1;",
            "",
        ))
        .ok();
    assert_eq!(out, "1\n4");
    let mut b = b;
    b.args(&["/bin/sleep", "1000"]);
    b.up();
    let script = format!(
        "exec 3</ ; export LISTEN_FDS=1 LISTEN_PID=$$; exec {BIN} --root {} exec {} sh -c 'echo $LISTEN_FDS; [ $LISTEN_PID = $$ ] && echo mine'",
        b.records().display(),
        b.id
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    assert_eq!(b.finish(command).ok(), "1\nmine");
}

#[test]
fn messages_in_files_and_as_json() {
    let b = Bundle::new();
    let log = b.path("log");
    let path = log.to_str().unwrap();
    for _ in 0..2 {
        b.call(&["--log", path, "--log-format", "json", "state", "no-such"])
            .fails();
    }
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["level"], "error");
    assert_eq!(lines[0]["msg"], "container no-such does not exist");
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
    // A failure inside the container's process, by the runtime's log.
    let mut b = b;
    b.args(&["no-such-program"]);
    let dir = b.dir.path().to_str().unwrap();
    b.call(&[
        "--log",
        path,
        "--log-format=json",
        "create",
        "-b",
        dir,
        &b.id,
    ])
    .fails();
    let text = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(
        last["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found in $PATH")
    );
    fs::remove_file(&log).unwrap();
    b.call(&["--log", path, "state", "no-such"]).fails();
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("level=error msg=\"container no-such does not exist\""),
        "{text}"
    );
    assert!(
        b.call(&["--log-format", "xml", "list"])
            .fails()
            .contains("xml")
    );
}

/// What runc and crun know, and what is refused with a reason.
#[test]
fn spellings_of_the_peers() {
    let b = Bundle::sleeper();
    let dir = b.dir.path().to_str().unwrap();
    assert!(b.call(&["-V"]).ok().contains("spec: 1."));
    for args in [&["help"][..], &["-?"], &["--help"]] {
        assert!(b.call(args).ok().contains("checkpoint ID"), "{args:?}");
    }
    assert!(
        b.call(&["help", "restore"])
            .ok()
            .contains("--console-socket")
    );
    // A file that is named is replaced, config.json never is.
    for _ in 0..2 {
        b.call(&["spec", "--rootless", "-b", dir, "-f", "other.json"])
            .ok();
    }
    let text = fs::read(b.path("other.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    assert!(config["linux"]["uidMappings"].is_array());
    b.call(&[
        "--rootless",
        "true",
        "spec",
        "-b",
        dir,
        "--file",
        "third.json",
    ])
    .ok();
    let text = fs::read(b.path("third.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    assert!(config["linux"]["uidMappings"].is_null());
    assert!(b.call(&["spec", "-b", dir]).fails().contains("config.json"));
    for (args, says) in [
        (
            &["--cgroup-manager=upstart", "list"][..],
            "not cgroupfs, systemd or disabled",
        ),
        (&["--log-level", "loud", "list"], "--log-level"),
        (&["--log", "journald:x", "list"], "only files"),
        (&["--log", "syslog:x", "list"], "only files"),
        (&["exec", "--detach-keys", "x", "id"], "detach-keys"),
    ] {
        assert!(b.call(args).fails().contains(says), "{args:?}");
    }
    let log = format!("file:{}", b.path("log").display());
    b.call(&["--log", &log, "state", "none"]).fails();
    assert!(
        fs::read_to_string(b.path("log"))
            .unwrap()
            .contains("does not exist")
    );
    b.up();
    let by = |path: &str| b.call(&["exec", "--cgroup", path, &b.id, "cat", "/proc/self/cgroup"]);
    assert_eq!(by("/").ok(), b.exec(&["cat", "/proc/self/cgroup"]).ok());
    assert!(by("cpu:/x").fails().contains("--cgroup"));
}

/// What is opened first would take the numbers of the missing ones, and what is
/// printed would go there.
#[test]
fn missing_standard_streams_are_null() {
    let b = Bundle::sh("echo out; echo err >&2; readlink /proc/self/fd/1 > /tmp/where");
    let dir = b.dir.path().to_str().unwrap().to_owned();
    let mut command = std::process::Command::new("bash");
    let script = "exec \"$@\" <&- >&- 2>&-";
    command.args(["-c", script, "x", crate::harness::BIN.path(), "--root"]);
    command
        .arg(b.records())
        .args(["run", "--keep", "-b", &dir, &b.id]);
    assert_eq!(b.finish(command).code, 0);
    let record = fs::read_to_string(b.records().join(&b.id).join("state.json")).unwrap();
    assert!(
        record.starts_with('{') && !record.contains("out\n"),
        "{record}"
    );
    b.call(&["delete", &b.id]).ok();
}

#[test]
fn version_help_spec_and_features() {
    let b = Bundle::new();
    let text = b.call(&["--version"]).ok();
    assert!(
        text.starts_with("hako-runtime version ")
            && text.contains("\nspec: 1.")
            && text.contains("\ncommit: "),
        "{text}"
    );
    assert!(b.call(&["--help"]).ok().contains("features"));
    assert!(
        b.call(&["exec", "--help"])
            .ok()
            .contains("--additional-gids")
    );
    let features: Value = serde_json::from_str(&b.call(&["features"]).ok()).unwrap();
    assert!(
        features["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .contains(&"time".into())
    );
    let dir = b.dir.path().to_str().unwrap();
    assert!(b.call(&["spec", "-b", dir]).fails().contains("config.json"));
}

#[test]
fn called_by_its_second_name_it_is_the_monitor() {
    use std::os::unix::process::CommandExt as _;
    let out = Command::new(BIN).arg0("/x/hako-monitor").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("usage: hako-monitor"));
}
