//! Clients' requests, and the bytes between them and the container.

use std::rc::Rc;

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::config::Stdin;
use crate::container;
use crate::log::Stream;
use crate::monitor::{Monitor, Phase};
use crate::protocol::{Attach, Failure, Frame, Hello, State, Status, VERSION, encode_stream};
use crate::record::{Ended, Init, write_json};
use crate::spawn;
use crate::streams::{Got, Theirs};
use crate::time::Stamp;

/// At most so many bytes of one stream before others have their turn.
const TURN: usize = 256 << 10;

impl Monitor {
    /// A client is ready for something.
    pub(crate) fn serve(&mut self, number: u64, events: PollFlags) {
        let Some(conn) = self.conns.iter_mut().find(|c| c.number == number) else {
            return;
        };
        if events.contains(PollFlags::OUT) {
            conn.flush();
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !conn.closing {
            for frame in conn.receive() {
                self.request(number, frame);
            }
        } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
            conn.dead = true;
        }
    }

    fn answer(&mut self, number: u64, frame: &Frame) {
        if let Some(conn) = self.conns.iter_mut().find(|c| c.number == number) {
            conn.send(frame);
        }
    }

    fn refuse(&mut self, number: u64, message: impl Into<String>) {
        self.answer(number, &Frame::failure(message));
    }

    fn greeted(&self, number: u64) -> bool {
        self.conns.iter().any(|c| c.number == number && c.greeted)
    }

    fn request(&mut self, number: u64, frame: Frame) {
        if !self.greeted(number) && !matches!(frame, Frame::Hello(_)) {
            self.refuse(number, "say hello first");
            return self.part(number);
        }
        match frame {
            Frame::Hello(hello) => self.greet(number, &hello),
            Frame::Attach(attach) => self.attach(number, attach),
            Frame::Stdin(bytes) => self.stdin_bytes(number, &bytes),
            Frame::StdinEof => {
                // A terminal has no end of input, only a key for it, and a
                // stdin that is kept belongs to nobody alone.
                if self.config.stdin == Stdin::Once && !self.streams.terminal {
                    self.stdin_ends = true;
                }
            }
            Frame::Resize { rows, cols } => self.streams.resize(rows, cols),
            Frame::Start => self.start(number),
            Frame::Signal(signal) => match self.signal(signal) {
                Ok(()) => self.answer(number, &Frame::Done),
                Err(Errno::SRCH) => self.refuse(number, "the container has ended"),
                Err(e) => self.refuse(number, format!("cannot send signal {signal}: {e}")),
            },
            Frame::StatusRequest => {
                let status = self.status();
                self.answer(number, &Frame::Status(status));
            }
            Frame::ReopenLog => {
                self.logger.flush();
                match self.logger.reopen() {
                    Ok(()) => self.answer(number, &Frame::Done),
                    Err(e) => self.refuse(number, e.line()),
                }
            }
            Frame::Unknown(_) => {}
            Frame::Stdout(_)
            | Frame::Stderr(_)
            | Frame::Started
            | Frame::Exit(_)
            | Frame::Error(_)
            | Frame::Status(_)
            | Frame::Done => {
                self.refuse(number, "this frame is not for clients to send");
                self.part(number);
            }
        }
    }

    fn greet(&mut self, number: u64, hello: &Hello) {
        let ours = Hello {
            version: VERSION,
            id: self.config.id.clone(),
        };
        self.answer(number, &Frame::Hello(ours));
        if hello.version == VERSION {
            if let Some(conn) = self.conns.iter_mut().find(|c| c.number == number) {
                conn.greeted = true;
            }
        } else {
            self.part(number);
        }
    }

    /// Closes a connection once everything is sent.
    fn part(&mut self, number: u64) {
        if let Some(conn) = self.conns.iter_mut().find(|c| c.number == number) {
            conn.closing = true;
            conn.flush();
        }
    }

    fn attach(&mut self, number: u64, attach: Attach) {
        if attach.stdin && self.config.stdin == Stdin::Closed {
            return self.refuse(number, "the container's stdin is not open");
        }
        if let Some(exit) = self
            .exit
            .clone()
            .filter(|_| matches!(self.phase, Phase::Parting { .. }))
        {
            self.answer(number, &Frame::Exit(exit));
            return self.part(number);
        }
        let tail: Vec<Vec<u8>> = self
            .recent
            .tail(attach.tail as usize)
            .filter(|(stream, _)| wants(&attach, *stream))
            .map(|(stream, bytes)| encode_stream(stream == Stream::Stderr, bytes))
            .collect();
        if let Some(conn) = self.conns.iter_mut().find(|c| c.number == number) {
            conn.attach = Some(attach);
            for frame in tail {
                conn.send_bytes(&frame.into());
            }
        }
    }

    fn stdin_bytes(&mut self, number: u64, bytes: &[u8]) {
        let allowed = self
            .conns
            .iter()
            .any(|c| c.number == number && c.sends_stdin());
        if !allowed {
            return self.refuse(number, "attach to stdin first");
        }
        // After the end of the input there is nobody to read it.
        if self.streams.stdin.is_some() && !self.stdin_ends {
            self.stdin.extend_from_slice(bytes);
        }
    }

