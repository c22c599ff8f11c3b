//! What several sections of the chapter need.

use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use serde_json::Value;

use crate::check::{Stop, Verdict, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::edit::push;
use crate::runtime::seen::Seen;
use crate::runtime::trial::Trial;

/// With one more mount, the last.
pub(super) fn mounted<'a>(trial: Trial<'a>, entry: Value) -> Trial<'a> {
    trial.edit(|config| push(&mut config["mounts"], entry))
}

/// A configuration changed to what is not allowed: `create` or else `start` is
/// an error.
pub(super) fn invalid(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(change);
    trial.does_not_start()?;
    trial.passed()
}

/// A configuration changed to what is allowed: the container runs; gives what
/// `steps` have found.
pub(super) fn runs(
    bench: &Bench,
    steps: &[Step],
    change: impl FnOnce(&mut Value),
) -> Result<Seen, Stop> {
    let trial = Trial::new(bench, steps)?.edit(change);
    let seen = trial.live()?;
    trial.passed()?;
    Ok(seen)
}

/// As [`Trial::of`], for a mount option, which a runtime that is older may have
/// as well when it says so.
pub(super) fn of_or_listed<'a>(
    bench: &'a Bench,
    version: &str,
    option: &str,
    steps: &[Step],
) -> Result<Trial<'a>, Stop> {
    let listed = || {
        let all = bench
            .features()
            .and_then(|it| it["mountOptions"].as_array());
        all.is_some_and(|all| all.iter().any(|it| it == option))
    };
    match Trial::of(bench, version, steps) {
        Err(Stop::Skipped(_)) if listed() => Trial::new(bench, steps),
        other => other,
    }
}

/// Tries something in a thread with a mount namespace and a file creation mask
/// of its own, which the runtime then is in as well. Nothing that is mounted
/// there is seen elsewhere or outlives it.
pub(super) fn apart(attempt: impl FnOnce() -> Verdict + Send) -> Verdict {
    alone(|| {
        hako_sys::ns::unshare(hako_sys::clone::flags::NEWNS)
            .map_err(Stop::broken("cannot make a mount namespace"))?;
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all).map_err(Stop::broken("cannot make mounts private"))?;
        attempt()
    })
}

/// As [`apart`], with further namespaces in the host's place: a runtime that
/// takes a broken list of namespaces for none changes nobody's network or name.
pub(super) fn sheltered(attempt: impl FnOnce() -> Verdict + Send) -> Verdict {
    use hako_sys::clone::flags::{NEWIPC, NEWNET, NEWUTS};
    apart(|| {
        hako_sys::ns::unshare(NEWUTS | NEWIPC | NEWNET)
            .map_err(Stop::broken("cannot make namespaces"))?;
        attempt()
    })
}

/// Tries something in a thread, whose attributes the runtime inherits.
pub(super) fn alone(attempt: impl FnOnce() -> Verdict + Send) -> Verdict {
    std::thread::scope(|scope| match scope.spawn(attempt).join() {
        Ok(verdict) => verdict,
        Err(_) => Err(Stop::Broken("the check panicked".to_owned())),
    })
}

/// A tmpfs that is mounted for the length of a check, in a namespace made by
/// [`apart`].
#[derive(Debug)]
pub(super) struct Tmpfs<'a>(pub(super) &'a Path);

impl Tmpfs<'_> {
    /// Mounts one at a directory, which is made.
    pub(super) fn at(path: &Path, flags: MountFlags) -> Result<Tmpfs<'_>, Stop> {
        std::fs::create_dir_all(path)
            .map_err(Stop::broken(format!("cannot make {}", path.display())))?;
        mount("tmpfs", path, "tmpfs", flags, None)
            .map_err(Stop::broken(format!("cannot mount at {}", path.display())))?;
        Ok(Tmpfs(path))
    }

    /// Changes its flags, but not those of the file system.
    pub(super) fn remount(&self, flags: MountFlags) -> Verdict {
        mount_remount(self.0, flags | MountFlags::BIND, "")
            .map_err(Stop::broken(format!("cannot remount {}", self.0.display())))
    }

    /// Changes its propagation.
    pub(super) fn change(&self, kind: MountPropagationFlags) -> Verdict {
        mount_change(self.0, kind)
            .map_err(Stop::broken(format!("cannot change {}", self.0.display())))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

/// A line of /proc/PID/status.
pub(super) fn field<'t>(status: &'t str, name: &str) -> Result<&'t str, Stop> {
    let found = status.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.trim())
    });
    match found {
        Some(value) => Ok(value),
        None => fails(format!("/proc/self/status has no {name}")),
    }
}

/// The tester's own line of /proc/self/status.
pub(super) fn own_field(name: &str) -> Result<String, Stop> {
    let path = "/proc/thread-self/status";
    let status =
        std::fs::read_to_string(path).map_err(Stop::broken(format!("cannot read {path}")))?;
    field(&status, name).map(str::to_owned)
}

/// Makes a directory of the container's root, or several.
pub(super) fn make_dirs(trial: &Trial<'_>, names: &[&str]) -> Verdict {
    for name in names {
        let path = trial.rootfs().join(name);
        std::fs::create_dir_all(&path)
            .map_err(Stop::broken(format!("cannot make {}", path.display())))?;
    }
    Ok(())
}

/// Writes a file.
pub(super) fn write_file(path: &Path, text: &str) -> Verdict {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text))
        .map_err(Stop::broken(format!("cannot write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let status = "Name:\tx\nCapEff:\t00ff\n";
        assert_eq!(field(status, "CapEff").unwrap(), "00ff");
        field(status, "Cap").unwrap_err();
    }
}
