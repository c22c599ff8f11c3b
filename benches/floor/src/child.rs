//! The container's process: mounts, root, identity, filter, program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use hako_sys::seccomp::{Filter, install};
use hako_sys::{exec, link, ns};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, symlink};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Resource, Rlimit, setrlimit, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups,
};

use crate::cgroups::Join;

const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NODEV);

/// Target, file system, flags and options of the bundle's mounts.
const MOUNTS: [(&str, &str, MountFlags, Option<&CStr>); 6] = [
    ("proc", "proc", MountFlags::empty(), None),
    (
        "dev",
        "tmpfs",
        MountFlags::NOSUID.union(MountFlags::STRICTATIME),
        Some(c"mode=755,size=65536k"),
    ),
    (
        "dev/pts",
        "devpts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ),
    ("dev/shm", "tmpfs", SAFE, Some(c"mode=1777,size=65536k")),
    ("dev/mqueue", "mqueue", SAFE, None),
    ("sys", "sysfs", SAFE.union(MountFlags::RDONLY), None),
];

const DEVICES: [(&str, u32, u32); 6] = [
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "dev/ptmx"),
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
];

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/proc/scsi",
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Returns only when something fails.
pub(crate) fn become_program(root: &Path, join: &Join, filter: &[Filter]) -> anyhow::Error {
    match go(root, join, filter) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn go(root: &Path, join: &Join, filter: &[Filter]) -> Result<Infallible> {
    for mut file in &join.tasks {
        file.write_all(b"0").context("enter the cgroups")?;
    }
    if !join.tasks.is_empty() {
        ns::unshare(hako_sys::clone::flags::NEWCGROUP)?;
    }
    setsid()?;
    rustix::system::sethostname(b"hako")?;
    link::loopback_up()?;
    mounts(root)?;
    identity()?;
    install(filter, 0).context("filter")?;
    let env = [
        c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        c"TERM=xterm".to_owned(),
    ];
    let program = CString::from(c"/bin/true");
    let errno = exec::path(&program, std::slice::from_ref(&program), &env);
    Err(errno).context("/bin/true")
}

fn mounts(root: &Path) -> Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?;
    mount_bind(root, root)?;
    rustix::process::chdir(root)?;
    for (at, kind, flags, options) in MOUNTS {
        if at.starts_with("dev/") {
            rustix::fs::mkdir(at, Mode::from_raw_mode(0o755))?;
        }
        mount(kind, at, kind, flags, options).with_context(|| at.to_owned())?;
    }
    cgroup_mounts()?;
    for (at, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            CWD,
            at,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .context(at)?;
        rustix::fs::chmod(at, mode)?;
    }
    for (to, at) in LINKS {
        symlink(to, at)?;
    }
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "")?;
    for at in READ_ONLY {
        if mount_bind(at, at).is_ok() {
            mount_remount(at, SAFE | MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
    }
    for at in MASKED {
        match rustix::fs::stat(at) {
            Ok(s) if FileType::from_raw_mode(s.st_mode) == FileType::Directory => {
                mount("tmpfs", at, "tmpfs", MountFlags::RDONLY, None)?;
            }
            Ok(_) => mount_bind("/dev/null", at)?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// `/sys/fs/cgroup`: version 2 itself, or every hierarchy below a tmpfs.
fn cgroup_mounts() -> Result<()> {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let mut names: Vec<&str> = own
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .collect();
    if names == [""] {
        mount(
            "cgroup",
            "sys/fs/cgroup",
            "cgroup2",
            SAFE | MountFlags::RDONLY,
            None,
        )?;
        return Ok(());
    }
    mount("tmpfs", "sys/fs/cgroup", "tmpfs", SAFE, Some(c"mode=755"))?;
    names.retain(|name| !name.is_empty());
    for name in names {
        let dir = name.strip_prefix("name=").unwrap_or(name);
        let at = format!("sys/fs/cgroup/{dir}");
        rustix::fs::mkdir(&at, Mode::from_raw_mode(0o755))?;
        let options = CString::new(name)?;
        mount(
            "cgroup",
            &at,
            "cgroup",
            SAFE | MountFlags::RDONLY,
            Some(options.as_c_str()),
        )
        .with_context(|| at.clone())?;
    }
    mount_remount(
        "sys/fs/cgroup",
        SAFE | MountFlags::BIND | MountFlags::RDONLY,
        "",
    )?;
    Ok(())
}

fn identity() -> Result<()> {
    let limit = Some(1024);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )?;
    let keep = CapabilitySet::AUDIT_WRITE | CapabilitySet::KILL | CapabilitySet::NET_BIND_SERVICE;
    for bit in 0..41 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if !keep.contains(one) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    set_thread_groups(&[])?;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    set_no_new_privs(true)?;
    set_capabilities(None, sets)?;
    Ok(())
}
