//! "Namespaces".

use std::fs;

use serde_json::{Value, json};

use super::{BASE, link, push, remove, same};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::holder::Holder;
use crate::runtime::trial::Trial;

const SECTION: &str = "config-linux.md#namespaces";

/// A kind of namespace.
struct Kind {
    /// As the specification names it.
    name: &'static str,
    /// Its file below `/proc/PID/ns`.
    file: &'static str,
    /// The version that it came with.
    since: &'static str,
}

macro_rules! kinds {
    ($($name:literal $file:literal $since:expr, $what:literal)*) => {
        /// All kinds.
        const KINDS: &[Kind] = &[$(Kind { name: $name, file: $file, since: $since }),*];

        pub(super) const CHECKS: &[Check] = &[$(
            Check::must(
                concat!("namespaces.new-", $name),
                SECTION,
                concat!("A container with a ", $name, " namespace without a path has a new one."),
                |bench| new(bench, &Kind { name: $name, file: $file, since: $since }),
            ),
            Check::must(
                concat!("namespaces.path-", $name),
                SECTION,
                concat!("The container's process is put into the ", $name, " namespace of the path."),
                |bench| by_path(bench, &Kind { name: $name, file: $file, since: $since }),
            ),
            Check::must(
                concat!("namespaces.inherited-", $name),
                SECTION,
                concat!("Without a ", $name, " namespace in the list the container has the runtime's."),
                |bench| inherited(bench, &Kind { name: $name, file: $file, since: $since }),
            ),
            Check::must(
                concat!("namespaces.other-type-", $name),
                SECTION,
                concat!("A path to a namespace that is not of type ", $name, " is an error for one."),
                |bench| other_type(bench, &Kind { name: $name, file: $file, since: $since }),
            ),
            Check::must(
                concat!("namespaces.isolates-", $name),
                SECTION,
                $what,
                |bench| isolates(bench, &Kind { name: $name, file: $file, since: $since }),
            ),
        )*];
    };
}

kinds! {
    "pid" "pid" BASE, "In a pid namespace the program is process 1 and sees no process of the host."
    "network" "net" BASE, "A network namespace has a network stack of its own: no device of the host."
    "mount" "mnt" BASE, "A mount namespace has a mount table of its own: the host sees no mount of it."
    "ipc" "ipc" BASE, "An ipc namespace has System V parameters of its own."
    "uts" "uts" BASE, "A uts namespace has a host name of its own: the host's stays."
    "user" "user" BASE, "A user namespace maps users and groups between host and container."
    "cgroup" "cgroup" BASE, "In a cgroup namespace the container's cgroup is the root of the hierarchy."
    "time" "time" "1.1.0", "A time namespace has clocks of its own: the host's stay."
}

pub(super) const MORE: &[Check] = &[
    Check::must(
        "namespaces.relative-path",
        SECTION,
        "A namespace's path that is not absolute is an error.",
        |bench| {
            refused(bench, |config| {
                set(config, "network", Some(json!("self/ns/net")));
            })
        },
    ),
    Check::must(
        "namespaces.no-namespace",
        SECTION,
        "A path to a file that is no namespace is an error.",
        |bench| {
            refused(bench, |config| {
                set(config, "network", Some(json!("/proc/self/status")));
            })
        },
    ),
    Check::must(
        "namespaces.duplicates",
        SECTION,
        "Two entries of the same type are an error.",
        duplicates,
    ),
    Check::must(
        "namespaces.unknown-type",
        SECTION,
        "An entry of a type that does not exist is an error.",
        |bench| {
            refused(bench, |config| {
                push(
                    &mut config["linux"]["namespaces"],
                    json!({ "type": "hako-no-such-type" }),
                );
            })
        },
    ),
    Check::must(
        "namespaces.without-type",
        SECTION,
        "An entry without a type is an error.",
        |bench| {
            refused(bench, |config| {
                push(&mut config["linux"]["namespaces"], json!({}));
            })
        },
    ),
];

/// Takes a kind out of the list, and what the container could not have without
/// a namespace of it.
fn unset(config: &mut Value, name: &str) {
    if let Some(all) = config["linux"]["namespaces"].as_array_mut() {
        all.retain(|entry| entry["type"] != name);
    }
    match name {
        "uts" => remove(config, "hostname"),
        "mount" => config["mounts"] = json!([]),
        _ => {}
    }
}

