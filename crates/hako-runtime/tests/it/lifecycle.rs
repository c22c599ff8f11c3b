//! create, start, state, kill, delete, run, exec, list and what goes wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{BIN, Bundle, CGROUPS, is_unified, patience, until};

#[test]
fn run_tells_the_exit_status() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 137),
    ] {
        // Process 1 of a pid namespace cannot kill itself; a shell below can.
        let b = Bundle::sh(&format!("sh -c '{script}'; exit $?"));
        assert_eq!(b.run().code, code, "{script}");
    }
}

#[test]
fn run_of_a_killed_container_tells_the_signal() {
    let b = Bundle::sleeper();
    let dir = b.dir.path().to_str().unwrap().to_owned();
    let mut run = b
        .command(&["run", "--bundle", &dir, &b.id])
        .spawn()
        .unwrap();
    until(|| b.call(&["state", &b.id]).code == 0 && b.status() == "running");
    b.call(&["kill", &b.id, "KILL"]).ok();
    assert_eq!(run.wait().unwrap().code(), Some(137));
}

/// Whoever waits for it removes it while `kill` is still at work.
#[test]
fn kill_of_a_container_that_is_gone_at_once() {
    for paused in [false, true] {
        let b = Bundle::sleeper();
        let dir = b.dir.path().to_str().unwrap().to_owned();
        let mut run = b.command(&["run", "--bundle", &dir, &b.id]);
        let mut run = run.spawn().unwrap();
        until(|| b.call(&["state", &b.id]).code == 0 && b.status() == "running");
        if paused {
            b.call(&["pause", &b.id]).ok();
        }
        let delay = 500_000 * patience();
        let mut kill = std::process::Command::new("strace");
        kill.args(["-o", "/dev/null", "-e", "trace=pidfd_send_signal", "-e"])
            .arg(format!("inject=pidfd_send_signal:delay_exit={delay}"))
            .arg(BIN)
            .arg("--root")
            .arg(b.records())
            .args(["kill", &b.id, "KILL"]);
        b.finish(kill).ok();
        assert_eq!(run.wait().unwrap().code(), Some(137), "{paused}");
    }
}

#[test]
fn run_removes_the_container_and_keep_does_not() {
    let b = Bundle::new();
    b.run().ok();
    assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
    assert!(b.cgroups().is_empty());
    b.verb("run", &["--keep"]).ok();
    assert_eq!(b.status(), "stopped");
    b.call(&["delete", &b.id]).ok();
    assert!(b.cgroups().is_empty());
}

#[test]
fn output_and_input_pass_through() {
    let b = Bundle::sh("cat; echo err >&2");
    fs::write(b.path("input"), "hello\n").unwrap();
    let dir = b.dir.path().to_str().unwrap();
    let mut command = b.command(&["run", "-b", dir, &b.id]);
    command.stdin(fs::File::open(b.path("input")).unwrap());
    let out = b.finish(command);
    assert_eq!(
        (out.stdout.as_str(), out.stderr.as_str()),
        ("hello\n", "err\n")
    );
}

#[test]
fn the_whole_life() {
    let b = Bundle::sh("echo started; sleep 1000");
    let created = b.create();
    created.ok();
    assert_eq!(b.status(), "created");
    let state = b.state();
    assert_eq!(state["id"], b.id.as_str());
    assert_eq!(state["bundle"], b.dir.path().to_str().unwrap());
    assert_eq!(state["ociVersion"], b.config["ociVersion"]);
    assert!(b.pid() > 1);
    assert_eq!(created.now(), "");

    b.start().ok();
    until(|| created.now() == "started\n");
    assert_eq!(b.status(), "running");
    assert!(b.start().fails().contains("running, not created"));
    assert!(b.create().fails().contains("already exists"));
    assert!(b.call(&["delete", &b.id]).fails().contains("running"));

    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    assert_eq!(b.state()["pid"], 0);
    let refused = b.call(&["kill", &b.id, "KILL"]).fails();
    assert!(refused.contains("container not running"), "{refused}");
    assert!(b.start().fails().contains("has stopped"));
    assert!(b.exec(&["true"]).fails().contains("container not running"));
    b.call(&["delete", &b.id]).ok();
    assert!(
        b.call(&["delete", &b.id])
            .fails()
            .contains("does not exist")
    );
    b.call(&["delete", "--force", &b.id]).ok();
    assert!(b.cgroups().is_empty());
}

