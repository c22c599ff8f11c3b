//! containerd with its shim for runc's command line, by ctr.

use std::fs::File;
use std::process::{Command, Stdio};

use super::{Daemon, LOOP, Place, apart};
use crate::harness::{BIN, Out, until};

const IMAGE: &str = "docker.io/library/busy:1";

struct Ctr<'a>(&'a Place);

impl Ctr<'_> {
    fn words(&self, args: &[&str]) -> Vec<String> {
        // The namespace is the parent of the cgroups.
        let namespace = &self.0.cgroup[1..];
        let socket = self.0.path("socket");
        let own = ["ctr", "--address", &socket, "--namespace", namespace];
        own.iter().chain(args).map(|w| (*w).to_owned()).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let words = self.words(args);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Out {
        self.0.finish(self.command(args))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.call(args).ok()
    }

    /// On a terminal, without which ctr's -t does not go. It may end before it
    /// has copied the last of the output, under runc too: hence the sleeping.
    #[track_caller]
    fn on_terminal(&self, args: &[&str]) -> Out {
        let words = self.words(args);
        let words: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
        let mut command = Command::new("script");
        command.args(["-qec", &words.join(" "), "/dev/null"]);
        self.0.finish({
            command.stdin(Stdio::null());
            command
        })
    }

    /// With a line on its standard input, which ends once there is an answer:
    /// ctr 1.6 does not notice an end that comes before the task, under runc
    /// neither.
    #[track_caller]
    fn given(&self, line: &str, args: &[&str]) -> Out {
        let script = "(echo $0; until [ -s $1 ]; do sleep 0.05; done) | (shift; \"$@\") > $1; \
             code=$?; cat $1; exit $code";
        let answer = self.0.write("answer", "");
        let mut command = Command::new("sh");
        command.args(["-c", script, line, &answer]);
        command.args(self.words(args)).stdin(Stdio::null());
        self.0.finish(command)
    }

    fn flags<'b>(&self, flags: &[&'b str], id: &'b str, run: &[&'b str]) -> Vec<&'b str> {
        let own = [
            "run",
            "--runtime=io.containerd.runc.v2",
            "--snapshotter=native",
            "--runc-binary",
            BIN.path(),
        ];
        [&own, flags, &[IMAGE, id], run].concat()
    }

    #[track_caller]
    fn run(&self, flags: &[&str], run: &[&str]) -> Out {
        self.call(&self.flags(&[&["--rm"], flags].concat(), "front", run))
    }

    fn status(&self) -> String {
        let tasks = self.ok(&["tasks", "list"]);
        let line = tasks.lines().nth(1).unwrap_or_default();
        line.split_whitespace()
            .nth(2)
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    fn remove(&self, id: &str) {
        until(|| self.status() == "STOPPED");
        self.call(&["tasks", "delete", id]);
        self.ok(&["containers", "delete", id]);
    }
}

/// An image as an archive of an OCI layout.
fn archive(place: &Place) -> String {
    place.tar();
    let (layout, root) = (place.path("layout"), place.path("rootfs"));
    let image = format!("{layout}:busy");
    place.must("umoci", &["init", "--layout", &layout]);
    place.must("umoci", &["new", "--image", &image]);
    place.must("umoci", &["insert", "--image", &image, &root, "/"]);
    place.must(
        "umoci",
        &["config", "--image", &image, "--config.env=PATH=/bin"],
    );
    let archive = place.path("image.tar");
    let to = format!("oci-archive:{archive}:{IMAGE}");
    place.must("skopeo", &["copy", "--quiet", &format!("oci:{image}"), &to]);
    archive
}

#[test]
fn containerd_runs_and_execs() {
    apart("containerd", |place| {
        let archive = archive(place);
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {ttrpc:?}\n",
            root = place.path("root"),
            state = place.path("state"),
            socket = place.path("socket"),
            ttrpc = place.path("ttrpc"),
        );
        let mut daemon = Command::new("containerd");
        daemon.args(["--config", &place.write("config.toml", &config)]);
        let ctr = Ctr(place);
        let log = place.path("containerd.log");
        let daemon = Daemon::start(daemon, &log, || ctr.call(&["version"]).code == 0);
        ctr.ok(&["image", "import", "--snapshotter=native", &archive]);
        foreground(&ctr);
        background(&ctr);
        assert_eq!(ctr.ok(&["containers", "list", "-q"]), "");
        assert_eq!(ctr.ok(&["tasks", "list", "-q"]), "");
        daemon.stop();
        let namespace = &place.cgroup[1..];
        place.is_clean(
            &[],
            &[
                &format!("state/io.containerd.runtime.v2.task/{namespace}"),
                &format!("/run/containerd/runc/{namespace}"),
                &format!("records/{namespace}"),
            ],
        );
    });
}

