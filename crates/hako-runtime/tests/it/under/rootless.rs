//! podman and buildah of a user who is not root. On hosts with cgroup v1 such a
//! user has no cgroups: there are no limits, and no pause.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use rustix::mount::mount_bind;

use super::podman::configuration;
use super::{LOOP, Place, apart};
use crate::harness::{BIN, Out, until};

const USER: u32 = 54_321;

/// A user with a home directory, and with subordinate ids, in this mount
/// namespace alone.
fn make_user(place: &mut Place) {
    place.user = Some(USER);
    let home = place.path("home");
    fs::create_dir_all(format!("{home}/run")).unwrap();
    for dir in [home.clone(), format!("{home}/run")] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&dir, Some(USER), Some(USER)).unwrap();
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let passwd = format!("{passwd}hako-under:x:{USER}:{USER}::{home}:/bin/sh\n");
    let ranges = "hako-under:2000000:65536\n".to_owned();
    for (at, text) in [
        ("passwd", &passwd),
        ("subuid", &ranges),
        ("subgid", &ranges),
    ] {
        let file = place.write(at, text);
        mount_bind(file, format!("/etc/{at}")).unwrap();
    }
    // Where the build's directory may be anybody's.
    let runtime = place.path("hako-runtime");
    fs::copy(BIN.path(), &runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    place.write("containers.conf", &configuration(true));
}

/// Of the user, with vfs storage.
fn call(place: &Place, program: &str, args: &[&str]) -> Out {
    let mut command = Command::new("setpriv");
    let user = USER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.args([program, "--storage-driver=vfs"]).args(args);
    command.env("HOME", place.path("home"));
    command.env("XDG_RUNTIME_DIR", place.path("home/run"));
    command.env("CONTAINERS_CONF", place.path("containers.conf"));
    command.current_dir(place.dir.path());
    command.stdin(std::process::Stdio::null());
    place.finish(command)
}

#[test]
fn podman_and_buildah_without_root() {
    apart("rootless", |place| {
        make_user(place);
        let tar = place.tar();
        let runtime = format!("--runtime={}", place.path("hako-runtime"));
        let podman = |args: &[&str]| call(place, "podman", &[&[runtime.as_str()], args].concat());
        podman(&["import", &tar, "busy:1"]).ok();
        let run =
            |run: &[&str]| podman(&[&["run", "--rm", "--network=none", "busy:1"], run].concat());
        let out = run(&["sh", "-c", "id -u; cat /proc/self/uid_map; exit 3"]);
        assert_eq!(out.code, 3, "{out:#?}");
        let words: Vec<&str> = out.stdout.split_whitespace().collect();
        let map = ["0", "0", "54321", "1", "1", "2000000", "65536"];
        assert_eq!(words, map);
        let out = run(&["no-such-program"]);
        assert_eq!(out.code, 127, "{out:#?}");
        assert!(out.stderr.contains("no-such-program"), "{out:#?}");

        podman(&[
            "run",
            "-d",
            "--name=back",
            "--network=none",
            "busy:1",
            "sh",
            "-c",
            LOOP,
        ])
        .ok();
        until(|| podman(&["logs", "back"]).ok() == "started");
        let out = podman(&["exec", "--user=1000", "back", "sh", "-c", "id -u; exit 5"]);
        assert_eq!((out.code, out.stdout.as_str()), (5, "1000\n"), "{out:#?}");
        let out = podman(&["exec", "-t", "back", "tty"]);
        assert_eq!(out.ok(), "/dev/pts/0");
        podman(&["stop", "back"]).ok();
        let code = podman(&["inspect", "back", "--format={{.State.ExitCode}}"]);
        assert_eq!(code.ok(), "7");
        podman(&["rm", "back"]).ok();

        let buildah = |args: &[&str]| call(place, "buildah", args);
        buildah(&["from", "--name=work", "scratch"]).ok();
        buildah(&["add", "--quiet", "work", &tar, "/"]).ok();
        let out = buildah(&[
            "run",
            "--isolation=rootless",
            "--network=none",
            &runtime,
            "work",
            "--",
            "sh",
            "-c",
            "id -u; exit 4",
        ]);
        assert_eq!((out.code, out.stdout.as_str()), (4, "0\n"), "{out:#?}");
        assert!(!out.stderr.contains("hako-runtime"), "{out:#?}");
        buildah(&["rm", "work"]).ok();

        // podman keeps its user namespace by a process that waits for good.
        let waiting = fs::read_to_string(place.path("home/run/libpod/tmp/pause.pid")).unwrap();
        place.must("kill", &[waiting.trim()]);
        let records = ["home/run/hako-runtime", "home/run/libpod/tmp/exits"];
        place.is_clean(&["home", "/etc"], &records);
    });
}