/// Puts a kind into the list, with or without a path.
pub(super) fn set(config: &mut Value, name: &str, path: Option<Value>) {
    let mounts = config["mounts"].clone();
    let hostname = config["hostname"].clone();
    unset(config, name);
    config["mounts"] = mounts;
    if hostname.is_string() {
        config["hostname"] = hostname;
    }
    let mut entry = json!({ "type": name });
    if let Some(path) = path {
        entry["path"] = path;
    }
    push(&mut config["linux"]["namespaces"], entry);
}

/// A new user namespace, whose ids begin at 100000 on the host.
pub(super) fn new_user(config: &mut Value) {
    set(config, "user", None);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// What this kernel has no namespaces of cannot be tried.
fn exists(kind: &Kind) -> Verdict {
    match fs::exists(format!("/proc/self/ns/{}", kind.file)) {
        Ok(true) => Ok(()),
        _ => Err(Stop::Skipped(format!(
            "this kernel has no {} namespaces",
            kind.name
        ))),
    }
}

pub(in crate::runtime) fn add(config: &mut Value, name: &str) {
    match name {
        "user" => new_user(config),
        name => set(config, name, None),
    }
}

fn new(bench: &Bench, kind: &Kind) -> Verdict {
    exists(kind)?;
    let steps = [Step::Say("in".into()), Step::Wait];
    let trial = Trial::of(bench, kind.since, &steps)?.edit(|config| add(config, kind.name));
    trial.launch()?;
    trial.answers(1)?;
    let inside = link(&format!("/proc/{}/ns/{}", trial.pid()?, kind.file))?;
    let outside = link(&format!("/proc/self/ns/{}", kind.file))?;
    demand(inside != outside, || {
        format!("the {} namespace is the runtime's", kind.name)
    })?;
    trial.passed()
}

/// A namespace of a kind that waits to be joined, and its path.
fn held(trial: &Trial<'_>, kind: &Kind) -> Result<(Holder, String), Stop> {
    let mut steps = vec![Step::Unshare(vec![kind.file.into()])];
    if kind.name == "mount" {
        // Runtimes look at it, and a configuration that lists no mounts has none.
        let proc = trial.rootfs().join("proc").to_string_lossy().into_owned();
        steps.push(Step::MountNew("proc".into(), proc));
    }
    let holder = Holder::new(trial, &steps)?;
    let file = match kind.file {
        "time" => "time_for_children",
        file => file,
    };
    if kind.name == "user" {
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", holder.pid());
            fs::write(&path, "0 100000 65536\n")
                .map_err(Stop::broken(format!("cannot write {path}")))?;
        }
    }
    let path = holder.ns(file);
    Ok((holder, path))
}

fn by_path(bench: &Bench, kind: &Kind) -> Verdict {
    exists(kind)?;
    let steps = [Step::Say("in".into()), Step::Wait];
    let mut trial = Trial::of(bench, kind.since, &steps)?;
    // A pid namespace lives as long as a process of it: a container's.
    let other = Trial::new(bench, &[Step::Wait])?;
    let (_holder, path) = match kind.name {
        "pid" => {
            other.launch()?;
            (None, format!("/proc/{}/ns/pid", other.pid()?))
        }
        _ => {
            let (holder, path) = held(&trial, kind)?;
            (Some(holder), path)
        }
    };
    if kind.name == "mount" {
        trial.config["mounts"] = json!([]);
    }
    set(&mut trial.config, kind.name, Some(json!(path)));
    let wanted = link(&path)?;
    trial.launch()?;
    trial.answers(1)?;
    let found = link(&format!("/proc/{}/ns/{}", trial.pid()?, kind.file))?;
    same(&format!("the {} namespace", kind.name), found, wanted)?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    other.passed()?;
    trial.passed()
}