#[test]
fn changes_of_the_bundle_after_create_have_no_effect() {
    let mut b = Bundle::sh("echo old; hostname").edit(|c| {
        c["hostname"] = json!("first");
        c["annotations"] = json!({ "a": "1" });
    });
    let created = b.create();
    created.ok();
    b.config["annotations"] = json!({ "a": "2" });
    b.args(&["/bin/echo", "new"]);
    assert_eq!(b.state()["annotations"]["a"], "1");
    b.start().ok();
    b.wait_status("stopped");
    assert_eq!(created.now(), "old\nfirst\n");
}

#[test]
fn verbs_want_a_container_and_nothing_more() {
    let b = Bundle::new();
    for verb in [
        "create", "start", "state", "kill", "delete", "pause", "resume", "ps", "exec",
    ] {
        assert!(
            b.call(&[verb]).fails().contains("needs a container id"),
            "{verb}"
        );
    }
    for verb in ["start", "state", "delete", "pause", "resume"] {
        let out = b.call(&[verb, "a", "b"]).fails();
        assert!(out.contains("unexpected argument \"b\""), "{verb}: {out}");
    }
    for id in ["../x", "", "a/b", ".", "..", "a b"] {
        assert!(
            !b.call(&["create", "-b", b.dir.path().to_str().unwrap(), id])
                .stderr
                .is_empty(),
            "{id}"
        );
        assert!(!b.records().exists() || fs::read_dir(b.records()).unwrap().next().is_none());
    }
    assert!(
        b.call(&["frobnicate"])
            .fails()
            .contains("unknown command \"frobnicate\"")
    );
}

#[test]
fn without_a_process_it_can_be_created_but_not_started() {
    let b = Bundle::new().edit(|c| {
        c.as_object_mut().unwrap().remove("process");
    });
    assert!(b.run().fails().contains("process: is missing"));
    b.create().ok();
    assert!(b.start().fails().contains("has no process"));
    let state = b.call(&["state", &b.id]).ok();
    assert!(state.contains("\"status\": \"created\""), "{state}");
    b.call(&["delete", "--force", &b.id]).ok();
}

#[test]
fn without_cgroups_it_stays_where_it_is() {
    let b = Bundle::sleeper();
    let dir = b.dir.path().to_str().unwrap();
    let no = "--cgroup-manager=disabled";
    b.call(&[no, "run", "-d", "-b", dir, &b.id]).ok();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(of(&b.pid().to_string()), of("self"));
    assert_eq!(b.exec(&["echo", "in"]).ok(), "in");
    b.call(&["kill", &b.id, "KILL"]).ok();
    b.call(&["delete", "--force", &b.id]).ok();
}

#[test]
fn debugging_tells_the_stages_by_their_names() {
    let b = Bundle::sleeper();
    let stages = |out: &str, own: &[&str]| {
        for words in own {
            let line = out.lines().find(|l| l.contains(words));
            let line = line.unwrap_or_else(|| panic!("{words}: {out}"));
            assert!(line.starts_with("time=\"") && line.contains(" level=debug msg=\""));
        }
    };
    let dir = b.dir.path().to_str().unwrap();
    let out = b.call(&["--debug", "run", "-d", "-b", dir, &b.id]);
    stages(
        &out.stderr,
        &[
            "nsexec container setup",
            "child process in init()",
            "init: closing the pipe to signal completion",
        ],
    );
    let out = b.call(&["--debug", "exec", &b.id, "/bin/true"]);
    stages(&out.stderr, &["setns_init: about to exec"]);
    let log = b.path("log");
    let flags = ["--debug", "--log", log.to_str().unwrap()];
    let out = b.call(&[&flags[..], &["exec", &b.id, "/bin/true"]].concat());
    assert_eq!(out.stderr, "");
    stages(&fs::read_to_string(&log).unwrap(), &["setns_init"]);
}

