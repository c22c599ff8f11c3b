//! A socket that a runtime sends descriptors to.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::trial::Trial;
use crate::check::{Stop, fails};

/// A listening stream socket beside the bundle.
#[derive(Debug)]
pub(crate) struct Receiver {
    listener: UnixListener,
    pub(crate) path: PathBuf,
    patience: Duration,
}

/// What came by one call of sendmsg(2).
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Receiver {
    /// Listens.
    pub(crate) fn new(trial: &Trial<'_>) -> Result<Receiver, Stop> {
        let path = trial.beside("socket");
        let failed = Stop::broken("cannot listen");
        let listener = UnixListener::bind(&path).map_err(&failed)?;
        listener.set_nonblocking(true).map_err(&failed)?;
        Ok(Receiver {
            listener,
            path,
            patience: trial.bench.options.patience,
        })
    }

    fn accept(&self) -> Result<Option<UnixStream>, Stop> {
        let call = match self.listener.accept() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            other => other.map_err(Stop::broken("cannot accept"))?.0,
        };
        let failed = Stop::broken("cannot receive");
        call.set_nonblocking(false).map_err(&failed)?;
        call.set_read_timeout(Some(self.patience))
            .map_err(&failed)?;
        Ok(Some(call))
    }

    /// Everything that came over the next connection until it was closed; none
    /// when nobody has connected.
    pub(crate) fn next(&self) -> Result<Option<Vec<Message>>, Stop> {
        let Some(call) = self.accept()? else {
            return Ok(None);
        };
        let mut messages = Vec::new();
        while let Some(message) = receive(&call)? {
            messages.push(message);
        }
        Ok(Some(messages))
    }

    /// The first message of the next connection, which has to come.
    pub(crate) fn first(&self, trial: &Trial<'_>) -> Result<Option<Message>, Stop> {
        let mut call = None;
        trial.until("the runtime connects to the socket", || {
            call = self.accept()?;
            Ok(call.is_some())
        })?;
        call.map_or(Ok(None), |call| receive(&call))
    }

    /// The next connection, which has to come.
    pub(crate) fn wait(&self, trial: &Trial<'_>) -> Result<Vec<Message>, Stop> {
        let mut found = None;
        trial.until("the runtime connects to the socket", || {
            found = self.next()?;
            Ok(found.is_some())
        })?;
        Ok(found.unwrap_or_default())
    }
}

fn receive(call: &UnixStream) -> Result<Option<Message>, Stop> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 1 << 16];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got = match recvmsg(call, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
        Ok(got) => got.bytes,
        Err(rustix::io::Errno::AGAIN) => return fails("the connection is not closed"),
        Err(error) => return Err(Stop::Broken(format!("cannot receive: {error}"))),
    };
    bytes.truncate(got);
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    Ok((got > 0 || !fds.is_empty()).then_some(Message { bytes, fds }))
}
