//! Stopping all processes of a container where they are, and letting them go.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::{Error, Result};

/// How long processes in uninterruptible sleep are waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

enum Freezer<'a> {
    V1(&'a Dir),
    V2(&'a Dir),
}

impl Cgroup {
    fn freezer(&self, field: &str) -> Result<Freezer<'_>> {
        if let Some(dir) = self.v1_with("freezer")? {
            return Ok(Freezer::V1(dir));
        }
        match self.v2_dir()? {
            Some(dir) => Ok(Freezer::V2(dir)),
            None => Err(Error::Unavailable {
                field: field.to_owned(),
                controller: "freezer".to_owned(),
            }),
        }
    }

    /// Freezes all processes and waits until they stand still. When they do
    /// not within 10 s they are thawed again and [`Error::Timeout`] returned.
    pub fn freeze(&self) -> Result<()> {
        match self.freezer("pause")? {
            Freezer::V1(dir) => {
                let result = freeze_v1(dir);
                if result.is_err() {
                    // Half frozen is worse than not frozen.
                    let _ = dir.write("freezer.state", "THAWED");
                }
                result
            }
            Freezer::V2(dir) => {
                dir.write("cgroup.freeze", "1")?;
                let result = wait_v2(dir, "frozen", 1);
                if result.is_err() {
                    let _ = dir.write("cgroup.freeze", "0");
                }
                result
            }
        }
    }

    /// Thaws all processes.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer("resume")? {
            Freezer::V1(dir) => dir.write("freezer.state", "THAWED"),
            Freezer::V2(dir) => {
                dir.write("cgroup.freeze", "0")?;
                wait_v2(dir, "frozen", 0)
            }
        }
    }

    /// Whether the container itself was frozen (not by way of a cgroup above).
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer("state") {
            Err(Error::Unavailable { .. }) => Ok(false),
            Err(e) => Err(e),
            Ok(Freezer::V1(dir)) => Ok(dir.read_number("freezer.self_freezing")? == 1),
            Ok(Freezer::V2(dir)) => Ok(dir
                .read_if_exists("cgroup.freeze")?
                .is_some_and(|text| text.trim() == "1")),
        }
    }

    /// Thaws if frozen; an error is no matter, for paths that clean up.
    pub(crate) fn thaw_if_frozen(&self) {
        if self.is_frozen().unwrap_or(false) {
            let _ = self.thaw();
        }
    }
}

/// Version 1 can stay in FREEZING for ever while processes fork; writing the
/// state again catches the new ones, a short thaw lets stuck ones move on
/// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
fn freeze_v1(dir: &Dir) -> Result<()> {
    const FILE: &str = "freezer.state";
    let start = Instant::now();
    let mut round = 0u32;
    loop {
        dir.write(FILE, "FROZEN")?;
        let state = dir.read(FILE)?;
        match state.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => return Err(dir.malformed(FILE, other)),
        }
        if start.elapsed() > TIMEOUT {
            return Err(timeout(dir, "frozen"));
        }
        round = round.saturating_add(1);
        if round.is_multiple_of(50) {
            dir.write(FILE, "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        } else if round > 5 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

fn timeout(dir: &Dir, state: &'static str) -> Error {
    Error::Timeout {
        path: dir.path().to_owned(),
        state,
        seconds: TIMEOUT.as_secs(),
    }
}

/// Waits until `key` of `cgroup.events` has the value; the kernel wakes who
/// polls that file for each change.
pub(crate) fn wait_events(dir: &Dir, key: &str, value: u64, limit: Duration) -> Result<bool> {
    const FILE: &str = "cgroup.events";
    let fd = dir.open_file(FILE, OFlags::RDONLY)?;
    let start = Instant::now();
    loop {
        let read = |source| Error::Read {
            path: dir.join(FILE),
            source,
        };
        rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0)).map_err(read)?;
        let text = crate::dir::read_all(&fd).map_err(read)?;
        let text = String::from_utf8_lossy(&text);
        match crate::stats::parse::pairs(&text).find(|(k, _)| *k == key) {
            Some((_, now)) if now == value => return Ok(true),
            Some(_) => {}
            None => return Err(dir.malformed(FILE, &text)),
        }
        let Some(left) = limit.checked_sub(start.elapsed()).filter(|d| !d.is_zero()) else {
            return Ok(false);
        };
        // A bound on the wait, should a wake-up get lost.
        let left = left.min(Duration::from_millis(100));
        let left = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(&fd, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(read(e)),
        }
    }
}

fn wait_v2(dir: &Dir, key: &'static str, value: u64) -> Result<()> {
    if wait_events(dir, key, value, TIMEOUT)? {
        Ok(())
    } else {
        Err(timeout(dir, if value == 1 { "frozen" } else { "thawed" }))
    }
}
