//! The six hooks: order, place, input, time limits, and what their failure does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::{Bundle, patience, until};

const KINDS: &[&str] = &[
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Adds a hook of the host's shell; `startContainer` has the container's.
fn hook(b: Bundle, kind: &str, script: &str) -> Bundle {
    let one =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] });
    b.edit(|c| {
        let hooks = c
            .as_object_mut()
            .unwrap()
            .entry("hooks")
            .or_insert(json!({}));
        let list = hooks
            .as_object_mut()
            .unwrap()
            .entry(kind)
            .or_insert(json!([]));
        list.as_array_mut().unwrap().push(one);
    })
}

/// Every hook writes its name and its input to the file `log` of the bundle.
fn all_logged(program: &str) -> Bundle {
    let mut b = Bundle::sh(program);
    let log = b.path("log");
    fs::write(&log, "").unwrap();
    b = b.bind(&log, "/log", &["bind"]);
    for kind in KINDS {
        let file = match *kind {
            "startContainer" => "/log",
            _ => log.to_str().unwrap(),
        };
        for nth in 1..3 {
            let script = format!("echo {kind}{nth} $(cat) >> {file}");
            b = hook(b, kind, &script);
        }
    }
    b
}

fn logged(b: &Bundle) -> Vec<(String, Value)> {
    let text = fs::read_to_string(b.path("log")).unwrap();
    let lines = text
        .lines()
        .map(|l| l.split_once(' ').unwrap_or((l, "null")));
    lines
        .map(|(name, state)| (name.to_owned(), serde_json::from_str(state).unwrap()))
        .collect()
}

#[test]
fn all_in_order_with_the_state() {
    let b = all_logged("echo program >> /log");
    b.create().ok();
    let pid = b.pid();
    let names = |log: &[(String, Value)]| log.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    let at_create = [
        "prestart1",
        "prestart2",
        "createRuntime1",
        "createRuntime2",
        "createContainer1",
        "createContainer2",
    ];
    assert_eq!(names(&logged(&b)), at_create);
    b.start().ok();
    b.wait_status("stopped");
    b.call(&["delete", &b.id]).ok();
    let log = logged(&b);
    let mut wanted: Vec<&str> = at_create.to_vec();
    wanted.extend([
        "startContainer1",
        "startContainer2",
        "poststart1",
        "poststart2",
        "poststop1",
        "poststop2",
        "program",
    ]);
    // The program runs at the same time as the poststart hooks.
    let mut got = names(&log);
    let program = got.iter().position(|n| n == "program").unwrap();
    assert!(program > 7, "{got:?}");
    let last = got.remove(program);
    got.push(last);
    assert_eq!(got, wanted);
    for (name, state) in log.iter().filter(|(n, _)| n != "program") {
        assert_eq!(state["id"], b.id.as_str(), "{name}");
        assert_eq!(state["bundle"], b.dir.path().to_str().unwrap(), "{name}");
        assert_eq!(state["ociVersion"], b.config["ociVersion"], "{name}");
        let (status, number) = match name.trim_end_matches(['1', '2']) {
            "prestart" | "createRuntime" => ("creating", i64::from(pid)),
            // These are in the container's pid namespace.
            "createContainer" => ("creating", 1),
            "startContainer" => ("created", 1),
            "poststart" => ("running", i64::from(pid)),
            _ => ("stopped", 0i64),
        };
        assert_eq!(state["status"], status, "{name}");
        assert_eq!(state["pid"].as_i64().unwrap_or(0), number, "{name}");
    }
}

#[test]
fn they_run_where_they_should() {
    let where_am_i = "readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid; pwd; env | sort";
    let mut b = Bundle::sh("readlink /proc/self/ns/mnt > /out/program");
    let dir = b.path("out");
    fs::create_dir(&dir).unwrap();
    b = b.bind(&dir, "/out", &["bind"]);
    for kind in KINDS {
        let file = match *kind {
            "startContainer" => "/out".to_owned(),
            _ => dir.display().to_string(),
        };
        b = hook(b, kind, &format!("({where_am_i}) > {file}/{kind}"));
    }
    let bundle = b.dir.path().to_str().unwrap().to_owned();
    b.run().ok();
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let program: Vec<String> = read("program").lines().map(str::to_owned).collect();
    for kind in KINDS {
        let text = read(kind);
        let lines: Vec<&str> = text.lines().collect();
        let inside = matches!(*kind, "createContainer" | "startContainer");
        if inside {
            assert_eq!(lines[0], program[0], "{kind}");
        } else {
            assert_eq!(lines[0], own.to_str().unwrap(), "{kind}");
        }
        if *kind != "createContainer" {
            // The host's procfs shows no /proc/self in there.
            let directory = if inside { "/" } else { bundle.as_str() };
            assert_eq!(lines[2], directory, "{kind}: {text}");
        }
        assert!(text.contains("PATH=/bin:/usr/bin"), "{kind}");
        assert!(!text.contains("CARGO"), "{kind}: the caller's environment");
    }
}

