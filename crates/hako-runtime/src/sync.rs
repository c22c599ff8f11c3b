//! The channel between the runtime and the process that becomes the container:
//! a socket pair, or for `start` a connection to the socket on which a created
//! container waits. Messages keep their bounds (`SOCK_SEQPACKET`).

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::error::{Context, Error, Kind, Result};

/// What is said on the channel.
#[derive(Debug)]
pub enum Message {
    /// Runtime to container: go on. After [`Message::Ready`] it also means that
    /// the container's record is written. With the process' number on the
    /// host, where that is asked for, or 0.
    Go(i32),
    /// Container to runtime: I am in a new user namespace, write its mapping.
    Map,
    /// Container to runtime: the mounts are made, run the runtime's hooks.
    Hooks,
    /// Container to runtime: map the ids of this tree, the source of the mount
    /// with this place in the configuration.
    Source(usize, OwnedFd),
    /// First to second stage: the container's process has this pid.
    Pid(i32),
    /// Container to runtime: everything is set up.
    Ready,
    /// Container to runtime: it failed.
    Failed(Error),
    /// The stub to the runtime: the program could not be executed.
    NotExecuted(Errno),
    /// The other side is gone, or has become the program.
    Closed,
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// What was said before it was its turn.
    early: RefCell<Option<Message>>,
}

/// Longest message; texts of errors are cut to it.
const MAX: usize = 16 << 10;

impl Channel {
    /// Both ends, close-on-exec.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context(|| "make a socket pair")?;
        Ok((Channel::new(a), Channel::new(b)))
    }

    /// Takes a connected socket.
    pub fn new(socket: OwnedFd) -> Self {
        Channel {
            socket,
            early: RefCell::new(None),
        }
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Makes this channel, with its descriptor's number, another connection.
    pub fn replace(&mut self, by: &OwnedFd) -> Result<()> {
        Ok(rustix::io::dup3(
            by,
            &mut self.socket,
            rustix::io::DupFlags::CLOEXEC,
        )?)
    }

    /// Sends one message.
    pub fn send(&self, message: &Message) -> Result<()> {
        let mut bytes = match message {
            Message::Go(pid) => format!("G{pid}").into_bytes(),
            Message::Map => vec![b'M'],
            Message::Hooks => vec![b'H'],
            Message::Ready => vec![b'R'],
            Message::Pid(pid) => format!("P{pid}").into_bytes(),
            Message::Failed(error) => {
                let mut bytes = vec![b'E'];
                bytes.extend(error.encode());
                bytes
            }
            Message::Source(..) | Message::NotExecuted(_) | Message::Closed => return Ok(()),
        };
        bytes.truncate(MAX);
        // write(2), which nearly every seccomp filter allows; SIGPIPE is
        // ignored (by Rust's start-up) for as long as a lost listener matters.
        rustix::io::write(&self.socket, &bytes)
            .map(|_| ())
            .context(|| "tell the other side")
    }

    /// Waits for the next message of a first stage, whose pidfd is `stage`. The
    /// process that it makes may be quicker than its stage's word of it: what
    /// that says is kept for [`receive`](Self::receive), but for a failure. A
    /// stage that ends without that word has closed the channel.
    pub fn receive_from_stage(&self, stage: &OwnedFd) -> Result<Message> {
        loop {
            match self.hear()? {
                early @ (Message::Source(..) | Message::Hooks | Message::Ready) => {
                    self.early.replace(Some(early));
                }
                message => return Ok(message),
            }
            let mut ready = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(stage, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut ready, None))
                .context(|| "wait for the stage")?;
            if ready[0].revents().is_empty() {
                return Ok(Message::Closed);
            }
        }
    }

    /// Waits for the next message.
    pub fn receive(&self) -> Result<Message> {
        match self.early.take() {
            Some(message) => Ok(message),
            None => self.hear(),
        }
    }

    fn hear(&self) -> Result<Message> {
        let mut buffer = [0u8; MAX];
        let (len, passed) =
            receive_fd(&self.socket, &mut buffer).context(|| "hear from the other side")?;
        let bytes = buffer.get(..len).unwrap_or_default();
        Ok(match (bytes, passed) {
            ([b'S', at @ ..], Some(tree)) => Message::Source(number(at)?, tree),
            ([], _) => Message::Closed,
            ([b'M'], _) => Message::Map,
            ([b'H'], _) => Message::Hooks,
            ([b'R'], _) => Message::Ready,
            ([b'P', pid @ ..], _) => Message::Pid(number(pid)?),
            ([b'G', pid @ ..], _) => Message::Go(number(pid)?),
            // The stub's error number: an int, its upper bytes always zero.
            ([a, b, 0, 0], _) => {
                Message::NotExecuted(Errno::from_raw_os_error(i32::from_ne_bytes([*a, *b, 0, 0])))
            }
            ([b'E', rest @ ..], _) => Message::Failed(Error::decode(rest)),
            _ => return Err(Error::new("the container's process sent nonsense")),
        })
    }

    /// Lets the runtime map the ids of `tree`, the source of the mount with the
    /// place `at` in the configuration.
    pub fn map_source(&self, at: usize, tree: &OwnedFd) -> Result<()> {
        send_fd(self.fd(), tree.as_fd(), format!("S{at}").as_bytes())?;
        self.wait_go().map(drop)
    }

    /// Waits for [`Message::Go`] and gives its number.
    pub fn wait_go(&self) -> Result<i32> {
        match self.receive()? {
            Message::Go(pid) => Ok(pid),
            Message::Closed => Err(Error::new("the runtime is gone")),
            other => Err(Error::new(format!("unexpected message {other:?}"))),
        }
    }

    /// Waits until the container's process has become its program: the channel
    /// closes. `program` is what was to be executed.
    pub fn wait_executed(&self, program: &str) -> Result<()> {
        match self.receive()? {
            Message::Closed => Ok(()),
            Message::Failed(error) => Err(error),
            Message::NotExecuted(errno) => Err(not_executed(program, errno)),
            other => Err(Error::new(format!("unexpected message {other:?}"))),
        }
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Result<N> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|t| t.parse().ok())
        .ok_or_else(|| Error::new("the container's process sent nonsense"))
}

