//! What several sections of the chapter need.

use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use serde_json::{Value, json};

use crate::check::{Stop, Verdict, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::seen::Seen;
use crate::runtime::trial::Trial;

/// With one more mount, the last.
pub(super) fn mounted<'a>(trial: Trial<'a>, entry: Value) -> Trial<'a> {
    trial.edit(|config| match &mut config["mounts"] {
        Value::Array(all) => all.push(entry),
        other => *other = json!([entry]),
    })
}

/// A configuration changed to what is not allowed: `create` or else `start` is
/// an error.
pub(super) fn invalid(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(change);
    trial.does_not_start()?;
    trial.passed()
}

/// Takes a property away.
pub(super) fn without(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
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

/// A trial of what came with `version` of the specification; skipped for a
/// runtime that is older.
pub(super) fn since<'a>(
    bench: &'a Bench,
    version: &str,
    steps: &[Step],
) -> Result<Trial<'a>, Stop> {
    let older = match features(bench)? {
        Some(features) => knows(&features, version)
            .err()
            .map(|most| format!("it knows the specification up to {most}")),
        None => refuses(bench, version)?.then(|| format!("it refuses the version {version}")),
    };
    match older {
        Some(why) => Err(Stop::Skipped(format!("came with {version}: {why}"))),
        None => Ok(Trial::new(bench, steps)?.edit(|config| config["ociVersion"] = json!(version))),
    }
}

/// As [`since`], for a mount option, which a runtime that is older may have
/// as well when it says so.
pub(super) fn since_or_listed<'a>(
    bench: &'a Bench,
    version: &str,
    option: &str,
    steps: &[Step],
) -> Result<Trial<'a>, Stop> {
    match since(bench, version, steps) {
        Err(Stop::Skipped(why)) => {
            let listed = features(bench)?.is_some_and(|features| {
                let all = features["mountOptions"].as_array();
                all.is_some_and(|all| all.iter().any(|it| it == option))
            });
            match listed {
                true => Trial::new(bench, steps),
                false => Err(Stop::Skipped(why)),
            }
        }
        other => other,
    }
}

/// What the runtime tells of itself, if it does.
fn features(bench: &Bench) -> Result<Option<Value>, Stop> {
    let trial = Trial::new(bench, &[])?;
    let done = trial.call(&["features"])?;
    trial.passed()?;
    let document = serde_json::from_str::<Value>(&done.out).ok();
    Ok(document.filter(|it| done.is_ok() && it["ociVersionMax"].is_string()))
}

/// The newest version that it knows, when that is before `wanted`.
fn knows(features: &Value, wanted: &str) -> Result<(), String> {
    let most = features["ociVersionMax"].as_str().unwrap_or_default();
    match numbers(most) >= numbers(wanted) {
        true => Ok(()),
        false => Err(most.to_owned()),
    }
}

/// Major, minor and patch.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

/// Whether a runtime that works takes no configuration of this version.
fn refuses(bench: &Bench, version: &str) -> Result<bool, Stop> {
    bench.works()?;
    let trial = Trial::new(bench, &[])?.edit(|config| config["ociVersion"] = json!(version));
    let done = trial.try_create()?;
    trial.passed()?;
    Ok(!done.is_ok())
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
    fn versions() {
        let features = json!({ "ociVersionMax": "1.0.2-dev" });
        assert_eq!(knows(&features, "1.0.0"), Ok(()));
        assert_eq!(knows(&features, "1.0.2"), Ok(()));
        assert_eq!(knows(&features, "1.1.0"), Err("1.0.2-dev".to_owned()));
        let features = json!({ "ociVersionMax": "1.10.0" });
        assert_eq!(knows(&features, "1.9.0"), Ok(()));
    }

    #[test]
    fn fields() {
        let status = "Name:\tx\nCapEff:\t00ff\n";
        assert_eq!(field(status, "CapEff").unwrap(), "00ff");
        field(status, "Cap").unwrap_err();
    }
}
