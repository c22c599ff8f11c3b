//! A blob on its way into the store, which is read as far as it has come: a
//! layer is unpacked while it is downloaded.
//!
//! What is read is not verified yet. The reader's end is: it comes only when
//! the whole blob was seen to have its digest, so that nothing made of another
//! one is ever finished.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far a blob has come.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// The file that it is written to.
    file: Option<Arc<File>>,
    /// Bytes that are in the file.
    written: u64,
    /// How often writing has begun: what was read before the last time is void.
    attempt: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Somebody else may be downloading it.
    #[default]
    Waiting,
    Coming,
    /// It is in the store, verified.
    Here,
    /// It will not come.
    Lost,
}

impl Arriving {
    /// Writing begins: `written` bytes are in `file`.
    pub(crate) fn begin(&self, file: File, written: u64) {
        self.change(|state| {
            state.phase = Phase::Coming;
            state.file = Some(Arc::new(file));
            state.written = written;
            state.attempt += 1;
        });
    }

    /// As many bytes are there now.
    pub(crate) fn advance(&self, written: u64) {
        self.change(|state| state.written = written);
    }

    /// The blob is whole, verified and in the store.
    pub(crate) fn arrived(&self) {
        self.change(|state| state.phase = Phase::Here);
    }

    /// Whether it was given up.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().phase == Phase::Lost
    }

    /// How often writing has begun.
    pub(crate) fn attempt(&self) -> u32 {
        self.lock().attempt
    }

    /// Waits until what was written since the last beginning is known to be
    /// right or wrong: whether it has begun again, after the `attempt`th time.
    pub(crate) fn begins_again(&self, attempt: u32) -> bool {
        let state = self.wait(|state| state.attempt > attempt || state.phase == Phase::Here);
        state.attempt > attempt
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `done`.
    fn wait(&self, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed
            .wait_while(self.lock(), |state| {
                state.phase != Phase::Lost && !done(state)
            })
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read, when something is there; nothing where the whole blob is
    /// in the store and was not written by us.
    pub(crate) fn follow(self: &Arc<Self>) -> io::Result<Option<Follow>> {
        let state = self.wait(|state| state.phase != Phase::Waiting);
        match (state.phase, &state.file) {
            (Phase::Lost, _) => Err(lost()),
            (_, None) => Ok(None),
            (_, Some(file)) => Ok(Some(Follow {
                file: Arc::clone(file),
                attempt: state.attempt,
                arriving: Arc::clone(self),
                position: 0,
            })),
        }
    }
}

fn lost() -> io::Error {
    io::Error::other("the download was given up")
}

/// The side that brings it. Dropped before the blob has arrived it gives it up,
/// so that nobody waits for a download that has ended, however it has.
pub(crate) struct Expected(pub(crate) Arc<Arriving>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.change(|state| {
            if state.phase != Phase::Here {
                state.phase = Phase::Lost;
            }
        });
    }
}

/// Reads what has come, and waits for more.
#[derive(Debug)]
pub(crate) struct Follow {
    arriving: Arc<Arriving>,
    file: Arc<File>,
    attempt: u32,
    position: u64,
}

impl Read for Follow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.arriving.wait(|state| {
            state.attempt != self.attempt
                || state.written > self.position
                || state.phase == Phase::Here
        });
        if state.phase == Phase::Lost {
            return Err(lost());
        }
        if state.attempt != self.attempt {
            return Err(io::Error::other("the download has begun again"));
        }
        let there = state.written.saturating_sub(self.position);
        drop(state);
        let most = usize::try_from(there).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = self
            .file
            .read_at(buffer.get_mut(..most).unwrap_or_default(), self.position)?;
        if count == 0 && most > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file() -> (tempfile::NamedTempFile, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = file.reopen().unwrap();
        (file, other)
    }

    #[test]
    fn what_comes_is_read_and_the_end_waits_for_the_verdict() {
        let (mut to, from) = file();
        let arriving = Arc::new(Arriving::default());
        let expected = Expected(Arc::clone(&arriving));
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut follow = expected.0.follow().unwrap().unwrap();
            follow.read_to_end(&mut all).map(|_| all)
        });
        to.write_all(b"there before, ").unwrap();
        arriving.begin(from, 14);
        for piece in ["one ", "two "] {
            to.write_all(piece.as_bytes()).unwrap();
            arriving.advance(to.as_file().metadata().unwrap().len());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!reader.is_finished());
        arriving.arrived();
        assert_eq!(reader.join().unwrap().unwrap(), b"there before, one two ");
        assert!(!arriving.is_lost());
    }

    #[test]
    fn what_is_given_up_or_begun_again_is_an_error() {
        let (mut to, from) = file();
        to.write_all(b"some").unwrap();
        let arriving = Arc::new(Arriving::default());
        let expected = Expected(Arc::clone(&arriving));
        arriving.begin(from.try_clone().unwrap(), 4);
        let mut first = arriving.follow().unwrap().unwrap();
        let mut buffer = [0; 10];
        assert_eq!(first.read(&mut buffer).unwrap(), 4);
        arriving.begin(from, 2);
        assert_eq!(arriving.attempt(), 2);
        let error = first.read(&mut buffer).unwrap_err();
        assert!(error.to_string().contains("begun again"), "{error}");
        let mut second = arriving.follow().unwrap().unwrap();
        assert_eq!(second.read(&mut buffer).unwrap(), 2);
        assert!(arriving.begins_again(1));
        drop(expected);
        assert!(!arriving.begins_again(2));
        assert!(arriving.is_lost());
        assert!(second.read(&mut buffer).is_err());
        assert!(arriving.follow().is_err());
    }

    #[test]
    fn a_blob_of_somebody_elses_is_read_from_the_store() {
        let arriving = Arc::new(Arriving::default());
        arriving.arrived();
        assert!(arriving.follow().unwrap().is_none());
    }
}
