//! What podman and docker have in common, and expect of a runtime alike.

use std::fs;
use std::process::{Command, Stdio};

use super::{LOOP, Place};
use crate::harness::{Out, until};

/// An engine with the image `busy:1`.
pub struct Engine<'a> {
    pub place: &'a Place,
    /// Program and global flags.
    pub words: Vec<String>,
    /// Variables of its environment.
    pub variables: Vec<(&'static str, String)>,
    /// How `exec` fails for a program, or a directory, that is not there.
    pub missing: i32,
}

impl Engine<'_> {
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Out {
        self.place.finish(self.command(args))
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.call(args).ok()
    }

    /// With `input` on its standard input.
    #[track_caller]
    pub fn given(&self, input: &str, args: &[&str]) -> Out {
        let file = self.place.write("input", input);
        let mut command = self.command(args);
        command.stdin(fs::File::open(file).unwrap());
        self.place.finish(command)
    }

    /// The arguments of `run` or `create`. The profile that hosts with AppArmor
    /// give every container is beyond the runtime.
    pub fn flags<'b>(&'b self, verb: &'b str, flags: &[&'b str], run: &[&'b str]) -> Vec<&'b str> {
        let own = [
            verb,
            "--network=none",
            "--security-opt=apparmor=unconfined",
            "--cgroup-parent",
        ];
        [
            &own[..],
            &[self.place.cgroup.as_str()],
            flags,
            &["busy:1"],
            run,
        ]
        .concat()
    }

    #[track_caller]
    pub fn run(&self, flags: &[&str], run: &[&str]) -> Out {
        self.call(&self.flags("run", &[&["--rm"], flags].concat(), run))
    }

    /// Of a shell script, that does not fail.
    #[track_caller]
    pub fn sh(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, &["sh", "-c", script]).ok()
    }

    /// `inspect` by a template.
    #[track_caller]
    pub fn tells(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", name, "--format", template])
    }

    /// A program that does not run, by `run`.
    #[track_caller]
    pub fn refuses(&self, program: &str, code: i32, words: &str) {
        let out = self.run(&[], &[program]);
        assert_eq!(out.code, code, "{out:#?}");
        for word in [program, words] {
            assert!(out.stderr.contains(word), "{word} in {out:#?}");
        }
    }

    pub fn foreground(&self) {
        let out = self.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!((out.code, out.stdout.as_str()), (3, "out\n"), "{out:#?}");
        assert!(out.stderr.starts_with("err\n"), "{out:#?}");
        assert_eq!(self.run(&[], &["true"]).code, 0);
        self.refuses("no-such-program", 127, "executable file not found in $PATH");
        self.refuses("/etc/passwd", 126, "permission denied");
        self.refuses("/etc", 126, "permission denied: it is a directory");

        let script = "cat; echo $A; id; touch /x; ls /proc/self/fd | wc -l";
        let flags = ["--rm", "-i", "-e", "A=b", "--user", "1000", "--read-only"];
        let out = self.given("in\n", &self.flags("run", &flags, &["sh", "-c", script]));
        let lines = "in\nb\nuid=1000(user) gid=1000(user) groups=1000(user)\n4\n";
        assert_eq!(out.stdout, lines, "{out:#?}");
        assert!(out.stderr.contains("Read-only file system"), "{out:#?}");
        let out = self.run(&["-t"], &["sh", "-c", "tty; exit 4"]);
        assert_eq!((out.code, out.stdout.as_str()), (4, "/dev/pts/0\r\n"));
    }

    pub fn confinement(&self) {
        let look = "grep -e CapEff -e CapBnd -e Seccomp: -e NoNew /proc/self/status";
        let flags = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
        let none = "0000000000000000";
        let lines = format!("CapEff:\t{none}\nCapBnd:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2");
        assert_eq!(self.sh(&flags, look), lines);
        // As many as this process has, which may be of a container itself: what
        // it lacks is left out, where runc 1.1 fails.
        let all = self.sh(&["--privileged"], look);
        let effective = all.lines().next().unwrap().trim_start_matches("CapEff:\t");
        let effective = u64::from_str_radix(effective, 16).unwrap();
        const SYS_ADMIN: u64 = 1 << 21;
        assert!(
            effective & SYS_ADMIN != 0 && all.contains("Seccomp:\t0"),
            "{all}"
        );

        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
        let profile = format!("seccomp={}", self.place.write("profile.json", profile));
        let out = self.run(&["--security-opt", &profile], &["mkdir", "/x"]);
        assert!(out.fails().contains("Function not implemented"), "{out:#?}");

        // Both limits, because podman sets what is not given to its own, which
        // are high.
        let source = format!("{}:/given:ro", self.place.path("rootfs/etc"));
        let script = "hostname; cat /proc/sys/kernel/msgmax; ulimit -n; touch /new/x && echo made; \
             head -n 1 /given/passwd; touch /given/x 2>/dev/null || echo refused; \
             grep -c ' /dev/shm .*size=2048k' /proc/self/mounts";
        let flags = [
            "--hostname=h",
            "--sysctl=kernel.msgmax=4096",
            "--ulimit=nofile=100:200",
            "--ulimit=nproc=4096",
            "--shm-size=2m",
            "--tmpfs=/new",
            "--user=1000",
            "-v",
            &source,
        ];
        let lines = "h\n4096\n100\nmade\nroot:x:0:0:root:/root:/bin/sh\nrefused\n1";
        assert_eq!(self.sh(&flags, script), lines);
        // podman writes a limit of 0 for no limit.
        assert_eq!(self.sh(&["--pids-limit=-1"], "id -u; echo"), "0");
    }

    /// A container in the background, with limits.
    pub fn background(&self) {
        let flags = [
            "-d",
            "--name=back",
            "--memory=64m",
            "--pids-limit=33",
            "--cpus=0.5",
            "--cpuset-cpus=0",
            "--stop-timeout=20",
        ];
        self.ok(&self.flags("run", &flags, &["sh", "-c", LOOP]));
        until(|| self.ok(&["logs", "back"]) == "started");
        let limit = |names: &[&str]| self.place.limit(names);
        const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
        assert_eq!(limit(&MEMORY), "67108864");
        assert_eq!(limit(&["pids.max"]), "33");
        assert_eq!(limit(&["cpuset.cpus"]), "0");
        let quota = limit(&["cpu.cfs_quota_us", "cpu.max"]);
        assert!(quota.starts_with("50000"), "{quota}");
        self.exec();

        self.ok(&["pause", "back"]);
        assert_eq!(self.tells("back", "{{.State.Status}}"), "paused");
        assert!(self.call(&["exec", "back", "true"]).code != 0);
        self.ok(&["unpause", "back"]);
        self.ok(&["update", "--memory=128m", "--memory-swap=128m", "back"]);
        assert_eq!(limit(&MEMORY), "134217728");
        let top = self.ok(&["top", "back"]);
        assert!(top.contains("while :; do sleep"), "{top}");
        let template = "{{.Name}} {{.PIDs}}";
        let stats = self.ok(&["stats", "--no-stream", "--format", template, "back"]);
        assert!(["back 1", "back 2"].contains(&stats.as_str()), "{stats}");

        self.ok(&["stop", "back"]);
        let ended = "{{.State.Status}} {{.State.ExitCode}}";
        assert_eq!(self.tells("back", ended), "exited 7");
        self.ok(&["start", "back"]);
        self.ok(&["kill", "back"]);
        assert_eq!(self.ok(&["wait", "back"]), "137");
        self.ok(&["start", "back"]);
        self.ok(&["restart", "-t", "0", "back"]);
        assert_eq!(self.tells("back", "{{.State.Status}}"), "running");
        self.remove("back");
    }

    pub fn remove(&self, name: &str) {
        self.ok(&["kill", name]);
        self.ok(&["wait", name]);
        self.ok(&["rm", name]);
    }

    fn exec(&self) {
        let exec =
            |flags: &[&str], run: &[&str]| self.call(&[&["exec"], flags, &["back"], run].concat());
        let out = exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 5"]);
        let all = (out.code, out.stdout.as_str(), out.stderr.as_str());
        assert_eq!(all, (5, "out\n", "err\n"));
        let flags = ["--user", "1000:5", "-e", "X=y", "-w", "/tmp"];
        let out = exec(&flags, &["sh", "-c", "id -u; id -g; pwd; echo $X"]);
        assert_eq!(out.ok(), "1000\n5\n/tmp\ny");
        let out = exec(&["-t"], &["sh", "-c", "tty; exit 6"]);
        assert_eq!((out.code, out.stdout.as_str()), (6, "/dev/pts/0\r\n"));
        let out = self.given("in\n", &["exec", "-i", "back", "cat"]);
        assert_eq!(out.ok(), "in");
        exec(&["-d"], &["sh", "-c", "echo > /tmp/made"]).ok();
        until(|| exec(&[], &["test", "-e", "/tmp/made"]).code == 0);
        for (flags, program, code, words) in [
            (&[][..], "no-such-program", self.missing, "no-such-program"),
            (&["-t"], "no-such-program", self.missing, "no-such-program"),
            (&[], "/etc", 126, "it is a directory"),
            (&["-w", "/missing"], "true", self.missing, "/missing"),
        ] {
            let out = exec(flags, &[program]);
            assert_eq!(out.code, code, "{out:#?}");
            let told = out.stderr + &out.stdout;
            assert!(told.contains(words), "{words} in {told}");
        }
    }

    /// Namespaces of another container, attaching, and steps one by one.
    pub fn more(&self) {
        self.ok(&self.flags(
            "run",
            &["-d", "--name=first", "--ipc=shareable"],
            &["sleep", "300"],
        ));
        let join = [
            "--network=container:first",
            "--pid=container:first",
            "--ipc=container:first",
        ];
        let unconfined = "--security-opt=apparmor=unconfined";
        let own = [
            "run",
            "--rm",
            unconfined,
            "--cgroup-parent",
            &self.place.cgroup,
        ];
        let args = [&own[..], &join, &["busy:1", "ps"]].concat();
        assert!(self.ok(&args).contains("sleep 300"));
        self.remove("first");

        self.ok(&self.flags(
            "create",
            &["-i", "--name=second"],
            &["sh", "-c", "read a; echo got $a; exit 9"],
        ));
        let out = self.given("it\n", &["start", "-a", "-i", "second"]);
        assert_eq!((out.code, out.stdout.as_str()), (9, "got it\n"), "{out:#?}");
        assert_eq!(self.ok(&["logs", "second"]), "got it");
        self.ok(&["rm", "second"]);
    }
}