#[test]
fn what_is_wrong_is_said() {
    let b = Bundle::new();
    let case = |b: &Bundle, code: i32, words: &[&str]| {
        for verb in ["run", "create"] {
            let out = b.verb(verb, &[]);
            assert_eq!(out.code, code, "{out:#?}");
            // Callers look for "error" on standard error.
            let label = "hako-runtime: error: ";
            assert!(out.stderr.starts_with(label), "{out:#?}");
            for word in words {
                assert!(out.stderr.contains(word), "{word} in {}", out.stderr);
            }
            assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
            assert!(b.cgroups().is_empty());
        }
    };
    let mut b = b;
    b.args(&["no-such-program"]);
    case(
        &b,
        127,
        &["\"no-such-program\"", "executable file not found in $PATH"],
    );
    b.args(&["/no/such/program"]);
    case(&b, 127, &["/no/such/program", "no such file or directory"]);
    b.args(&["/etc/passwd"]);
    case(&b, 126, &["/etc/passwd", "permission denied"]);
    b.args(&["/etc"]);
    case(&b, 126, &["/etc", "permission denied: it is a directory"]);
    b.args(&[]);
    case(&b, 1, &["process.args", "has no entry"]);
    b.args(&["/bin/true"]);
    fs::rename(b.rootfs(), b.path("elsewhere")).unwrap();
    case(&b, 1, &["root", "rootfs", "no such file or directory"]);
    fs::write(b.rootfs(), "").unwrap();
    case(&b, 1, &["root", "is not a directory"]);
    for text in [
        "",
        "{",
        "[]",
        "{\"ociVersion\": 1}",
        "{\"ociVersion\": \"2.0.0\"}",
    ] {
        fs::write(b.path("config.json"), text).unwrap();
        case(&b, 1, &["config.json"]);
    }
    fs::remove_file(b.path("config.json")).unwrap();
    case(&b, 1, &["config.json", "no such file or directory"]);
}

#[test]
fn a_program_that_the_kernel_refuses() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut b = Bundle::new();
    let file = b.rootfs().join("bin/junk");
    fs::write(&file, "no program\0").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    b.args(&["/bin/junk"]);
    let out = b.run();
    assert_eq!(out.code, 126, "{out:#?}");
    assert!(out.stderr.contains("exec format error"), "{out:#?}");
    // An interpreter that is missing is found out by the kernel alone.
    fs::write(&file, "#!/no/interpreter\n").unwrap();
    let out = b.run();
    assert_eq!(out.code, 127, "{out:#?}");
    assert_eq!(
        out.stderr.trim(),
        "exec /bin/junk: no such file or directory"
    );
    b.create().ok();
    assert_eq!(b.start().code, 127);
    b.wait_status("stopped");
}

