//! The namespaces of an unprivileged user. All of a user's hako processes work
//! in one user namespace and one mount namespace, so that each can reach what
//! another one mounted or started; a small process, the holder, keeps them.
//!
//! [`enter`] is called first thing in main, before there are threads. It joins
//! the holder's namespaces, or makes a holder:
//!
//! - with ranges in `/etc/subuid` and `/etc/subgid` and newuidmap(1) installed,
//!   the user is root inside and has as many other ids as the ranges give;
//! - without, the user is root and there is no other id.
//!
//! Everybody inside holds a shared lock on the holder's file. The holder ends
//! by itself when it gets that lock exclusively and no container has run state:
//! nothing of an idle user stays behind.

use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hako_sys::clone::{Forked, exit_now, flags, fork};
use hako_sys::{ns, signal};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getgid, getuid, pidfd_open};

use crate::error::{At, Error, Result};

/// How often the holder looks whether it is needed.
const PERIOD: Duration = Duration::from_secs(10);

/// What [`enter`] has found out and done.
#[derive(Debug)]
pub struct Session {
    /// The user's id outside.
    pub uid: u32,
    /// This process is in the user's own namespaces.
    pub rootless: bool,
    /// Keeps the holder from ending.
    _lock: Option<std::fs::File>,
}

/// Goes into the user's namespaces; for root nothing is to be done. `run` is
/// the user's run directory, which is made (0700) and must be the user's own.
///
/// The process must not have threads yet.
///
/// Errors: [`Error::Unsupported`] with what to do where user namespaces are
/// forbidden, and I/O errors.
pub fn enter(run: &Path) -> Result<Session> {
    let uid = getuid().as_raw();
    if uid == 0 {
        return Ok(Session {
            uid,
            rootless: in_user_namespace(),
            _lock: None,
        });
    }
    own_directory(run, uid)?;
    let path = run.join("holder");
    loop {
        let lock = lock_shared(&path)?;
        if let Some(pid) = recorded(&path)
            && join(pid)?
        {
            return Ok(Session {
                uid,
                rootless: true,
                _lock: Some(lock),
            });
        }
        drop(lock);
        make_holder(&path, run, uid)?;
    }
}

/// Whether this process is root of a user namespace, in an unprivileged
/// container for instance, and not of the machine.
#[must_use]
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !hako_sys::id_map::is_initial(&map)
}

fn own_directory(dir: &Path, uid: u32) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    crate::start::private_dir(dir)?;
    let meta = std::fs::symlink_metadata(dir).at("look at", dir)?;
    if !meta.is_dir() || meta.uid() != uid {
        return Err(Error::Unsupported(format!(
            "{} belongs to somebody else: set XDG_RUNTIME_DIR to a directory of your own",
            dir.display()
        )));
    }
    Ok(())
}

fn lock_shared(path: &Path) -> Result<std::fs::File> {
    hako_store::lock::shared_file(path, hako_store::lock::Wait::Forever)
        .at("lock", path)?
        .ok_or_else(|| Error::Io {
            doing: "lock",
            path: path.to_path_buf(),
            source: std::io::ErrorKind::WouldBlock.into(),
        })
}

