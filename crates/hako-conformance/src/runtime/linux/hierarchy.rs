//! Where the control groups are on this machine, and what a container's say.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{does_not_run, read};
use crate::check::{Stop, Verdict, fails};
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runtime) struct Hierarchy {
    /// Where.
    pub(in crate::runtime) mount: PathBuf,
    /// Its controllers in `/proc/PID/cgroup`; empty for version 2.
    pub(super) controllers: Vec<String>,
    /// Version 2.
    pub(in crate::runtime) unified: bool,
}

/// All hierarchies.
pub(super) fn all() -> Vec<Hierarchy> {
    parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(mounts: &str) -> Vec<Hierarchy> {
    let one = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let unified = match back.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options = back.nth(1)?.split(',').map(str::to_owned);
        let mut fields = front.split(' ');
        // Only the part that a container's paths begin at.
        let whole = fields.nth(3)? == "/";
        let mount = fields.next()?.into();
        whole.then_some(Hierarchy {
            mount,
            controllers: if unified {
                Vec::new()
            } else {
                options.collect()
            },
            unified,
        })
    };
    let mut found: Vec<Hierarchy> = Vec::new();
    for hierarchy in mounts.lines().filter_map(one) {
        let twice = |other: &Hierarchy| other.controllers == hierarchy.controllers;
        if !found.iter().any(twice) {
            found.push(hierarchy);
        }
    }
    found
}

/// Whether a hierarchy of version 1 with a controller is mounted.
pub(super) fn is_first_version() -> bool {
    all().iter().any(|it| {
        !it.unified
            && it
                .controllers
                .iter()
                .any(|name| name == "memory" || name == "pids")
    })
}

/// A controller's name in version 2.
fn second_name(controller: &str) -> &str {
    match controller {
        "blkio" => "io",
        name => name,
    }
}

/// The hierarchy of a controller.
pub(in crate::runtime) fn of(controller: &str) -> Result<Hierarchy, Stop> {
    let second = second_name(controller);
    let has = |it: &Hierarchy| match it.unified {
        false => it.controllers.iter().any(|name| name == controller),
        true => fs::read_to_string(it.mount.join("cgroup.controllers"))
            .is_ok_and(|text| text.split_whitespace().any(|name| name == second)),
    };
    all().into_iter().find(has).ok_or_else(|| {
        Stop::Skipped(format!(
            "no cgroup hierarchy here has the {controller} controller"
        ))
    })
}

impl Hierarchy {
    /// The directory of a process's cgroup.
    pub(in crate::runtime) fn place(&self, pid: i32) -> Result<PathBuf, Stop> {
        let path = format!("/proc/{pid}/cgroup");
        let text = read(&path)?;
        let mine = |line: &&str| {
            let controllers = line.split(':').nth(1).unwrap_or_default();
            match self.unified {
                true => controllers.is_empty(),
                false => controllers
                    .split(',')
                    .any(|name| !name.is_empty() && self.controllers.iter().any(|own| own == name)),
            }
        };
        match text
            .lines()
            .find(mine)
            .and_then(|line| line.splitn(3, ':').nth(2))
        {
            Some(place) => Ok(self.mount.join(place.trim_start_matches('/'))),
            None => fails(format!(
                "{path} has no cgroup below {}",
                self.mount.display()
            )),
        }
    }
}

/// A cgroup of the tester's own, to see what the kernel has and takes.
#[derive(Debug)]
pub(super) struct Own(pub(super) PathBuf);

impl Own {
    /// Makes it.
    pub(super) fn new(hierarchy: &Hierarchy, trial: &Trial<'_>) -> Result<Own, Stop> {
        let path = hierarchy.mount.join(format!("{}-own", trial.id));
        fs::create_dir(&path).map_err(Stop::broken(format!("cannot make {}", path.display())))?;
        Ok(Own(path))
    }

    /// The same with the files of a controller of version 2, which is enabled
    /// for it as runtimes enable it.
    fn with(controller: &str, hierarchy: &Hierarchy, trial: &Trial<'_>) -> Result<Own, Stop> {
        let enabled = hierarchy.mount.join("cgroup.subtree_control");
        fs::write(&enabled, format!("+{}", second_name(controller)))
            .map_err(Stop::broken(format!("cannot write {}", enabled.display())))?;
        Own::new(hierarchy, trial)
    }

