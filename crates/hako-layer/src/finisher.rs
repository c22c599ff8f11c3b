//! The second half of a file: its data, owner, mode and times are set through
//! its descriptor by a thread of its own, while the archive is read on and the
//! next names are made. To make a name takes about as long as to fill the file,
//! so that two cores have the same to do.
//!
//! Nothing that comes later in the archive can get in the way: a descriptor is
//! the file, whatever becomes of its name. What lies in memory is bounded.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::{Gid, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::system;
use crate::{Error, sys};

/// Pieces that are handed over at once, since to wake a thread costs more than
/// to fill a small file; fewer, if they are large.
const BATCH: usize = 16;
/// Batches that may wait. Each piece holds a file open.
const WAITING: usize = 4;
/// Bytes that may wait.
const BYTES: usize = 8 << 20;
/// Bytes of a piece.
pub(crate) const PIECE: usize = 256 << 10;

/// What a file gets when its data is there.
pub(crate) struct Attributes {
    /// The size of a file with holes.
    pub(crate) size: Option<u64>,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: Option<u32>,
    pub(crate) times: Timestamps,
}

/// A piece of a file, or its end.
struct Job {
    file: Arc<OwnedFd>,
    /// For messages.
    path: Arc<[u8]>,
    data: Vec<u8>,
    offset: u64,
    last: Option<Attributes>,
}

/// The thread and the way to it. Dropped, it is waited for.
pub(crate) struct Finisher {
    jobs: Option<SyncSender<Vec<Job>>>,
    batch: Vec<Job>,
    /// Batches that were dealt with.
    back: Receiver<Vec<Vec<u8>>>,
    free: Vec<Vec<u8>>,
    /// Bytes that have not come back.
    out: usize,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Finisher {
    /// `None` where a thread would bring nothing, or cannot be had.
    pub(crate) fn start() -> Option<Self> {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return None;
        }
        let (jobs, waiting) = sync_channel(WAITING);
        let (done, back) = channel();
        let thread = std::thread::Builder::new()
            .name("layer-files".to_owned())
            .spawn(move || work(&waiting, &done));
        Some(Self {
            jobs: Some(jobs),
            batch: Vec::new(),
            back,
            free: Vec::new(),
            out: 0,
            thread: Some(thread.ok()?),
        })
    }

    /// An empty buffer for a piece.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        while let Ok(done) = self.back.try_recv() {
            self.returned(done);
        }
        while self.out > BYTES {
            // An error is the thread's end: the next batch learns why.
            let Ok(done) = self.back.recv() else { break };
            self.returned(done);
        }
        self.free.pop().unwrap_or_default()
    }

    fn returned(&mut self, batch: Vec<Vec<u8>>) {
        for mut data in batch {
            self.out = self.out.saturating_sub(data.len());
            if self.free.len() < 2 * BATCH {
                data.clear();
                self.free.push(data);
            }
        }
    }

    /// Hands a piece of `file` over, or its end with `last`.
    ///
    /// # Errors
    /// The failure of any piece before.
    pub(crate) fn put(
        &mut self,
        file: &Arc<OwnedFd>,
        path: &Arc<[u8]>,
        offset: u64,
        data: Vec<u8>,
        last: Option<Attributes>,
    ) -> Result<(), Error> {
        let large = data.len() >= PIECE / 2;
        self.out += data.len();
        self.batch.push(Job {
            file: Arc::clone(file),
            path: Arc::clone(path),
            data,
            offset,
            last,
        });
        if large || self.batch.len() >= BATCH {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        match self.jobs.as_ref().map(|jobs| jobs.send(batch)) {
            Some(Ok(())) => Ok(()),
            // It has ended.
            _ => self.join(),
        }
    }

    /// Waits until all files are whole.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.send()?;
        self.join()
    }

    fn join(&mut self) -> Result<(), Error> {
        drop(self.jobs.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // It failed, and that was told already; it does not panic.
            None | Some(Err(_)) => Err(Error::Files),
        }
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn work(jobs: &Receiver<Vec<Job>>, back: &Sender<Vec<Vec<u8>>>) -> Result<(), Error> {
    while let Ok(mut batch) = jobs.recv() {
        for job in &batch {
            write(&job.file, job.offset, &job.data, &job.path)?;
            if let Some(last) = &job.last {
                last.set(&job.file, &job.path)?;
            }
        }
        // Closes the files here, too, and is no loss if nobody waits any more.
        let data = batch.drain(..).map(|job| job.data).collect();
        let _ = back.send(data);
    }
    Ok(())
}

/// Writes `data` at `offset`.
pub(crate) fn write(
    file: &OwnedFd,
    mut offset: u64,
    mut data: &[u8],
    path: &[u8],
) -> Result<(), Error> {
    while !data.is_empty() {
        match rustix::io::pwrite(file, data, offset) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(system("write", path)(Errno::IO)),
            Ok(count) => {
                data = data.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(errno) => return Err(system("write", path)(errno)),
        }
    }
    Ok(())
}

impl Attributes {
    /// Everything but the times, which what comes between would change.
    pub(crate) fn set_first(&self, file: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        if let Some(size) = self.size {
            rustix::fs::ftruncate(file, size).map_err(system("size", path))?;
        }
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))
                .map_err(system("set the owner of", path))?;
        }
        // After chown, which takes setuid bits away; and before capabilities,
        // which chown takes away, too.
        if let Some(mode) = self.mode {
            rustix::fs::fchmod(file, sys::perm(mode)).map_err(system("set the mode of", path))?;
        }
        Ok(())
    }

    pub(crate) fn set_times(&self, file: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        rustix::fs::futimens(file, &self.times).map_err(system("set the times of", path))
    }

    fn set(&self, file: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        self.set_first(file, path)?;
        self.set_times(file, path)
    }
}