/// Sends one descriptor with `text` over a connected socket.
pub fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>, text: &[u8]) -> Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        socket,
        &[IoSlice::new(text)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives up to `buffer.len()` bytes and the descriptor that came with them.
/// A connection that was reset has ended: no bytes.
pub fn receive_fd(
    socket: &OwnedFd,
    buffer: &mut [u8],
) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let len = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got.bytes,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => break 0,
            Err(e) => return Err(e),
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((len, fd))
}

/// The error of a program that was found but could not be executed.
pub fn not_executed(program: &str, errno: Errno) -> Error {
    let kind = Kind::Refused(if errno == Errno::NOENT { 127 } else { 126 });
    let program = program.escape_debug();
    Error::of(kind, format!("exec {program}: {}", Error::from(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_quicker_than_its_stage() {
        let me = rustix::process::getpid();
        let living = rustix::process::pidfd_open(me, rustix::process::PidfdFlags::empty()).unwrap();
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Ready).unwrap();
        a.send(&Message::Pid(7)).unwrap();
        assert!(matches!(
            b.receive_from_stage(&living).unwrap(),
            Message::Pid(7)
        ));
        assert!(matches!(b.receive().unwrap(), Message::Ready));
        // A stage that is gone says nothing any more.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let dead = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        a.send(&Message::Hooks).unwrap();
        assert!(matches!(
            b.receive_from_stage(&dead).unwrap(),
            Message::Closed
        ));
    }

    #[test]
    fn messages_arrive_as_sent() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Message::Pid(-7)).unwrap();
        assert!(matches!(b.receive().unwrap(), Message::Pid(-7)));
        a.send(&Message::Failed(Error::of(Kind::NotFound, "x")))
            .unwrap();
        match b.receive().unwrap() {
            Message::Failed(e) => assert_eq!((e.kind, e.to_string()), (Kind::NotFound, "x".into())),
            other => panic!("{other:?}"),
        }
        rustix::io::write(a.fd(), &2i32.to_ne_bytes()).unwrap();
        assert!(matches!(
            b.receive().unwrap(),
            Message::NotExecuted(Errno::NOENT)
        ));
        drop(a);
        assert!(matches!(b.receive().unwrap(), Message::Closed));
    }
}
