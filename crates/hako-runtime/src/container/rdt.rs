//! Groups of the resctrl file system: shares of caches and of memory bandwidth
//! (config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst).

use std::fs;
use std::path::{Path, PathBuf};

use hako_spec::id::ContainerId;
use hako_spec::runtime::{Config, IntelRdt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Context, Error, Result};
use crate::rootfs::place_and_type;

/// The groups of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Directory of the group with the shares.
    group: PathBuf,
    /// Whether the group was made for the container, and goes with it.
    made: bool,
    /// Directory of the monitoring group, which always goes with the container.
    monitor: Option<PathBuf>,
}

/// What is to be done for a container.
#[derive(Debug)]
pub struct Plan {
    saved: Saved,
    exists: bool,
    /// Lines for `schemata`, in the order in which they are written.
    lines: Vec<String>,
}

impl Plan {
    /// The plan for container `id`, if `config` has one.
    pub fn of(config: &Config, id: &ContainerId) -> Result<Option<Self>> {
        let asked = config.linux.as_ref().and_then(|l| l.intel_rdt.as_ref());
        asked.map(|asked| Self::new(asked, id)).transpose()
    }

    /// Looks where the groups of container `id` are to be.
    ///
    /// # Errors
    /// No resctrl file system is mounted, or the group that is named is not
    /// there or has other shares.
    fn new(asked: &IntelRdt, id: &ContainerId) -> Result<Self> {
        let mounts = fs::read("/proc/self/mountinfo").context(|| "/proc/self/mountinfo")?;
        let root = mount_point(&mounts).ok_or_else(|| {
            Error::new("linux.intelRdt is set, but no resctrl file system is mounted")
        })?;
        Self::below(&root, asked, id)
    }

    fn below(root: &Path, asked: &IntelRdt, id: &ContainerId) -> Result<Self> {
        let group = match asked.clos_id.as_deref() {
            Some("/") => root.to_owned(),
            Some(name) => root.join(name),
            None => root.join(id.as_str()),
        };
        let first = [&asked.l3_cache_schema, &asked.mem_bw_schema];
        let lines: Vec<String> = first
            .into_iter()
            .flatten()
            .chain(&asked.schemata)
            .cloned()
            .collect();
        let exists = group.is_dir();
        if exists && !group.join("schemata").is_file() {
            return Err(Error::new(format!(
                "{} is no resctrl group",
                group.display()
            )));
        }
        if asked.clos_id.is_some() {
            if exists {
                compare(&group, &lines)?;
            } else if lines.is_empty() {
                return Err(Error::new(format!(
                    "linux.intelRdt.closID: {} does not exist, and there is no schema to make it with",
                    group.display()
                )));
            }
        }
        let monitor = asked
            .enable_monitoring
            .then(|| group.join("mon_groups").join(id.as_str()));
        let made = !exists && asked.clos_id.is_none();
        Ok(Plan {
            saved: Saved {
                group,
                made,
                monitor,
            },
            exists,
            lines,
        })
    }

    /// For the container's record, before anything is made.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Makes the groups and puts `pids` into them.
    pub fn enter(&self, pids: &[i32]) -> Result<()> {
        let group = &self.saved.group;
        if !self.exists {
            make(group).map_err(|e| said(group, e))?;
        }
        let result = self.fill(pids);
        if result.is_err() && !self.exists {
            let _ = fs::remove_dir(group);
        }
        result
    }

    fn fill(&self, pids: &[i32]) -> Result<()> {
        let Saved { group, monitor, .. } = &self.saved;
        // What was there already has these lines, unless it was there by the
        // container's own name.
        for line in &self.lines {
            write(group, "schemata", line).context(|| format!("resctrl schema {line:?}"))?;
        }
        if let Some(monitor) = monitor {
            make(monitor).map_err(|e| said(group, e))?;
        }
        pids.iter().try_for_each(|pid| self.saved.admit(*pid))
    }
}

