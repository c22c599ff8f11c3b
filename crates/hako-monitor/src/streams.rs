//! The container's three streams: FIFOs in the run directory, or a terminal.
//!
//! The container gets the FIFOs of its output opened for both directions, so
//! that a write neither fails nor raises SIGPIPE when the monitor dies: the
//! kernel keeps the bytes, and later a writer waits, until the next monitor
//! opens the FIFO by its name. The monitor itself holds no writing end, so the
//! end of the container's last process is the end of the stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::config::{Config, Stdin};
use crate::error::{Error, Result};
use crate::log::Stream;
use crate::record::Dir;
use crate::spawn;

/// After the other side of a terminal was closed by all, while the container
/// lives: how long until somebody may have opened it again.
const HANGUP_PAUSE: Duration = Duration::from_millis(100);

/// The monitor's ends.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Writing end of stdin, or the terminal.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) outputs: Vec<Output>,
    /// Whether there is a terminal.
    pub(crate) terminal: bool,
}

/// A stream that is read.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stream: Stream,
    pub(crate) fd: OwnedFd,
    /// Not to be read before, because nobody has the terminal open.
    pub(crate) paused: Option<Instant>,
}

/// The container's ends, for the runtime to inherit.
#[derive(Debug)]
pub(crate) struct Theirs {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nobody can write any more.
    End,
}

impl Streams {
    /// Makes the FIFOs anew and opens both ends.
    pub(crate) fn fifos(config: &Config, dir: &Dir) -> Result<(Self, Theirs)> {
        let both = OFlags::RDWR;
        let mut ours = Self::default();
        let mut output = |stream: Stream, name: &str| -> Result<OwnedFd> {
            make(dir, name)?;
            let theirs = open(dir, name, both)?;
            ours.outputs.push(Output {
                stream,
                fd: open(dir, name, OFlags::RDONLY | OFlags::NONBLOCK)?,
                paused: None,
            });
            Ok(theirs)
        };
        let stdout = output(Stream::Stdout, "stdout")?;
        let stderr = output(Stream::Stderr, "stderr")?;
        let stdin = match config.stdin {
            Stdin::Closed => spawn::null()?,
            kind => {
                make(dir, "stdin")?;
                // Only a process that does not hold the writing end itself
                // can see the end of its input.
                let theirs = match kind {
                    Stdin::Keep => open(dir, "stdin", both)?,
                    _ => open(dir, "stdin", OFlags::RDONLY | OFlags::NONBLOCK)?,
                };
                ours.stdin = Some(open(dir, "stdin", OFlags::WRONLY | OFlags::NONBLOCK)?);
                blocking(&theirs).map_err(Error::system("prepare stdin"))?;
                theirs
            }
        };
        let theirs = Theirs {
            stdin,
            stdout,
            stderr,
        };
        Ok((ours, theirs))
    }

    /// Opens the FIFOs of a container that runs already.
    pub(crate) fn reopen(config: &Config, dir: &Dir) -> Result<Self> {
        let mut ours = Self::default();
        for (stream, name) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
            ours.outputs.push(Output {
                stream,
                fd: open(dir, name, OFlags::RDONLY | OFlags::NONBLOCK)?,
                paused: None,
            });
        }
        if config.stdin != Stdin::Closed {
            // ENXIO: the container has closed its stdin.
            ours.stdin = open(dir, "stdin", OFlags::WRONLY | OFlags::NONBLOCK).ok();
        }
        Ok(ours)
    }

    /// Takes over the terminal whose master the runtime has sent.
    pub(crate) fn terminal(config: &Config, master: OwnedFd) -> Result<Self> {
        let failed = || Error::system("prepare the terminal");
        rustix::io::ioctl_fionbio(&master, true).map_err(failed())?;
        let stdin = match config.stdin {
            Stdin::Closed => None,
            _ => Some(rustix::io::fcntl_dupfd_cloexec(&master, 3).map_err(failed())?),
        };
        Ok(Self {
            stdin,
            outputs: vec![Output {
                stream: Stream::Stdout,
                fd: master,
                paused: None,
            }],
            terminal: true,
        })
    }

    /// Tells the terminal its size; nothing without one.
    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        if let (true, Some(master)) = (self.terminal, self.outputs.first()) {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: cols,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal that hung up has no size.
            let _ = rustix::termios::tcsetwinsize(&master.fd, size);
        }
    }
}

impl Output {
    /// Reads what there is. While `alive`, a terminal that nobody has open is
    /// not at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8], alive: bool) -> Got {
        loop {
            return match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) | Err(Errno::BADF) => Got::End,
                Ok(n) => Got::Bytes(n),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Got::Nothing,
                Err(Errno::IO) if alive => {
                    self.paused = Some(Instant::now() + HANGUP_PAUSE);
                    Got::Nothing
                }
                Err(_) => Got::End,
            };
        }
    }
}

fn make(dir: &Dir, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(Error::path("remove", dir.path.join(name))(e)),
    }
    rustix::fs::mkfifoat(dir, name, Mode::from_raw_mode(0o600))
        .map_err(Error::path("create", dir.path.join(name)))
}

fn open(dir: &Dir, name: &str, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .map_err(Error::path("open", dir.path.join(name)))
}

fn blocking(fd: &impl AsFd) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(fd, false)
}

impl Theirs {
    /// For [`spawn::spawn`].
    pub(crate) fn borrow(&self) -> spawn::Streams<'_> {
        spawn::Streams {
            stdin: self.stdin.as_fd(),
            stdout: self.stdout.as_fd(),
            stderr: self.stderr.as_fd(),
        }
    }

    /// Nothing to read, and one file for both outputs.
    pub(crate) fn quiet(errors: BorrowedFd<'_>) -> Result<Self> {
        let dup = || {
            rustix::io::fcntl_dupfd_cloexec(errors, 3).map_err(Error::system("duplicate a file"))
        };
        Ok(Self {
            stdin: spawn::null()?,
            stdout: dup()?,
            stderr: dup()?,
        })
    }
}
