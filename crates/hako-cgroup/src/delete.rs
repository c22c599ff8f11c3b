//! Removing a container's cgroup with all below it.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::cgroup::{Cgroup, Place};
use crate::dir::Dir;
use crate::error::{Error, Result};

/// A process that has been killed leaves its cgroup only in its exit; so long
/// is that waited for.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Removes the directories of every hierarchy, the ones below first. Those
    /// that were there before [`Cgroup::create`] stay. What is not there is fine. Processes that are still exiting are waited for,
    /// five seconds at most; every hierarchy is tried before the first error
    /// is returned.
    pub fn delete(&self) -> Result<()> {
        let start = Instant::now();
        let mut first: Option<Error> = None;
        let mut others = 0;
        for place in self.places().filter(|p| !p.existed) {
            match remove(place, start) {
                Ok(()) => {}
                Err(e) if first.is_none() => first = Some(e),
                Err(_) => others += 1,
            }
        }
        match first {
            None => Ok(()),
            Some(e) if others == 0 => Err(e),
            Some(e) => Err(Error::Several {
                first: match e.errno() {
                    Some(errno) => format!("{e}: {errno}"),
                    None => e.to_string(),
                },
                others,
            }),
        }
    }
}

fn remove(place: &Place, start: Instant) -> Result<()> {
    // Mostly nobody is in it and nothing below: one call in place of four.
    if let Ok(()) | Err(Errno::NOENT) = rustix::fs::rmdir(&place.path) {
        return Ok(());
    }
    let Some((parent, name)) = place.path.rsplit_once('/') else {
        return Ok(());
    };
    let parent = match Dir::open(parent, place.kind) {
        Err(e) if e.is_missing() => return Ok(()),
        other => other?,
    };
    let mut pause = Duration::from_micros(500);
    loop {
        match remove_tree(&parent, name, 0) {
            Err(e) if e.errno() == Some(Errno::BUSY) && start.elapsed() < PATIENCE => {}
            other => return other,
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn remove_tree(parent: &Dir, name: &str, depth: usize) -> Result<()> {
    let failed = |source| Error::Remove {
        path: parent.join(name),
        source,
    };
    match parent.rmdir(name) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        // Either children or processes.
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth < 256 => {}
        Err(e) => return Err(failed(e)),
    }
    let dir = match parent.below(name) {
        Err(e) if e.is_missing() => return Ok(()),
        other => other?,
    };
    for child in dir.children()? {
        remove_tree(&dir, &child, depth + 1)?;
    }
    match parent.rmdir(name) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

#[cfg(test)]
mod tests {
    use crate::cgroup::Cgroup;
    use crate::path::CgroupPath;
    use crate::resources::tests::Fake;

    #[test]
    fn removes_the_tree_and_leaves_the_neighbours() {
        let fake = Fake::v2("", &[]);
        for dir in ["d/a/b", "d/x", "neighbour"] {
            std::fs::create_dir_all(fake.temp.path().join(dir)).unwrap();
        }
        let cgroup = Cgroup::at(&fake.host, &CgroupPath::parse("d").unwrap());
        cgroup.delete().unwrap();
        assert!(!fake.temp.path().join("d").exists());
        assert!(fake.temp.path().join("neighbour").exists());
        // Again, and where even the parent is missing.
        cgroup.delete().unwrap();
        Cgroup::at(&fake.host, &CgroupPath::parse("no/such").unwrap())
            .delete()
            .unwrap();
    }
}
