//! The process: identity, capabilities, limits, scheduling, filter.

use std::fs;
use std::process::Command;

use hako_spec::runtime::Arch;
use serde_json::{Value, json};

use crate::harness::{BIN, Bundle, until};

const SETS: &[(&str, &str)] = &[
    ("inheritable", "CapInh"),
    ("permitted", "CapPrm"),
    ("effective", "CapEff"),
    ("bounding", "CapBnd"),
    ("ambient", "CapAmb"),
];

fn status(out: &str, field: &str) -> String {
    let line = out
        .lines()
        .find(|l| l.starts_with(field))
        .unwrap_or_else(|| panic!("{field}: {out}"));
    line.split_once(':').unwrap().1.trim().to_owned()
}

fn caps(out: &str, field: &str) -> u64 {
    u64::from_str_radix(&status(out, field), 16).unwrap()
}

#[test]
fn capabilities_per_set() {
    // chown 0, dac_override 1, kill 5, net_bind_service 10, sys_chroot 18.
    let b = Bundle::sh("exec cat /proc/self/status").edit(|c| {
        c["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
    });
    let out = b.run();
    let text = out.ok();
    assert_eq!(caps(&text, "CapBnd"), 1 | 2 | 1 << 5 | 1 << 10, "{text}");
    assert_eq!(caps(&text, "CapInh"), 1 << 5);
    assert_eq!(caps(&text, "CapPrm"), 1 | 1 << 5);
    assert_eq!(out.stderr, "");
    // Without no_new_privs root's execve(2) gives back all of the bounding set
    // (capabilities(7)).
    let b = b.edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    assert_eq!(caps(&b.run().ok(), "CapPrm"), 1 | 2 | 1 << 5 | 1 << 10);
}

#[test]
fn no_capabilities_at_all() {
    for none in [json!(null), json!({})] {
        let b = Bundle::sh("exec cat /proc/self/status")
            .edit(|c| c["process"]["capabilities"] = none.clone());
        let text = b.run().ok();
        for (_, field) in SETS {
            assert_eq!(caps(&text, field), 0, "{field}");
        }
    }
}

#[test]
fn a_user_keeps_what_is_ambient() {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let b = Bundle::sh("exec cat /proc/self/status").edit(|c| {
        c["process"]["user"] = user.clone();
        let all = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
        for (set, _) in SETS {
            c["process"]["capabilities"][set] = all.clone();
        }
        c["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
    });
    let text = b.run().ok();
    for field in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(caps(&text, field), 1 << 10, "{field}");
    }
    assert_eq!(caps(&text, "CapBnd"), 1 << 10 | 1 << 5);
    // Without an ambient set a user has none.
    let b = b.edit(|c| c["process"]["capabilities"]["ambient"] = json!([]));
    let text = b.run().ok();
    for field in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(caps(&text, field), 0, "{field}");
    }
}

#[test]
fn what_cannot_be_granted_is_a_warning() {
    let b = Bundle::new().edit(|c| {
        c["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_OF_NO_KERNEL"],
            "permitted": ["CAP_CHOWN"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "ambient": ["CAP_CHOWN"],
        });
    });
    let out = b.run();
    out.ok();
    assert!(out.stderr.contains("CAP_OF_NO_KERNEL"), "{out:#?}");
    assert!(
        out.stderr.contains("effective ones must be permitted"),
        "{out:#?}"
    );
    // An ambient set adds nothing to what root's programs have.
    let b = b.edit(|c| {
        let set = json!(["CAP_CHOWN"]);
        c["process"]["capabilities"] = json!({
            "bounding": set, "permitted": set, "effective": set, "ambient": set,
        });
    });
    assert_eq!(b.run().stderr, "");
    let b = b.edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let out = b.run();
    assert!(
        out.stderr
            .contains("can't raise ambient capability CAP_CHOWN: "),
        "{out:#?}"
    );
}

/// CVE-2022-29162: an inheritable set that nobody asked for.
#[test]
fn cve_2022_29162_inheritable_is_empty_unless_asked_for() {
    let b = Bundle::sleeper();
    b.up();
    let out = b
        .call(&[
            "exec",
            "--cap",
            "CAP_SYS_ADMIN",
            &b.id,
            "cat",
            "/proc/self/status",
        ])
        .ok();
    assert_eq!(caps(&out, "CapInh"), 0);
    assert_ne!(caps(&out, "CapEff") & 1 << 21, 0);
    assert_eq!(caps(&b.exec(&["cat", "/proc/1/status"]).ok(), "CapInh"), 0);
}

