//! The processes of a container: listing and signalling all of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::{Error, Result};

const SIGKILL: i32 = 9;
/// Cgroups nested deeper than this are not followed; the kernel's own walks
/// are bounded by path length.
const MAX_DEPTH: usize = 256;

impl Cgroup {
    /// The processes in this cgroup and all below it, in ascending order and
    /// numbered as in this process' pid namespace. A cgroup that is gone has
    /// none.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(place) = self.main_place() else {
            return Ok(Vec::new());
        };
        let mut pids = BTreeSet::new();
        match place.dir() {
            Ok(dir) => collect(dir, &mut pids, 0)?,
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e),
        }
        Ok(pids.into_iter().collect())
    }

    /// Sends `signal` to every process in this cgroup and below.
    ///
    /// SIGKILL goes through `cgroup.kill` of version 2 where the kernel has it
    /// (5.14), also on a hybrid host. Else the cgroup is frozen meanwhile, so
    /// that no process forks away and no number is reused, and thawed after; a
    /// frozen container is thawed by SIGKILL, or it could not die.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == SIGKILL && self.kill_by_file()? {
            self.thaw_if_frozen();
            return Ok(());
        }
        if self.is_deserted()? {
            // Freezing nobody costs the whole machine a moment.
            if signal == SIGKILL {
                self.thaw_if_frozen();
            }
            return Ok(());
        }
        let was_frozen = self.is_frozen().unwrap_or(false);
        // Freezing is for certainty; where it fails, repeating does as well.
        let frozen = was_frozen || self.freeze().is_ok();
        let result = self.signal_each(signal, if frozen { 1 } else { 10 });
        if frozen && (!was_frozen || signal == SIGKILL) {
            let thawed = self.thaw();
            result.and(match thawed {
                Err(e) if e.is_missing() => Ok(()),
                other => other,
            })
        } else {
            result
        }
    }

    /// Whether there is neither a process nor a cgroup below in which one could
    /// be: then none can appear from inside.
    fn is_deserted(&self) -> Result<bool> {
        let Some(place) = self.main_place() else {
            return Ok(true);
        };
        let look =
            |dir: &Dir| Ok(dir.read("cgroup.procs")?.is_empty() && dir.children()?.is_empty());
        match place.dir().and_then(look) {
            Err(e) if e.is_missing() => Ok(true),
            // A threaded cgroup.
            Err(e) if e.errno() == Some(Errno::OPNOTSUPP) => Ok(false),
            other => other,
        }
    }

    fn kill_by_file(&self) -> Result<bool> {
        let Some(place) = &self.v2 else {
            return Ok(false);
        };
        match place.dir().and_then(|dir| dir.write("cgroup.kill", "1")) {
            Ok(()) => Ok(true),
            // Gone, an old kernel, or a threaded cgroup.
            Err(e) if e.is_missing() || e.errno() == Some(Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn signal_each(&self, signal: i32, rounds: usize) -> Result<()> {
        let mut done = BTreeSet::new();
        for _ in 0..rounds {
            let mut new = false;
            for pid in self.pids()? {
                if !done.insert(pid) {
                    continue;
                }
                new = true;
                match hako_sys::signal::send_pid(pid, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(source) => return Err(Error::Signal { pid, source }),
                }
            }
            if !new {
                break;
            }
        }
        Ok(())
    }

    /// Waits until no process is left, or `limit` has passed; tells which.
    /// A process counts until it has exited, not until it is reaped.
    pub fn wait_empty(&self, limit: Duration) -> Result<bool> {
        let Some(place) = self.main_place() else {
            return Ok(true);
        };
        let gone = |result: Result<bool>| match result {
            Err(e) if e.is_missing() => Ok(true),
            other => other,
        };
        if self.v2.is_some() {
            return gone(
                place
                    .dir()
                    .and_then(|dir| crate::freeze::wait_events(dir, "populated", 0, limit)),
            );
        }
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if self.pids()?.is_empty() {
                return Ok(true);
            }
            if start.elapsed() >= limit {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

fn collect(dir: &Dir, pids: &mut BTreeSet<i32>, depth: usize) -> Result<()> {
    let text = match dir.read("cgroup.procs") {
        // A threaded cgroup lists its members as threads only.
        Err(e) if e.errno() == Some(Errno::OPNOTSUPP) => dir.read("cgroup.threads"),
        other => other,
    };
    match text {
        Ok(text) => pids.extend(
            text.lines()
                .filter_map(|l| l.trim().parse::<i32>().ok())
                .filter(|p| *p > 0),
        ),
        Err(e) if e.is_missing() => return Ok(()),
        Err(e) => return Err(e),
    }
    if depth >= MAX_DEPTH {
        return Ok(());
    }
    let children = match dir.children() {
        Err(e) if e.is_missing() => return Ok(()),
        other => other?,
    };
    for name in children {
        match dir.below(&name) {
            Ok(child) => collect(&child, pids, depth + 1)?,
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cgroup::Cgroup;
    use crate::path::CgroupPath;
    use crate::resources::tests::Fake;

    #[test]
    fn pids_of_the_whole_tree() {
        let fake = Fake::v2("", &[("cgroup.procs", "12\n7\n")]);
        for (dir, text) in [("c/a", "7\n99\n"), ("c/a/b", "0\njunk\n100\n")] {
            let dir = fake.temp.path().join(dir);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("cgroup.procs"), text).unwrap();
        }
        let cgroup = Cgroup::at(&fake.host, &CgroupPath::parse("c").unwrap());
        assert_eq!(cgroup.pids().unwrap(), [7, 12, 99, 100]);
        let gone = Cgroup::at(&fake.host, &CgroupPath::parse("gone").unwrap());
        assert_eq!(gone.pids().unwrap(), [] as [i32; 0]);
    }
}
