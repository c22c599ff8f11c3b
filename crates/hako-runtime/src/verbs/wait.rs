//! The foreground of `run` and `exec`: signals go to the process, its terminal
//! is this one's, its end is ours.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::error::{Context, Error, Result};

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

/// Receives the terminal that the process has sent.
pub(super) fn receive_console(socket: &OwnedFd) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let mut slices = [IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        .context(|| "receive the terminal")?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(Error::new("the process sent no terminal"))
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
    let mut input = terminal.is_some();
    let mut output = terminal.is_some();
    loop {
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        if let Some(t) = terminal {
            // Events that are not asked for still tell of a hang-up.
            fds.push(PollFd::new(
                t,
                if output {
                    PollFlags::IN
                } else {
                    PollFlags::empty()
                },
            ));
            if input {
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
        if let Some(t) = terminal {
            if is(2) && output {
                output = copy(t.as_fd(), rustix::stdio::stdout());
            }
            if is(3) {
                input = copy(stdin, t.as_fd());
            }
        }
        if is(0) {
            if let Some(t) = terminal {
                // What it wrote last; the terminal gives EIO when all is read
                // and nobody holds it any more.
                let _ = rustix::io::ioctl_fionbio(t, true);
                while copy(t.as_fd(), rustix::stdio::stdout()) {}
            }
            return exit_status(pidfd);
        }
    }
}

/// Reads once and writes it all; false at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 32 << 10];
    let n = match rustix::io::read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(Errno::INTR) => return true,
        Err(_) => return false,
    };
    let mut rest = buffer.get(..n).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
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