fn inherited(bench: &Bench, kind: &Kind) -> Verdict {
    exists(kind)?;
    let steps = [Step::Say("in".into()), Step::Wait];
    let trial = Trial::of(bench, kind.since, &steps)?.edit(|config| unset(config, kind.name));
    // Mounts that a runtime makes must not be ours.
    let (_holder, trial, outside) = match kind.name {
        "mount" => {
            let (holder, path) = held(&trial, kind)?;
            let outside = link(&path)?;
            let trial = trial.within(&[Step::Join(path)]);
            (Some(holder), trial, outside)
        }
        _ => {
            let outside = link(&format!("/proc/self/ns/{}", kind.file))?;
            (None, trial, outside)
        }
    };
    trial.launch()?;
    trial.answers(1)?;
    let found = link(&format!("/proc/{}/ns/{}", trial.pid()?, kind.file))?;
    same(&format!("the {} namespace", kind.name), found, outside)?;
    trial.kill("KILL")?;
    trial.becomes("stopped")?;
    trial.passed()
}

fn other_type(bench: &Bench, kind: &Kind) -> Verdict {
    exists(kind)?;
    let other = if kind.file == "uts" { "net" } else { "uts" };
    let trial = Trial::of(bench, kind.since, &[])?;
    // Neither ours, which a runtime could take as nothing to do.
    let holder = Holder::new(&trial, &[Step::Unshare(vec![other.into()])])?;
    let path = json!(holder.ns(other));
    let trial = trial.edit(|config| set(config, kind.name, Some(path)));
    trial.refused()?;
    trial.passed()
}

fn refused(bench: &Bench, change: impl FnOnce(&mut Value)) -> Verdict {
    let trial = Trial::new(bench, &[])?.edit(change);
    trial.refused()?;
    trial.passed()
}

fn duplicates(bench: &Bench) -> Verdict {
    for kind in KINDS.iter().filter(|kind| kind.since == BASE) {
        let trial = Trial::new(bench, &[])?.edit(|config| {
            add(config, kind.name);
            push(
                &mut config["linux"]["namespaces"],
                json!({ "type": kind.name }),
            );
        });
        match trial.refused() {
            Err(Stop::Fails(text)) => return fails(format!("two of type {}: {text}", kind.name)),
            other => other?,
        }
        trial.passed()?;
    }
    Ok(())
}

fn isolates(bench: &Bench, kind: &Kind) -> Verdict {
    exists(kind)?;
    match kind.name {
        "pid" => pid(bench),
        "network" => network(bench),
        "mount" => mount(bench),
        "ipc" => ipc(bench),
        "uts" => uts(bench),
        "user" => user(bench),
        "cgroup" => cgroup(bench),
        _ => time(bench, kind.since),
    }
}

fn pid(bench: &Bench) -> Verdict {
    let steps = [Step::Link("/proc/self".into()), Step::List("/proc".into())];
    let trial = Trial::new(bench, &steps)?;
    let seen = trial.live()?;
    same("the program's pid", seen.text(0)?, "1")?;
    let list = seen.value(1)?.as_array().cloned().unwrap_or_default();
    let number = |name: &&Value| {
        name.as_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let pids: Vec<_> = list.iter().filter(number).collect();
    demand(pids == ["1"], || {
        format!("inside are the processes {pids:?}")
    })?;
    trial.passed()
}

fn network(bench: &Bench) -> Verdict {
    // In a surrounding with a device that can be told from others.
    let trial = Trial::new(bench, &[Step::List("/sys/class/net".into())])?;
    let here =
        fs::read_dir("/sys/class/net").map_err(Stop::broken("cannot read /sys/class/net"))?;
    let here: Vec<String> = here
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "lo")
        .collect();
    let seen = trial.live()?;
    let inside = seen.value(0)?.as_array().cloned().unwrap_or_default();
    demand(inside.contains(&json!("lo")), || {
        format!("no loopback device inside: {inside:?}")
    })?;
    // Fallback devices of tunnels are in every namespace.
    let theirs = here.iter().find(|name| {
        inside.contains(&json!(name))
            && fs::exists(format!("/sys/class/net/{name}/device")).unwrap_or(false)
    });
    match theirs {
        None => trial.passed(),
        Some(name) => fails(format!("{name} of the host is inside")),
    }
}

