//! Making a container's cgroup in every hierarchy, and leaving nothing behind
//! when that fails half-way.

use hako_spec::runtime::Resources;
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Place, unified_name};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::host::{Host, Mode};
use crate::path::CgroupPath;
use crate::resources;

/// Controllers of version 2 that a threaded cgroup can have.
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// What to do where the caller may not make or write cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permission {
    /// It is an error.
    #[default]
    Require,
    /// Leave that hierarchy out, unless a limit needs it (rootless).
    Ignore,
}

/// Whether access to devices is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// Deny all, apply the rules of the resources in their order, and allow
    /// the default devices where only listed devices are allowed
    /// ([`crate::device::default_rules`]).
    #[default]
    Apply,
    /// Deny all and apply the rules of the resources alone.
    Exact,
    /// Leave devices alone (in a user namespace, or for an update).
    Skip,
}

/// How [`Cgroup::create`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What to do without the right to.
    pub permission: Permission,
    /// Whether to limit devices.
    pub devices: Devices,
}

impl Cgroup {
    /// Makes the cgroup `path` in every hierarchy of the host and applies
    /// `resources` to it. Nobody is in it yet; see [`Cgroup::join`].
    ///
    /// A directory that exists is used ([`Cgroup::existed`]). When anything
    /// fails, the directories made so far are removed again.
    pub fn create(
        host: &Host,
        path: &CgroupPath,
        resources: &Resources,
        options: &Options,
    ) -> Result<Self> {
        Self::build(host, path, resources, options, By::Us)
    }

    fn build(
        host: &Host,
        path: &CgroupPath,
        resources: &Resources,
        options: &Options,
        by: By,
    ) -> Result<Self> {
        let mode = match (host.mode(), options.permission) {
            (Some(mode), _) => mode,
            (None, Permission::Ignore) => {
                let cgroup = Self::assemble(Vec::new(), None);
                resources::apply(&cgroup, resources, options)?;
                return Ok(cgroup);
            }
            (None, Permission::Require) => return Err(Error::NoHierarchy),
        };
        let mut made = Made::default();
        let result = make(host, (mode, by), path, resources, options, &mut made);
        if result.is_err() {
            made.undo();
        }
        result
    }

    /// As [`Cgroup::create`], where somebody else has made the cgroup for this
    /// container: it is removed with it.
    pub(crate) fn take(
        host: &Host,
        path: &CgroupPath,
        resources: &Resources,
        options: &Options,
    ) -> Result<Self> {
        let mut cgroup = Self::build(host, path, resources, options, By::Others)?;
        for place in cgroup.places_mut() {
            place.existed = false;
        }
        Ok(cgroup)
    }
}

/// Who makes a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// This process, and the groups above it where they are missing.
    Us,
    /// Systemd, which also hands down what it has delegated.
    Others,
}

fn make(
    host: &Host,
    (mode, by): (Mode, By),
    path: &CgroupPath,
    resources: &Resources,
    options: &Options,
    made: &mut Made,
) -> Result<Cgroup> {
    let skip = |e: &Error| options.permission == Permission::Ignore && e.is_permission();
    let mut v1 = Vec::with_capacity(host.v1.len());
    for hierarchy in &host.v1 {
        let attempt = made
            .enter(&hierarchy.mount, host.kind_v1(), path)
            .and_then(|entered| {
                if hierarchy.controllers.iter().any(|c| c == "cpuset") {
                    inherit_cpuset(made.last()?, path, resources)?;
                }
                Ok(entered)
            });
        match attempt {
            Ok((dir, new)) => {
                v1.push(Place::opened(
                    hierarchy.controllers.clone(),
                    dir,
                    host.kind_v1(),
                    !new,
                ));
            }
            Err(e) if skip(&e) => {}
            Err(e) => return Err(e),
        }
    }
    let mut v2 = None;
    if let Some(unified) = &host.v2 {
        let attempt = made
            .enter(&unified.mount, host.kind_v2(), path)
            .and_then(|entered| {
                let needed = needed(host, mode, resources);
                if by == By::Us || !has_all(&entered.0, &needed)? {
                    hand_down(mode, by, made.last()?, path, &needed)?;
                }
                Ok(entered)
            });
        match attempt {
            Ok((dir, new)) => {
                v2 = Some(Place::opened(Vec::new(), dir, host.kind_v2(), !new));
            }
            Err(e) if skip(&e) => {}
            Err(e) => return Err(e),
        }
    }
    let cgroup = Cgroup::assemble(v1, v2);
    resources::apply(&cgroup, resources, options)?;
    Ok(cgroup)
}

/// The mounts that were opened and the directories that were made in each, in
/// order.
#[derive(Default)]
struct Made(Vec<(Dir, Vec<String>)>);