fn foreground(ctr: &Ctr<'_>) {
    let out = ctr.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"]);
    let all = (out.code, out.stdout.as_str(), out.stderr.as_str());
    assert_eq!(all, (3, "out\n", "err\n"));
    for (program, words) in [
        ("no-such-program", "executable file not found in $PATH"),
        ("/etc", "permission denied: it is a directory"),
    ] {
        // ctr has no status of its own for it.
        let told = ctr.run(&[], &[program]).fails();
        assert!(
            told.contains(&format!("exec: {program:?}: {words}")),
            "{told}"
        );
    }
    let told = ctr
        .run(
            &["--runc-systemd-cgroup", "--cgroup=a.slice:b:c"],
            &["true"],
        )
        .fails();
    assert!(told.contains("cannot reach systemd"), "{told}");

    let records = ctr.0.path("records");
    let flags = [
        "--runc-root",
        &records,
        "--env=A=b",
        "--read-only",
        "--seccomp",
        "--cap-drop=CAP_CHOWN",
    ];
    let script = "echo $A; touch /x || echo refused; grep Seccomp: /proc/self/status; \
         chown 5 /dev/null 2>/dev/null || echo kept; ls /proc/self/fd | wc -l";
    let out = ctr.run(&flags, &["sh", "-c", script]);
    assert_eq!(out.ok(), "b\nrefused\nSeccomp:\t2\nkept\n4");
    // That the records were there was seen by the shim, which found them.
    assert!(File::open(&records).is_ok());
    let args = ctr.flags(&["--rm"], "input", &["cat"]);
    assert_eq!(ctr.given("in", &args).ok(), "in");
    let args = ctr.flags(
        &["--rm", "-t"],
        "tty",
        &["sh", "-c", "tty; sleep 0.5; exit 4"],
    );
    let out = ctr.on_terminal(&args);
    assert_eq!(out.code, 4, "{out:#?}");
    assert!(out.stdout.contains("/dev/pts/0"), "{out:#?}");
}

fn background(ctr: &Ctr<'_>) {
    let out = ctr.0.path("back.log");
    let log = format!("file://{out}");
    let flags = [
        "-d",
        "--log-uri",
        &log,
        "--memory-limit=67108864",
        "--cpus=0.5",
    ];
    ctr.ok(&ctr.flags(&flags, "back", &["sh", "-c", LOOP]));
    until(|| std::fs::read_to_string(&out).is_ok_and(|text| text == "started\n"));
    let limit = ctr.0.limit(&["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(limit, "67108864");
    let quota = ctr.0.limit(&["cpu.cfs_quota_us", "cpu.max"]);
    assert!(quota.starts_with("50000"), "{quota}");

    let exec = |id: &'static str, flags: &[&'static str], run: &[&'static str]| {
        [&["tasks", "exec", "--exec-id", id], flags, &["back"], run].concat()
    };
    let out = ctr.call(&exec(
        "a",
        &[],
        &["sh", "-c", "echo out; echo err >&2; exit 5"],
    ));
    let all = (out.code, out.stdout.as_str(), out.stderr.as_str());
    assert_eq!(all, (5, "out\n", "err\n"));
    let flags = ["--user=1000:5", "--cwd=/tmp"];
    let out = ctr.call(&exec("b", &flags, &["sh", "-c", "id -u; id -g; pwd"]));
    assert_eq!(out.ok(), "1000\n5\n/tmp");
    assert_eq!(ctr.given("in", &exec("c", &[], &["cat"])).ok(), "in");
    let out = ctr.on_terminal(&exec("d", &["-t"], &["sh", "-c", "tty; sleep 0.5; exit 6"]));
    assert_eq!(out.code, 6, "{out:#?}");
    assert!(out.stdout.contains("/dev/pts/0"), "{out:#?}");
    for (id, flags, program, words) in [
        (
            "e",
            &[][..],
            "no-such-program",
            "executable file not found in $PATH",
        ),
        (
            "f",
            &["--cwd=/missing"],
            "true",
            "\"/missing\": no such file or directory",
        ),
    ] {
        let told = ctr.call(&exec(id, flags, &[program])).fails();
        assert!(told.contains(words), "{told}");
    }

    ctr.ok(&["tasks", "pause", "back"]);
    assert_eq!(ctr.status(), "PAUSED");
    ctr.ok(&["tasks", "resume", "back"]);
    let processes = ctr.ok(&["tasks", "ps", "back"]);
    assert!(processes.lines().count() >= 2, "{processes}");
    let metrics = ctr.ok(&["tasks", "metrics", "back"]);
    assert!(metrics.contains("67108864"), "{metrics}");
    ctr.ok(&["tasks", "kill", "back"]);
    until(|| ctr.status() == "STOPPED");
    let out = ctr.call(&["tasks", "delete", "back"]);
    assert!(out.stderr.contains("exit code 7"), "{out:#?}");
    ctr.ok(&["containers", "delete", "back"]);

    // In another's pid namespace, where all processes have to be looked for.
    ctr.ok(&ctr.flags(&["-d"], "first", &["sleep", "300"]));
    let tasks = ctr.ok(&["tasks", "list"]);
    let pid = tasks
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let join = format!("pid:/proc/{pid}/ns/pid");
    ctr.ok(&ctr.flags(
        &["-d", "--with-ns", &join],
        "second",
        &["sh", "-c", "sleep 200 & sleep 300"],
    ));
    ctr.ok(&["tasks", "kill", "-a", "-s", "SIGKILL", "second"]);
    until(|| ctr.ok(&["tasks", "list"]).contains("STOPPED"));
    ctr.call(&["tasks", "delete", "second"]);
    ctr.ok(&["containers", "delete", "second"]);
    ctr.ok(&["tasks", "kill", "-s", "SIGKILL", "first"]);
    ctr.remove("first");
}
