//! Unix sockets in the run directory: the monitor's own, and the one on which
//! a runtime hands over a terminal.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::error::{Error, Result, errno};
use crate::record::Dir;

/// A listening socket and the file that stands for it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: UnixListener,
    name: &'static str,
    /// Device and inode, to remove no successor's socket.
    file: (u64, u64),
}

impl Listener {
    /// Listens on `name` in `dir`, in the place of what a predecessor left.
    pub(crate) fn bind(dir: &Dir, name: &'static str) -> Result<Self> {
        let failed = |e: Errno| Error::path("listen on", dir.path.join(name))(e);
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
        }
        let socket = UnixListener::bind(dir.short(name)).map_err(|e| failed(errno(&e)))?;
        socket
            .set_nonblocking(true)
            .map_err(|e| failed(errno(&e)))?;
        let file = identity(dir, name).map_err(failed)?;
        Ok(Self { socket, name, file })
    }

    /// The next connection, if one waits.
    pub(crate) fn accept(&self) -> Option<UnixStream> {
        self.socket.accept().ok().map(|(stream, _)| stream)
    }

    /// Removes the file, unless it is another's by now.
    pub(crate) fn remove(&self, dir: &Dir) {
        if identity(dir, self.name) == Ok(self.file) {
            let _ = rustix::fs::unlinkat(dir, self.name, AtFlags::empty());
        }
    }
}

fn identity(dir: &Dir, name: &str) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Receives the terminal's master from a runtime that has connected
/// (SCM_RIGHTS, unix(7)). Waits for it at most a few seconds.
pub(crate) fn receive_master(stream: &UnixStream) -> Result<OwnedFd> {
    let failed = || Error::system("receive the terminal");
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .map_err(|e| failed()(errno(&e)))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 4096];
    let message = recvmsg(
        stream.as_fd(),
        &mut [rustix::io::IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    message.map_err(failed())?;
    control
        .drain()
        .filter_map(|m| match m {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .next()
        .ok_or_else(|| Error::Protocol("the runtime sent no terminal".to_owned()))
}