/// Pid and start time of the holder, as the file has them.
fn recorded(path: &Path) -> Option<(i32, u64)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// Start time of a living process, in clock ticks since boot
/// (proc_pid_stat(5)).
fn start_time(pid: i32) -> Option<u64> {
    start_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A dead process that nobody waits for has given up its namespaces.
fn start_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Joins the namespaces of process `pid`; `false` when it is not there.
fn join((pid, start): (i32, u64)) -> Result<bool> {
    let Some(number) = Pid::from_raw(pid) else {
        return Ok(false);
    };
    let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else {
        return Ok(false);
    };
    if start_time(pid) != Some(start) {
        return Ok(false);
    }
    match ns::join(pidfd.as_fd(), flags::NEWUSER | flags::NEWNS) {
        Err(Errno::SRCH) => Ok(false),
        other => other.doing("join the user's namespaces").map(|()| true),
    }
}

/// Makes the holder, unless somebody else does at this moment.
fn make_holder(path: &Path, run: &Path, uid: u32) -> Result<()> {
    let Some(lock) =
        hako_store::lock::file(path, hako_store::lock::Wait::Forever).at("lock", path)?
    else {
        return Ok(());
    };
    if recorded(path).is_some_and(|(pid, start)| start_time(pid) == Some(start)) {
        return Ok(());
    }
    let survivor = survivor(run);
    let (mut ready, tell) = std::io::pipe().doing("make a pipe")?;
    let (wait, mut go) = std::io::pipe().doing("make a pipe")?;
    match fork(0, None).doing("fork")? {
        Forked::Child => {
            // What this command was given, somebody's pipe perhaps, must not
            // stay open with the holder; the lock is the parent's to give back.
            let mut keep = vec![tell.as_raw_fd(), wait.as_raw_fd()];
            keep.extend(survivor.as_ref().map(|fd| fd.as_raw_fd()));
            std::mem::forget((ready, go, lock));
            let _ = hako_sys::fds::close_others(0, &keep);
            let _ = rustix::process::setsid();
            // The holder is no child of a command that may run for long and
            // does not know of it.
            match fork(0, None) {
                Ok(Forked::Child) => hold(tell, wait, path, run, survivor),
                _ => exit_now(0),
            }
        }
        Forked::Parent { pid, .. } => {
            drop((tell, wait));
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            let mut pid = [0u8; 4];
            let mut word = [0u8; 4];
            let heard = ready
                .read_exact(&mut pid)
                .and_then(|()| ready.read_exact(&mut word));
            heard.doing("hear from the holder")?;
            let pid = i32::from_ne_bytes(pid);
            if word == *b"none" {
                return Err(Error::Unsupported(
                    "user namespaces are not to be had here: as root, run \
                     'sysctl -w user.max_user_namespaces=15000' and, where it exists, \
                     'sysctl -w kernel.unprivileged_userns_clone=1'"
                        .to_owned(),
                ));
            }
            if word == *b"made" {
                map(pid, uid)?;
            }
            std::io::Write::write_all(&mut go, b"go").doing("tell the holder")?;
            ready.read_exact(&mut word).doing("hear from the holder")?;
            let start = start_time(pid).unwrap_or(0);
            // The lock is on the file's inode: write in place.
            std::fs::write(path, format!("{pid} {start}\n")).at("write", path)?;
            drop(lock);
            Ok(())
        }
    }
}

/// The first process of a container that has outlived the holder which was
/// killed: the new holder takes over its user namespace, or nobody could enter
/// or signal the containers any more. None when there is none.
fn survivor(run: &Path) -> Option<OwnedFd> {
    let entries = std::fs::read_dir(run.join("containers")).ok()?;
    entries.flatten().find_map(|entry| {
        let text = std::fs::read(entry.path().join("init.json")).ok()?;
        let init: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let pid = i32::try_from(init.get("pid")?.as_i64()?).ok()?;
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // What there is a handle on now is the process that was recorded.
        (start_time(pid) == init.get("start_time")?.as_u64()).then_some(pidfd)
    })
}

/// The holder's life.
fn hold(
    mut tell: std::io::PipeWriter,
    mut wait: std::io::PipeReader,
    path: &Path,
    run: &Path,
    survivor: Option<OwnedFd>,
) -> ! {
    use std::io::Write as _;
    let _ = signal::reset();
    let _ = rustix::thread::set_name(c"hako-holder");
    // The standard descriptors were closed: files opened later are not to be
    // taken for them.
    for _ in 0..3 {
        if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
            std::mem::forget(null);
        }
    }
    let _ = rustix::process::chdir("/");
    let pid = rustix::process::getpid().as_raw_pid();
    let _ = tell.write_all(&pid.to_ne_bytes());
    let joined = survivor.is_some_and(|fd| ns::join(fd.as_fd(), flags::NEWUSER).is_ok());
    if !joined && ns::unshare(flags::NEWUSER).is_err() {
        let _ = tell.write_all(b"none");
        exit_now(1);
    }
    let _ = tell.write_all(if joined { b"join" } else { b"made" });
    let mut word = [0u8; 2];
    let made = wait.read_exact(&mut word).is_ok()
        && ns::unshare(flags::NEWNS).is_ok()
        && mount_change(
            "/",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )
        .is_ok();
    if !made {
        exit_now(1);
    }
    let _ = tell.write_all(b"done");
    drop(tell);
    drop(wait);
    loop {
        std::thread::sleep(PERIOD);
        // It makes no children, and keeps no dead ones that it is given.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let idle = run_is_idle(run);
        let Ok(file) = std::fs::File::open(path) else {
            exit_now(0)
        };
        if idle
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && run_is_idle(run)
        {
            let _ = std::fs::remove_file(path);
            exit_now(0);
        }
    }
}

