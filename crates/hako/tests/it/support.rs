//! A hako with directories of its own, and an image of busybox.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A time that is long enough, here or (`HAKO_TEST_PATIENCE`) where everything
/// takes so many times longer.
pub(crate) fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("HAKO_TEST_PATIENCE").map_or(1, |f| f.parse().unwrap());
    Duration::from_secs(seconds * factor)
}

/// Longest that one command may take.
fn limit() -> Duration {
    patience(60)
}

/// The program under test; its runtime must lie beside it.
pub(crate) fn hako() -> PathBuf {
    let hako = std::env::var_os("HAKO_BIN").map(PathBuf::from);
    let hako = hako.unwrap_or_else(|| env!("CARGO_BIN_EXE_hako").into());
    let runtime = hako.with_file_name("hako-runtime");
    assert!(
        runtime.is_file(),
        "{} is missing: cargo build -p hako-runtime",
        runtime.display()
    );
    hako
}

/// Runs a program that must succeed.
pub(crate) fn must(program: &str, args: &[&str]) {
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let out = out.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        out.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// A layout with the image `bb`: busybox under the names that tests use.
/// `HAKO_TEST_CACHE` names a directory where the next test finds it again.
pub(crate) fn layout() -> &'static Path {
    static LAYOUT: OnceLock<(Option<tempfile::TempDir>, PathBuf)> = OnceLock::new();
    let (_, path) = LAYOUT.get_or_init(|| {
        let cache = std::env::var_os("HAKO_TEST_CACHE").map(PathBuf::from);
        let kept = cache.as_ref().map(|cache| cache.join("layout"));
        if let Some(kept) = kept.as_ref().filter(|kept| kept.exists()) {
            return (None, kept.clone());
        }
        let dir = match &cache {
            Some(cache) => {
                std::fs::create_dir_all(cache).unwrap();
                tempfile::tempdir_in(cache).unwrap()
            }
            None => tempfile::tempdir().unwrap(),
        };
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let image = format!("{}:bb", at("layout"));
        must("umoci", &["init", "--layout", &at("layout")]);
        must("umoci", &["new", "--image", &image]);
        must("umoci", &["unpack", "--image", &image, &at("bundle")]);
        let root = dir.path().join("bundle/rootfs");
        for name in ["bin", "etc", "tmp", "home"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let names = "sh echo cat sleep id env pwd ls true false hostname mount yes head kill stty seq wc ip touch ping tr grep readlink";
        for name in names.split(' ') {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        std::fs::write(root.join("bin/data"), "not a program").unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1234:1234::/home:/bin/sh\n";
        std::fs::write(root.join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nann:x:1234:\nextra:x:77:\n").unwrap();
        must("umoci", &["repack", "--image", &image, &at("bundle")]);
        let config = ["--config.cmd=sh", "--config.env=PATH=/bin", "--config.label=from=image"];
        must("umoci", &[&["config", "--image", &image][..], &config].concat());
        let path = dir.path().join("layout");
        match kept {
            Some(kept) => {
                // Another test may have been quicker with the same.
                if let Err(e) = std::fs::rename(&path, &kept) {
                    assert!(kept.exists(), "{e}");
                }
                (None, kept)
            }
            None => (Some(dir), path),
        }
    });
    path
}

/// The image as `hako run` takes it.
pub(crate) fn image() -> String {
    format!("oci:{}:bb", layout().display())
}

/// Waits for something.
pub(crate) fn until(good: impl Fn() -> bool) {
    let end = Instant::now() + limit();
    while !good() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Result {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        Result {
            status: output
                .status
                .code()
                .unwrap_or_else(|| -output.status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Directories of a hako, emptied of containers when dropped.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::getuid().is_root(), "these tests need root");
        World {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A world with the image in its store, under the name `bb`.
    pub(crate) fn with_image() -> Self {
        let world = World::new();
        world.ok(&["pull", "-q", &image()]);
        world.ok(&["tag", "localhost/layout:bb", "localhost/bb"]);
        world
    }

    /// A file of the world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command of hako.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(hako());
        command.arg("--root").arg(self.path("root"));
        command.arg("--runroot").arg(self.path("run"));
        command.args(args).env_remove("NO_COLOR");
        command
    }

    /// Runs hako without input.
    pub(crate) fn run(&self, args: &[&str]) -> Result {
        self.input(args, b"")
    }

    /// Runs hako with this input.
    pub(crate) fn input(&self, args: &[&str], input: &[u8]) -> Result {
        let mut child = self.spawn(args);
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // It may not read all of it.
            scope.spawn(move || {
                let _ = stdin.write_all(input);
            });
            finish(child)
        })
    }

    /// Starts hako with pipes.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs hako, which must succeed; its output without the end of the line.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let result = self.run(args);
        assert_eq!(result.status, 0, "{args:?}: {result:?}");
        result.out.trim_end().to_owned()
    }

    /// Runs hako, which must fail with this status; its words.
    pub(crate) fn fails(&self, args: &[&str], status: i32) -> String {
        let result = self.run(args);
        assert_eq!(result.status, status, "{args:?}: {result:?}");
        result.err
    }

    /// Runs a command in a transient container without a network.
    pub(crate) fn sh(&self, flags: &[&str], script: &str) -> Result {
        let args = [
            &["run", "--rm", "--network", "none"],
            flags,
            &["bb", "sh", "-c", script],
        ];
        self.run(&args.concat())
    }

    /// Starts a container in the background without a network; its id.
    pub(crate) fn background(&self, name: &str, command: &[&str]) -> String {
        let args = ["run", "-d", "--name", name, "--network", "none", "bb"];
        self.ok(&[&args[..], command].concat())
    }

    /// Whether nothing of a container is left.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.ok(&["ps", "-aq"]), "");
        for dir in [
            "root/containers",
            "run/containers",
            "run/locks",
            "root/snapshots/active",
        ] {
            let left: Vec<_> = match std::fs::read_dir(self.path(dir)) {
                Ok(entries) => entries.map(|e| e.unwrap().file_name()).collect(),
                Err(_) => Vec::new(),
            };
            assert!(left.is_empty(), "{dir}: {left:?}");
        }
        assert_eq!(self.ok(&["system", "check"]), "all is well");
    }

    /// Waits until what a command prints is as it should be.
    pub(crate) fn until(&self, args: &[&str], good: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + limit();
        loop {
            let out = self.run(args).out;
            if good(&out) {
                return out;
            }
            assert!(Instant::now() < end, "{args:?} still prints {out:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Pids of the monitors of this world.
    pub(crate) fn monitors(&self) -> Vec<i32> {
        let runroot = self.path("run");
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.starts_with("hako-monitor") && line.contains(runroot.to_str().unwrap()) {
                pids.push(pid);
            }
        }
        pids
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for args in [&["rm", "-f", "-a"][..], &["system", "prune", "-f"]] {
            let out = self.command(args).stdin(Stdio::null()).output();
            if !std::thread::panicking() {
                let out = out.unwrap();
                assert!(
                    out.status.success(),
                    "{}",
                    String::from_utf8_lossy(&out.stderr)
                );
            }
        }
    }
}

/// Waits for a command, which is killed when it takes too long.
pub(crate) fn finish(child: Child) -> Result {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let late = is_done.recv_timeout(limit()).is_err();
        if late {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    assert!(
        !guard.join().unwrap(),
        "took more than {:?}: {:?}",
        limit(),
        Result::from(output)
    );
    Result::from(output)
}
