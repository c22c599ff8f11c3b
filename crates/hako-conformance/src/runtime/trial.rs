//! One throw-away bundle and its container.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bench::{Bench, numbers};
use super::command::{self, Done};
use super::edit::push;
use super::mountinfo;
use super::seen::Seen;
use crate::check::{Stop, Verdict, fails};
use crate::probe::{self, Step};

/// The version of the specification of [`Trial::new`]'s configuration.
pub(crate) const VERSION: &str = "1.0.2";

/// Where the probe is inside.
pub(crate) const PROBE: &str = "/hako-probe";

/// A bundle with the probe as its program, a state directory for the runtime,
/// and an id that nobody else has. Dropping it removes the container and
/// everything else.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) id: String,
    /// `config.json`; [`create`](Self::create) writes it.
    pub(crate) config: Value,
    /// Its cgroup below the top of each hierarchy: the id at first, and of our
    /// own making whatever becomes of that.
    pub(crate) cgroup: String,
    /// What the probe does before it becomes the runtime, for a runtime in a
    /// surrounding of our making.
    within: Vec<Step>,
    dir: PathBuf,
    failed: Cell<bool>,
}

impl<'a> Trial<'a> {
    /// A container that does `steps` and ends.
    pub(crate) fn new(bench: &'a Bench, steps: &[Step]) -> Result<Trial<'a>, Stop> {
        let (number, dir) = bench.next();
        let id = format!("hako-conformance-{}-{number}", std::process::id());
        let (path, cgroup) = match bench.by_systemd() {
            true => (
                format!("system.slice:hako:{id}"),
                format!("system.slice/hako-{id}.scope"),
            ),
            false => (format!("/{id}"), id.clone()),
        };
        let mut trial = Trial {
            bench,
            config: base(&path),
            cgroup,
            within: Vec::new(),
            id,
            dir,
            failed: Cell::new(true),
        };
        trial.lay_out().map_err(Stop::broken(format!(
            "cannot make a bundle in {}",
            trial.dir.display()
        )))?;
        trial.steps(steps);
        Ok(trial)
    }

    /// The same with a configuration of a newer version of the specification;
    /// a runtime that does not know it is not tried.
    pub(crate) fn of(bench: &'a Bench, version: &str, steps: &[Step]) -> Result<Trial<'a>, Stop> {
        if numbers(version) > numbers(VERSION) {
            bench.knows(version)?;
        }
        Ok(Trial::new(bench, steps)?.edit(|config| config["ociVersion"] = json!(version)))
    }

    /// Has the runtime executed by the probe, after these steps.
    pub(crate) fn within(mut self, steps: &[Step]) -> Self {
        self.within = steps.to_vec();
        self
    }

    fn lay_out(&self) -> std::io::Result<()> {
        let root = self.rootfs();
        for name in ["dev", "proc", "sys", "tmp", "etc"] {
            fs::create_dir_all(root.join(name))?;
        }
        for dir in [&self.dir, &self.bundle(), &root] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::hard_link(self.bench.probe(), root.join(probe::NAME))
    }

    /// What the container's process does.
    pub(crate) fn steps(&mut self, steps: &[Step]) {
        self.config["process"]["args"] = arguments(PROBE, steps);
    }

    /// Changes the configuration.
    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// A hook of a kind (`prestart`, …) that does `steps`. Its `path` is the
    /// probe's outside, but for `startContainer`, which runs inside.
    pub(crate) fn hook(mut self, kind: &str, steps: &[Step]) -> Self {
        let path = match kind {
            "startContainer" => PROBE.to_owned(),
            _ => text(&self.bench.probe()),
        };
        let hook = json!({ "path": path, "args": arguments(probe::NAME, steps) });
        push(&mut self.config["hooks"][kind], hook);
        self
    }

    /// The bundle's directory.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// The root file system.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// A path for a file beside the bundle.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes `config.json`.
    pub(crate) fn write(&self) -> Verdict {
        let path = self.bundle().join("config.json");
        fs::write(&path, self.config.to_string())
            .map_err(Stop::broken(format!("cannot write {}", path.display())))
    }

    /// The runtime with the trial's state directory and `args`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let state = text(&self.dir.join("state"));
        let mut words = vec![text(&self.bench.program)];
        words.extend(self.bench.options.arguments.iter().cloned());
        words.extend(["--root".to_owned(), state]);
        words.extend(args.iter().map(|&word| word.to_owned()));
        let mut command = Command::new(&words[0]);
        if self.within.is_empty() {
            command.args(&words[1..]);
        } else {
            let mut steps = vec![Step::Into("/dev/null".into())];
            steps.extend(self.within.iter().cloned());
            steps.push(Step::Exec(words));
            command = Command::new(self.bench.probe());
            command.arg(json!(steps).to_string());
        }
        command.current_dir(&self.dir);
        for name in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the runtime with `args`.
    pub(crate) fn call(&self, args: &[&str]) -> Result<Done, Stop> {
        self.finish(&mut self.command(args))
    }

    /// Runs a command.
    pub(crate) fn finish(&self, command: &mut Command) -> Result<Done, Stop> {
        command::finish(command, &self.dir, self.bench.options.patience)
            .map_err(Stop::broken("cannot execute the runtime"))
    }

    /// `create`, whose standard output the container has.
    pub(crate) fn try_create(&self) -> Result<Done, Stop> {
        self.write()?;
        self.create_as_it_is()
    }

    /// The same with whatever is in the bundle.
    pub(crate) fn create_as_it_is(&self) -> Result<Done, Stop> {
        let bundle = text(&self.bundle());
        let mut command = self.command(&["create", "--bundle", &bundle, &self.id]);
        let patience = self.bench.options.patience;
        command::finish_into(&mut command, &self.dir, &self.output(), patience)
            .map_err(Stop::broken("cannot execute the runtime"))
    }

    fn output(&self) -> PathBuf {
        self.dir.join("output")
    }

    /// `create`, which has to succeed.
    pub(crate) fn create(&self) -> Verdict {
        well(&self.try_create()?)
    }

    /// `start`, which has to succeed.
    pub(crate) fn start(&self) -> Verdict {
        well(&self.call(&["start", &self.id])?)
    }

    /// `create` and `start`.
    pub(crate) fn launch(&self) -> Verdict {
        self.create()?;
        self.start()
    }

    /// `delete`, which has to succeed.
    pub(crate) fn delete(&self) -> Verdict {
        well(&self.call(&["delete", &self.id])?)
    }

    /// `kill` with a signal's name or number, which has to succeed.
    pub(crate) fn kill(&self, signal: &str) -> Verdict {
        well(&self.call(&["kill", &self.id, signal])?)
    }

    /// `state`, which has to succeed and to be JSON.
    pub(crate) fn state(&self) -> Result<Value, Stop> {
        let done = self.call(&["state", &self.id])?;
        well(&done)?;
        serde_json::from_str(&done.out)
            .or_else(|error| fails(format!("{}: no JSON: {error}", done.told())))
    }

    /// The state's `status`.
    pub(crate) fn status(&self) -> Result<String, Stop> {
        match self.state()?["status"].as_str() {
            Some(status) => Ok(status.to_owned()),
            None => fails("the state has no status that is a string"),
        }
    }

    /// The state's `pid`.
    pub(crate) fn pid(&self) -> Result<i32, Stop> {
        let state = self.state()?;
        match state["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())
        {
            Some(pid) if pid > 0 => Ok(pid),
            _ => fails(format!("the state's pid is {}", state["pid"])),
        }
    }

    /// Demands a status now.
    pub(crate) fn is(&self, wanted: &str) -> Verdict {
        let status = self.status()?;
        match status == wanted {
            true => Ok(()),
            false => fails(format!("the status is '{status}', not '{wanted}'")),
        }
    }

    /// Waits until `done` says so.
    pub(crate) fn until(
        &self,
        what: &str,
        mut done: impl FnMut() -> Result<bool, Stop>,
    ) -> Verdict {
        let start = Instant::now();
        while !done()? {
            if start.elapsed() > self.bench.options.patience {
                return fails(format!("{what}: this does not happen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for a status.
    pub(crate) fn becomes(&self, wanted: &str) -> Verdict {
        self.until(&format!("the status is '{wanted}'"), || {
            Ok(self.status()? == wanted)
        })
    }

    /// What the probe has answered up to now.
    pub(crate) fn seen(&self) -> Result<Seen, Stop> {
        Seen::read(&self.output())
    }

    /// Waits until the probe has given `count` answers.
    pub(crate) fn answers(&self, count: usize) -> Result<Seen, Stop> {
        let mut seen = self.seen()?;
        self.until("the container's process reports", || {
            seen = self.seen()?;
            Ok(seen.len() >= count)
        })?;
        Ok(seen)
    }

    /// The whole life of the container; gives what the probe has answered.
    pub(crate) fn live(&self) -> Result<Seen, Stop> {
        self.launch()?;
        self.becomes("stopped")?;
        let seen = self.seen()?;
        self.delete()?;
        Ok(seen)
    }

    /// Demands that `create` is an error and that nothing of the container is
    /// there afterwards.
    pub(crate) fn refused(&self) -> Verdict {
        let done = self.try_create()?;
        if done.is_ok() {
            return fails("create succeeds");
        }
        self.erred(&done)?;
        let state = self.call(&["state", &self.id])?;
        match state.is_ok() {
            true => fails("create fails, but a container is there"),
            false => Ok(()),
        }
    }

    /// Demands that the runtime with `args` fails.
    pub(crate) fn errs(&self, args: &[&str]) -> Verdict {
        self.erred(&self.call(args)?)
    }

    /// Demands that a command failed by itself, and not because nothing works.
    pub(crate) fn erred(&self, done: &Done) -> Verdict {
        if done.is_ok() {
            return fails(format!("no error: {}", done.told()));
        }
        if done.status.is_none() {
            return fails(done.told());
        }
        self.bench.works()
    }

    /// Demands that `create` or else `start` is an error.
    pub(crate) fn does_not_start(&self) -> Verdict {
        let created = self.try_create()?;
        match created.is_ok() {
            true => self.errs(&["start", &self.id]),
            false => self.erred(&created),
        }
    }

    /// All went well: there is nothing to keep.
    pub(crate) fn passed(&self) -> Verdict {
        self.failed.set(false);
        Ok(())
    }

    /// The container's cgroups, in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        cgroups(&self.cgroup)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.bench.options.keep && self.failed.get() {
            return;
        }
        // Of the container as the runtime knows it, before all by force.
        let pid = self.pid().ok();
        let _ = self.call(&["delete", "--force", &self.id]);
        if let Some(pid) = pid
            && rustix::process::Pid::from_raw(pid).is_some_and(|pid| {
                rustix::process::test_kill_process(pid).is_ok() && self.is_ours(pid)
            })
        {
            let _ = hako_sys::signal::send_pid(pid, 9);
        }
        for dir in self.cgroups().iter().rev() {
            remove_cgroup(dir);
        }
        unmount_below(&self.dir);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Trial<'_> {
    /// Whether a process has our root directory, and so is the container's.
    fn is_ours(&self, pid: rustix::process::Pid) -> bool {
        let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        fs::read(path).is_ok_and(|line| {
            let name = probe::NAME.as_bytes();
            line.windows(name.len()).any(|part| part == name)
        })
    }
}

/// A path as the text that goes into a document.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The probe's argument vector.
pub(crate) fn arguments(name: &str, steps: &[Step]) -> Value {
    json!([name, json!(steps).to_string()])
}

/// Demands that a command succeeded.
pub(crate) fn well(done: &Done) -> Verdict {
    match done.is_ok() {
        true => Ok(()),
        false => fails(done.told()),
    }
}

/// The cgroups at `name` below the top of each hierarchy that is mounted here.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mut found: Vec<PathBuf> = hierarchies
        .flat_map(mountinfo::places)
        .map(|at| Path::new(at).join(name))
        .collect();
    found.retain(|path| path.is_dir());
    found
}

/// Unmounts what a runtime has left below `dir` in this thread's namespace, lest
/// the files there be removed with the bundle.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let places = mountinfo::places(&mounts).rev();
    for at in places.filter(|at| Path::new(at).starts_with(dir)) {
        let _ = rustix::mount::unmount(
            at,
            rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
        );
    }
}

/// Removes a cgroup and those below it, once nothing is in them.
fn remove_cgroup(dir: &Path) {
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_cgroup(&entry.path());
            }
        }
    }
    for _ in 0..50 {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return,
        }
    }
}

/// A configuration that every runtime takes: version 1.0, the usual mounts and
/// namespaces, a cgroup of its own.
fn base(cgroups_path: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": VERSION,
        "root": { "path": "rootfs" },
        "hostname": "conformance",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": [PROBE],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": [
                    "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
                ],
            },
            {
                "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "mount" },
            ],
        },
    })
}
