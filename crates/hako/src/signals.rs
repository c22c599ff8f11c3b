//! Signals that come to this process while it stands for a container.
//!
//! They are caught by handlers, not blocked: programs that the engine starts
//! meanwhile inherit a blocked signal, but not a handler.

use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::signal::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::low_level::{pipe, unregister};

/// Signals that a user sends to a program on purpose.
pub(crate) const FOR_PROGRAMS: &[i32] =
    &[SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM];

/// Signals that tell of the terminal.
pub(crate) const OF_TERMINALS: &[i32] = &[SIGWINCH, SIGCONT];

/// Catches signals until it is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    wake: UnixStream,
    caught: Vec<(i32, Arc<AtomicBool>)>,
    ids: Vec<SigId>,
}

impl Signals {
    /// Begins to catch `signals`.
    pub(crate) fn catch(signals: impl IntoIterator<Item = i32>) -> std::io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut this = Signals {
            wake,
            caught: Vec::new(),
            ids: Vec::new(),
        };
        for signal in signals {
            let flag = Arc::new(AtomicBool::new(false));
            // Handlers run in the order of their registration: the flag is up
            // before the reader wakes.
            this.ids
                .push(signal_hook::flag::register(signal, Arc::clone(&flag))?);
            this.ids.push(pipe::register(signal, waker.try_clone()?)?);
            this.caught.push((signal, flag));
        }
        Ok(this)
    }

    /// Those that have come since the last time.
    pub(crate) fn take(&mut self) -> Vec<i32> {
        let mut buffer = [0u8; 64];
        loop {
            match self.wake.read(&mut buffer) {
                Ok(n) if n > 0 => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        let came = |(_, flag): &&(i32, Arc<AtomicBool>)| flag.swap(false, Ordering::SeqCst);
        self.caught
            .iter()
            .filter(came)
            .map(|(signal, _)| *signal)
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // signal-hook leaves its handler in place, which then does nothing.
        for id in self.ids.drain(..) {
            unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn signals_are_told_once() {
        let mut signals = Signals::catch([SIGUSR2, SIGWINCH]).unwrap();
        assert!(signals.take().is_empty());
        kill_process(getpid(), Signal::USR2).unwrap();
        while signals
            .caught
            .iter()
            .all(|(_, flag)| !flag.load(Ordering::SeqCst))
        {
            std::thread::yield_now();
        }
        assert_eq!(signals.take(), [SIGUSR2]);
        assert!(signals.take().is_empty());
    }
}
