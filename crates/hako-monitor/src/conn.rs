//! One client's connection, never waited for.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::io::Errno;

use crate::error::{Result, errno};
use crate::protocol::{Attach, Decoder, Frame};

/// How much a client without back-pressure may lag behind, in bytes.
pub(crate) const LAG: usize = 1 << 20;
/// How much waits for a client with back-pressure before the container does.
pub(crate) const HIGH: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) number: u64,
    pub(crate) socket: UnixStream,
    decoder: Decoder,
    queue: VecDeque<Rc<[u8]>>,
    /// Bytes of the first queued frame that are sent.
    sent: usize,
    queued: usize,
    /// What it has asked for, once it has.
    pub(crate) attach: Option<Attach>,
    pub(crate) greeted: bool,
    /// To be closed when everything is sent.
    pub(crate) closing: bool,
    /// Of no more use.
    pub(crate) dead: bool,
}

impl Conn {
    /// Takes a connection of the same user or of root; the directory keeps
    /// others out already.
    pub(crate) fn new(number: u64, socket: UnixStream) -> Option<Self> {
        let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
        let me = rustix::process::geteuid();
        if peer.uid != me && !peer.uid.is_root() {
            return None;
        }
        socket.set_nonblocking(true).ok()?;
        Some(Self {
            number,
            socket,
            decoder: Decoder::default(),
            queue: VecDeque::new(),
            sent: 0,
            queued: 0,
            attach: None,
            greeted: false,
            closing: false,
            dead: false,
        })
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the container has to wait for this client.
    pub(crate) fn holds_back(&self) -> bool {
        !self.dead && self.queued > HIGH && self.attach.is_some_and(|a| a.back_pressure)
    }

    pub(crate) fn sends_stdin(&self) -> bool {
        self.attach.is_some_and(|a| a.stdin)
    }

    /// Queues a frame and sends what goes at once.
    pub(crate) fn send(&mut self, frame: &Frame) {
        self.send_bytes(&frame.encode().into());
    }

    /// As [`Conn::send`], for a frame that several clients get.
    pub(crate) fn send_bytes(&mut self, frame: &Rc<[u8]>) {
        if self.dead || self.closing {
            return;
        }
        self.queued += frame.len();
        self.queue.push_back(Rc::clone(frame));
        self.flush();
        if self.queued > LAG && !self.attach.is_some_and(|a| a.back_pressure) {
            self.drop_lagging();
        }
    }

    /// Keeps a frame that is half sent, and says goodbye.
    fn drop_lagging(&mut self) {
        let begun = self.queue.pop_front().filter(|_| self.sent > 0);
        self.queue.clear();
        if begun.is_none() {
            self.sent = 0;
        }
        let goodbye = Frame::failure("this client does not read fast enough and has been dropped");
        self.queue.extend(begun);
        self.queue.push_back(goodbye.encode().into());
        self.queued = self.queue.iter().map(|f| f.len()).sum::<usize>() - self.sent;
        self.closing = true;
    }

    /// Sends as much as goes.
    pub(crate) fn flush(&mut self) {
        while let Some(frame) = self.queue.front() {
            match self
                .socket
                .write(frame.get(self.sent..).unwrap_or_default())
            {
                Ok(n) => {
                    self.sent += n;
                    self.queued = self.queued.saturating_sub(n);
                    if self.sent >= frame.len() {
                        self.sent = 0;
                        self.queue.pop_front();
                    }
                }
                Err(e) => match errno(&e) {
                    Errno::AGAIN => return,
                    Errno::INTR => {}
                    _ => {
                        self.dead = true;
                        return;
                    }
                },
            }
        }
        if self.closing {
            self.dead = true;
        }
    }

    /// Reads once and gives the whole frames that have arrived.
    pub(crate) fn receive(&mut self) -> Vec<Frame> {
        let mut buffer = [0u8; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.dead = true,
            Ok(n) => self.decoder.push(buffer.get(..n).unwrap_or_default()),
            Err(e) if matches!(errno(&e), Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.dead = true,
        }
        let mut frames = Vec::new();
        loop {
            match self.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(e) => {
                    self.send(&Frame::failure(e.to_string()));
                    self.closing = true;
                    self.flush();
                    return frames;
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        self.decoder.next_frame()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(attach: Attach) -> (Conn, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut conn = Conn::new(1, ours).unwrap();
        conn.attach = Some(attach);
        (conn, theirs)
    }

    fn everything(mut socket: UnixStream) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).unwrap();
        decoder.push(&bytes);
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
        assert!(decoder.is_empty(), "a frame was torn");
        frames
    }

    #[test]
    fn a_slow_client_is_dropped_at_a_frame_boundary() {
        let (mut conn, theirs) = pair(Attach::default());
        let frame: Rc<[u8]> = Frame::Stdout(vec![b'x'; 60_000]).encode().into();
        for _ in 0..40 {
            conn.send_bytes(&frame);
        }
        assert!(conn.closing && !conn.dead);
        assert!(conn.queued <= 2 * frame.len());
        let reader = std::thread::spawn(move || everything(theirs));
        while !conn.dead {
            conn.flush();
            std::thread::yield_now();
        }
        drop(conn);
        let frames = reader.join().unwrap();
        assert!(
            matches!(frames.last(), Some(Frame::Error(_))),
            "{:?}",
            frames.len()
        );
        assert!(frames.len() < 40);
    }

    #[test]
    fn back_pressure_holds_the_container_back_instead() {
        let (mut conn, theirs) = pair(Attach {
            back_pressure: true,
            ..Attach::default()
        });
        let frame: Rc<[u8]> = Frame::Stdout(vec![b'x'; 60_000]).encode().into();
        let mut count = 0;
        while !conn.holds_back() {
            conn.send_bytes(&frame);
            count += 1;
        }
        assert!(count < 20 && !conn.closing);
        let reader = std::thread::spawn(move || everything(theirs).len());
        while conn.wants_write() {
            conn.flush();
            std::thread::yield_now();
        }
        assert!(!conn.holds_back());
        drop(conn);
        assert_eq!(reader.join().unwrap(), count);
    }
}