/// As hooks written for runc and crun expect.
#[test]
fn a_hook_without_environment_inherits_one() {
    let mut b = Bundle::sh("true").edit(|c| {
        c["process"]["env"] = json!(["PATH=/bin", "HAKO_OF=container"]);
    });
    let dir = b.path("out");
    fs::create_dir(&dir).unwrap();
    b = b.bind(&dir, "/out", &["bind"]);
    for kind in KINDS {
        let file = match *kind {
            "startContainer" => "/out".to_owned(),
            _ => dir.display().to_string(),
        };
        let script = format!("echo $HAKO_OF $HOME > {file}/{kind}");
        b = hook(b, kind, &script).edit(|c| {
            let hook = &mut c["hooks"][kind][0];
            hook.as_object_mut().unwrap().remove("env");
        });
    }
    let mut command = b.command(&["run", "-b", b.dir.path().to_str().unwrap(), &b.id]);
    command.env("HAKO_OF", "runtime").env("HOME", "/here");
    b.finish(command).ok();
    for kind in KINDS {
        let wanted = match *kind {
            // HOME is that of the user of the process, as the process gets it.
            "startContainer" => "container /root\n",
            _ => "runtime /here\n",
        };
        assert_eq!(
            fs::read_to_string(dir.join(kind)).unwrap(),
            wanted,
            "{kind}"
        );
    }
}

/// They mount into it by relative names.
#[test]
fn create_container_hooks_start_in_the_root() {
    let b = Bundle::sh("cat /from-hook");
    let b = hook(b, "createContainer", "echo made > ./from-hook");
    assert_eq!(b.run().ok(), "made");
}

#[test]
fn a_failing_hook_of_create_leaves_nothing_but_its_undoing() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut b = Bundle::new();
        let file = b.path("stopped");
        b = hook(b, kind, "echo out; echo err >&2; exit 3");
        let second = format!("touch {}", b.path("second").display());
        b = hook(b, kind, &second);
        b = hook(b, "poststop", &format!("cat > {}", file.display()));
        for verb in ["create", "run"] {
            let out = b.verb(verb, &[]);
            assert_eq!(out.code, 1);
            for word in [kind, "#0", "exit status 3", "out", "err"] {
                assert!(out.stderr.contains(word), "{word}: {out:#?}");
            }
            assert!(!b.path("second").exists());
            assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
            assert!(b.cgroups().is_empty());
            let state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert_eq!(state["status"], "stopped");
            fs::remove_file(&file).unwrap();
        }
    }
}

#[test]
fn a_failing_hook_of_start_stops_and_removes_the_container() {
    for kind in ["startContainer", "poststart"] {
        let mut b = Bundle::sleeper();
        let file = b.path("stopped");
        b = hook(b, kind, "exit 3");
        b = hook(b, "poststop", &format!("touch {}", file.display()));
        b.create().ok();
        let pid = b.pid();
        let text = b.start().fails();
        assert!(
            text.contains(kind) && text.contains("exit status 3"),
            "{text}"
        );
        assert!(b.call(&["state", &b.id]).fails().contains("does not exist"));
        assert!(file.exists() && b.cgroups().is_empty());
        until(|| !fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| !c.is_empty()));
        fs::remove_file(&file).unwrap();
        let text = b.run().fails();
        assert!(text.contains(kind), "{text}");
        assert!(file.exists() && b.cgroups().is_empty());
    }
}

/// It is a file of the image, and so must not have more rights than the
/// program.
#[test]
fn a_start_container_hook_has_the_rights_of_the_program() {
    let look = "id; umask; ulimit -n; grep -hE '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    for no_new_privileges in [true, false] {
        let b = Bundle::sh(look).edit(|c| {
            c["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "umask": 0o27 });
            c["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "hard": 60, "soft": 50 }]);
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "execveat"], "action": "SCMP_ACT_KILL" }]
            });
        });
        let dir = b.path("out");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let b = b.bind(&dir, "/out", &["bind"]);
        let b = hook(b, "startContainer", &format!("({look}) > /out/hook"));
        let program = b.run().ok();
        let hook = fs::read_to_string(dir.join("hook")).unwrap();
        assert_eq!(hook.trim_end(), program);
        assert!(hook.contains("uid=1000(user) gid=1001"), "{hook}");
        assert!(hook.contains("Seccomp:\t2"), "{hook}");
        assert!(hook.contains("CapEff:\t0000000000000000"), "{hook}");
    }
    let b = Bundle::new().edit(|c| {
        c["process"]["rlimits"] = json!([{ "type": "RLIMIT_CORE", "hard": 0, "soft": 0 }]);
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]
        });
        c["hooks"]["startContainer"] = json!([{
            "path": "/bin/busybox", "args": ["mkdir", "/tmp/new"]
        }]);
    });
    let said = b.run().fails();
    assert!(said.contains("bad system call"), "{said}");
}