impl Made {
    /// Makes `path` with its parents below a mount and opens it; also tells
    /// whether the last directory is new.
    fn enter(
        &mut self,
        mount: &str,
        kind: crate::dir::Kind,
        path: &CgroupPath,
    ) -> Result<(Dir, bool)> {
        let root = Dir::open(mount, kind)?;
        let mut new = Vec::new();
        let result = mkdir_all(&root, path, &mut new);
        self.0.push((root, new));
        let is_new = result?;
        Ok((self.last()?.below(path.inner())?, is_new))
    }

    fn last(&self) -> Result<&Dir> {
        self.0.last().map(|(dir, _)| dir).ok_or(Error::NoHierarchy)
    }

    fn undo(&self) {
        for (root, new) in self.0.iter().rev() {
            for inner in new.iter().rev() {
                // The error that led here is the one to report.
                let _ = root.rmdir(inner);
            }
        }
    }
}

/// As `mkdir -p`, optimistic: the parents are mostly there.
fn mkdir_all(root: &Dir, path: &CgroupPath, new: &mut Vec<String>) -> Result<bool> {
    let inner = path.inner();
    let failed = |at: &str, source| Error::Create {
        path: root.join(at),
        source,
    };
    match root.mkdir(inner) {
        Ok(true) => {
            new.push(inner.to_owned());
            return Ok(true);
        }
        Ok(false) => return Ok(false),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(inner, e)),
    }
    let mut is_new = false;
    for at in prefixes(inner) {
        is_new = root.mkdir(at).map_err(|e| failed(at, e))?;
        if is_new {
            new.push(at.to_owned());
        }
    }
    Ok(is_new)
}

/// `a`, `a/b`, `a/b/c` of `a/b/c`.
fn prefixes(inner: &str) -> impl Iterator<Item = &str> {
    inner
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([inner.len()])
        .filter_map(|at| inner.get(..at))
}

/// A new cpuset of version 1 is empty and nobody can join it: gives every
/// level the cpus and memory nodes of the one above, as far as it has none.
fn inherit_cpuset(root: &Dir, path: &CgroupPath, resources: &Resources) -> Result<()> {
    let cpu = resources.cpu.as_ref();
    let asked = [
        cpu.is_some_and(|c| c.cpus.as_ref().is_some_and(|s| !s.is_empty())),
        cpu.is_some_and(|c| c.mems.as_ref().is_some_and(|s| !s.is_empty())),
    ];
    // The mount option `noprefix` (and the old cpuset file system) drop it.
    let prefix = if root.exists("cpuset.cpus") {
        "cpuset."
    } else {
        ""
    };
    for (name, asked) in ["cpus", "mems"].into_iter().zip(asked) {
        let name = format!("{prefix}{name}");
        let mut value = root.read(&name)?;
        for at in prefixes(path.inner()) {
            if asked && at == path.inner() {
                break;
            }
            let dir = root.below(at)?;
            let own = dir.read(&name)?;
            if own.trim().is_empty() {
                dir.write(&name, value.trim())?;
            } else {
                value = own;
            }
        }
    }
    Ok(())
}

/// The controllers of version 2 that a limit needs.
fn needed(host: &Host, mode: Mode, resources: &Resources) -> Vec<String> {
    resources::controllers(resources)
        .into_iter()
        .filter(|c| mode == Mode::V2 || host.v1_with(c).is_none())
        .map(|c| unified_name(&c).to_owned())
        .collect()
}

fn has_all(dir: &Dir, needed: &[String]) -> Result<bool> {
    let available = dir.read("cgroup.controllers")?;
    let has = |name: &String| available.split_whitespace().any(|c| c == name);
    Ok(needed.iter().all(has))
}

/// Enables controllers of version 2 from the root down to the parent of the
/// container's directory: those that a limit needs, and on a host with version
/// 2 alone all that there are, for statistics and for what a container that
/// owns its cgroup makes below.
fn hand_down(mode: Mode, by: By, root: &Dir, path: &CgroupPath, needed: &[String]) -> Result<()> {
    let mut wanted = needed.to_vec();
    if mode == Mode::V2 && by == By::Us {
        let all = root.read("cgroup.controllers")?;
        wanted.extend(all.split_whitespace().map(str::to_owned));
    }
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut parents: Vec<&str> = prefixes(path.inner()).collect();
    let leaf = parents.pop();
    enable(root, &wanted, needed)?;
    for at in parents {
        let dir = root.below(at)?;
        check_type(&dir, needed)?;
        enable(&dir, &wanted, needed)?;
    }
    if let Some(leaf) = leaf.filter(|leaf| leaf.contains('/')) {
        check_type(&root.below(leaf)?, needed)?;
    }
    Ok(())
}

