//! `mounts add` and `mounts remove` on containers that run.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Bundle, Out};

fn change(b: &Bundle, what: &str, mounts: &Value) -> Out {
    let file = b.path("mounts.json");
    fs::write(&file, mounts.to_string()).unwrap();
    b.call(&["mounts", what, &b.id, file.to_str().unwrap()])
}

fn bind(source: &Path, at: &str, options: &[&str]) -> Value {
    json!({ "destination": at, "type": "bind", "source": source, "options": options })
}

fn mounted(b: &Bundle) -> Vec<String> {
    let text = b.exec(&["cat", "/proc/self/mountinfo"]).ok();
    let point = |line: &str| line.split(' ').nth(4).unwrap().to_owned();
    text.lines().map(point).collect()
}

#[test]
fn directories_files_and_file_systems_come_and_go() {
    for user_namespace in [false, true] {
        let mut b = Bundle::sleeper();
        if user_namespace {
            b = b.user_namespace();
        }
        let dir = b.path("source");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("hello"), "there").unwrap();
        b.up();
        let before = mounted(&b);
        let all = json!([
            bind(&dir, "/new/place", &["rbind", "ro"]),
            bind(&dir.join("hello"), "/etc/hello", &["bind"]),
            { "destination": "/scratch", "type": "tmpfs", "source": "tmpfs",
              "options": ["size=64k", "mode=700", "nosuid"] },
            { "destination": "/scratch/queues", "type": "mqueue", "source": "mqueue" },
        ]);
        change(&b, "add", &all).ok();
        let script = "cat /new/place/hello /etc/hello; touch /new/place/x; touch /scratch/x && \
                      stat -c %a:%u /scratch";
        let out = b.exec(&["sh", "-c", script]);
        let told = out.ok();
        assert_eq!(told, "therethere700:0", "{out:#?}");
        assert!(out.stderr.contains("Read-only file system"), "{out:#?}");
        // Nothing of it is seen on the host.
        assert!(
            !fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .contains("/new/place")
        );
        assert!(!b.rootfs().join("new/place/hello").exists());
        change(&b, "remove", &json!([{ "destination": "/scratch/queues" }])).ok();
        let rest = json!([{ "destination": "/new/place" }, { "destination": "/etc/hello" }]);
        change(&b, "remove", &rest).ok();
        assert!(
            change(&b, "remove", &rest)
                .fails()
                .contains("unmount /new/place")
        );
        let with_scratch = [before.clone(), vec!["/scratch".into()]].concat();
        assert_eq!(mounted(&b), with_scratch);
        change(&b, "remove", &json!([{ "destination": "/scratch" }])).ok();
        assert_eq!(mounted(&b), before);
        assert_eq!(fs::read(dir.join("hello")).unwrap(), b"there");
    }
}

/// Also mapped, and where the host sees nothing but an empty directory.
#[test]
fn sources_may_be_in_the_root() {
    for user_namespace in [false, true] {
        let b = Bundle::sleeper().mount("tmpfs", "/t", "tmpfs", &[]);
        let b = if user_namespace {
            b.user_namespace()
        } else {
            b
        };
        fs::create_dir_all(b.rootfs().join("t")).unwrap();
        b.up();
        b.exec(&["sh", "-c", "mkdir /t/d; echo seen > /t/d/file"])
            .ok();
        let source = b.rootfs().join("t/d");
        change(&b, "add", &json!([bind(&source, "/plain", &["bind"])])).ok();
        assert_eq!(b.exec(&["cat", "/plain/file"]).ok(), "seen");
        if !user_namespace {
            // A tmpfs can be mapped since Linux 6.3; what carries the root could
            // be before.
            let mut mapped = bind(&b.rootfs().join("etc"), "/mapped", &["bind"]);
            for ids in ["uidMappings", "gidMappings"] {
                mapped[ids] = json!([{ "containerID": 0, "hostID": 70, "size": 10 }]);
            }
            change(&b, "add", &json!([mapped])).ok();
            assert_eq!(b.exec(&["stat", "-c", "%u:%g", "/mapped"]).ok(), "70:70");
        }
        let nowhere = bind(&b.rootfs().join("t/none"), "/x", &["bind"]);
        let told = change(&b, "add", &json!([nowhere])).fails();
        assert!(told.contains("of the container"), "{told}");
    }
}

/// All or nothing.
#[test]
fn a_failure_takes_back_what_was_added() {
    let b = Bundle::sleeper();
    b.up();
    let before = mounted(&b);
    let all = json!([
        { "destination": "/a", "type": "tmpfs", "source": "tmpfs" },
        { "destination": "/b", "type": "no-such-fs", "source": "none" },
    ]);
    let told = change(&b, "add", &all).fails();
    assert!(told.contains("at /b"), "{told}");
    assert_eq!(mounted(&b), before);
}

/// CVE-2021-30465: a link of the container leads nowhere but into the container.
#[test]
fn links_stay_inside() {
    let b = Bundle::sleeper();
    let outside = b.path("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, b.rootfs().join("link")).unwrap();
    b.up();
    let tmpfs = json!([{ "destination": "/link/x", "type": "tmpfs", "source": "tmpfs" }]);
    change(&b, "add", &tmpfs).ok();
    assert!(!outside.join("x").exists());
    let at = format!("{}/x", outside.display());
    assert!(mounted(&b).contains(&at));
    change(&b, "remove", &json!([{ "destination": "/link/x" }])).ok();
    assert!(!mounted(&b).contains(&at));
}

#[test]
fn what_is_refused() {
    let b = Bundle::sleeper();
    b.create().ok();
    let tmpfs = |at: &str| json!([{ "destination": at, "type": "tmpfs", "source": "tmpfs" }]);
    let refused = |what: &str, mounts: &Value, says: &str| {
        let told = change(&b, what, mounts).fails();
        assert!(told.contains(says), "{told}");
    };
    for at in ["/", "/tmp/..", "/proc/../"] {
        refused("remove", &tmpfs(at), "root is no mount to remove");
    }
    refused("remove", &tmpfs("/tmp"), "nothing is mounted there");
    refused("remove", &tmpfs("/nowhere"), "no such file");
    refused("add", &json!({ "destination": "/x" }), "mounts.json");
    refused("add", &json!([{ "type": "tmpfs" }]), "destination");
    refused("move", &tmpfs("/x"), "neither add nor remove");
    // They would show the host's.
    for kind in ["proc", "cgroup"] {
        let mounts = json!([{ "destination": "/c", "type": kind, "source": kind }]);
        refused("add", &mounts, "when a container is created");
    }
    refused(
        "add",
        &json!([bind(&b.path("none"), "/x", &["bind"])]),
        "bind source",
    );
    assert!(
        b.call(&["mounts", "add", &b.id])
            .fails()
            .contains("needs add or remove")
    );
    // A created container takes them, a stopped one does not.
    change(&b, "add", &tmpfs("/x")).ok();
    b.call(&["kill", &b.id, "KILL"]).ok();
    b.wait_status("stopped");
    refused("add", &tmpfs("/x"), "container not running");
}