impl Saved {
    /// Puts process `pid` into the groups; its children follow it.
    pub fn admit(&self, pid: i32) -> Result<()> {
        // Only those of a group get into its monitoring groups.
        let groups = [Some(&self.group), self.monitor.as_ref()];
        let mut groups = groups.into_iter().flatten();
        groups.try_for_each(|group| write(group, "tasks", &pid.to_string()))
    }

    /// Writes other shares (`update`).
    pub fn update(&self, lines: &[&str]) -> Result<()> {
        lines.iter().try_for_each(|line| {
            write(&self.group, "schemata", line).context(|| format!("resctrl schema {line:?}"))
        })
    }

    /// What the groups have and use, in the form of runc's `events` (its
    /// `types/events.go`): numbers and text as they are in resctrl.
    pub fn stats(&self) -> Map<String, Value> {
        let mut told = Map::new();
        let own = schemata(&self.group);
        let root = self.group.ancestors().find(|at| at.join("info").is_dir());
        if let Some(root) = root {
            let all = schemata(root);
            for (name, resource, files) in INFO {
                put(
                    &mut told,
                    &format!("{name}_info"),
                    info(&root.join("info").join(resource), files),
                );
                put(
                    &mut told,
                    &format!("{name}_schema_root"),
                    line(&all, resource),
                );
                put(&mut told, &format!("{name}_schema"), line(&own, resource));
            }
        }
        put(&mut told, "schemata", Some(own.into()));
        let data = self
            .monitor
            .as_ref()
            .unwrap_or(&self.group)
            .join("mon_data");
        for (name, files) in MONITORED {
            let domains = fs::read_dir(&data).into_iter().flatten().flatten();
            let mut domains: Vec<PathBuf> = domains.map(|entry| entry.path()).collect();
            domains.sort_unstable();
            let stats = domains.iter().filter_map(|domain| info(domain, files));
            put(&mut told, name, Some(stats.collect()));
        }
        told
    }

    /// Removes what was made for the container.
    pub fn remove(&self) -> Result<()> {
        let group = self.made.then_some(&self.group);
        let result = self.monitor.iter().chain(group).map(|path| {
            match fs::remove_dir(path) {
                // Made by nobody, or gone with its group.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other.context(|| format!("remove {}", path.display())),
            }
        });
        result.fold(Ok(()), Result::and)
    }
}

/// Name in the statistics, directory below `info`, and its files.
const INFO: [(&str, &str, &[&str]); 2] = [
    (
        "l3_cache",
        "L3",
        &["cbm_mask", "min_cbm_bits", "num_closids"],
    ),
    (
        "mem_bw",
        "MB",
        &[
            "bandwidth_gran",
            "delay_linear",
            "min_bandwidth",
            "num_closids",
        ],
    ),
];

/// Name in the statistics, and the files of each domain.
const MONITORED: [(&str, &[&str]); 2] = [
    ("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"]),
    ("cmt_stats", &["llc_occupancy"]),
];

/// The files that can be read below `dir`; none where there is none.
fn info(dir: &Path, files: &[&str]) -> Option<Value> {
    let told: Map<String, Value> = files
        .iter()
        .filter_map(|name| {
            let text = fs::read_to_string(dir.join(name)).ok()?;
            let text = text.trim();
            let value = match *name {
                "cbm_mask" => text.into(),
                // "Unavailable", and "Error", are no numbers.
                _ => text.parse::<u64>().ok()?.into(),
            };
            Some(((*name).to_owned(), value))
        })
        .collect();
    (!told.is_empty()).then_some(Value::Object(told))
}

fn schemata(group: &Path) -> Vec<String> {
    let text = fs::read_to_string(group.join("schemata")).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn line(schemata: &[String], resource: &str) -> Option<Value> {
    let of = |line: &&String| line.split(':').next() == Some(resource);
    schemata.iter().find(of).map(|line| line.as_str().into())
}

fn put(told: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    let some = value.filter(|value| value.as_array().is_none_or(|list| !list.is_empty()));
    told.extend(some.map(|value| (name.to_owned(), value)));
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir(path).context(|| format!("make {}", path.display()))
}

/// Writes a line to a file of a group.
fn write(group: &Path, name: &str, line: &str) -> Result<()> {
    let path = group.join(name);
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).open(&path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()))
        .context(|| path.display().to_string())
        .map_err(|e| said(group, e))
}

