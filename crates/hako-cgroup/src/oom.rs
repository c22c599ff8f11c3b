//! Hearing of a container that runs out of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{OFlags, inotify};
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Site};
use crate::error::{Error, Result};

/// A subscription to the out-of-memory events of a cgroup. Poll [`Oom::fd`]
/// for reading, then call [`Oom::read`].
#[derive(Debug)]
pub struct Oom {
    fd: OwnedFd,
    /// Version 1: the kernel lets the notification live as long as this.
    control: Option<OwnedFd>,
    kills: u64,
}

/// What has happened since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// Nothing of interest (a counter moved that does not matter).
    None,
    /// Memory ran out; so many processes have been killed for it in all since
    /// the cgroup was made. The number may lag behind the event.
    Oom {
        /// `oom_kill` of the cgroup.
        kills: u64,
    },
    /// The cgroup has been removed: no more events will come.
    Gone,
}

impl Cgroup {
    /// Subscribes to out-of-memory events.
    ///
    /// Errors: [`Error::Unavailable`] without a memory controller.
    pub fn watch_oom(&self) -> Result<Oom> {
        let site = self.site_for("memory", "the out-of-memory event")?;
        let dir = site.dir();
        match site {
            Site::V1(_) => {
                const FILE: &str = "memory.oom_control";
                let control = dir.open_file(FILE, OFlags::RDONLY)?;
                let watch = |source| Error::Watch {
                    path: dir.join(FILE),
                    source,
                };
                let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(watch)?;
                dir.write(
                    "cgroup.event_control",
                    &format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()),
                )?;
                Ok(Oom {
                    fd,
                    control: Some(control),
                    kills: self.oom_kills()?,
                })
            }
            Site::V2(_) => {
                const FILE: &str = "memory.events";
                let watch = |source| Error::Watch {
                    path: dir.join(FILE),
                    source,
                };
                let kills = self.oom_kills()?;
                let fd =
                    inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
                        .map_err(watch)?;
                // By way of the verified directory, not of its path.
                let path = format!("/proc/self/fd/{}/{FILE}", dir.fd().as_raw_fd());
                inotify::add_watch(
                    &fd,
                    path.as_str(),
                    inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF,
                )
                .map_err(watch)?;
                Ok(Oom {
                    fd,
                    control: None,
                    kills,
                })
            }
        }
    }

    /// How many processes the kernel has killed here because memory ran out
    /// (`oom_kill`); 0 without a memory controller.
    pub fn oom_kills(&self) -> Result<u64> {
        let kills = match self.site("memory")? {
            None => None,
            Some(Site::V1(dir)) => dir.read_key("memory.oom_control", "oom_kill")?,
            Some(Site::V2(dir)) => dir.read_key("memory.events", "oom_kill")?,
        };
        Ok(kills.unwrap_or(0))
    }
}

impl Oom {
    /// What to poll for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes note of what has happened; does not block.
    pub fn read(&mut self, cgroup: &Cgroup) -> Result<OomEvent> {
        let is_v1 = self.control.is_some();
        let mut woken = false;
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) => woken = true,
                Err(Errno::INTR) => {}
                Err(source) => {
                    return Err(Error::Watch {
                        path: "the notification".to_owned(),
                        source,
                    });
                }
            }
        }
        let kills = match cgroup.oom_kills() {
            Ok(kills) => kills,
            Err(e) if e.is_missing() => return Ok(OomEvent::Gone),
            Err(e) => return Err(e),
        };
        // Version 1 signals nothing but an empty memory; version 2 any change
        // of a counter.
        if woken && (is_v1 || kills > self.kills) {
            self.kills = kills;
            return Ok(OomEvent::Oom { kills });
        }
        Ok(OomEvent::None)
    }
}
