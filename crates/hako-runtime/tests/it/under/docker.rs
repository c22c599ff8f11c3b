//! dockerd, which starts a containerd of its own.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::engine::Engine;
use super::{Daemon, Place, apart};
use crate::harness::{BIN, until};

/// Debian's; another client in PATH may lack the old builder.
const CLIENT: &str = "/usr/bin/docker";

fn dockerd(place: &Place) -> Command {
    let mut daemon = Command::new("dockerd");
    for (flag, value) in [
        ("--data-root", place.path("data")),
        ("--exec-root", place.path("exec")),
        ("--pidfile", place.path("pid")),
        ("--config-file", place.write("daemon.json", "{}")),
        ("--host", format!("unix://{}", place.path("socket"))),
        ("--cgroup-parent", place.cgroup.clone()),
        ("--add-runtime", format!("hako={BIN}")),
        // A score of one's own cannot be lowered everywhere.
        ("--oom-score-adjust", "0".to_owned()),
    ] {
        daemon.args([flag, &value]);
    }
    daemon.args([
        "--default-runtime=hako",
        "--storage-driver=vfs",
        "--bridge=none",
    ]);
    daemon.args([
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
    ]);
    // Its BuildKit executes what is called runc in PATH.
    let bin = place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(BIN.path(), format!("{bin}/runc")).unwrap();
    let path = std::env::var("PATH").unwrap();
    daemon.env("PATH", format!("{bin}:{path}"));
    daemon
}

#[test]
fn docker_runs_and_execs() {
    apart("docker", |place| {
        let tar = place.tar();
        let engine = Engine {
            place,
            words: [
                CLIENT,
                "--host",
                &format!("unix://{}", place.path("socket")),
            ]
            .map(str::to_owned)
            .to_vec(),
            variables: vec![("DOCKER_CONFIG", place.path("client"))],
            missing: 126,
        };
        let log = place.path("dockerd.log");
        let daemon = Daemon::start(dockerd(place), &log, || engine.call(&["version"]).code == 0);
        engine.ok(&["import", &tar, "busy:1"]);
        engine.foreground();
        engine.confinement();
        engine.background();
        engine.more();
        particular(&engine);
        builds(&engine);
        assert_eq!(engine.ok(&["ps", "-aq"]), "");
        daemon.stop();
        // BuildKit's, which had its containers' below it.
        place.remove_empty_cgroups();
        place.is_clean(&["data", "exec/netns"], &["exec/runtime-hako/moby"]);
    });
}

fn particular(engine: &Engine<'_>) {
    // tini, bound into the container, is process 1.
    assert_eq!(
        engine.sh(&["--init"], "head -n 1 /proc/1/comm"),
        "docker-init"
    );
    assert_eq!(
        engine.run(&["--workdir=/new/dir"], &["pwd"]).ok(),
        "/new/dir"
    );

    // The shim hears of it from the cgroup that the runtime has made.
    let eat = ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"];
    let flags = ["--name=oom", "--memory=16m", "--memory-swap=16m"];
    assert_eq!(engine.call(&engine.flags("run", &flags, &eat)).code, 137);
    until(|| engine.tells("oom", "{{.State.OOMKilled}}") == "true");
    engine.ok(&["rm", "oom"]);

    let flags = [
        "-d",
        "--name=check",
        "--health-cmd=test -e /bin/sh",
        "--health-interval=200ms",
    ];
    engine.ok(&engine.flags("run", &flags, &["sleep", "300"]));
    let flags = ["-d", "--name=again", "--restart=on-failure:2"];
    engine.ok(&engine.flags("run", &flags, &["false"]));
    until(|| engine.tells("check", "{{.State.Health.Status}}") == "healthy");
    let counted = "{{.RestartCount}} {{.State.Status}}";
    until(|| engine.tells("again", counted) == "2 exited");
    engine.ok(&["rm", "-f", "again", "check"]);
}

fn builds(engine: &Engine<'_>) {
    let place = engine.place;
    std::fs::create_dir(place.path("context")).unwrap();
    let file =
        "FROM busy:1\nRUN echo step $(id -u) > /made\nUSER 1000\nRUN cat /made; id -u; false\n";
    place.write("context/Dockerfile", file);
    // The builder of old, and BuildKit.
    for kit in ["0", "1"] {
        let context = place.path("context");
        let mut build = engine.command(&[
            "build",
            "--network=none",
            "--no-cache",
            "--force-rm",
            &context,
        ]);
        build
            .env("DOCKER_BUILDKIT", kit)
            .env("BUILDKIT_PROGRESS", "plain");
        let out = place.finish(build);
        assert_eq!(out.code, 1, "{out:#?}");
        let told = format!("{}{}", out.stdout, out.stderr);
        for word in [
            "step 0",
            "1000",
            if kit == "0" {
                "non-zero code: 1"
            } else {
                "exit code: 1"
            },
        ] {
            assert!(told.contains(word), "{word} in {told}");
        }
    }
}
