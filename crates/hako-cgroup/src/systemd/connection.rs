//! A connection to systemd: one call at a time, and nothing that can wait for
//! ever.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::address::Address;
use super::error::BusError;
use super::message::{Call, Kind, Message};
use super::wire::Writer;

/// So long one call, and one job, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is kept of jobs which ended before they were asked for.
const JOBS: usize = 256;
/// Longest line of the authentication.
const LINE: usize = 4096;

const BUS: &str = "org.freedesktop.DBus";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
/// Systemd's name on a bus.
const NAME: &str = "org.freedesktop.systemd1";

/// An authenticated connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// What has come and is not parsed yet.
    buffer: Vec<u8>,
    serial: u32,
    patience: Duration,
    /// Systemd's unique name, where there is a bus: signals of others do not count.
    peer: String,
    /// Jobs that have ended, and how.
    ended: VecDeque<(String, String)>,
}

fn io(action: &'static str) -> impl Fn(Errno) -> BusError {
    move |source| BusError::Io { action, source }
}

impl Connection {
    /// Connects, says who we are, and on a bus asks to hear of jobs.
    pub(super) fn open(address: &Address, patience: Duration) -> Result<Self, BusError> {
        let deadline = Instant::now() + patience;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(io("make a socket"))?;
        let name = match address.socket.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
            None => SocketAddrUnix::new(address.socket.as_str()),
        }
        .map_err(io("connect"))?;
        let mut this = Self {
            socket,
            buffer: Vec::new(),
            serial: 0,
            patience,
            peer: String::new(),
            ended: VecDeque::new(),
        };
        loop {
            match connect(&this.socket, &name) {
                Ok(()) => break,
                // Too many are waiting there already.
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(Errno::AGAIN) => return Err(this.late()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(io("connect")(e)),
            }
        }
        this.authenticate(deadline)?;
        if address.bus {
            this.introduce()?;
        }
        Ok(this)
    }

    /// The mechanism EXTERNAL (D-Bus Specification, "Authentication Protocol"):
    /// the other side asks the kernel who we are. The uid is left out, since in
    /// a user namespace it is another one than there.
    ///
    /// All lines go at once, and nothing behind `BEGIN` before its time: of
    /// what it has read together with that line systemd would not take notice
    /// until more comes.
    fn authenticate(&mut self, deadline: Instant) -> Result<(), BusError> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", deadline)?;
        for answer in ["DATA", "OK"] {
            let line = self.line(deadline)?;
            if !line.starts_with(answer) {
                return Err(BusError::Rejected(line.chars().take(100).collect()));
            }
        }
        Ok(())
    }

    fn introduce(&mut self) -> Result<(), BusError> {
        let bus = |member, signature| Call {
            destination: BUS,
            path: "/org/freedesktop/DBus",
            interface: BUS,
            member,
            signature,
        };
        self.call(&bus("Hello", ""), &[])?;
        let mut rule = Writer::default();
        rule.string(
            "type='signal',sender='org.freedesktop.systemd1',\
             interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
        );
        self.call(&bus("AddMatch", "s"), &rule.bytes)?;
        let reply = self.call(&manager("Subscribe", ""), &[])?;
        self.peer = reply.sender;
        Ok(())
    }

    /// A property of systemd itself that is a string.
    pub(super) fn property(&mut self, name: &str) -> Result<String, BusError> {
        let mut w = Writer::default();
        w.string(MANAGER);
        w.string(name);
        let call = Call {
            interface: "org.freedesktop.DBus.Properties",
            ..manager("Get", "ss")
        };
        let reply = self.call(&call, &w.bytes)?;
        reply.text().map(str::to_owned)
    }

    /// Calls a method of systemd's manager.
    pub(super) fn manage(
        &mut self,
        member: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Message, BusError> {
        self.call(&manager(member, signature), body)
    }

    /// Waits for the end of a job.
    pub(super) fn wait_for(&mut self, job: &str) -> Result<(), BusError> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(at) = self.ended.iter().position(|(path, _)| path == job) {
                let result = self.ended.remove(at).map(|(_, result)| result);
                return match result.unwrap_or_default() {
                    result if result == "done" => Ok(()),
                    result => Err(BusError::Job(result)),
                };
            }
            let message = self.receive(deadline)?;
            self.note(&message)?;
        }
    }

    fn call(&mut self, call: &Call<'_>, body: &[u8]) -> Result<Message, BusError> {
        let deadline = Instant::now() + self.patience;
        self.serial += 1;
        self.send(&call.encode(self.serial, body), deadline)?;
        loop {
            let message = self.receive(deadline)?;
            match message.kind {
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message),
                Kind::Error if message.reply_to == Some(self.serial) => {
                    return Err(message.refusal());
                }
                _ => self.note(&message)?,
            }
        }
    }

    /// A job may have ended before its number is known.
    fn note(&mut self, message: &Message) -> Result<(), BusError> {
        let is_ours = message.kind == Kind::Signal
            && message.interface == MANAGER
            && message.member == "JobRemoved"
            && (self.peer.is_empty() || message.sender == self.peer);
        if is_ours {
            let (job, result) = message.job_removed()?;
            if self.ended.len() >= JOBS {
                self.ended.pop_front();
            }
            self.ended.push_back((job.to_owned(), result.to_owned()));
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message, BusError> {
        loop {
            if let Some((message, len)) = Message::parse(&self.buffer)? {
                self.buffer.drain(..len);
                return Ok(message);
            }
            self.fill(deadline)?;
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<String, BusError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.buffer.len() > LINE {
                return Err(BusError::Malformed(
                    "a line of the authentication has no end",
                ));
            }
            self.fill(deadline)?;
        }
    }

    /// Waits for bytes. As much is kept as came, never as much as was announced.
    fn fill(&mut self, deadline: Instant) -> Result<(), BusError> {
        let mut part = [0u8; 4096];
        loop {
            self.wait(PollFlags::IN, deadline)?;
            match rustix::io::read(&self.socket, &mut part) {
                Ok(0) | Err(Errno::CONNRESET) => return Err(BusError::Closed),
                Ok(len) => {
                    self.buffer
                        .extend_from_slice(part.get(..len).unwrap_or_default());
                    return Ok(());
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(io("read")(e)),
            }
        }
    }

    fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), BusError> {
        while !bytes.is_empty() {
            // No SIGPIPE, which a caller may not ignore.
            let flags = rustix::net::SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, bytes, flags) {
                Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(BusError::Closed),
                Err(e) => return Err(io("write")(e)),
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<(), BusError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.late());
            }
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.socket, what)], Some(&left)) {
                Ok(0) => return Err(self.late()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(io("wait for an answer")(e)),
            }
        }
    }

    fn late(&self) -> BusError {
        BusError::Timeout {
            seconds: self.patience.as_secs(),
        }
    }
}

fn manager<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call {
        destination: NAME,
        path: OBJECT,
        interface: MANAGER,
        member,
        signature,
    }
}
