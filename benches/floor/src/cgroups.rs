//! A cgroup in every hierarchy, entered by the process itself.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub(crate) struct Cgroups {
    v1: Vec<PathBuf>,
    v2: Option<PathBuf>,
}

/// Opened before the process is made.
pub(crate) struct Join {
    pub(crate) tasks: Vec<File>,
    pub(crate) v2: Option<OwnedFd>,
}

/// `mknod` of everything, and the devices that every container has
/// (runtime-spec config-linux.md, "Default Devices"), as hako, crun and runc
/// allow them.
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

impl Cgroups {
    pub(crate) fn make(name: &str) -> Result<Self> {
        let mut cgroups = Cgroups {
            v1: Vec::new(),
            v2: None,
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("mountinfo")?;
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(at) = left.split(' ').nth(4) else {
                continue;
            };
            let dir = PathBuf::from(at).join(name);
            match right.split(' ').next() {
                Some("cgroup2") => cgroups.v2 = Some(dir.clone()),
                Some("cgroup") => cgroups.v1.push(dir.clone()),
                _ => continue,
            }
            fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
            if right.contains("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let value = fs::read(PathBuf::from(at).join(file))?;
                    fs::write(dir.join(file), value)?;
                }
            }
            if right.contains("devices") {
                fs::write(dir.join("devices.deny"), "a")?;
                let mut allow = OpenOptions::new()
                    .write(true)
                    .open(dir.join("devices.allow"))?;
                for rule in DEVICES {
                    allow.write_all(rule.as_bytes())?;
                }
            }
        }
        Ok(cgroups)
    }

    pub(crate) fn open(&self) -> Result<Join> {
        let tasks = self
            .v1
            .iter()
            .map(|dir| OpenOptions::new().write(true).open(dir.join("tasks")));
        let v2 = self
            .v2
            .as_ref()
            .map(|dir| File::open(dir).map(OwnedFd::from));
        Ok(Join {
            tasks: tasks.collect::<Result<_, _>>()?,
            v2: v2.transpose()?,
        })
    }

    pub(crate) fn remove(&self) -> Result<()> {
        for dir in self.v1.iter().chain(&self.v2) {
            loop {
                match fs::remove_dir(dir) {
                    Ok(()) => break,
                    Err(e) if e.kind() == ErrorKind::ResourceBusy => {}
                    Err(e) => return Err(e).with_context(|| dir.display().to_string()),
                }
            }
        }
        Ok(())
    }
}
