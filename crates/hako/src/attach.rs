//! Standing for a container in the foreground: its streams on ours, our signals
//! to it, its exit status as ours.
//!
//! One poll(2) loop without threads. Nothing in it waits for one side alone: a
//! container that does not read its input still gets its output read, and a
//! slow reader of the output does not keep signals away.

mod sink;

use hako_engine::{Container, Engine};
use hako_monitor::Client;
use hako_monitor::protocol::{Attach, Frame};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};

use crate::error::{CliError, Result};
use crate::output;
use crate::signals::{FOR_PROGRAMS, OF_TERMINALS, Signals};
use crate::terminal::{Keys, Raw, Watch, size};

use sink::Sink;

/// Bytes of input in one frame: far below what the socket takes at once.
const PIECE: usize = 16 << 10;
/// Ctrl-D: what ends the input of a terminal.
const END_OF_INPUT: u8 = 0x04;
const SIGWINCH: i32 = 28;
const SIGCONT: i32 = 18;

/// How to stand for a container.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Our stdin is the container's.
    pub(crate) stdin: bool,
    /// The container has a terminal.
    pub(crate) tty: bool,
    /// Pass signals on.
    pub(crate) sig_proxy: bool,
    /// Keys that leave.
    pub(crate) keys: Keys,
}

impl Options {
    /// What to ask of the monitor.
    pub(crate) fn request(&self, tail: u32) -> Attach {
        Attach {
            stdin: self.stdin,
            stdout: true,
            stderr: !self.tty,
            tail,
            back_pressure: true,
        }
    }
}

/// How it came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The container has ended, with this status if it is known.
    Exited(Option<i32>),
    /// The user has left; it runs on.
    Detached,
    /// This signal was for us; it runs on.
    Signalled(i32),
}

/// The signals to catch; to be called before the container is started, so that
/// none is lost.
pub(crate) fn catch(options: &Options) -> Result<Signals> {
    let mut wanted = FOR_PROGRAMS.to_vec();
    if options.tty {
        wanted.extend(OF_TERMINALS);
    }
    Signals::catch(wanted).map_err(|e| CliError::from(e).context("cannot catch signals"))
}

/// Stands for `container` until it ends or the user leaves. `client` has
/// attached already. The terminal is as before when this returns.
pub(crate) fn stand_for(
    engine: &Engine,
    container: &Container,
    client: Client,
    signals: Signals,
    options: &Options,
) -> Result<Outcome> {
    let raw = if options.tty && options.stdin {
        Raw::set()?
    } else {
        None
    };
    let mut this = Session {
        engine,
        container,
        options,
        client,
        signals,
        watch: raw.is_some().then(|| Watch::new(options.keys.clone())),
        raw,
        input: if options.stdin {
            Input::Open
        } else {
            Input::Closed
        },
        to_send: None,
        output: Sink::default(),
        exit: None,
    };
    this.resize();
    this.run()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// Its end is to be told.
    Ended,
    Closed,
}

struct Session<'a> {
    engine: &'a Engine,
    container: &'a Container,
    options: &'a Options,
    client: Client,
    signals: Signals,
    watch: Option<Watch>,
    raw: Option<Raw>,
    input: Input,
    /// Input on its way.
    to_send: Option<Frame>,
    output: Sink,
    /// The exit frame has come.
    exit: Option<Option<i32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Monitor,
    Signals,
    Stdin,
    Output,
}