#[test]
fn user_groups_and_umask() {
    let b =
        Bundle::sh("id; umask; touch /tmp/f; stat -c '%a %u:%g' /tmp/f; echo $HOME").edit(|c| {
            c["process"]["user"] = json!({
                "uid": 1000, "gid": 1001, "umask": 0o027, "additionalGids": [7, 8]
            });
        });
    let wanted = "uid=1000(user) gid=1001 groups=7,8\n0027\n640 1000:1001\n/home";
    assert_eq!(b.run().ok(), wanted);
    let b = Bundle::sh("umask; echo $HOME; id -G");
    assert_eq!(b.run().ok(), "0022\n/root\n0");
}

#[test]
fn the_streams_belong_to_the_user() {
    let b = Bundle::sh("echo again > /dev/stdout; echo more > /proc/self/fd/2").edit(|c| {
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let out = b.run();
    assert!(out.ok().contains("again"), "{out:#?}");
    assert_eq!(out.stderr, "more\n");
}

#[test]
fn an_empty_home_is_none() {
    let home = |env: &[&str]| {
        let env = json!([&["PATH=/bin"], env].concat());
        let b = Bundle::sh("echo $HOME").edit(|c| c["process"]["env"] = env);
        b.run().ok()
    };
    assert_eq!(home(&["HOME="]), "/root");
    assert_eq!(home(&["HOME=/over", "HOME="]), "/root");
    assert_eq!(home(&["HOME=", "HOME=/over"]), "/over");
}

#[test]
fn the_callers_cpus_are_not_the_containers() {
    let script = "grep Cpus_allowed_list /proc/self/status";
    let wanted = Bundle::sh(script).run().ok();
    let bound = |b: &Bundle, args: &[&str]| {
        let mut command = Command::new("taskset");
        command
            .args(["-c", "0", BIN.path(), "--root"])
            .arg(b.records())
            .args(args);
        b.finish(command).ok()
    };
    let b = Bundle::sh(script);
    assert_eq!(
        bound(&b, &["run", "-b", b.dir.path().to_str().unwrap(), &b.id]),
        wanted
    );
    let b = Bundle::sleeper();
    b.up();
    assert_eq!(bound(&b, &["exec", &b.id, "sh", "-c", script]), wanted);
}

#[test]
fn the_callers_groups_are_kept_on_demand() {
    for (value, wanted) in [("1", "groups=0,4711"), ("0", "gid=0")] {
        let b = Bundle::sh("id").edit(|c| {
            c["annotations"] = json!({ "run.oci.keep_original_groups": value });
        });
        let mut command = Command::new("setpriv");
        command.args(["--groups", "0,4711", BIN.path(), "--root"]);
        command
            .arg(b.records())
            .args(["run", "-b"])
            .arg(b.dir.path())
            .arg(&b.id);
        let out = b.finish(command).ok();
        assert!(out.ends_with(wanted), "{value}: {out}");
    }
}

#[test]
fn a_directory_only_the_user_may_enter() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let b = Bundle::sh("pwd").edit(|c| {
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        c["process"]["cwd"] = json!("/home/own");
    });
    let own = b.rootfs().join("home/own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(b.run().ok(), "/home/own");
}

#[test]
fn the_directory_is_made_where_missing() {
    // Also below a root that nobody may write to later.
    for readonly in [false, true] {
        let b = Bundle::sh("pwd; ls -d /a/b").edit(|c| {
            c["process"]["cwd"] = json!("/a/b");
            c["root"]["readonly"] = json!(readonly);
        });
        assert_eq!(b.run().ok(), "/a/b\n/a/b");
    }
}

#[test]
fn resource_limits() {
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_STACK", "soft": 1048576, "hard": 1048576 },
    ]);
    for user in [false, true] {
        let mut b = Bundle::sh("ulimit -n; ulimit -Hn; ulimit -c; ulimit -s")
            .edit(|c| c["process"]["rlimits"] = limits.clone());
        if user {
            b = b.user_namespace();
        }
        assert_eq!(b.run().ok(), "100\n200\n0\n1024");
        b.args(&["/bin/sleep", "1000"]);
        b.up();
        assert_eq!(
            b.exec(&["sh", "-c", "ulimit -n; ulimit -Hn"]).ok(),
            "100\n200"
        );
    }
}

