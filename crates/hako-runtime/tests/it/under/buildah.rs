//! buildah, which needs no daemon and no conmon.

use std::process::{Command, Stdio};

use super::podman::configuration;
use super::{Place, apart};
use crate::harness::{BIN, CGROUPS, Out};

struct Buildah<'a> {
    place: &'a Place,
    conf: String,
}

impl Buildah<'_> {
    fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--root", &self.place.path("root")]);
        command.args(["--runroot", &self.place.path("run")]);
        command.args(["--storage-driver", "vfs", verb]);
        if matches!(verb, "run" | "build") {
            command.args(["--isolation=oci", "--network=none", "--runtime", BIN.path()]);
        }
        command.args(args).env("CONTAINERS_CONF", &self.conf);
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn call(&self, verb: &str, args: &[&str]) -> Out {
        self.place.finish(self.command(verb, args))
    }

    #[track_caller]
    fn run(&self, flags: &[&str], run: &[&str]) -> Out {
        self.call("run", &[flags, &["work", "--"], run].concat())
    }
}

#[test]
fn buildah_runs_and_builds() {
    apart("buildah", |place| {
        let tar = place.tar();
        let conf = place.write("containers.conf", &configuration(false));
        let buildah = Buildah { place, conf };
        buildah.call("from", &["--name=work", "scratch"]).ok();
        buildah.call("add", &["--quiet", "work", &tar, "/"]).ok();
        runs(&buildah);
        builds(&buildah);
        buildah.call("rm", &["work"]).ok();
        place.is_clean(&["root/vfs"], &[]);
    });
}

fn runs(buildah: &Buildah<'_>) {
    let script = "echo out; echo err >&2; cat /proc/self/cgroup; exit 3";
    let out = buildah.run(&[], &["sh", "-c", script]);
    assert_eq!(out.code, 3, "{out:#?}");
    // The runtime had nothing to say.
    assert!(out.stderr.starts_with("err\n"), "{out:#?}");
    assert!(!out.stderr.contains("hako-runtime"), "{out:#?}");
    let mut lines = out.stdout.lines();
    assert_eq!(lines.next(), Some("out"));
    // buildah names the cgroup; it went with the container.
    let cgroup = lines.next().unwrap().rsplit(':').next().unwrap();
    assert!(cgroup.starts_with("/buildah-"), "{cgroup}");
    assert!(
        crate::harness::cgroup_dirs(cgroup).is_empty(),
        "{CGROUPS}: {cgroup}"
    );

    for (program, words) in [
        ("no-such-program", "executable file not found in $PATH"),
        ("/etc", "permission denied: it is a directory"),
    ] {
        let told = buildah.run(&[], &[program]).fails();
        assert!(
            told.contains(&format!("exec: {program:?}: {words}")),
            "{told}"
        );
    }

    let volume = format!("{}:/given:ro", buildah.place.path("rootfs/etc"));
    let flags = ["--user=1000", "--env=A=b", "--cap-drop=ALL", "-v", &volume];
    let script = "cat; echo $A; id -u; touch /given/x 2>/dev/null || echo refused; \
         grep -e CapBnd -e Seccomp: /proc/self/status; tty";
    let file = buildah.place.write("input", "in\n");
    let args = [&flags[..], &["work", "--", "sh", "-c", script]].concat();
    let mut command = buildah.command("run", &args);
    command.stdin(std::fs::File::open(file).unwrap());
    let out = buildah.place.finish(command);
    let lines = "in\nb\n1000\nrefused\nCapBnd:\t0000000000000000\nSeccomp:\t2\nnot a tty\n";
    assert_eq!((out.code, out.stdout.as_str()), (1, lines), "{out:#?}");
    let out = buildah.run(&["--tty"], &["sh", "-c", "tty; exit 4"]);
    assert_eq!(out.code, 4, "{out:#?}");
    assert_eq!(out.stdout.trim_end(), "/dev/pts/0");
}

fn builds(buildah: &Buildah<'_>) {
    let context = buildah.place.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::copy(
        buildah.place.path("busybox.tar"),
        format!("{context}/busybox.tar"),
    )
    .unwrap();
    let file = "FROM scratch\nADD busybox.tar /\nENV A=b\nRUN echo $A $(id -u) > /made\n\
         USER 1000\nWORKDIR /new\nRUN cat /made; id -u; pwd; ulimit -n\n";
    buildah.place.write("context/Containerfile", file);
    let flags = ["--tag=made", "--ulimit=nofile=100:200"];
    let out = buildah.call("build", &[&flags[..], &[&context]].concat());
    assert!(out.ok().contains("\nb 0\n1000\n/new\n100\n"), "{out:#?}");
    assert!(!out.stderr.contains("hako-runtime"), "{out:#?}");
    let file = file.replace("id -u; pwd", "exit 9");
    buildah.place.write("context/Containerfile", &file);
    let told = buildah.call("build", &[&context]).fails();
    assert!(told.contains("exit status 9"), "{told}");
}