fn mount(bench: &Bench) -> Verdict {
    let trial = Trial::new(
        bench,
        &[Step::Read("/proc/self/mountinfo".into()), Step::Wait],
    )?
    .edit(|config| {
        let mount = json!({ "destination": "/tmp", "type": "tmpfs", "source": "hako-conformance" });
        push(&mut config["mounts"], mount);
    });
    trial.launch()?;
    let seen = trial.answers(1)?;
    let inside = seen.text(0)?.contains(" - tmpfs hako-conformance ");
    demand(inside, || "the mount is not inside".into())?;
    let path = "/proc/self/mountinfo";
    let outside = fs::read_to_string(path).map_err(Stop::broken(format!("cannot read {path}")))?;
    let bundle = trial.bundle().to_string_lossy().into_owned();
    demand(!outside.contains(&bundle), || {
        "the mount is on the host".into()
    })?;
    trial.passed()
}

fn ipc(bench: &Bench) -> Verdict {
    let path = "/proc/sys/kernel/shmmni";
    let here = fs::read_to_string(path).map_err(Stop::broken(format!("cannot read {path}")))?;
    let other = match here.trim() {
        "77" => "78",
        _ => "77",
    };
    let trial = Trial::new(bench, &[Step::Read(path.into()), Step::Wait])?
        .edit(|config| config["linux"]["sysctl"] = json!({ "kernel.shmmni": other }));
    trial.launch()?;
    same(
        "inside, kernel.shmmni",
        trial.answers(1)?.text(0)?.trim(),
        other,
    )?;
    let now = fs::read_to_string(path).map_err(Stop::broken(format!("cannot read {path}")))?;
    same("on the host, kernel.shmmni", now, here)?;
    trial.passed()
}

fn uts(bench: &Bench) -> Verdict {
    let here = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    let before = here();
    let trial = Trial::new(bench, &[Step::Uname])?
        .edit(|config| config["hostname"] = json!("hako-conformance-uts"));
    let seen = trial.live()?;
    let inside = seen.value(0)?["nodename"].as_str().unwrap_or_default();
    same("inside, the host name", inside, "hako-conformance-uts")?;
    same("on the host, the host name", here(), before)?;
    trial.passed()
}

fn user(bench: &Bench) -> Verdict {
    let steps = [Step::Stat("/proc/self/".into()), Step::Wait];
    let trial = Trial::new(bench, &steps)?.edit(new_user);
    trial.launch()?;
    same(
        "inside, the process's user",
        &trial.answers(1)?.value(0)?["uid"],
        &json!(0),
    )?;
    let path = format!("/proc/{}/status", trial.pid()?);
    let status = super::read(&path)?;
    for (field, wanted) in [("Uid:", "100000"), ("Gid:", "100000")] {
        let line = status.lines().find(|line| line.starts_with(field));
        let found = line.and_then(|line| line.split_whitespace().nth(1));
        same(
            &format!("on the host, the process's {field}"),
            found,
            Some(wanted),
        )?;
    }
    trial.passed()
}

fn cgroup(bench: &Bench) -> Verdict {
    let steps = [Step::Read("/proc/self/cgroup".into())];
    let trial = Trial::new(bench, &steps)?.edit(|config| set(config, "cgroup", None));
    let seen = trial.live()?;
    let text = seen.text(0)?;
    let bad: Vec<&str> = text
        .lines()
        .filter(|line| line.splitn(3, ':').nth(2) != Some("/"))
        .collect();
    demand(!text.is_empty() && bad.is_empty(), || {
        format!("inside, the cgroups are {bad:?}")
    })?;
    trial.passed()
}

fn time(bench: &Bench, since: &str) -> Verdict {
    let offset = 1_000_000u64;
    let trial = Trial::of(bench, since, &[Step::Clocks])?.edit(|config| {
        set(config, "time", None);
        config["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": offset } });
    });
    let seen = trial.live()?;
    let inside = seen.value(0)?["monotonic"].as_u64().unwrap_or_default() / 1_000_000_000;
    let outside = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    let apart = inside.abs_diff(outside.unsigned_abs());
    demand(apart.abs_diff(offset) < 300, || {
        format!("the monotonic clock is {inside} s inside and {outside} s outside")
    })?;
    trial.passed()
}
