//! The monitor's loop: one poll(2) over the container's process, its streams,
//! the clients and the signals. Nothing in it waits for anything else.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use crate::config::Config;
use crate::conn::Conn;
use crate::container::{self, Container, Process, Told};
use crate::error::{Error, Result};
use crate::log::Logger;
use crate::oom;
use crate::recent::Recent;
use crate::record::{Dir, Ended, Exit, Journal, Known};
use crate::socket::Listener;
use crate::streams::Streams;

/// What goes to the container's stdin at most before its senders wait.
const MAX_STDIN: usize = 64 << 10;

/// Where the container is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Created; the runtime's `start` may be running for a client.
    Created { start: Option<(Pid, u64)> },
    /// Started.
    Running,
    /// Ended; its last output is read.
    Draining { since: Instant, read: usize },
    /// The event command runs.
    Hook(Option<Pid>),
    /// Clients get their last frames.
    Parting { since: Instant },
    /// Nothing is left to do.
    Over,
}

/// How the container's end was learnt.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) ended: Option<Ended>,
    pub(crate) known: Known,
    pub(crate) time: String,
}

pub(crate) struct Monitor {
    pub(crate) config: Config,
    pub(crate) dir: Dir,
    pub(crate) run_dir: Dir,
    pub(crate) signals: OwnedFd,
    pub(crate) listener: Listener,
    /// Held locked as long as this monitor is the container's one.
    pub(crate) lock: Option<OwnedFd>,
    pub(crate) journal: Journal,
    pub(crate) logger: Logger,
    pub(crate) recent: Recent,
    pub(crate) process: Process,
    pub(crate) streams: Streams,
    pub(crate) stdin: Vec<u8>,
    /// stdin is to be closed once everything is written.
    pub(crate) stdin_ends: bool,
    pub(crate) oom: Option<oom::Watch>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) next_conn: u64,
    pub(crate) phase: Phase,
    pub(crate) started_at: Option<String>,
    pub(crate) end: Option<End>,
    /// Since when the end of a process that is no child is asked after.
    pub(crate) asking: Option<Instant>,
    pub(crate) exit: Option<Exit>,
    pub(crate) buffer: Vec<u8>,
}

/// What a polled descriptor stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Signals,
    Listener,
    Process,
    Oom,
    Stdin,
    Output(usize),
    Conn(u64),
}

impl Monitor {
    /// Puts a container into the loop's hands.
    pub(crate) fn take(&mut self, container: Container) {
        let early = container.early;
        self.process = container.process;
        self.streams = container.streams;
        self.started_at = container.started_at;
        if self.started_at.is_some() {
            self.phase = Phase::Running;
        }
        for (stream, bytes) in early {
            self.recent.push(stream, &bytes);
            self.logger.write(stream, &bytes);
        }
        if let Some(ended) = container.ended {
            self.set_end(Some(ended), Known::Waited);
        } else if self.process.pidfd.is_none() {
            self.set_end(None, Known::Unknown);
        } else {
            self.oom = oom::Watch::begin(self.process.pid.as_raw_pid());
        }
    }

    /// Runs until the container has ended and everybody knows.
    pub(crate) fn run(&mut self) -> Result<()> {
        loop {
            self.advance();
            if matches!(self.phase, Phase::Over) {
                return Ok(());
            }
            let ready = self.poll()?;
            for (token, events) in ready {
                self.handle(token, events);
            }
            self.logger.flush_due(Instant::now());
            self.write_stdin();
            // A terminal is there for the next client, too.
            let once = self.config.stdin == crate::config::Stdin::Once && !self.streams.terminal;
            if once && self.conns.iter().any(|c| c.dead && c.sends_stdin()) {
                // The one who was to speak has gone away.
                self.stdin_ends = true;
                self.write_stdin();
            }
            self.conns.retain(|c| !c.dead);
        }
    }