/// The error with what the kernel has said of it, which is more than a number.
fn said(group: &Path, error: Error) -> Error {
    let mut above = group.ancestors().map(|at| at.join("info/last_cmd_status"));
    let status = above.find_map(|path| fs::read_to_string(path).ok());
    match status.as_deref().map(str::trim) {
        None | Some("" | "ok") => error,
        Some(status) => Error::of(error.kind, format!("{error}: {status}")),
    }
}

/// Refuses a group whose shares are not `lines`.
fn compare(group: &Path, lines: &[String]) -> Result<()> {
    let path = group.join("schemata");
    let has = fs::read_to_string(&path).context(|| path.display().to_string())?;
    for line in lines {
        let Some((resource, domains)) = shares(line) else {
            continue;
        };
        let found = has.lines().filter_map(shares).find(|(r, _)| *r == resource);
        let same = found.is_some_and(|(_, has)| domains.iter().all(|d| has.contains(d)));
        if !same {
            return Err(Error::new(format!(
                "linux.intelRdt: group {} exists, and its schemata are not {line:?}",
                group.display()
            )));
        }
    }
    Ok(())
}

/// Resource, and domain with share, of a line such as `L3:0=7f0;1=1f`, in a form
/// that can be compared: the kernel fills up with blanks and zeros.
fn shares(line: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (resource, domains) = line.split_once(':')?;
    let domains = domains.split(';').filter_map(|domain| {
        let (id, share) = domain.split_once('=')?;
        let share = share.trim().trim_start_matches('0').to_ascii_lowercase();
        Some((id.trim(), share))
    });
    Some((resource.trim(), domains.collect()))
}