impl Session<'_> {
    fn run(&mut self) -> Result<Outcome> {
        loop {
            if self.output.is_empty() {
                self.take_frames()?;
            }
            if let (Some(code), true) = (self.exit, self.output.is_empty()) {
                return Ok(Outcome::Exited(code));
            }
            for (token, events) in self.poll()? {
                let done = match token {
                    Token::Monitor => self.monitor(events)?,
                    Token::Signals => self.take_signals(),
                    Token::Stdin => self.read_input()?,
                    Token::Output => self.output.write().map(|()| None)?,
                };
                if let Some(outcome) = done {
                    return Ok(outcome);
                }
            }
        }
    }

    fn poll(&self) -> Result<Vec<(Token, PollFlags)>> {
        let stdin = stdin();
        let mut list = vec![(Token::Signals, PollFd::new(&self.signals, PollFlags::IN))];
        let idle = self.output.is_empty();
        if self.exit.is_none() {
            let mut events = PollFlags::empty();
            // The next output comes when the last one is written.
            events.set(PollFlags::IN, idle);
            events.set(
                PollFlags::OUT,
                self.to_send.is_some() || self.input == Input::Ended,
            );
            if !events.is_empty() {
                list.push((
                    Token::Monitor,
                    PollFd::from_borrowed_fd(self.client.fd(), events),
                ));
            }
        }
        if self.input == Input::Open && self.to_send.is_none() && self.exit.is_none() {
            list.push((Token::Stdin, PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
        }
        if let Some(fd) = self.output.fd() {
            list.push((Token::Output, PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        }
        let (tokens, mut fds): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(CliError::from(e).context("cannot wait for the container")),
        }
        let ready = tokens
            .into_iter()
            .zip(&fds)
            .map(|(token, fd)| (token, fd.revents()));
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    /// The monitor's socket is ready for something.
    fn monitor(&mut self, events: PollFlags) -> Result<Option<Outcome>> {
        if events.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR) {
            self.send_input();
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && self.output.is_empty()
        {
            match self.client.fill() {
                Ok(true) => {}
                // What came before the end is still to be taken.
                Ok(false) | Err(_) => {
                    self.take_frames()?;
                    if self.exit.is_none() {
                        return self.without_monitor();
                    }
                }
            }
        }
        Ok(None)
    }

    /// Takes what has arrived whole.
    fn take_frames(&mut self) -> Result<()> {
        loop {
            match self.client.buffered() {
                Ok(Some(Frame::Stdout(bytes))) => self.output.push(stdout(), bytes),
                Ok(Some(Frame::Stderr(bytes))) => self.output.push(stderr(), bytes),
                Ok(Some(Frame::Exit(exit))) => {
                    self.exit = Some(exit.code);
                    return Ok(());
                }
                Ok(Some(Frame::Error(failure))) => {
                    output::note(&format!("hako: {}", failure.message));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Sends what waits to be sent; one frame fits whenever poll said so.
    fn send_input(&mut self) {
        let frame = match self.to_send.take() {
            Some(frame) => frame,
            None if self.input == Input::Ended => {
                self.input = Input::Closed;
                match self.options.tty {
                    true => Frame::Stdin(vec![END_OF_INPUT]),
                    false => Frame::StdinEof,
                }
            }
            None => return,
        };
        if self.client.send(&frame).is_err() {
            // The monitor has gone; reading from it will tell.
            self.input = Input::Closed;
        }
    }

    fn read_input(&mut self) -> Result<Option<Outcome>> {
        let mut buffer = vec![0u8; PIECE];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) => self.input = Input::Ended,
            Ok(n) => {
                buffer.truncate(n);
                if let Some(watch) = &mut self.watch {
                    let (rest, left) = watch.feed(&buffer);
                    if left {
                        return Ok(Some(Outcome::Detached));
                    }
                    buffer = rest;
                }
                if !buffer.is_empty() {
                    self.to_send = Some(Frame::Stdin(buffer));
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal whose other side is gone, a directory, a closed
            // descriptor: there is no input to be had.
            Err(_) => self.input = Input::Ended,
        }
        Ok(None)
    }

    fn take_signals(&mut self) -> Option<Outcome> {
        for signal in self.signals.take() {
            match signal {
                SIGWINCH => self.resize(),
                SIGCONT => {
                    if let Some(raw) = &self.raw {
                        raw.again();
                    }
                    self.resize();
                }
                // With a terminal the keys go through it; what comes as a
                // signal is for this program.
                other if self.options.tty || !self.options.sig_proxy => {
                    return Some(Outcome::Signalled(other));
                }
                other => self.pass_on(other),
            }
        }
        None
    }

    /// Sends a signal on a connection of its own: while the container does not
    /// read its input, the monitor does not read ours.
    fn pass_on(&self, signal: i32) {
        let wanted = |frame: Frame| matches!(frame, Frame::Done).then_some(());
        let sent = self
            .engine
            .monitor(self.container)
            .map_err(CliError::from)
            .and_then(|mut m| {
                m.request(&Frame::Signal(signal), wanted)
                    .map_err(CliError::from)
            });
        // It may have ended at this moment; then its end comes next.
        if let (Err(error), true) = (sent, self.exit.is_none()) {
            output::note(&format!(
                "hako: cannot pass on signal {signal}: {}",
                error.line()
            ));
        }
    }

    fn resize(&mut self) {
        if self.options.tty
            && let Some((rows, cols)) = size()
        {
            // As with input: if it is gone, reading tells.
            let _ = self.client.send(&Frame::Resize { rows, cols });
        }
    }

    /// The monitor has gone without a word. The container may run on: a new
    /// monitor takes it over, and we ask that one.
    fn without_monitor(&mut self) -> Result<Option<Outcome>> {
        let id = self.container.short_id();
        output::note(&format!("hako: the monitor of container {id} was killed"));
        let adopted = self
            .engine
            .refresh(self.container.clone())
            .and_then(|container| self.engine.monitor(&container));
        if let Ok(mut client) = adopted
            && client
                .send(&Frame::Attach(self.options.request(u32::MAX)))
                .is_ok()
        {
            output::note("hako: a new one has taken over; some output may be missing");
            self.client = client;
            self.resize();
            return Ok(None);
        }
        let code = self
            .engine
            .wait(self.container.id())?
            .and_then(|c| c.state.exit_code);
        Ok(Some(Outcome::Exited(code)))
    }
}