    fn poll(&self) -> Result<Vec<(Token, PollFlags)>> {
        let now = Instant::now();
        let mut due: Option<Instant> = self.logger.due();
        let mut wake = |at: Instant| due = Some(due.map_or(at, |d| d.min(at)));
        let signals = PollFd::new(&self.signals, PollFlags::IN);
        let listener = PollFd::new(&self.listener.socket, PollFlags::IN);
        let mut list: Vec<(Token, PollFd<'_>)> =
            vec![(Token::Signals, signals), (Token::Listener, listener)];
        if let Some(pidfd) = self.process.pidfd.as_ref().filter(|_| self.end.is_none()) {
            match self.asking {
                // Readable for ever; it is asked again after a while.
                Some(_) => wake(now + Duration::from_millis(5)),
                None => list.push((Token::Process, PollFd::new(pidfd, PollFlags::IN))),
            }
        }
        if let Some(fd) = self.oom.as_ref().and_then(oom::Watch::fd) {
            list.push((Token::Oom, PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        if let Some(fd) = self
            .streams
            .stdin
            .as_ref()
            .filter(|_| !self.stdin.is_empty())
        {
            list.push((Token::Stdin, PollFd::new(fd, PollFlags::OUT)));
        }
        if !self.held_back() {
            for (index, output) in self.streams.outputs.iter().enumerate() {
                match output.paused {
                    Some(until) if until > now => wake(until),
                    _ => list.push((Token::Output(index), PollFd::new(&output.fd, PollFlags::IN))),
                }
            }
        }
        let stdin_full = self.stdin.len() >= MAX_STDIN;
        for conn in &self.conns {
            let mut events = PollFlags::empty();
            let waits = stdin_full && conn.sends_stdin();
            if !conn.closing && !waits {
                events |= PollFlags::IN;
            }
            if conn.wants_write() {
                events |= PollFlags::OUT;
            }
            list.push((Token::Conn(conn.number), PollFd::new(&conn.socket, events)));
        }
        if let Some(at) = self.phase_due() {
            wake(at);
        }
        let (tokens, mut fds): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        let timeout = due.map(|at| {
            // Rounded up, so as not to wake just before the time.
            let left = at.saturating_duration_since(now) + Duration::from_micros(100);
            Timespec::try_from(left).unwrap_or_default()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(Error::system("wait for events")(e)),
        }
        Ok(tokens
            .into_iter()
            .zip(&fds)
            .map(|(token, fd)| (token, fd.revents()))
            .filter(|(_, events)| !events.is_empty())
            .collect())
    }

    /// Whether a client wants the container to wait. One that has ended does
    /// not: what it has left is bounded and is kept for the client.
    pub(crate) fn held_back(&self) -> bool {
        self.end.is_none() && self.conns.iter().any(Conn::holds_back)
    }

    fn handle(&mut self, token: Token, events: PollFlags) {
        match token {
            Token::Signals => self.take_signals(),
            Token::Listener => {
                while let Some(socket) = self.listener.accept() {
                    self.next_conn += 1;
                    self.conns.extend(Conn::new(self.next_conn, socket));
                }
            }
            Token::Process => self.process_ended(),
            Token::Oom => {
                if self.oom.as_mut().is_some_and(oom::Watch::read) {
                    self.note("oom", &[]);
                }
            }
            Token::Stdin => self.write_stdin(),
            Token::Output(index) => {
                self.read_output(index, true);
            }
            Token::Conn(number) => self.serve(number, events),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(received)) = hako_sys::signal::read(self.signals.as_fd()) {
            // The system goes down, or somebody wants this to end: the
            // container first, the monitor follows.
            if received.signal == SIGTERM {
                let _ = self.signal(self.config.stop_signal);
            }
        }
        self.reap();
    }

    /// Collects every child that has ended: the container's first process, the
    /// runtime's and the event command's, and orphans of a container without
    /// a pid namespace of its own.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = Ended::from_wait_status(status.as_raw());
            if pid == self.process.pid && self.process.is_child && self.end.is_none() {
                self.set_end(Some(ended), Known::Waited);
            } else if let Phase::Created {
                start: Some((runtime, client)),
            } = self.phase
                && runtime == pid
            {
                self.started(client, ended);
            } else if let Phase::Hook(Some(hook)) = self.phase
                && hook == pid
            {
                if ended != Ended::Code(0) {
                    self.note("event-command-failed", &[("exit", ended.code().into())]);
                }
                self.phase = Phase::Hook(None);
            }
        }
    }

    /// The pidfd says that the container's first process has ended. A child is
    /// mostly reaped by its signal before; this does not depend on it.
    fn process_ended(&mut self) {
        if self.end.is_some() {
            return;
        }
        if self.process.is_child {
            self.reap();
        }
        if self.end.is_none() {
            self.asking = Some(Instant::now());
        }
    }

    /// The end of a process that is not a child.
    pub(crate) fn ask_after(&mut self) {
        let Some(since) = self.asking.filter(|_| self.end.is_none()) else {
            return;
        };
        match container::ask(&self.process) {
            Told::Pidfd(ended) => self.set_end(Some(ended), Known::Pidfd),
            Told::Proc(ended) => self.set_end(Some(ended), Known::Proc),
            Told::Later if !container::patience_over(since) => {}
            Told::Later | Told::Never => self.set_end(None, Known::Unknown),
        }
    }

    pub(crate) fn set_end(&mut self, ended: Option<Ended>, known: Known) {
        self.end = Some(End {
            ended,
            known,
            time: crate::time::Stamp::now().to_string(),
        });
    }

    /// Sends a signal to the container's first process, and to no other that
    /// has its number.
    pub(crate) fn signal(&self, number: i32) -> Result<(), Errno> {
        match &self.process.pidfd {
            Some(pidfd) if self.end.is_none() => hako_sys::signal::send(pidfd.as_fd(), number),
            _ => Err(Errno::SRCH),
        }
    }

    /// Adds to the journal; a failure is told in `monitor.log`, since nothing
    /// else depends on it.
    pub(crate) fn note(&mut self, event: &str, fields: &[(&str, serde_json::Value)]) {
        if let Err(e) = self.journal.append(event, fields) {
            crate::entry::complain(&self.dir, &e.line());
        }
    }
}

const SIGTERM: i32 = 15;