#[test]
fn hard_limits_are_raised_by_who_may_and_else_are_errors() {
    let hard: u64 = {
        let now = rustix::process::getrlimit(rustix::process::Resource::Memlock);
        now.maximum.expect("a limit of locked memory") * 2
    };
    let may = fs::read_to_string("/proc/self/status").unwrap();
    let may = caps(&may, "CapEff") & 1 << 24 != 0;
    for user in [false, true] {
        let mut b = Bundle::sh("ulimit -Hl").edit(|c| {
            c["process"]["rlimits"] =
                json!([{ "type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": hard }]);
        });
        if user {
            b = b.user_namespace();
        }
        let out = b.run();
        if may {
            assert_eq!(out.ok(), (hard / 1024).to_string());
        } else {
            let text = out.fails();
            assert!(
                text.contains("RLIMIT_MEMLOCK") && text.contains("not permitted"),
                "{text}"
            );
        }
    }
    let bad = Bundle::new().edit(|c| {
        c["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 3, "hard": 2 }]);
    });
    assert!(bad.run().fails().contains("above the hard limit"));
    let bad = Bundle::new().edit(|c| {
        c["process"]["rlimits"] = json!([{ "type": "RLIMIT_X", "soft": 3, "hard": 3 }]);
    });
    assert!(bad.run().fails().contains("RLIMIT_X"));
}

#[test]
fn no_new_privileges() {
    for wanted in [true, false] {
        let b = Bundle::sh("grep NoNewPrivs /proc/self/status").edit(|c| {
            c["process"]["noNewPrivileges"] = json!(wanted);
        });
        assert_eq!(
            status(&b.run().ok(), "NoNewPrivs"),
            u8::from(wanted).to_string()
        );
    }
}

#[test]
fn out_of_memory_score() {
    let b = Bundle::sh("cat /proc/self/oom_score_adj")
        .edit(|c| c["process"]["oomScoreAdj"] = json!(321));
    assert_eq!(b.run().ok(), "321");
    assert_eq!(b.user_namespace().run().ok(), "321");
}

#[test]
fn scheduling() {
    let b = Bundle::sh("cut -d' ' -f19,41 /proc/self/stat").edit(|c| {
        c["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        c["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
    });
    assert_eq!(b.run().ok(), "5 3");
    let bad = Bundle::new().edit(|c| {
        c["process"]["scheduler"] = json!({ "policy": "SCHED_OTHER", "priority": 5 });
    });
    assert!(bad.run().fails().contains("priority"));
}

#[test]
fn cpu_affinity_is_for_exec_alone() {
    let b = Bundle::sleeper().edit(|c| {
        c["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "1" });
    });
    b.up();
    let list = |file: &str| {
        let out = b.exec(&["grep", "Cpus_allowed_list", file]).ok();
        status(&out, "Cpus_allowed_list")
    };
    assert_eq!(list("/proc/self/status"), "1");
    assert_eq!(list("/proc/1/status"), "0-1");
}

#[test]
fn personality() {
    let b =
        Bundle::sh("uname -m").edit(|c| c["linux"]["personality"] = json!({ "domain": "LINUX32" }));
    assert_eq!(
        b.run().ok(),
        if cfg!(target_arch = "x86_64") {
            "i686"
        } else {
            "armv8l"
        }
    );
}

fn native() -> Value {
    json!([Arch::native().unwrap().to_string()])
}

fn with_filter(script: &str, rules: &Value, new_privileges: bool) -> Bundle {
    Bundle::sh(script).edit(|c| {
        c["process"]["noNewPrivileges"] = json!(!new_privileges);
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": native(),
            "syscalls": rules,
        });
    })
}

#[test]
fn a_filter_refuses_calls() {
    for new_privileges in [false, true] {
        let rules =
            json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]);
        let b = with_filter(
            "mkdir /tmp/x; grep Seccomp: /proc/self/status",
            &rules,
            new_privileges,
        );
        let out = b.run();
        assert_eq!(status(&out.ok(), "Seccomp"), "2");
        assert!(out.stderr.contains("No space left"), "{out:#?}");
        let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]);
        let b = with_filter("mkdir /tmp/x; echo $?", &rules, new_privileges);
        assert_eq!(b.run().ok(), (128 + 31).to_string());
    }
}

