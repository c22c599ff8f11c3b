//! The foreground of `run` and `exec`: signals go to the process, its terminal
//! is this one's, its end is ours.

use std::os::fd::{AsFd, OwnedFd};

use hako_spec::runtime::ConsoleSize;
use hako_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::error::{Context, Error, Result};
use crate::sync::receive_fd;

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
const SIGURG: i32 = 23;

/// A socket for the terminal of a process in the foreground: the end to give
/// to the process, and ours.
pub(super) fn console_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context(|| "make a socket pair")
}

/// The size of our terminal, which the process' is to have from its first
/// moment.
pub(super) fn own_size() -> Option<ConsoleSize> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(ConsoleSize {
        height: size.ws_row.into(),
        width: size.ws_col.into(),
        ..ConsoleSize::default()
    })
}

/// Receives the terminal that the process has sent.
pub(super) fn receive_console(socket: &OwnedFd) -> Result<OwnedFd> {
    let (_, fd) = receive_fd(socket, &mut [0; 256]).context(|| "receive the terminal")?;
    fd.ok_or_else(|| Error::new("the process sent no terminal"))
}

/// Our terminal in raw mode, until this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Raw(None);
        }
        let Ok(old) = tcgetattr(stdin) else {
            return Raw(None);
        };
        let mut raw = old.clone();
        raw.make_raw();
        // Line feeds become new lines here, and not in the process' terminal
        // (see `leave_line_feeds`).
        raw.output_modes.insert(OutputModes::OPOST);
        let _ = tcsetattr(stdin, OptionalActions::Now, &raw);
        Raw(Some(old))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, old);
        }
    }
}

/// Waits for the process; the value is its exit status, 128+n after signal n.
pub(super) fn foreground(
    pidfd: &OwnedFd,
    signals: &OwnedFd,
    terminal: Option<&OwnedFd>,
) -> Result<u8> {
    let _raw = terminal.map(|t| {
        resize(t);
        Raw::enter()
    });
    let mut relay = terminal.map(Relay::new).transpose()?;
    let stdin = rustix::stdio::stdin();
    loop {
        let mut fds = vec![
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        if let Some(r) = &relay {
            // Events that are not asked for still tell of a hang-up.
            fds.push(PollFd::new(r.terminal, r.events()));
            if r.input && r.typed.is_empty() {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.context(|| "wait for the process")?,
        };
        let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
        let is = |at: usize| ready.get(at).copied().unwrap_or(false);
        if is(1) {
            forward(signals, pidfd, terminal);
        }
        if let Some(r) = &mut relay {
            if is(3) {
                r.listen();
            }
            if is(2) || is(3) {
                r.write_typed();
                r.show();
            }
        }
        if is(0) {
            if let Some(r) = &mut relay {
                // What it wrote last.
                while r.show() {}
            }
            return exit_status(pidfd);
        }
        if relay.as_ref().is_some_and(|r| !r.output) {
            // Nobody holds the terminal any more.
            relay = None;
        }
    }
}

/// Between our standard streams and the process' terminal. The terminal never
/// blocks: a program that writes before it reads on would wait for us for ever,
/// as we for it.
struct Relay<'a> {
    terminal: &'a OwnedFd,
    /// The process' end as well: a program that closes it and opens it again
    /// later has not hung up.
    _other: Option<OwnedFd>,
    /// Read, and not yet taken by the terminal.
    typed: Vec<u8>,
    /// Our standard input has more.
    input: bool,
    /// The terminal has more.
    output: bool,
}

impl<'a> Relay<'a> {
    fn new(terminal: &'a OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(terminal, true).context(|| "prepare the terminal")?;
        let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        Ok(Relay {
            terminal,
            _other: ioctl_tiocgptpeer(terminal, open).ok(),
            typed: Vec::new(),
            input: true,
            output: true,
        })
    }

    fn events(&self) -> PollFlags {
        let mut events = PollFlags::IN;
        events.set(PollFlags::OUT, !self.typed.is_empty());
        events
    }

    /// Reads what was typed.
    fn listen(&mut self) {
        let mut buffer = [0u8; 4 << 10];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(n) if n > 0 => self.typed.extend(buffer.get(..n).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            _ => self.input = false,
        }
    }

    fn write_typed(&mut self) {
        match rustix::io::write(self.terminal, &self.typed) {
            Ok(n) => drop(self.typed.drain(..n.min(self.typed.len()))),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// Shows what the process has written; false when there is nothing now.
    fn show(&mut self) -> bool {
        let mut buffer = [0u8; 32 << 10];
        let n = match rustix::io::read(self.terminal, &mut buffer) {
            Ok(n) if n > 0 => n,
            Err(Errno::INTR | Errno::AGAIN) => return false,
            _ => {
                self.output = false;
                return false;
            }
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::write(rustix::stdio::stdout(), rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn resize(terminal: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(terminal, size);
    }
}

fn forward(signals: &OwnedFd, pidfd: &OwnedFd, terminal: Option<&OwnedFd>) {
    while let Ok(Some(received)) = signal::read(signals.as_fd()) {
        match (received.signal, terminal) {
            (SIGCHLD | SIGURG, _) => {}
            (SIGWINCH, Some(t)) => resize(t),
            (other, _) => {
                // It may have ended meanwhile.
                let _ = signal::send(pidfd.as_fd(), other);
            }
        }
    }
}

fn exit_status(pidfd: &OwnedFd) -> Result<u8> {
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::from(e).within("wait for the process")),
            Ok(status) => return Ok(status.map_or(255, code)),
        }
    }
}

fn code(status: WaitIdStatus) -> u8 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(255),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(255),
        (None, None) => 255,
    }
}