#[test]
fn failing_poststop_hooks_are_warnings_and_the_others_run() {
    let mut b = Bundle::new();
    let file = b.path("second");
    b = hook(b, "poststop", "exit 3");
    b = hook(b, "poststop", &format!("touch {}", file.display()));
    let out = b.run();
    out.ok();
    assert!(
        out.stderr
            .contains("warning: error running poststop hook #0: /bin/sh: "),
        "{out:#?}"
    );
    assert!(file.exists());
}

#[test]
fn what_hooks_of_the_host_write_goes_where_annotations_say() {
    let b = hook(
        Bundle::sh("true"),
        "createRuntime",
        "echo one; echo two >&2",
    );
    let b = hook(b, "startContainer", "echo three");
    let b = hook(b, "poststop", "echo four");
    let [out, err] = ["out", "err"].map(|name| b.path(name));
    let b = b.edit(|c| {
        c["annotations"]["run.oci.hooks.stdout"] = json!(out.to_str().unwrap());
        c["annotations"]["run.oci.hooks.stderr"] = json!(err.to_str().unwrap());
    });
    b.run().ok();
    b.run().ok();
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(out), "one\nfour\none\nfour\n");
    assert_eq!(read(err), "two\ntwo\n");
    let key = "run.oci.hooks.stdout";
    let b = b.edit(|c| c["annotations"][key] = json!("/nowhere/out"));
    let said = b.run().fails();
    assert!(
        said.contains("annotation run.oci.hooks.stdout: /nowhere/out: "),
        "{said}"
    );
}

#[test]
fn time_limits_hold() {
    for script in [
        "sleep 1000",
        // Neither a full pipe nor a child with its ends keeps the runtime.
        "sleep 1000 & while :; do echo 0123456789012345678901234567890123456789; done",
    ] {
        let mut b = hook(Bundle::new(), "createRuntime", script);
        b.config["hooks"]["createRuntime"][0]["timeout"] = json!(1);
        b.write();
        let start = std::time::Instant::now();
        let text = b.run().fails();
        assert!(text.contains("timeout of 1 s"), "{text}");
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}

#[test]
fn hooks_may_say_much_hear_nothing_and_leave_something_behind() {
    let mut b = Bundle::new();
    b.config["annotations"]["big"] = json!("x".repeat(300_000));
    let long = 3 * patience();
    let script = format!("exec <&-; seq 100000; sleep {long} & exit 0");
    b = hook(b, "createRuntime", &script);
    let count = format!("wc -c > {}", b.path("size").display());
    b = hook(b, "createRuntime", &count);
    let start = std::time::Instant::now();
    b.run().ok();
    let nearly = std::time::Duration::from_millis(2900) * patience();
    assert!(start.elapsed() < nearly, "{:?}", start.elapsed());
    let size: usize = fs::read_to_string(b.path("size"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(size > 300_000);
}

#[test]
fn a_hook_that_is_not_there() {
    let b = Bundle::new().edit(|c| {
        c["hooks"] = json!({ "createRuntime": [{ "path": "/no/such/hook" }] });
    });
    let out = b.run();
    assert_eq!(out.code, 1);
    assert!(
        out.stderr
            .contains("/no/such/hook: no such file or directory"),
        "{out:#?}"
    );
    let file = b.path("hook");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let b = b.edit(|c| c["hooks"]["createRuntime"][0]["path"] = json!(file));
    assert!(b.run().fails().contains("permission denied"));
    let b = b.edit(|c| c["hooks"]["createRuntime"][0]["path"] = json!("relative"));
    assert!(b.run().fails().contains("not an absolute path"));
}

#[test]
fn arguments_and_environment_as_given() {
    let mut b = Bundle::new();
    let file = b.path("args");
    let script = format!(
        "#!/bin/sh\n(echo \"$0 $@\"; cat /proc/$$/cmdline | tr '\\0' ' '; echo; env) > {}\n",
        file.display()
    );
    let program = b.path("program");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    b = b.edit(|c| {
        c["hooks"] = json!({ "createRuntime": [{ "path": program, "args": ["name", "a b", "c"], "env": ["X=1"] }] });
    });
    b.run().ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with(&format!("{} a b c\n", program.display())),
        "{text}"
    );
    assert!(text.contains("X=1"), "{text}");
}