/// Where resctrl is mounted, by the text of a mountinfo file.
fn mount_point(mountinfo: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(mountinfo);
    let mut mounts = text.lines().filter_map(place_and_type);
    let (point, _) = mounts.find(|(_, kind)| *kind == "resctrl")?;
    Some(point.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMATA: &str = "    MB:0= 100;1=  70\n    L3:0=00ff;1=0ff0\n";

    /// A directory with what resctrl shows of a group.
    fn group(path: &Path) {
        fs::create_dir_all(path.join("mon_groups")).unwrap();
        fs::write(path.join("schemata"), SCHEMATA).unwrap();
        fs::write(path.join("tasks"), "").unwrap();
    }

    fn id() -> ContainerId {
        "c1".parse().unwrap()
    }

    fn asked(json: &str) -> IntelRdt {
        let config = format!(r#"{{"ociVersion": "1.3.0", "linux": {{"intelRdt": {json}}}}}"#);
        let config = hako_spec::runtime::Config::from_slice(config.as_bytes()).unwrap();
        config.linux.unwrap().intel_rdt.unwrap()
    }

    fn plan(root: &Path, json: &str) -> Result<Plan> {
        Plan::below(root, &asked(json), &id())
    }

    #[test]
    fn the_mount_is_found() {
        let line = b"29 23 0:26 / /sys/fs/resctrl rw,relatime - resctrl resctrl rw\n";
        assert_eq!(mount_point(line), Some("/sys/fs/resctrl".into()));
        let other = b"29 23 0:26 / /resctrl rw,relatime - tmpfs resctrl rw\n";
        assert_eq!(mount_point(other), None);
    }

    #[test]
    fn without_a_class_the_group_is_the_containers() {
        let root = tempfile::tempdir().unwrap();
        let made = plan(root.path(), r#"{"enableMonitoring": true}"#).unwrap();
        let group = root.path().join("c1");
        assert_eq!(
            made.saved,
            Saved {
                monitor: Some(group.join("mon_groups/c1")),
                made: true,
                group,
            }
        );
    }

    #[test]
    fn a_class_that_is_there_must_have_the_shares() {
        let root = tempfile::tempdir().unwrap();
        group(root.path());
        group(&root.path().join("gold"));
        for good in [
            r#"{"closID": "gold"}"#,
            r#"{"closID": "/"}"#,
            r#"{"closID": "gold", "l3CacheSchema": "L3:0=ff;1=FF0"}"#,
            r#"{"closID": "gold", "memBwSchema": "MB:1=70", "schemata": ["L3:1=ff0"]}"#,
        ] {
            let plan = plan(root.path(), good).unwrap();
            assert!(plan.exists && !plan.saved.made, "{good}");
        }
        for bad in [
            r#"{"closID": "gold", "l3CacheSchema": "L3:0=f"}"#,
            r#"{"closID": "gold", "memBwSchema": "MB:2=70"}"#,
            r#"{"closID": "gold", "schemata": ["L2:0=f"]}"#,
        ] {
            let error = plan(root.path(), bad).unwrap_err().to_string();
            assert!(error.contains("schemata are not"), "{error}");
        }
        let error = plan(root.path(), r#"{"closID": "tin"}"#).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
        let silver = r#"{"closID": "silver", "memBwSchema": "MB:0=20"}"#;
        let made = plan(root.path(), silver).unwrap();
        assert!(!made.exists && !made.saved.made);
    }

    #[test]
    fn what_is_no_group_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("info")).unwrap();
        let error = plan(root.path(), r#"{"closID": "info"}"#).unwrap_err();
        assert!(error.to_string().contains("is no resctrl group"), "{error}");
    }

    #[test]
    fn lines_have_their_order_and_the_process_enters() {
        let root = tempfile::tempdir().unwrap();
        group(root.path());
        let all = r#"{"closID": "/", "memBwSchema": "MB:1=70", "l3CacheSchema": "L3:0=ff",
                      "schemata": ["L3:1=ff0"], "enableMonitoring": false}"#;
        let plan = plan(root.path(), all).unwrap();
        assert_eq!(plan.lines, ["L3:0=ff", "MB:1=70", "L3:1=ff0"]);
        plan.enter(&[42]).unwrap();
        assert_eq!(
            fs::read_to_string(root.path().join("tasks")).unwrap(),
            "42\n"
        );
        plan.saved().update(&["MB:0=10"]).unwrap();
        let text = fs::read_to_string(root.path().join("schemata")).unwrap();
        assert!(text.starts_with("MB:0=10\n"), "{text}");
        // Nothing of it was made for the container.
        plan.saved().remove().unwrap();
        assert!(root.path().join("tasks").exists());
    }

    #[test]
    fn statistics_have_runcs_form() {
        let root = tempfile::tempdir().unwrap();
        group(root.path());
        let groups = root.path().join("c1");
        group(&groups);
        for (name, text) in [
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/num_closids", "16\n"),
            ("c1/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("c1/mon_data/mon_L3_00/mbm_total_bytes", "7\n"),
            ("c1/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let saved = Saved {
            group: groups,
            made: true,
            monitor: None,
        };
        assert_eq!(
            Value::Object(saved.stats()),
            serde_json::json!({
                "l3_cache_info": {"cbm_mask": "fff", "num_closids": 16},
                "l3_cache_schema_root": "L3:0=00ff;1=0ff0",
                "l3_cache_schema": "L3:0=00ff;1=0ff0",
                "mem_bw_schema_root": "MB:0= 100;1=  70",
                "mem_bw_schema": "MB:0= 100;1=  70",
                "schemata": ["MB:0= 100;1=  70", "L3:0=00ff;1=0ff0"],
                "mbm_stats": [{"mbm_total_bytes": 7}],
                "cmt_stats": [{"llc_occupancy": 4096}],
            })
        );
    }

    #[test]
    fn refusals_come_with_the_kernels_words() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("info")).unwrap();
        let status = root.path().join("info/last_cmd_status");
        fs::write(status, "Mask f0f has non-consecutive 1-bits\n").unwrap();
        let saved = Saved {
            group: root.path().join("gone"),
            made: true,
            monitor: None,
        };
        let error = saved.update(&["L3:0=f0f"]).unwrap_err().to_string();
        assert!(error.contains("non-consecutive"), "{error}");
        saved.remove().unwrap();
    }
}
