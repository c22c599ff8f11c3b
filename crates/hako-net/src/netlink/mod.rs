//! A small netlink client: build a batch, send it, read the answers.
//!
//! Why not a crate: hako needs ten kinds of message. `netlink-bindings` 0.3,
//! the best fit on crates.io, is generated from the kernel's YAML files, and
//! those know no `VETH_INFO_PEER`, the one attribute that the whole of
//! [`attach`](crate::Networks::attach) hangs on; it compiles 50,000 lines with two
//! hundred `unsafe` blocks for the four families needed (18 s on one core), and
//! still leaves the socket, the batches and the namespaces to its user. This
//! module is 500 lines of safe code that a reader can hold in the head.

pub(crate) mod build;
pub mod parse;

use crate::error::{Error, Result};
use build::{Batch, flag};
use parse::Message;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, send,
    socket_with,
};
use std::os::fd::OwnedFd;

/// `NLMSG_*` control messages.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The kernel cuts dumps to the reader's buffer, at most 32 KiB
/// (`netlink_dump` in net/netlink/af_netlink.c).
const BUFFER: usize = 32 * 1024;

/// A netlink socket. It belongs to the network namespace in which it was made,
/// whoever uses it from wherever.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket of the route family in the calling thread's namespace.
    pub(crate) fn route() -> Result<Self> {
        Self::open(None)
    }

    /// A socket of the netfilter family in the calling thread's namespace.
    pub(crate) fn netfilter() -> Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(Error::Socket)?;
        Ok(Self {
            fd,
            seq: 1,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends a batch and reads every answer to it. `outcome[n]` is what the
    /// kernel said of message `n`: its errno, or that it was done. `each` sees
    /// the messages that carry data, with the number of their request.
    ///
    /// The kernel works synchronously: all answers but the later parts of a
    /// dump lie in the socket when `send` returns, and reading a part of a dump
    /// makes the next. So an empty socket means that nothing more will come.
    pub(crate) fn call(
        &mut self,
        what: &'static str,
        batch: Batch,
        mut each: impl FnMut(u32, Message<'_>) -> Result<()>,
    ) -> Result<Vec<Option<Errno>>> {
        let count = batch.len();
        let base = self.seq;
        self.seq = self.seq.wrapping_add(count);
        let failed = |source| Error::Netlink { what, source };
        let bytes = batch.numbered(base);
        rustix::io::retry_on_intr(|| send(&self.fd, &bytes, SendFlags::empty())).map_err(failed)?;

        let mut outcome = vec![None; count as usize];
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let (_, length, from) = match recvfrom(&self.fd, self.buffer.as_mut_slice(), flags) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                other => other.map_err(failed)?,
            };
            let kernel = from
                .and_then(|from| SocketAddrNetlink::try_from(from).ok())
                .is_some_and(|from| from.pid() == 0);
            if !kernel {
                continue;
            }
            let datagram = self.buffer.get(..length).ok_or(failed(Errno::MSGSIZE))?;
            for message in parse::messages(datagram) {
                let message = message?;
                let place = message.seq.wrapping_sub(base);
                let Some(slot) = outcome.get_mut(place as usize) else {
                    continue;
                };
                match message.kind {
                    // A dump ends with DONE, which has an errno too.
                    ERROR | DONE => {
                        let errno = parse::errno(message.payload)?;
                        // The first word on a message stands.
                        if errno != 0 && slot.is_none() {
                            *slot = Some(Errno::from_raw_os_error(errno));
                        }
                    }
                    _ => each(place, message)?,
                }
            }
        }
        Ok(outcome)
    }

    /// [`Self::call`] for requests that answer with no data and must all
    /// succeed: the first failure is the error.
    pub(crate) fn run(&mut self, what: &'static str, batch: Batch) -> Result<()> {
        let outcome = self.call(what, batch, |_, _| Ok(()))?;
        if let Some(source) = outcome.into_iter().flatten().next() {
            return Err(Error::Netlink { what, source });
        }
        Ok(())
    }

    /// Asks for all objects of a kind and gives each one's payload to `each`.
    /// A dump that the kernel calls inconsistent (something changed meanwhile)
    /// is still a list of things that were there.
    pub(crate) fn dump(
        &mut self,
        what: &'static str,
        kind: u16,
        header: &[u8],
        mut each: impl FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut batch = Batch::default();
        batch.message(kind, flag::DUMP, header, |_| {});
        let outcome = self.call(what, batch, |_, message| each(message))?;
        match outcome.first().copied().flatten() {
            Some(source) => Err(Error::Netlink { what, source }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_message_that_failed() {
        let mut socket = Socket::route().unwrap();
        let mut batch = Batch::default();
        // RTM_GETLINK by index: 1 is the loopback, the other is none.
        for index in [1i32, i32::MAX] {
            let mut header = [0u8; 16];
            header[4..8].copy_from_slice(&index.to_ne_bytes());
            batch.message(18, flag::ACK, &header, |_| {});
        }
        let mut answered = Vec::new();
        let outcome = socket
            .call("read links", batch, |place, message| {
                answered.push((place, message.kind));
                Ok(())
            })
            .unwrap();
        assert_eq!(outcome, [None, Some(Errno::NODEV)]);
        assert_eq!(answered, [(0, 16)]);
    }
}
