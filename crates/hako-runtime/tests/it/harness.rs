//! Bundles made of busybox, and the runtime under test as a program.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The runtime: the one that `HAKO_RUNTIME` names, or else cargo's.
pub const BIN: Bin = Bin;

/// The path of a program, known when the tests run.
#[derive(Debug, Clone, Copy)]
pub struct Bin;

impl Bin {
    pub fn path(self) -> &'static str {
        static PATH: OnceLock<String> = OnceLock::new();
        PATH.get_or_init(|| {
            let named = std::env::var("HAKO_RUNTIME");
            named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_hako-runtime").to_owned())
        })
    }
}

impl std::fmt::Display for Bin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path())
    }
}

impl AsRef<std::ffi::OsStr> for Bin {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.path().as_ref()
    }
}

impl AsRef<Path> for Bin {
    fn as_ref(&self) -> &Path {
        self.path().as_ref()
    }
}

const APPLETS: &[&str] = &[
    "sh", "cat", "chroot", "cut", "dd", "echo", "env", "false", "find", "grep", "head", "hostname",
    "id", "kill", "ln", "ls", "mkdir", "mknod", "mount", "nice", "ps", "pwd", "readlink", "rm",
    "seq", "sleep", "sort", "stat", "stty", "tail", "test", "touch", "true", "tty", "umount",
    "uname", "unshare", "wc", "who",
];

/// How many times longer everything takes than on real hardware.
pub fn patience() -> u32 {
    std::env::var("HAKO_TEST_PATIENCE").map_or(1, |f| f.parse().unwrap())
}

/// No single command takes longer, on however busy a machine.
fn limit() -> Duration {
    Duration::from_secs(100) * patience()
}

/// What a command has done.
#[derive(Debug)]
pub struct Out {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    stdout_path: PathBuf,
}

impl Out {
    /// The standard output, asserting success.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout.trim_end().to_owned()
    }

    /// The standard error, asserting failure.
    #[track_caller]
    pub fn fails(&self) -> String {
        assert_ne!(self.code, 0, "{self:#?}");
        self.stderr.trim_end().to_owned()
    }

    /// What has been written up to now, by a container that goes on.
    pub fn now(&self) -> String {
        fs::read_to_string(&self.stdout_path).unwrap()
    }
}

/// A bundle, a place for its container's record, and the container's id.
#[derive(Debug)]
pub struct Bundle {
    pub dir: TempDir,
    pub config: Value,
    pub id: String,
    pub cgroup: String,
}

fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        PathBuf::from("/bin/busybox")
    })
}

/// Copies a program that is to be executed. Another process writes it: a file
/// that this one has open for writing is open in what another test's thread
/// starts meanwhile, too, and until that executes its own program nobody can
/// execute the file (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    let cp = Command::new("cp").arg(from).arg(to).status();
    assert!(
        cp.unwrap().success(),
        "cp {} {}",
        from.display(),
        to.display()
    );
}

/// The host's mounts, but for those of layers, which tests of other crates make
/// meanwhile.
pub fn host_mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines = text.lines().filter(|line| !line.contains(" - erofs "));
    lines.map(str::to_owned).collect()
}