    /// Whether the kernel takes these.
    fn takes(&self, files: &[(&str, &str)]) -> Verdict {
        for (name, value) in files {
            let (given, seen) = value.split_once('=').unwrap_or((value, value));
            let path = self.0.join(name);
            fs::write(&path, given).map_err(|error| {
                Stop::Skipped(format!("this kernel refuses {given:?} for {name}: {error}"))
            })?;
            let text = fs::read_to_string(&path).unwrap_or_default();
            if agrees(name, &text, Want::Line(seen)).is_err() {
                let why = format!("this kernel takes {given:?} for {name} and ignores it");
                return Err(Stop::Skipped(why));
            }
        }
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// What a file has to say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    /// This, as one of its lines.
    Line(&'a str),
    /// Anything but this: the specification leaves the conversion open.
    Not(&'a str),
}

/// Where a limit can be seen in version 2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second {
    /// The file.
    pub(super) file: &'static str,
    /// What it has to say.
    pub(super) want: Want<'static>,
    /// What the kernel is asked to take first, where it may refuse.
    pub(super) given: Option<&'static str>,
}

/// A field of `resources` and where it can be seen.
pub(super) struct Limit {
    /// The controller's name in version 1.
    pub(super) controller: &'static str,
    /// The version of the specification.
    pub(super) since: &'static str,
    /// The value of `linux.resources`.
    pub(super) resources: fn() -> Value,
    /// Files of version 1 and what they are given, or `GIVEN=SEEN` where that
    /// differs; the last one is looked at.
    pub(super) first: &'static [(&'static str, &'static str)],
    /// The file of version 2; none when there is nothing like it.
    pub(super) second: Option<Second>,
}

/// Demands that a container has a limit, or that one that the hierarchy cannot
/// express is an error.
pub(super) fn limited(bench: &Bench, limit: &Limit) -> Verdict {
    let hierarchy = of(limit.controller)?;
    let trial = Trial::of(bench, limit.since, &[])?
        .edit(|config| config["linux"]["resources"] = (limit.resources)());
    let (file, want) = match (hierarchy.unified, limit.first.last(), limit.second) {
        (true, _, Some(Second { file, want, given })) => {
            if let Some(given) = given {
                Own::with(limit.controller, &hierarchy, &trial)?.takes(&[(file, given)])?;
            }
            (file, want)
        }
        (true, _, None) => {
            return does_not_run(trial);
        }
        (false, Some((file, value)), _) => {
            Own::new(&hierarchy, &trial)?.takes(limit.first)?;
            let seen = value.split_once('=').map_or(*value, |(_, seen)| seen);
            (*file, Want::Line(seen))
        }
        (false, None, _) => {
            return Err(Stop::Skipped("this is not in cgroup version 1".into()));
        }
    };
    trial.create()?;
    let text = read(hierarchy.place(trial.pid()?)?.join(file))?;
    agrees(file, &text, want)?;
    trial.passed()
}

/// Demands what a file has to say.
pub(super) fn agrees(file: &str, text: &str, want: Want<'_>) -> Verdict {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    match want {
        Want::Line(value)
            if text
                .lines()
                .any(|l| value.split('|').any(|v| v == words(l))) =>
        {
            Ok(())
        }
        Want::Line(value) => fails(format!("{file} is {:?}, not {value:?}", text.trim())),
        Want::Not(value) if text.trim() != value => Ok(()),
        Want::Not(value) => fails(format!("{file} is still {value:?}")),
    }
}

/// Whether a directory or file is there.
pub(in crate::runtime) fn exists(path: &Path) -> bool {
    fs::exists(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies() {
        let text = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            36 31 0:33 / /sys/fs/cgroup/cpu rw shared:3 - cgroup x rw,cpu,cpuacct\n\
            37 31 0:33 /a /b rw shared:3 - cgroup x rw,pids\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
            42 31 0:38 / /mnt rw,relatime - ext4 cgroup2 rw\n";
        let found = parse(text);
        let mounts: Vec<_> = found.iter().map(|it| it.mount.to_str().unwrap()).collect();
        assert_eq!(
            mounts,
            [
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/cpu",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert!(found[1].controllers.contains(&"cpuacct".to_owned()));
        assert!(found[2].unified);
    }

    #[test]
    fn words() {
        agrees("f", "a 1\n7:0   5\n", Want::Line("7:0 5")).unwrap();
        agrees("f", "a 1\n", Want::Line("a")).unwrap_err();
        agrees("f", "1\n", Want::Line("0|1")).unwrap();
        agrees("f", "2\n", Want::Line("0|1")).unwrap_err();
        agrees("f", "100\n", Want::Not("100")).unwrap_err();
        agrees("f", "79\n", Want::Not("100")).unwrap();
    }
}
