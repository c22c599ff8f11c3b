//! Talking to a monitor, in blocking style: connect, attach, start, and then
//! poll the client's descriptor together with one's own.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, Result, errno};
use crate::protocol::{Decoder, Frame, Hello, MAX_PAYLOAD, VERSION};
use crate::record::Dir;

/// A connection to one container's monitor.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    decoder: Decoder,
    hello: Hello,
    ended: bool,
    /// Frames to be given again.
    unread: std::collections::VecDeque<Frame>,
}

impl Client {
    /// Connects to the monitor whose `run_dir` this is.
    ///
    /// Errors: [`Error::Path`] with `ENOENT` or `ECONNREFUSED` when there is
    /// no monitor, [`Error::Protocol`] for one that speaks otherwise.
    pub fn connect(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join("monitor.sock");
        let failed = |e: std::io::Error| Error::path("connect to", &path)(errno(&e));
        let socket = if path.as_os_str().len() < 108 {
            UnixStream::connect(&path)
        } else {
            let dir = Dir::open(run_dir)?;
            let short = format!("/proc/self/fd/{}/monitor.sock", dir.fd.as_raw_fd());
            UnixStream::connect(short)
        }
        .map_err(failed)?;
        let mut client = Self {
            socket,
            decoder: Decoder::default(),
            hello: Hello {
                version: VERSION,
                id: String::new(),
            },
            ended: false,
            unread: std::collections::VecDeque::new(),
        };
        client.send(&Frame::Hello(client.hello.clone()))?;
        match client.receive()? {
            Some(Frame::Hello(hello)) if hello.version == VERSION => client.hello = hello,
            Some(Frame::Hello(hello)) => {
                return Err(Error::Protocol(format!(
                    "the monitor speaks version {}, this client {VERSION}",
                    hello.version
                )));
            }
            Some(Frame::Error(e)) => return Err(Error::Refused(e.message)),
            _ => return Err(Error::Protocol("the monitor did not say hello".to_owned())),
        }
        Ok(client)
    }

    /// Who the monitor said it was.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Sends one frame, waiting until the socket takes it.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.socket
            .write_all(&frame.encode())
            .map_err(|e| Error::system("send to the monitor")(errno(&e)))
    }

    /// Sends bytes of stdin in as many frames as it takes.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(MAX_PAYLOAD) {
            self.send(&Frame::Stdin(piece.to_vec()))?;
        }
        Ok(())
    }

    /// Waits for the next frame; `None` when the monitor has closed the
    /// connection. Frames of unknown types are passed over.
    pub fn receive(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Lets the next calls give `frames` first, in their order: for a caller
    /// that waited for one frame and got others before it.
    pub fn unread(&mut self, frames: Vec<Frame>) {
        for frame in frames.into_iter().rev() {
            self.unread.push_front(frame);
        }
    }

    /// A frame that has arrived whole already. After [`Client::fd`] was ready
    /// for reading: [`Client::fill`], then this until it gives `None`.
    pub fn buffered(&mut self) -> Result<Option<Frame>> {
        if let Some(frame) = self.unread.pop_front() {
            return Ok(Some(frame));
        }
        loop {
            match self.decoder.next_frame()? {
                Some(Frame::Unknown(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// Reads once, waiting if there is nothing; `false` at the end.
    ///
    /// Errors: [`Error::Protocol`] when the end comes within a frame.
    pub fn fill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut buffer = [0u8; 16 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    if self.decoder.is_empty() {
                        return Ok(false);
                    }
                    return Err(Error::Protocol(
                        "the monitor went away within a message".to_owned(),
                    ));
                }
                Ok(n) => {
                    self.decoder.push(buffer.get(..n).unwrap_or_default());
                    return Ok(true);
                }
                Err(e) => match errno(&e) {
                    Errno::INTR => {}
                    // The monitor was killed with our bytes unread.
                    Errno::CONNRESET => {
                        self.ended = true;
                        return Ok(false);
                    }
                    e => return Err(Error::system("receive from the monitor")(e)),
                },
            }
        }
    }

    /// Sends a request and waits for its answer, which `wanted` recognises;
    /// an error frame becomes [`Error::Refused`]. For clients that have not
    /// attached: frames in between are dropped.
    pub fn request<T>(&mut self, frame: &Frame, wanted: impl Fn(Frame) -> Option<T>) -> Result<T> {
        self.send(frame)?;
        loop {
            match self.receive()? {
                Some(Frame::Error(e)) => return Err(Error::Refused(e.message)),
                Some(frame) => {
                    if let Some(answer) = wanted(frame) {
                        return Ok(answer);
                    }
                }
                None => return Err(Error::Refused("the monitor has ended".to_owned())),
            }
        }
    }

    /// What to poll for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