    /// Gives the container what fits of its input.
    pub(crate) fn write_stdin(&mut self) {
        let Some(fd) = &self.streams.stdin else {
            self.stdin.clear();
            return;
        };
        let mut done = 0;
        let mut closed = false;
        while done < self.stdin.len() {
            match rustix::io::write(fd, self.stdin.get(done..).unwrap_or_default()) {
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody reads any more.
                Err(_) => {
                    closed = true;
                    break;
                }
            }
        }
        self.stdin.drain(..done);
        if closed || (self.stdin_ends && self.stdin.is_empty()) {
            self.stdin.clear();
            self.streams.stdin = None;
        }
    }

    /// Reads from one stream to the log and the clients; how much it was.
    /// `turns`: leaves off after a while, for others to have their turn.
    pub(crate) fn read_output(&mut self, index: usize, turns: bool) -> usize {
        let alive = self.end.is_none();
        let mut total = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut ended = false;
        while let Some(output) = self.streams.outputs.get_mut(index) {
            let stream = output.stream;
            match output.read(&mut buffer, alive) {
                Got::Bytes(n) => {
                    total += n;
                    self.distribute(stream, buffer.get(..n).unwrap_or_default());
                }
                Got::Nothing => break,
                Got::End => {
                    ended = true;
                    break;
                }
            }
            if (turns && total >= TURN) || self.held_back() {
                break;
            }
        }
        self.buffer = buffer;
        if ended {
            // The indices of the others change: whoever has an old one reads
            // another stream or nothing, and poll asks anew.
            self.streams.outputs.remove(index);
        }
        total
    }

    fn distribute(&mut self, stream: Stream, bytes: &[u8]) {
        self.logger.write(stream, bytes);
        self.recent.push(stream, bytes);
        let mut frame: Option<Rc<[u8]>> = None;
        for conn in &mut self.conns {
            if conn.attach.is_some_and(|a| wants(&a, stream)) {
                let frame = frame
                    .get_or_insert_with(|| encode_stream(stream == Stream::Stderr, bytes).into());
                conn.send_bytes(frame);
            }
        }
    }

    fn start(&mut self, number: u64) {
        match self.phase {
            Phase::Created { start: None } if self.end.is_none() => {}
            Phase::Created { start: Some(_) } | Phase::Running => {
                return self.refuse(number, "the container has been started already");
            }
            _ => return self.refuse(number, "the container has ended"),
        }
        container::forget_words(&self.run_dir);
        let mut argv = container::command(&self.config, &self.run_dir, "start");
        argv.push(self.config.id.clone().into());
        let spawned = container::error_file(&self.run_dir)
            .and_then(|errors| Theirs::quiet(std::os::fd::AsFd::as_fd(&errors)))
            .and_then(|theirs| spawn::spawn(&argv, &theirs.borrow()));
        match spawned {
            Ok(pid) => {
                self.started_at = Some(Stamp::now().to_string());
                self.phase = Phase::Created {
                    start: Some((pid, number)),
                };
            }
            Err(e) => self.refuse(number, e.line()),
        }
    }

    /// The runtime's `start` has ended.
    pub(crate) fn started(&mut self, number: u64, ended: Ended) {
        if ended == Ended::Code(0) {
            self.phase = Phase::Running;
            self.write_init();
            self.note("started", &[]);
            self.answer(number, &Frame::Started);
            return;
        }
        self.started_at = None;
        self.phase = Phase::Created { start: None };
        let printed = std::fs::read(self.run_dir.path.join("runtime.err")).unwrap_or_default();
        let e = container::words(&self.run_dir, "start", &printed, ended);
        self.note(
            "start-failed",
            &[
                ("message", e.to_string().into()),
                ("exit", ended.code().into()),
            ],
        );
        self.answer(
            number,
            &Frame::Error(Failure {
                message: e.to_string(),
                exit: Some(ended.code()),
            }),
        );
    }

    /// Keeps what a later monitor needs.
    pub(crate) fn write_init(&mut self) {
        let init = Init {
            version: 1,
            pid: self.process.pid.as_raw_pid(),
            start_time: self.process.start_time,
            started_at: self.started_at.clone(),
        };
        if let Err(e) = write_json(&self.run_dir, "init.json", &init) {
            crate::entry::complain(&self.dir, &e.line());
        }
    }

    fn status(&self) -> Status {
        Status {
            state: match (&self.phase, &self.end) {
                (_, Some(_)) => State::Exited,
                (Phase::Created { .. }, None) => State::Created,
                _ => State::Running,
            },
            pid: self.process.pid.as_raw_pid(),
            monitor_pid: std::process::id(),
            started_at: self.started_at.clone(),
            clients: self.conns.len(),
            log_lost: self.logger.lost,
        }
    }
}

fn wants(attach: &Attach, stream: Stream) -> bool {
    match stream {
        Stream::Stdout => attach.stdout,
        Stream::Stderr => attach.stderr,
    }
}
