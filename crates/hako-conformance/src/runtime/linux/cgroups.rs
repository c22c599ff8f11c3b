//! "Control groups", "Cgroups Path" and "Cgroup ownership".

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::hierarchy::{self, Own};
use super::namespaces::{new_user, set};
use super::{push, remove};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const PATH: &str = "config-linux.md#cgroups-path";
const OWNER: &str = "config-linux.md#cgroup-ownership";

pub(super) const CHECKS: &[Check] = &[
    Check::must(
        "cgroups-path.absolute",
        PATH,
        "An absolute path is taken relative to where the hierarchy is mounted; the cgroups are made.",
        absolute,
    ),
    Check::must(
        "cgroups-path.consistent",
        PATH,
        "The same absolute path leads to the same place each time.",
        |bench| consistent(bench, "/"),
    ),
    Check::must(
        "cgroups-path.relative",
        PATH,
        "The same relative path leads to the same place each time.",
        |bench| consistent(bench, ""),
    ),
    Check::must(
        "cgroups-path.default",
        PATH,
        "A container without a path can be run.",
        without,
    )
    .may(),
    Check::must(
        "cgroups-path.existing",
        PATH,
        "A cgroup that exists is used.",
        existing,
    ),
    Check::must(
        "cgroup-ownership.version-1",
        OWNER,
        "Where cgroup version 1 is in use, the owner of the container's cgroups is not changed.",
        version_1,
    )
    .should(),
    Check::must(
        "cgroup-ownership.changed",
        OWNER,
        "With a cgroup namespace and a writable mount, the container's cgroup belongs to its user.",
        |bench| second(bench, |_| (), Owner::Container),
    )
    .should(),
    Check::must(
        "cgroup-ownership.no-mount",
        OWNER,
        "Without a mount of cgroups the owner is not changed.",
        |bench| {
            second(
                bench,
                |config| {
                    if let Some(mounts) = config["mounts"].as_array_mut() {
                        mounts.retain(|mount| mount["source"] != "cgroup");
                    }
                },
                Owner::Root,
            )
        },
    )
    .should(),
    Check::must(
        "cgroup-ownership.read-only-mount",
        OWNER,
        "With a read-only mount of cgroups the owner is not changed.",
        |bench| {
            second(
                bench,
                |config| {
                    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
                        if mount["source"] == "cgroup" {
                            push(&mut mount["options"], json!("ro"));
                        }
                    }
                },
                Owner::Root,
            )
        },
    )
    .should(),
    Check::must(
        "cgroup-ownership.no-namespace",
        OWNER,
        "Without a new cgroup namespace the owner is not changed.",
        |bench| {
            second(
                bench,
                |config| {
                    if let Some(all) = config["linux"]["namespaces"].as_array_mut() {
                        all.retain(|entry| entry["type"] != "cgroup");
                    }
                },
                Owner::Root,
            )
        },
    )
    .should(),
];

/// The container's cgroup in every hierarchy.
fn places(trial: &Trial<'_>) -> Result<Vec<PathBuf>, Stop> {
    let pid = trial.pid()?;
    hierarchy::all().iter().map(|it| it.place(pid)).collect()
}

/// Hierarchies in which a runtime has something to limit.
fn with_controllers() -> Result<Vec<hierarchy::Hierarchy>, Stop> {
    let controllers = [
        "cpu", "cpuset", "memory", "pids", "blkio", "devices", "freezer",
    ];
    let found: Vec<_> = controllers
        .iter()
        .filter_map(|name| hierarchy::of(name).ok())
        .collect();
    let unified = hierarchy::all().into_iter().find(|it| it.unified);
    match (found.is_empty(), unified) {
        // Limits or not, it is where the processes are.
        (_, Some(unified)) if !hierarchy::is_first_version() => Ok(vec![unified]),
        (true, _) => Err(Stop::Skipped(
            "no cgroup controllers are mounted here".into(),
        )),
        (false, _) => Ok(found),
    }
}

fn absolute(bench: &Bench) -> Verdict {
    bench.takes_paths()?;
    let all = with_controllers()?;
    let trial = Trial::new(bench, &[])?;
    trial.create()?;
    let pid = trial.pid()?;
    for hierarchy in all {
        let (found, wanted) = (hierarchy.place(pid)?, hierarchy.mount.join(&trial.id));
        demand(found == wanted, || {
            format!(
                "the container is in {}, not in {}",
                found.display(),
                wanted.display()
            )
        })?;
    }
    trial.passed()
}

