//! The runtime in the place of runc, under the engines of Debian. Each is
//! started by hand, with directories and sockets of its own, in a thread with a
//! mount and a network namespace of its own, an empty `/run`, and the cgroup
//! hierarchies alone in `/sys/fs/cgroup`: neither the machine's network and
//! firewall nor another daemon have a part in it.

mod buildah;
mod containerd;
mod docker;
mod engine;
mod podman;
mod rootless;

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hako_sys::clone::flags::{NEWNET, NEWNS};
use hako_sys::{ns, signal};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_move,
    unmount,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;

use crate::harness::{CGROUPS, Out, cgroup_dirs, finish, make_root, until};

/// Where the containers of one engine are.
#[derive(Debug)]
struct Place {
    dir: TempDir,
    /// The cgroup above those of the containers.
    cgroup: String,
    /// Whose processes belong to the test as well.
    user: Option<u32>,
    /// Mount points from before.
    mounts: Vec<String>,
}

/// Runs `test` in namespaces of its own.
fn apart(name: &str, test: impl FnOnce(&mut Place) + Send) {
    let alone = || {
        ns::unshare(ns::FS | NEWNS | NEWNET).expect("these tests need root");
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all).unwrap();
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
        own_cgroup_directory();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("iproute2 is needed").success());
        test(&mut Place::new(name));
    };
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn_scoped(scope, alone).unwrap().join()
    });
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// Mounts the hierarchies of version 1 in a directory of this namespace: podman
/// takes any directory beside them for one more, and makes files in it.
fn own_cgroup_directory() {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let names: Vec<&str> = points
        .filter_map(|at| at.strip_prefix(CGROUPS)?.strip_prefix('/'))
        .collect();
    if names.is_empty() {
        return;
    }
    let entries = fs::read_dir(CGROUPS).unwrap().map(|e| e.unwrap().path());
    let links: Vec<(PathBuf, PathBuf)> = entries
        .filter_map(|path| Some((fs::read_link(&path).ok()?, path)))
        .collect();
    let aside = Path::new("/run/hierarchies");
    for name in &names {
        fs::create_dir_all(aside.join(name)).unwrap();
        mount_bind(Path::new(CGROUPS).join(name), aside.join(name)).unwrap();
    }
    unmount(CGROUPS, UnmountFlags::DETACH).unwrap();
    mount("tmpfs", CGROUPS, "tmpfs", MountFlags::empty(), None).unwrap();
    for name in &names {
        let at = Path::new(CGROUPS).join(name);
        fs::create_dir(&at).unwrap();
        mount_move(aside.join(name), at).unwrap();
    }
    for (to, path) in links {
        symlink(to, path).unwrap();
    }
    fs::remove_dir_all(aside).unwrap();
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hako-under-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        Place {
            dir,
            cgroup: format!("/hako-under-{}-{name}", std::process::id()),
            user: None,
            mounts: mount_points(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// A tar archive of busybox and its names.
    fn tar(&self) -> String {
        let root = self.dir.path().join("rootfs");
        make_root(&root);
        fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
        let tar = self.path("busybox.tar");
        let args = ["-C", root.to_str().unwrap(), "-cf", &tar, "."];
        self.must("tar", &args);
        tar
    }

    #[track_caller]
    fn finish(&self, command: Command) -> Out {
        finish(self.dir.path(), command)
    }

    #[track_caller]
    fn must(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        self.finish(command).ok()
    }

    /// What the control file under one of these names says of the only
    /// container.
    #[track_caller]
    fn limit(&self, names: &[&str]) -> String {
        let dirs = self.cgroups();
        let files = dirs
            .iter()
            .flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        let text = files.filter_map(|file| fs::read_to_string(file).ok());
        let mut text: Vec<String> = text.map(|t| t.trim().to_owned()).collect();
        text.dedup();
        assert_eq!(text.len(), 1, "{names:?} in {dirs:?}");
        text.remove(0)
    }

    /// The cgroups of containers in all hierarchies; podman's `conmon` is its
    /// own.
    fn cgroups(&self) -> Vec<PathBuf> {
        let all = cgroup_dirs(&self.cgroup).into_iter();
        let below = all.flat_map(|dir| fs::read_dir(dir).unwrap());
        let below = below.map(|entry| entry.unwrap().path());
        below
            .filter(|path| path.is_dir() && !path.ends_with("conmon"))
            .collect()
    }

    /// Removes cgroups that the engine has put between its own and those of
    /// containers, which must be gone: under runc they stay as well.
    #[track_caller]
    fn remove_empty_cgroups(&self) {
        for dir in self.cgroups() {
            fs::remove_dir(dir).unwrap();
        }
    }

    /// Processes of this test: in its mount namespace, in a container's cgroup,
    /// of its user.
    fn processes(&self) -> Vec<i32> {
        let here = fs::metadata("/proc/thread-self/ns/mnt").unwrap().ino();
        let all = fs::read_dir("/proc").unwrap();
        let numbers = all.filter_map(|e| e.unwrap().file_name().to_str()?.parse::<i32>().ok());
        let ours = |pid: &i32| {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            let mounts = fs::metadata(dir.join("ns/mnt")).is_ok_and(|m| m.ino() == here);
            let cgroup = fs::read_to_string(dir.join("cgroup")).unwrap_or_default();
            let user = fs::metadata(&dir).is_ok_and(|m| Some(m.uid()) == self.user);
            mounts || user || cgroup.contains(&self.cgroup)
        };
        let own = i32::try_from(std::process::id()).unwrap();
        numbers.filter(|pid| *pid != own).filter(ours).collect()
    }

    /// Sees that nothing of a container is left: processes, cgroups, mounts
    /// but those below `mounts`, which are the engine's, and what is in
    /// `records`.
    #[track_caller]
    fn is_clean(&self, mounts: &[&str], records: &[&str]) {
        until(|| self.processes().is_empty());
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        let allowed: Vec<String> = mounts.iter().map(|m| self.path(m)).collect();
        let more: Vec<String> = mount_points()
            .into_iter()
            .filter(|m| !self.mounts.contains(m))
            .filter(|m| !allowed.iter().any(|a| m.starts_with(a.as_str())))
            .collect();
        assert_eq!(more, Vec::<String>::new());
        for dir in records.iter().chain(&["/run/hako-runtime"]) {
            let dir = self.dir.path().join(dir);
            let left: Vec<PathBuf> = fs::read_dir(&dir)
                .map(|all| all.map(|e| e.unwrap()))
                .into_iter()
                .flatten()
                // What is kept for all containers.
                .filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"#"))
                .map(|e| e.path())
                .collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "{}", dir.display());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.processes() {
            let process = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
            if let Some(Ok(process)) = process {
                let _ = signal::send(process.as_fd(), 9);
            }
        }
        // A process that has been killed is in its cgroup for a while.
        for _ in 0..500 {
            for dir in cgroup_dirs(&self.cgroup) {
                let _ = remove_cgroup(&dir);
            }
            if cgroup_dirs(&self.cgroup).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // dockerd's, which would be in the way of the directory's removal.
        let mounts = mount_points();
        for at in mounts.iter().rev().filter(|at| !self.mounts.contains(at)) {
            let _ = unmount(at.as_str(), UnmountFlags::DETACH);
        }
    }
}

fn remove_cgroup(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_cgroup(&path)?;
        }
    }
    fs::remove_dir(dir)
}

fn mount_points() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .filter(|at| !at.starts_with(CGROUPS))
        .collect()
}

/// A daemon, ended with the test that started it.
#[derive(Debug)]
struct Daemon(Child);

impl Daemon {
    /// Starts it, with its messages in the file `log`, and waits until `answers`.
    #[track_caller]
    fn start(mut command: Command, log: &str, mut answers: impl FnMut() -> bool) -> Self {
        let file = File::create(log).unwrap();
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn();
        let mut daemon = Daemon(child.unwrap_or_else(|e| panic!("{command:?}: {e}")));
        until(|| {
            let ended = daemon.0.try_wait().unwrap();
            let text = || fs::read_to_string(log).unwrap();
            assert_eq!(ended, None, "{}", text());
            answers()
        });
        daemon
    }

    /// Ends it in good order.
    fn stop(mut self) {
        let pid = Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A loop that ends with 7 when it is asked to.
const LOOP: &str = "echo started; trap 'exit 7' TERM; while :; do sleep 0.05; done";
