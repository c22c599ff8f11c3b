//! The first process: from the initramfs to a system as tests expect it, with
//! the cgroups arranged as systemd arranges them.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_move};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, finit_module, reboot};

use super::{Port, RUN, VERB};
use crate::vm::plan::{Event, PATH, Plan};
use crate::vm::systemd;

const DISK: &str = "/dev/vda";
/// Where the disk is mounted before it is the root.
const NEW: &str = "/new";

/// Where this process and the tests are, as under systemd: not in the root,
/// where other rules hold.
const INIT: &str = "/sys/fs/cgroup/init.scope";
const SLICE: &str = "/sys/fs/cgroup/user.slice";
const SESSION: &str = "/sys/fs/cgroup/user.slice/session.scope";

/// A network that leads nowhere, with a route to everywhere: pasta takes after
/// the interface that has the default route, and fails where there is none.
const NETWORK: [&str; 5] = [
    "link set lo up",
    "link add outside type dummy",
    "addr add 192.0.2.2/24 dev outside",
    "link set outside up",
    "route add default via 192.0.2.1",
];

/// Does not return: the machine is switched off at the end, whatever happens.
pub(super) fn main() {
    if let Err(error) = boot() {
        let text = format!("{error:#}");
        eprintln!("vm-guest: {text}");
        if let Ok(port) = Port::open() {
            let _ = port.tell(&Event::Error(text));
        }
    }
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        eprintln!("vm-guest: cannot switch off: {error}");
    }
}

fn boot() -> Result<()> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount_at(kind, kind, at, "")?;
    }
    let plan = fs::read(PATH).with_context(|| format!("read {PATH}"))?;
    let plan: Plan = serde_json::from_slice(&plan).with_context(|| format!("parse {PATH}"))?;
    for module in &plan.modules {
        let load = || format!("load {module}");
        let file = File::open(module).with_context(load)?;
        finit_module(&file, c"", 0).with_context(load)?;
    }
    change_root()?;
    if plan.systemd {
        // It comes back by an error alone, and switches the machine off itself.
        let error = Command::new(systemd::INIT).args(systemd::ARGUMENTS).exec();
        return Err(error).context("become systemd");
    }
    arrange()?;
    cgroups()?;
    let mut tests = Command::new("/xtask");
    tests.args([VERB, RUN]).env_clear().envs(&plan.environment);
    let tests = tests.spawn().context("start the tests")?;
    let tests = rustix::process::Pid::from_child(&tests);
    // Orphans come to us to be buried.
    loop {
        match wait(WaitOptions::empty()).context("wait for the tests")? {
            Some((pid, _)) if pid == tests => return Ok(()),
            _ => {}
        }
    }
}

fn mount_at(kind: &str, source: &str, at: &str, data: &str) -> Result<()> {
    fs::create_dir_all(at).with_context(|| format!("create {at}"))?;
    let data = std::ffi::CString::new(data).context("mount options")?;
    mount(source, at, kind, MountFlags::empty(), data.as_c_str())
        .with_context(|| format!("mount {kind} at {at}"))
}

/// The initial root can neither be left by pivot_root nor be what others
/// pivot away from: its files go onto the disk, which becomes the root.
fn change_root() -> Result<()> {
    for _ in 0..500 {
        if Path::new(DISK).exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    mount_at("ext4", DISK, NEW, "")?;
    let root = fs::metadata("/").context("read /")?;
    move_tree(Path::new("/"), Path::new(NEW), root.dev())?;
    for at in ["/proc", "/sys", "/dev"] {
        let to = format!("{NEW}{at}");
        mount_move(at, to.as_str()).with_context(|| format!("move {at}"))?;
    }
    std::env::set_current_dir(NEW).context("enter the disk")?;
    mount_move(".", "/").context("make the disk the root")?;
    rustix::process::chroot(".").context("enter the root")?;
    std::env::set_current_dir("/").context("enter the root")
}

/// Copies what is on the device `dev`, and removes files as it goes, since
/// they are memory.
fn move_tree(from: &Path, to: &Path, dev: u64) -> Result<()> {
    let failed = || format!("move {} to {}", from.display(), to.display());
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let failed = || format!("move {} to {}", old.display(), new.display());
        let metadata = old.symlink_metadata().with_context(failed)?;
        if metadata.is_dir() {
            if old == Path::new(NEW) {
                continue;
            }
            fs::create_dir_all(&new).with_context(failed)?;
            if metadata.dev() == dev {
                move_tree(&old, &new, dev)?;
            }
            fs::set_permissions(&new, metadata.permissions()).with_context(failed)?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&old).with_context(failed)?, &new).with_context(failed)?;
        } else if metadata.is_file() {
            fs::copy(&old, &new).with_context(failed)?;
            fs::remove_file(&old).with_context(failed)?;
        }
    }
    Ok(())
}

fn arrange() -> Result<()> {
    // As systemd has it.
    mount_change(
        "/",
        MountPropagationFlags::SHARED | MountPropagationFlags::REC,
    )
    .context("share the mounts")?;
    mount_at(
        "devpts",
        "devpts",
        "/dev/pts",
        "gid=0,mode=620,ptmxmode=666",
    )?;
    mount_at("tmpfs", "tmpfs", "/dev/shm", "mode=1777")?;
    mount_at("mqueue", "mqueue", "/dev/mqueue", "")?;
    mount_at("tmpfs", "tmpfs", "/run", "mode=755")?;
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        symlink(target, Path::new("/dev").join(name))
            .with_context(|| format!("link /dev/{name}"))?;
    }
    // As udev's rules have it; everything else stays root's.
    for device in ["/dev/fuse", "/dev/net/tun"] {
        fs::set_permissions(device, fs::Permissions::from_mode(0o666))
            .with_context(|| format!("open {device} to everybody"))?;
    }
    rustix::system::sethostname(b"hako-vm").context("name the machine")?;
    for line in NETWORK {
        let mut ip = Command::new("/bin/ip");
        let done = ip.args(line.split(' ')).status().context("run ip")?;
        anyhow::ensure!(done.success(), "ip {line}: {done}");
    }
    Ok(())
}

fn cgroups() -> Result<()> {
    let root = "/sys/fs/cgroup";
    mount_at(
        "cgroup2",
        "cgroup2",
        root,
        "nsdelegate,memory_recursiveprot",
    )?;
    for dir in [INIT, SLICE, SESSION] {
        fs::create_dir(dir).with_context(|| format!("create {dir}"))?;
    }
    write(INIT, "cgroup.procs", "1")?;
    // The others are for the programs under test to hand down.
    for dir in [root, SLICE] {
        write(dir, "cgroup.subtree_control", "+memory +pids")?;
    }
    Ok(())
}

fn write(dir: &str, file: &str, text: &str) -> Result<()> {
    let path = Path::new(dir).join(file);
    fs::write(&path, text).with_context(|| format!("write {text} to {}", path.display()))
}

/// Puts this process into the session of the tests.
pub(super) fn enter_session() -> Result<()> {
    if Path::new(SESSION).exists() {
        write(SESSION, "cgroup.procs", "0")?;
    }
    Ok(())
}