#[test]
fn exec_runs_in_the_container() {
    let b = Bundle::sleeper().edit(|c| c["hostname"] = json!("box"));
    b.up();
    assert_eq!(b.exec(&["hostname"]).ok(), "box");
    assert_eq!(b.exec(&["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(b.exec(&["sh", "-c", "kill -9 $$"]).code, 137);
    // What failed is told apart from every status of a process.
    let out = b.exec(&["no-such-program"]);
    assert_eq!(out.code, 255);
    assert!(out.stderr.contains("executable file not found in $PATH"));
    assert_eq!(b.exec(&["/etc/passwd"]).code, 255);
    assert_eq!(b.call(&["exec", "--user", "root", &b.id, "true"]).code, 255);
    assert_eq!(b.call(&["exec", "nobody", "true"]).code, 255);
    // Process 1 is the container's, and the cgroups are.
    let ours = b.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(ours, b.exec(&["cat", "/proc/1/cgroup"]).ok());
}

#[test]
fn exec_takes_user_directory_environment_and_more() {
    let b = Bundle::sleeper();
    b.up();
    let call = |flags: &[&str], args: &[&str]| {
        let mut all = vec!["exec"];
        all.extend(flags);
        all.push(&b.id);
        all.extend(args);
        b.call(&all)
    };
    let out = call(
        &["--user", "1000:1001", "-g", "5", "--additional-gids=6"],
        &["id"],
    )
    .ok();
    assert_eq!(out, "uid=1000(user) gid=1001 groups=5,6");
    assert_eq!(call(&["--cwd", "/tmp"], &["pwd"]).ok(), "/tmp");
    // Unlike the container's own, which is made.
    let out = call(&["--cwd", "/new/dir"], &["pwd"]);
    assert_eq!(out.code, 255, "{out:#?}");
    let words = "chdir to process.cwd \"/new/dir\": no such file or directory";
    assert!(out.stderr.contains(words), "{out:#?}");
    assert!(!b.rootfs().join("new").exists());
    let out = call(&["-e", "A=1", "--env", "A=2", "-e", "PATH=/bin"], &["env"]).ok();
    assert!(out.contains("A=2") && !out.contains("A=1"), "{out}");
    assert_eq!(out.matches("PATH=").count(), 1, "{out}");
    let caps = |flags: &[&str]| {
        let out = call(flags, &["grep", "Cap", "/proc/self/status"]).ok();
        out.lines()
            .map(|l| l.split('\t').nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let plain = caps(&[]);
    let more = caps(&["--cap", "CAP_SYS_PTRACE"]);
    assert_ne!(plain[2], more[2]);
    let b2 = Bundle::sleeper().edit(|c| {
        let caps = &mut c["process"]["capabilities"];
        caps["inheritable"] = json!(["CAP_SYSLOG"]);
        caps["bounding"]
            .as_array_mut()
            .unwrap()
            .push(json!("CAP_SYSLOG"));
    });
    b2.up();
    let ambient = |flags: &[&str]| {
        let args = ["grep", "CapAmb", "/proc/self/status"];
        let out = b2
            .call(&[&["exec"], flags, &[b2.id.as_str()], &args].concat())
            .ok();
        out.split('\t').nth(1).unwrap().to_owned()
    };
    // What the configuration calls inheritable stays through execve(2).
    assert_eq!(ambient(&["--cap", "CAP_SYSLOG"]), "0000000400000000");
    assert_eq!(ambient(&["--cap", "CAP_SYS_PTRACE"]), "0000000000000000");
    let user = caps(&["--cap", "CAP_SYS_PTRACE", "--user", "1000"]);
    let ptrace = 1u64 << 19;
    assert_eq!(
        u64::from_str_radix(&user[4], 16).unwrap(),
        ptrace | u64::from_str_radix(&user[4], 16).unwrap()
    );
    let out = call(
        &["--no-new-privs"],
        &["grep", "NoNewPrivs", "/proc/self/status"],
    )
    .ok();
    assert!(out.ends_with('1'), "{out}");
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sh", "-c", "echo $X; exit 4"]);
    process["env"] = json!(["X=from a file", "PATH=/bin"]);
    fs::write(b.path("p.json"), process.to_string()).unwrap();
    let out = b.call(&[
        "exec",
        "--process",
        b.path("p.json").to_str().unwrap(),
        &b.id,
    ]);
    assert_eq!((out.code, out.stdout.as_str()), (4, "from a file\n"));
}

#[test]
fn exec_detached_writes_its_pid() {
    let b = Bundle::sleeper();
    b.up();
    let file = b.path("exec.pid");
    let out = b.call(&[
        "exec",
        "-d",
        "--pid-file",
        file.to_str().unwrap(),
        &b.id,
        "sleep",
        "77",
    ]);
    out.ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(line, "sleep\x0077\0");
    let listed: Vec<i32> =
        serde_json::from_str(&b.call(&["ps", "-f", "json", &b.id]).ok()).unwrap();
    assert!(
        listed.contains(&pid) && listed.contains(&b.pid()),
        "{listed:?}"
    );
    let table = b.call(&["ps", &b.id, "-e", "-o", "pid,args"]).ok();
    assert!(
        table.contains("sleep 77") && table.lines().count() == 3,
        "{table}"
    );
}

#[test]
fn detached_run_and_its_pid_file() {
    let b = Bundle::sleeper();
    let file = b.path("pid");
    b.verb("run", &["-d", "--pid-file", file.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), b.pid().to_string());
    assert_eq!(b.status(), "running");
}

#[test]
fn list_knows_every_container() {
    let b = Bundle::sleeper();
    fs::create_dir_all(b.records()).unwrap();
    assert_eq!(b.call(&["list", "-q"]).ok(), "");
    b.create().ok();
    // Not containers: a killed create's directory, and anything else.
    fs::create_dir(b.records().join("left-over")).unwrap();
    fs::write(b.records().join("file"), "").unwrap();
    assert_eq!(b.call(&["list", "-q"]).ok(), b.id);
    let all: serde_json::Value =
        serde_json::from_str(&b.call(&["list", "--format=json"]).ok()).unwrap();
    assert_eq!(all[0]["id"], b.id.as_str());
    assert_eq!(all[0]["status"], "created");
    let start = format!(r#"[{{"ociVersion":"1.0.2","id":"{}","pid":"#, b.id);
    let text = b.call(&["list", "--format=json"]).ok();
    let start = start.replace("1.0.2", b.config["ociVersion"].as_str().unwrap());
    assert!(text.starts_with(&start), "{text}");
    let elsewhere = b.path("none").display().to_string();
    let mut command = Command::new(BIN.path());
    command.args(["--root", &elsewhere, "list"]);
    assert!(b.finish(command).fails().contains(&elsewhere));
    let table = b.call(&["list"]).ok();
    assert!(
        table.starts_with("ID") && table.contains("created") && table.contains("root"),
        "{table}"
    );
    b.call(&["delete", "--force", "left-over"]).ok();
    assert!(!b.records().join("left-over").exists());
}

#[test]
fn list_while_containers_come_and_go() {
    let b = Bundle::new();
    let dir = b.dir.path().to_str().unwrap();
    let script = format!(
        "for i in $(seq 12); do {} --root {} run -b {dir} {}-$i || exit 1; done",
        crate::harness::BIN,
        b.records().display(),
        b.id
    );
    let b2 = b.config.clone();
    let mut config = b2;
    config["linux"]["cgroupsPath"] = json!(null);
    config["linux"]
        .as_object_mut()
        .unwrap()
        .remove("cgroupsPath");
    fs::write(b.path("config.json"), config.to_string()).unwrap();
    let mut many = std::process::Command::new("bash")
        .args(["-c", &script])
        .spawn()
        .unwrap();
    fs::create_dir_all(b.records()).unwrap();
    while many.try_wait().unwrap().is_none() {
        b.call(&["list"]).ok();
    }
    assert!(many.wait().unwrap().success());
    assert_eq!(b.call(&["list", "-q"]).ok(), "");
}

#[test]
fn signals_by_name_and_number() {
    let script = "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let b = Bundle::sh(script);
    let out = b.up();
    until(|| out.now() == "up\n");
    b.call(&["kill", &b.id, "SIGUSR1"]).ok();
    until(|| out.now() == "up\nusr1\n");
    b.call(&["kill", &b.id, "10"]).ok();
    until(|| out.now() == "up\nusr1\nusr1\n");
    assert!(b.call(&["kill", &b.id, "NOPE"]).fails().contains("NOPE"));
    b.call(&["kill", &b.id]).ok();
    b.wait_status("stopped");
}

#[test]
fn foreground_run_forwards_signals() {
    let b = Bundle::sh("trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done");
    let dir = b.dir.path().to_str().unwrap();
    let out = b.path("out");
    let mut command = b.command(&["run", "-b", dir, &b.id]);
    let mut run = command
        .stdout(fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    until(|| fs::read_to_string(&out).unwrap() == "up\n");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(42));
}

#[test]
fn pause_resume_and_what_a_paused_container_refuses() {
    let b = Bundle::sh("while :; do echo x; sleep 0.02; done");
    let out = b.up();
    until(|| !out.now().is_empty());
    b.call(&["pause", &b.id]).ok();
    assert_eq!(b.status(), "paused");
    let before = out.now();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(out.now(), before);
    assert!(b.call(&["pause", &b.id]).fails().contains("paused"));
    assert!(b.exec(&["true"]).fails().contains("paused"));
    b.call(&["resume", &b.id]).ok();
    assert_eq!(b.status(), "running");
    until(|| out.now() != before);
    assert!(b.call(&["resume", &b.id]).fails().contains("running"));
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let b = Bundle::sleeper();
    b.up();
    b.call(&["pause", &b.id]).ok();
    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    b.call(&["delete", &b.id]).ok();
    b.up();
    b.call(&["pause", &b.id]).ok();
    assert!(b.call(&["delete", &b.id]).fails().contains("paused"));
    let pid = b.pid();
    b.call(&["delete", "--force", &b.id]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists() || stat(pid) == 'Z');
    assert!(b.cgroups().is_empty());
}

fn stat(pid: i32) -> char {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(") ")
        .next()
        .and_then(|r| r.chars().next())
        .unwrap_or('Z')
}

#[test]
fn a_created_container_can_be_paused_and_is_not_deleted() {
    let b = Bundle::sleeper();
    b.create().ok();
    b.call(&["pause", &b.id]).ok();
    assert_eq!(b.status(), "paused");
    assert!(b.start().fails().contains("paused"));
    b.call(&["resume", &b.id]).ok();
    assert!(b.call(&["delete", &b.id]).fails().contains("created"));
    assert_eq!(b.status(), "created");
    b.call(&["delete", "--force", &b.id]).ok();
    assert!(b.cgroups().is_empty());
}

/// The kernel may take longer than a caller.
#[test]
fn what_was_killed_can_be_deleted_at_once() {
    for _ in 0..20 {
        let b = Bundle::sleeper();
        b.create().ok();
        b.call(&["kill", &b.id, "KILL"]).ok();
        b.call(&["delete", &b.id]).ok();
        b.up();
        b.call(&["kill", &b.id, "KILL"]).ok();
        b.call(&["delete", &b.id]).ok();
    }
}

/// The first process of a pid namespace would not be ended by the kernel.
#[test]
fn a_created_container_is_ended_by_the_usual_signals() {
    for signal in ["HUP", "INT", "QUIT", "TERM"] {
        let b = Bundle::sleeper();
        b.create().ok();
        b.call(&["kill", &b.id, "WINCH"]).ok();
        b.call(&["kill", &b.id, signal]).ok();
        b.wait_status("stopped");
        assert!(b.start().fails().contains("stopped"), "{signal}");
        b.call(&["delete", &b.id]).ok();
    }
    // What comes before `start` is not the program's.
    let b = Bundle::sh("grep -h Sig /proc/self/status");
    let out = b.run().ok();
    assert!(out.contains("SigBlk:\t0000000000000000"), "{out}");
    assert!(out.contains("SigPnd:\t0000000000000000"), "{out}");
}

#[test]
fn kill_all_reaches_every_process() {
    let b = Bundle::sh("sleep 1000 & sleep 1000 & wait; wait; sleep 1000");
    b.up();
    let count = || {
        let text = b.call(&["ps", "-f", "json", &b.id]).ok();
        serde_json::from_str::<Vec<i32>>(&text).unwrap().len()
    };
    until(|| count() == 3);
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    until(|| count() == 0);
}

#[test]
fn without_a_pid_namespace_kill_and_delete_end_everything() {
    let b = Bundle::sh("sleep 1000 & sleep 1000 & wait").without_namespace("pid");
    b.up();
    let pids: Vec<i32> = serde_json::from_str(&b.call(&["ps", "-f", "json", &b.id]).ok()).unwrap();
    b.call(&["kill", &b.id, "0"]).ok();
    b.call(&["kill", &b.id, "KILL"]).ok();
    until(|| pids.iter().all(|p| stat(*p) == 'Z'));
    b.wait_status("stopped");
    assert!(
        b.call(&["kill", &b.id, "0"])
            .fails()
            .contains("container not running")
    );
    b.call(&["delete", &b.id]).ok();
    assert!(b.cgroups().is_empty());
    // Also those that have outlived the first process.
    let b = Bundle::sh("sleep 1000 & sleep 1000 & wait").without_namespace("pid");
    b.up();
    let pids: Vec<i32> = serde_json::from_str(&b.call(&["ps", "-f", "json", &b.id]).ok()).unwrap();
    let first = b.state()["pid"].as_i64().unwrap() as i32;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    b.wait_status("stopped");
    b.call(&["kill", &b.id, "KILL"]).ok();
    until(|| pids.iter().all(|p| stat(*p) == 'Z'));
    b.call(&["delete", &b.id]).ok();
}

#[test]
fn a_cgroup_in_use_is_nobodys() {
    let first = Bundle::sleeper();
    first.up();
    let mut second = Bundle::sleeper();
    for path in [first.cgroup.clone(), format!("/{}", first.id)] {
        second.config["linux"]["cgroupsPath"] = json!(path);
        second.write();
        let said = second.create().fails();
        assert!(said.contains("container's cgroup is not empty"), "{said}");
        assert!(said.contains("is in use by process"), "{said}");
    }
    second.call(&["delete", "--force", &second.id]).ok();
    assert_eq!(first.status(), "running");
}

#[test]
fn a_cgroup_that_was_there_stays() {
    let b = Bundle::new();
    let inner = b.cgroup.trim_start_matches('/');
    let hierarchy = if is_unified() { "" } else { "freezer" };
    let there = Path::new(CGROUPS).join(hierarchy).join(inner);
    fs::create_dir_all(&there).unwrap();
    b.run().ok();
    assert!(there.is_dir());
    // Of the other hierarchies it was the maker, and is the remover.
    assert_eq!(b.cgroups().as_slice(), std::slice::from_ref(&there));
    fs::remove_dir(there).unwrap();
}

#[test]
fn two_starts_at_once_start_it_once() {
    for _ in 0..10 {
        let b = Bundle::sh("echo once; sleep 1000");
        let out = b.create();
        out.ok();
        let spawn = || {
            b.command(&["start", &b.id])
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut starts = [spawn(), spawn(), spawn()];
        let good = starts
            .iter_mut()
            .filter_map(|s| s.wait().unwrap().code())
            .filter(|c| *c == 0)
            .count();
        assert_eq!(good, 1);
        until(|| out.now() == "once\n");
        assert_eq!(b.status(), "running");
    }
}

#[test]
fn a_damaged_record_can_be_forced_away_and_that_of_others_not() {
    let b = Bundle::new();
    let dir = b.records().join("x");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("state.json"), "{\"version\": 99}").unwrap();
    assert!(b.call(&["state", "x"]).fails().contains("version 99"));
    assert!(
        b.call(&["delete", "--force", "x"])
            .fails()
            .contains("version 99")
    );
    fs::write(dir.join("state.json"), "").unwrap();
    assert!(b.call(&["delete", "x"]).fails().contains("state.json"));
    b.call(&["delete", "--force", "x"]).ok();
    assert!(!dir.exists());
}
