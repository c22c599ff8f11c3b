//! Containers of runc and crun, with a busybox of which Debian has a static
//! one.

use std::path::{Path, PathBuf};
use std::process::Command;

use hako_monitor::protocol::Frame;
use hako_monitor::{Known, Ready, Stdin};
use serde_json::{Value, json};

use crate::Test;
use crate::support::{
    Fixture, collect, ended_elsewhere, eventually, kill, read_until, start, status,
};

pub(crate) const TESTS: &[Test] = &[
    ("real::runc", || runs(&runc)),
    ("real::crun", || runs(&crun)),
    ("real::runc_terminal", || terminal(&runc)),
    ("real::crun_terminal", || terminal(&crun)),
    ("real::out_of_memory", out_of_memory),
    ("real::adopted", adopted),
    ("real::bad_command", bad_command),
];

type Make = dyn Fn(&Fixture) -> PathBuf;

fn runc(_: &Fixture) -> PathBuf {
    ["/usr/sbin/runc", "/usr/bin/runc"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
        .expect("needs runc")
}

/// Debian's crun refuses a hybrid host: it gets a mount namespace without the
/// version 2 mount.
fn crun(f: &Fixture) -> PathBuf {
    assert!(Path::new("/usr/bin/crun").exists(), "needs crun");
    let script = "#!/bin/sh\nexec unshare -m --propagation slave sh -c \
                  'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec /usr/bin/crun \"$@\"' crun \"$@\"\n";
    f.script("crun", script).into()
}

struct Real {
    f: Fixture,
    id: String,
}

impl Real {
    /// A container that runs `args` in a root with busybox alone.
    fn new(make: &Make, args: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut f = Fixture::new("");
        let id = format!("hako-monitor-test-{}-{number}", std::process::id());
        f.config.id = id.clone();
        f.config.runtime.path = make(&f);
        let rootfs = f.config.bundle.join("rootfs");
        std::fs::create_dir_all(rootfs.join("bin")).unwrap();
        for dir in ["proc", "dev", "sys", "tmp"] {
            std::fs::create_dir(rootfs.join(dir)).unwrap();
        }
        // By another process: what a test's thread starts meanwhile would have
        // it open for writing, and it could not be executed (ETXTBSY).
        let busybox = rootfs.join("bin/busybox");
        let cp = Command::new("cp").arg("/bin/busybox").arg(busybox).status();
        assert!(cp.unwrap().success(), "needs busybox-static");
        for applet in ["sh", "sleep", "stty", "tty", "tail", "cat"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let out = Command::new(f.config.runtime.path.as_path())
            .arg("spec")
            .current_dir(&f.config.bundle)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let path = f.config.bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        spec["process"]["args"] = json!(args);
        spec["process"]["terminal"] = json!(false);
        spec["process"].as_object_mut().unwrap().remove("rlimits");
        spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        change(&mut spec);
        f.config.terminal = spec["process"]["terminal"] == json!(true);
        std::fs::write(&path, spec.to_string()).unwrap();
        Self { f, id }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = Command::new(self.f.config.runtime.path.as_path())
            .arg("--root")
            .arg(&self.f.config.runtime_root)
            .args(["delete", "--force", &self.id])
            .output();
    }
}

fn runs(make: &Make) {
    let mut real = Real::new(make, &["sh", "-c", "echo in $$; cat; exit 6"], |_| {});
    real.f.config.stdin = Stdin::Once;
    real.f.create();
    let mut client = real.f.attached(true);
    client.send(&Frame::Start).unwrap();
    client.send_stdin(b"through\n").unwrap();
    client.send(&Frame::StdinEof).unwrap();
    let answers = collect(&mut client);
    assert!(answers.started, "{answers:?}");
    assert_eq!(answers.stdout, "in 1\nthrough\n", "{answers:?}");
    let exit = answers.exit.unwrap();
    assert_eq!((exit.code, exit.known), (Some(6), Known::Waited));
    assert!(!exit.oom_killed);
}

fn terminal(make: &Make) {
    let script = "tty; stty size; read x; stty size; echo got $x; exit 4";
    let mut real = Real::new(make, &["sh", "-c", script], |spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    });
    real.f.config.stdin = Stdin::Once;
    real.f.create();
    let mut client = real.f.attached(true);
    client
        .send(&Frame::Resize {
            rows: 30,
            cols: 120,
        })
        .unwrap();
    client.send(&Frame::Start).unwrap();
    let first = read_until(&mut client, "30 120");
    assert!(first.contains("/dev/"), "{first}");
    client
        .send(&Frame::Resize {
            rows: 31,
            cols: 121,
        })
        .unwrap();
    client.send_stdin(b"typed\r").unwrap();
    let answers = collect(&mut client);
    assert!(answers.stdout.contains("31 121\r\n"), "{answers:?}");
    assert!(answers.stdout.contains("got typed\r\n"), "{answers:?}");
    assert_eq!(answers.exit.unwrap().code, Some(4));
    assert!(!real.f.config.run_dir.join("console.sock").exists());
}

fn out_of_memory() {
    let real = Real::new(&runc, &["sh", "-c", "tail /dev/zero; exit 1"], |spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    });
    real.f.create();
    start(&mut real.f.client());
    let exit = real.f.wait_exit();
    assert!(exit.oom_killed, "{exit:?}");
    assert!(real.f.journal().contains(&"oom".to_owned()));
}

/// Its pid namespace's first process, which others reap after the monitor.
fn adopted() {
    let script =
        "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; [ -e /tmp/end ] && exit 12; done";
    let mut real = Real::new(&runc, &["sh", "-c", script], |spec| {
        spec["root"]["readonly"] = json!(false);
    });
    let pid = real.f.create();
    start(&mut real.f.client());
    eventually("some output", || real.f.log().contains("line 5"));
    kill(status(&mut real.f.client()).monitor_pid, 9);
    eventually("dead monitor", || {
        hako_monitor::Client::connect(&real.f.config.run_dir).is_err()
    });
    real.f.config.adopt = true;
    assert_eq!(real.f.monitor(), Ready::Adopted { pid, running: true });
    std::fs::write(real.f.config.bundle.join("rootfs/tmp/end"), "").unwrap();
    let exit = real.f.wait_exit();
    ended_elsewhere(&exit, 12);
}

fn bad_command() {
    for make in [&runc as &Make, &crun] {
        let real = Real::new(make, &["/no/such/thing"], |_| {});
        // The one says so when creating, the other when starting.
        let message = match real.f.monitor() {
            Ready::Error { message, exit } => {
                assert_ne!(exit, 0);
                message
            }
            _ => real
                .f
                .client()
                .request(&Frame::Start, |f| matches!(f, Frame::Started).then_some(()))
                .unwrap_err()
                .to_string(),
        };
        assert!(
            message.contains("no such file or directory") || message.contains("No such file"),
            "{message}"
        );
    }
}