fn consistent(bench: &Bench, prefix: &str) -> Verdict {
    bench.takes_paths()?;
    with_controllers()?;
    let mut trial = Trial::new(bench, &[])?;
    trial.config["linux"]["cgroupsPath"] = json!(format!("{prefix}{}", trial.id));
    let mut seen: Vec<Vec<PathBuf>> = Vec::new();
    for _ in 0..2 {
        trial.create()?;
        seen.push(places(&trial)?);
        trial.start()?;
        trial.becomes("stopped")?;
        trial.delete()?;
    }
    demand(seen[0] == seen[1], || {
        format!("once it is {:?}, then {:?}", seen[0], seen[1])
    })?;
    let apart = seen[0].iter().any(|path| path.ends_with(&trial.id));
    demand(apart, || format!("no cgroup has the path: {:?}", seen[0]))?;
    trial.passed()
}

fn without(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(|config| remove(&mut config["linux"], "cgroupsPath"));
    trial.live()?;
    trial.passed()
}

fn existing(bench: &Bench) -> Verdict {
    bench.takes_paths()?;
    let some = || with_controllers().map(|mut all| all.remove(0));
    let here = hierarchy::of("pids").or_else(|_| some())?;
    let trial = Trial::new(bench, &[])?;
    // With the container's name, so that nothing of it can stay.
    let own = Own(here.mount.join(&trial.id));
    fs::create_dir(&own.0).map_err(Stop::broken("cannot make a cgroup"))?;
    let before = inode(&own.0)?;
    trial.create()?;
    let found = here.place(trial.pid()?)?;
    let same = found == own.0 && inode(&found)? == before;
    demand(same, || format!("the container is in {}", found.display()))?;
    trial.start()?;
    trial.becomes("stopped")?;
    trial.delete()?;
    trial.passed()
}

fn inode(path: &Path) -> Result<u64, Stop> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.ino()),
        Err(error) => fails(format!("{}: {error}", path.display())),
    }
}

/// A container whose root is user 100000, with a cgroup namespace and a
/// writable mount of cgroups.
fn delegated(config: &mut Value) {
    new_user(config);
    set(config, "cgroup", None);
    let mount = json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime"],
    });
    push(&mut config["mounts"], mount);
}

fn owner(path: &Path) -> Result<u32, Stop> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.uid()),
        Err(error) => fails(format!("{}: {error}", path.display())),
    }
}

fn version_1(bench: &Bench) -> Verdict {
    if !hierarchy::is_first_version() {
        return Err(Stop::Skipped("cgroup version 1 is not in use here".into()));
    }
    let trial = Trial::new(bench, &[])?.edit(delegated);
    trial.create()?;
    let mut own = 0;
    for place in places(&trial)? {
        own += usize::from(place.ends_with(&trial.cgroup));
        let uid = owner(&place)?;
        demand(uid == 0, || {
            format!("{} belongs to user {uid}", place.display())
        })?;
    }
    demand(own > 0, || "the container has no cgroup".into())?;
    trial.passed()
}

#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Root,
    Container,
}

/// What the kernel says may be given away, or else the specification.
fn delegable() -> Vec<String> {
    let text = fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    text.lines().map(str::to_owned).collect()
}

/// Version 2: who owns the directory, the files that may be given away, and the
/// others.
fn second(bench: &Bench, change: fn(&mut Value), wanted: Owner) -> Verdict {
    if hierarchy::is_first_version() {
        return Err(Stop::Skipped("cgroup version 1 is in use here".into()));
    }
    let here = hierarchy::all().into_iter().find(|it| it.unified);
    let Some(here) = here else {
        return Err(Stop::Skipped("no cgroup version 2 is mounted here".into()));
    };
    let trial = Trial::of(bench, "1.1.0", &[])?.edit(delegated).edit(change);
    trial.create()?;
    let place = here.place(trial.pid()?)?;
    demand(place.ends_with(&trial.cgroup), || {
        format!("the container is in {}", place.display())
    })?;
    let given = delegable();
    let expect = |path: &Path, theirs: bool| {
        let wanted = if theirs { 100_000 } else { 0 };
        let uid = owner(path)?;
        demand(uid == wanted, || {
            format!("{} belongs to user {uid}, not {wanted}", path.display())
        })
    };
    let theirs = wanted == Owner::Container;
    expect(&place, theirs)?;
    let entries = fs::read_dir(&place).map_err(Stop::broken("cannot read a cgroup"))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        expect(&entry.path(), theirs && given.contains(&name))?;
    }
    trial.passed()
}