#[test]
fn exec_is_filtered_too() {
    let rules =
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]);
    let mut b = with_filter("", &rules, true);
    b.args(&["/bin/sleep", "1000"]);
    b.up();
    assert!(
        b.exec(&["mkdir", "/tmp/x"])
            .fails()
            .contains("No space left")
    );
}

#[test]
fn filters_that_forbid_what_the_runtime_does() {
    for new_privileges in [false, true] {
        for call in [
            "fcntl",
            "close_range",
            "getcwd",
            "fchdir",
            "openat2",
            "execveat",
            "write",
        ] {
            if call == "write" && new_privileges {
                continue;
            }
            let rules = json!([{ "names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }]);
            let b = with_filter("exit 9", &rules, new_privileges);
            let out = b.run();
            assert_eq!(
                out.code, 9,
                "{call}, new privileges {new_privileges}: {out:#?}"
            );
        }
    }
    // With execveat alone forbidden and no procfs there is no way.
    let rules = json!([{ "names": ["execveat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }]);
    let b = with_filter("exit 9", &rules, true)
        .without_mount("/proc")
        .edit(|c| {
            c["linux"]["maskedPaths"] = json!([]);
            c["linux"]["readonlyPaths"] = json!([]);
        });
    assert!(b.run().fails().contains("execveat"));
}

#[test]
fn the_default_profile_runs_a_shell() {
    let names = ["CAP_CHOWN", "CAP_KILL"];
    let profile = hako_seccomp::default_profile(&names, Arch::native().unwrap());
    for user in [0, 1000] {
        let b =
            Bundle::sh("unshare -m true || echo refused; mount -t tmpfs x /tmp || echo refused")
                .edit(|c| {
                    c["linux"]["seccomp"] = serde_json::to_value(&profile).unwrap();
                    c["process"]["user"]["uid"] = json!(user);
                });
        assert_eq!(b.run().ok(), "refused\nrefused");
    }
}

#[test]
fn notifications_go_to_the_listener() {
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;
    let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]);
    let b = with_filter("sleep 1000", &rules, true);
    let path = b.path("listener");
    let listener = UnixListener::bind(&path).unwrap();
    let b = b.edit(|c| {
        c["linux"]["seccomp"]["listenerPath"] = json!(path.to_str().unwrap());
        c["linux"]["seccomp"]["listenerMetadata"] = json!("meta");
    });
    b.up();
    let (mut call, _) = listener.accept().unwrap();
    let mut text = vec![0; 4096];
    let n = call.read(&mut text).unwrap();
    let state: Value = serde_json::from_slice(&text[..n]).unwrap();
    assert_eq!(state["pid"], b.pid());
    assert_eq!(state["metadata"], "meta");
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["state"]["id"], b.id.as_str());
    assert_eq!(state["state"]["pid"], b.pid());
    // crun's annotation is for profiles that name none.
    let other = with_filter("sleep 1000", &rules, true).edit(|c| {
        c["annotations"]["run.oci.seccomp.receiver"] = json!(path.to_str().unwrap());
    });
    other.up();
    let (mut call, _) = listener.accept().unwrap();
    let n = call.read(&mut text).unwrap();
    let state: Value = serde_json::from_slice(&text[..n]).unwrap();
    assert_eq!(state["state"]["id"], other.id.as_str());
    let rules = json!([{ "names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY" }]);
    let bad = with_filter("true", &rules, true).edit(|c| {
        c["linux"]["seccomp"]["listenerPath"] = json!(path.to_str().unwrap());
    });
    assert!(bad.run().fails().contains("must allow sendmsg"));
}

#[test]
fn unknown_calls_are_left_out_or_refused() {
    let key = "run.oci.seccomp_fail_unknown_syscall";
    let rules = json!([{ "names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO" }]);
    let b = with_filter("exit 3", &rules, true);
    assert_eq!(b.run().code, 3);
    let b = b.edit(|c| c["annotations"][key] = json!("1"));
    // The filter is known by now.
    assert!(
        b.run()
            .fails()
            .contains("unknown system call \"no_such_call\"")
    );
    let b = b.edit(|c| c["annotations"][key] = json!("0"));
    assert_eq!(b.run().code, 3);
}

#[test]
fn the_callers_keys_are_not_the_containers() {
    let keys = || Bundle::sh("cat /proc/keys").edit(|c| c["linux"]["maskedPaths"] = json!([]));
    let b = keys();
    let out = b.run().ok();
    assert!(out.contains(&format!("_ses.{}", b.id)), "{out}");
    let b = keys();
    let out = b.verb("run", &["--no-new-keyring"]).ok();
    assert!(!out.contains(&format!("_ses.{}", b.id)), "{out}");
}

#[test]
fn signals_start_at_their_defaults() {
    // Not by a shell, which has ideas of its own.
    let mut b = Bundle::new();
    b.args(&["/bin/grep", "Sig", "/proc/self/status"]);
    let dir = b.dir.path().to_str().unwrap().to_owned();
    let mut command = std::process::Command::new("sh");
    let script = format!(
        "trap '' HUP INT PIPE; exec {} --root {} run -b {dir} {}",
        crate::harness::BIN,
        b.records().display(),
        b.id
    );
    command.args(["-c", &script]);
    let out = b.finish(command).ok();
    assert_eq!(caps(&out, "SigIgn"), 0);
    assert_eq!(caps(&out, "SigBlk"), 0);
}

#[test]
fn what_is_not_supported_is_refused() {
    let refused = |change: fn(&mut Value), word: &str| {
        let b = Bundle::new().edit(change);
        let text = b.run().fails();
        assert!(text.contains(word), "{word}: {text}");
    };
    refused(
        |c| c["process"]["apparmorProfile"] = json!("x"),
        "apparmorProfile",
    );
    // What every process of this test has, unless somebody confines it.
    let b = Bundle::new().edit(|c| c["process"]["apparmorProfile"] = json!("unconfined"));
    b.run().ok();
    refused(|c| c["process"]["selinuxLabel"] = json!("x"), "SELinux");
    refused(
        |c| c["linux"]["intelRdt"] = json!({ "closID": "x" }),
        "linux.intelRdt",
    );
    refused(
        |c| c["linux"]["netDevices"] = json!({ "hako-none": {} }),
        "linux.netDevices: hako-none",
    );
    refused(
        |c| c["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["x"] }),
        "personality",
    );
}

/// Profiles and labels are applied, or are errors that name what asked for them.
#[test]
fn what_confines_is_never_left_out() {
    let enabled = "/sys/module/apparmor/parameters/enabled";
    let apparmor = std::fs::read(enabled).is_ok_and(|text| text.starts_with(b"Y"));
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    let why = |on: bool, of: &'static str| if on { of } else { "not enabled on this host" };
    let b = Bundle::sleeper();
    let b = b.edit(|c| c["process"]["apparmorProfile"] = json!("unconfined"));
    b.up();
    let profile = b.exec(&["--apparmor", "unconfined", "true"]);
    profile.ok();
    let file = b.path("process.json");
    let text = json!({ "args": ["/bin/true"], "cwd": "/", "apparmorProfile": "hako-none" });
    std::fs::write(&file, text.to_string()).unwrap();
    let by_file = ["--process", file.to_str().unwrap()];
    for told in [
        b.call(&["exec", "--apparmor", "hako-none", &b.id, "true"]),
        b.call(&["exec", by_file[0], by_file[1], &b.id]),
    ] {
        let told = told.fails();
        assert!(told.contains("process.apparmorProfile"), "{told}");
        assert!(told.contains(why(apparmor, "is it loaded?")), "{told}");
    }
    let told = b.call(&["exec", "--process-label", "hako_none", &b.id, "true"]);
    let told = told.fails();
    assert!(told.contains("process.selinuxLabel"), "{told}");
    assert!(told.contains(why(selinux, "hako_none")), "{told}");
    let b = Bundle::new().edit(|c| c["linux"]["mountLabel"] = json!("hako_none"));
    assert!(b.run().fails().contains(why(selinux, "context")));
}

#[test]
fn the_environment_is_the_configurations() {
    let b = Bundle::sh("env | sort").edit(|c| {
        c["process"]["env"] = json!(["PATH=/bin", "A=1", "A=2", "EMPTY="]);
    });
    let dir = b.dir.path().to_str().unwrap();
    let mut command = b.command(&["run", "-b", dir, &b.id]);
    command.env("OF_THE_CALLER", "1");
    let out = b.finish(command).ok();
    assert_eq!(out, "A=2\nEMPTY=\nHOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1");
}

#[test]
fn a_record_of_the_process_waits_for_it() {
    // The status follows the process, not the runtime.
    let b = Bundle::sh("sleep 0.2");
    b.up();
    until(|| b.status() == "stopped");
}