/// Whether no container has run state.
fn run_is_idle(run: &Path) -> bool {
    match std::fs::read_dir(run.join("containers")) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// A range of ids: first one outside, and how many.
type Range = (u32, u32);

/// Writes the mappings of the holder's user namespace.
fn map(pid: i32, uid: u32) -> Result<()> {
    let gid = getgid().as_raw();
    let names = [user_name(uid).unwrap_or_default(), uid.to_string()];
    let read = |path: &str| ranges(&std::fs::read_to_string(path).unwrap_or_default(), &names);
    let (uids, gids) = (read("/etc/subuid"), read("/etc/subgid"));
    if !uids.is_empty() && !gids.is_empty() && by_helper("newuidmap", pid, uid, &uids) {
        if by_helper("newgidmap", pid, gid, &gids) {
            return Ok(());
        }
        return Err(Error::Unsupported(format!(
            "newuidmap works and newgidmap does not: look at the ranges of {} in /etc/subgid, and whether newgidmap is setuid",
            names[0]
        )));
    }
    let put = |file: &str, text: &str| {
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        std::fs::write(&path, text).at("write", path)
    };
    put("uid_map", &format!("0 {uid} 1\n"))?;
    put("setgroups", "deny")?;
    put("gid_map", &format!("0 {gid} 1\n"))
}

fn by_helper(program: &str, pid: i32, own: u32, ranges: &[Range]) -> bool {
    let mut command = Command::new(program);
    command
        .arg(pid.to_string())
        .args(["0".to_owned(), own.to_string(), "1".to_owned()]);
    let mut next = 1u32;
    for (first, count) in ranges {
        command.args([next.to_string(), first.to_string(), count.to_string()]);
        next = next.saturating_add(*count);
    }
    command
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The ranges of a user in the text of subuid(5) or subgid(5).
pub(crate) fn ranges(text: &str, names: &[String]) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut f = line.trim().split(':');
            f.next()
                .filter(|n| !n.is_empty() && names.iter().any(|m| m == n))?;
            let (first, count): (u32, u32) = (f.next()?.parse().ok()?, f.next()?.parse().ok()?);
            (count > 0 && f.next().is_none() && first.checked_add(count).is_some())
                .then_some((first, count))
        })
        .collect()
}

/// The name of a user of the host, as far as its passwd file tells.
fn user_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut f = line.split(':');
        let name = f.next()?;
        (f.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{ranges, start_in};

    #[test]
    fn a_dead_process_has_no_start_time() {
        let line = |state: &str| {
            format!("7 (a) b) {state} 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 1 2")
        };
        assert_eq!(start_in(&line("S")), Some(4711));
        assert_eq!(start_in(&line("Z")), None);
        assert_eq!(start_in("7 (a"), None);
    }

    #[test]
    fn subordinate_ids() {
        let text =
            "a:100000:65536\n1000:200000:10\nb:1:1\na:x:1\na:5\n:1:1\na:4294967295:2\na:7:0\n";
        let names = ["a".to_owned(), "1000".to_owned()];
        assert_eq!(ranges(text, &names), [(100_000, 65_536), (200_000, 10)]);
        assert!(ranges("", &names).is_empty());
    }
}