/// A root with busybox in it.
pub fn make_root(root: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    copy_program(base(), &root.join("bin/busybox"));
    for name in APPLETS {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
}

impl Bundle {
    /// The container of `hako-runtime spec`, without a terminal, and with a
    /// writable root.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("hako-it-{}-{number}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        make_root(&dir.path().join("rootfs"));
        let done = Command::new(BIN)
            .args(["spec", "--bundle"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(done.success());
        let text = fs::read(dir.path().join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
        let (path, cgroup) = match by_systemd() {
            true => (
                format!("system.slice:hako:{id}"),
                format!("/system.slice/hako-{id}.scope"),
            ),
            false => (format!("/{id}/c"), format!("/{id}/c")),
        };
        config["linux"]["cgroupsPath"] = json!(path);
        let mut bundle = Bundle {
            dir,
            config,
            id,
            cgroup,
        };
        bundle.args(&["/bin/true"]);
        bundle
    }

    /// A shell script as its program.
    pub fn sh(script: &str) -> Self {
        let mut bundle = Self::new();
        bundle.args(&["/bin/sh", "-c", script]);
        bundle
    }

    /// A program that waits for its end.
    pub fn sleeper() -> Self {
        let mut bundle = Self::new();
        bundle.args(&["/bin/sleep", "1000"]);
        bundle
    }

    pub fn args(&mut self, args: &[&str]) {
        self.config["process"]["args"] = json!(args);
        self.write();
    }

    /// Changes the configuration.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self.write();
        self
    }

    /// Adds a mount.
    pub fn mount(self, source: &str, at: &str, kind: &str, options: &[&str]) -> Self {
        self.edit(|c| {
            let mount = json!({
                "destination": at, "type": kind, "source": source, "options": options
            });
            c["mounts"].as_array_mut().unwrap().push(mount);
        })
    }

    /// A bind mount of `source` of the host.
    pub fn bind(self, source: &Path, at: &str, options: &[&str]) -> Self {
        self.mount(source.to_str().unwrap(), at, "bind", options)
    }

    /// Leaves out the mount at `at`.
    pub fn without_mount(self, at: &str) -> Self {
        self.edit(|c| {
            let mounts = c["mounts"].as_array_mut().unwrap();
            mounts.retain(|m| m["destination"] != at);
        })
    }

    /// Leaves out or replaces a namespace.
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Self {
        self.without_namespace(kind).edit(|c| {
            let mut namespace = json!({ "type": kind });
            if let Some(path) = path {
                namespace["path"] = json!(path);
            }
            let list = c["linux"]["namespaces"].as_array_mut().unwrap();
            list.push(namespace);
        })
    }

    pub fn without_namespace(self, kind: &str) -> Self {
        self.edit(|c| {
            let list = c["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|n| n["type"] != kind);
        })
    }

    /// A user namespace of 65536 ids from 100000.
    pub fn user_namespace(self) -> Self {
        let root = self.rootfs();
        let done = Command::new("chown")
            .args(["-hR", "100000:100000"])
            .arg(&root)
            .status();
        assert!(done.unwrap().success());
        self.namespace("user", None).edit(|c| {
            let map = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
        })
    }

    pub fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).unwrap();
        fs::write(self.dir.path().join("config.json"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// Where the records are.
    pub fn records(&self) -> PathBuf {
        self.path("run")
    }

    /// The runtime with its `--root` and `args`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.arg("--root").arg(self.records());
        if by_systemd() {
            command.arg("--systemd-cgroup");
        }
        command.args(args);
        command.stdin(Stdio::null()).env_remove("LISTEN_FDS");
        command
    }

    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Out {
        self.finish(self.command(args))
    }

    /// Runs `command` with its output in files, which a container may hold on
    /// to.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Out {
        finish(self.dir.path(), command)
    }

    /// `run` in the foreground.
    #[track_caller]
    pub fn run(&self) -> Out {
        self.verb("run", &[])
    }

    #[track_caller]
    pub fn create(&self) -> Out {
        self.verb("create", &[])
    }

    /// `verb` with the bundle, more flags, and the id.
    #[track_caller]
    pub fn verb(&self, verb: &str, flags: &[&str]) -> Out {
        let dir = self.dir.path().to_str().unwrap();
        let mut args = vec![verb, "--bundle", dir];
        args.extend(flags);
        args.push(&self.id);
        self.call(&args)
    }

    #[track_caller]
    pub fn start(&self) -> Out {
        self.call(&["start", &self.id])
    }

    /// `run --detach`, asserting success.
    #[track_caller]
    pub fn up(&self) -> Out {
        let out = self.verb("run", &["--detach"]);
        out.ok();
        out
    }

    #[track_caller]
    pub fn exec(&self, args: &[&str]) -> Out {
        let mut all = vec!["exec", self.id.as_str()];
        all.extend(args);
        self.call(&all)
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        let text = self.call(&["state", &self.id]).ok();
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    #[track_caller]
    pub fn wait_status(&self, wanted: &str) {
        until(|| self.status() == wanted);
    }

    /// The container's directory in each hierarchy where it exists.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        cgroup_dirs(&self.cgroup)
    }
}

/// Whether the tests run with `--systemd-cgroup`.
pub fn by_systemd() -> bool {
    std::env::var("HAKO_RUNTIME_CGROUPS").is_ok_and(|by| by == "systemd")
}

/// Where the hierarchies are.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether version 2 is all that there is of cgroups.
pub fn is_unified() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// The directories called `path` below the hierarchies' mounts.
pub fn cgroup_dirs(path: &str) -> Vec<PathBuf> {
    let all = fs::read_dir("/sys/fs/cgroup").unwrap();
    let mut found: Vec<PathBuf> = all
        .map(|e| e.unwrap().path().join(path.trim_start_matches('/')))
        .filter(|p| p.is_dir())
        .collect();
    let v2 = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    found.extend(Some(v2).filter(|p| p.is_dir()));
    found
}

/// Runs `command` with its output in files in `dir`.
#[track_caller]
pub fn finish(dir: &Path, mut command: Command) -> Out {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let stdout_path = dir.join(format!("out-{number}"));
    let stderr_path = dir.join(format!("err-{number}"));
    command.stdout(File::create(&stdout_path).unwrap());
    command.stderr(File::create(&stderr_path).unwrap());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let status = wait(&mut child);
    let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let out = Out {
        code: status.and_then(|s| code(&s)).unwrap_or(-1),
        stdout: text(&stdout_path),
        stderr: text(&stderr_path),
        stdout_path,
    };
    assert!(status.is_some(), "no end of {command:?}: {out:#?}");
    out
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let mut delete = self.command(&["delete", "--force", &self.id]);
        let _ = delete.stdout(Stdio::null()).status();
        // A test may have changed the id; the parent's name has not changed.
        let parent = self.cgroup.strip_suffix("/c");
        for path in [Some(format!("/{}", self.id).as_str()), parent]
            .into_iter()
            .flatten()
        {
            for dir in cgroup_dirs(path) {
                let _ = fs::remove_dir(dir);
            }
        }
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit() {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn code(status: &ExitStatus) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or(status.signal().map(|s| 128 + s))
}

/// Waits until `done`.
#[track_caller]
pub fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit(), "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