fn enable(dir: &Dir, wanted: &[String], needed: &[String]) -> Result<()> {
    const FILE: &str = "cgroup.subtree_control";
    let enabled = dir.read(FILE)?;
    let has = |list: &str, name: &str| list.split_whitespace().any(|c| c == name);
    if wanted.iter().all(|c| has(&enabled, c)) {
        return Ok(());
    }
    let available = dir.read("cgroup.controllers")?;
    let mut missing: Vec<&String> = wanted
        .iter()
        .filter(|c| has(&available, c) && !has(&enabled, c))
        .collect();
    // Of a cgroup with processes, a threaded controller that is handed down
    // makes the root of a threaded tree, in which no domain can be any more.
    // That is not done to others for statistics.
    if !missing.is_empty() && has_processes(dir)? {
        missing.retain(|c| needed.contains(c));
        if missing.iter().any(|c| !THREADED.contains(&c.as_str())) {
            return Err(Error::InternalProcesses {
                path: dir.path().to_owned(),
            });
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = missing.iter().map(|c| format!("+{c}")).collect();
    if dir.write(FILE, &all.join(" ")).is_ok() {
        return Ok(());
    }
    // One of them is refused and takes the others with it: one by one. Those
    // that no limit needs are for statistics and may be missing.
    for controller in missing {
        match dir.write(FILE, &format!("+{controller}")) {
            Err(e) if needed.contains(controller) => {
                return Err(match e.errno() {
                    Some(Errno::BUSY) => Error::InternalProcesses {
                        path: dir.path().to_owned(),
                    },
                    _ => e,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether processes are in the cgroup itself, and it is not the root, which may
/// have some.
fn has_processes(dir: &Dir) -> Result<bool> {
    if !dir.exists("cgroup.type") {
        return Ok(false);
    }
    match dir.read("cgroup.procs") {
        Ok(text) => Ok(!text.trim().is_empty()),
        // A threaded one, which [`check_type`] judges.
        Err(e) if e.errno() == Some(Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A cgroup below one with processes of its own is "domain invalid"; it can
/// still become threaded where no limit needs more (cgroups(7), thread mode).
fn check_type(dir: &Dir, needed: &[String]) -> Result<()> {
    let Some(mode) = dir.read_if_exists("cgroup.type")? else {
        return Ok(());
    };
    let mode = mode.trim();
    if mode == "domain" {
        return Ok(());
    }
    if needed.iter().any(|c| !THREADED.contains(&c.as_str())) {
        return Err(Error::Threaded {
            path: dir.path().to_owned(),
            mode: mode.to_owned(),
        });
    }
    if mode == "domain invalid" {
        dir.write("cgroup.type", "threaded")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::tests::Fake;

    /// A group with processes, in which another one is to be made.
    fn inside(procs: &str) -> Fake {
        let fake = Fake::v2("cpu io memory pids", &[("cgroup.procs", procs)]);
        let put = |name: &str, text: &str| {
            std::fs::write(fake.temp.path().join("c").join(name), text).unwrap();
        };
        put("cgroup.type", "domain\n");
        put("cgroup.subtree_control", "");
        std::fs::create_dir(fake.temp.path().join("c/d")).unwrap();
        put("d/cgroup.controllers", "cpu io memory pids");
        put("d/pids.max", "");
        put("d/memory.max", "");
        fake
    }

    fn create(fake: &Fake, json: &str) -> Result<Cgroup> {
        let path = CgroupPath::parse("/c/d")?;
        let resources = Resources::from_slice(json.as_bytes()).unwrap();
        let options = Options {
            devices: Devices::Skip,
            ..Options::default()
        };
        Cgroup::create(&fake.host, &path, &resources, &options)
    }

    #[test]
    fn a_group_with_processes_hands_down_nothing_for_statistics() {
        let fake = inside("12\n");
        create(&fake, "{}").unwrap();
        assert_eq!(fake.read("c/cgroup.subtree_control"), "");
        let e = create(&fake, r#"{"memory":{"limit":1000},"pids":{"limit":3}}"#).unwrap_err();
        assert!(matches!(e, Error::InternalProcesses { .. }), "{e}");
        assert_eq!(fake.read("c/cgroup.subtree_control"), "");
        // Threads can share this one.
        create(&fake, r#"{"pids":{"limit":3}}"#).unwrap();
        assert_eq!(fake.read("c/cgroup.subtree_control"), "+pids");
        assert_eq!(fake.read("c/d/pids.max"), "3");
    }

    #[test]
    fn an_empty_group_hands_down_all() {
        let fake = inside("");
        create(&fake, r#"{"memory":{"limit":1000}}"#).unwrap();
        assert_eq!(
            fake.read("c/cgroup.subtree_control"),
            "+cpu +io +memory +pids"
        );
    }
}
