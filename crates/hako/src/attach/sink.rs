//! Output on its way to our streams, never waited for.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::error::{CliError, Kind, Result};
use crate::output;

/// What a pipe takes without waiting when poll says that it takes something
/// (pipe(7): `PIPE_BUF`).
const PIPE_PIECE: usize = 4096;

/// What is still to be written, in the order in which it came: both outputs may
/// be one file.
#[derive(Default)]
pub(crate) struct Sink {
    pieces: VecDeque<(BorrowedFd<'static>, Vec<u8>)>,
    /// Bytes of the first piece that are written.
    written: usize,
}

impl Sink {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Where the next bytes go.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'static>> {
        self.pieces.front().map(|(fd, _)| *fd)
    }

    pub(crate) fn push(&mut self, fd: BorrowedFd<'static>, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.pieces.push_back((fd, bytes));
        }
    }

    /// Writes as much as goes without waiting for the reader.
    pub(crate) fn write(&mut self) -> Result<()> {
        let Some((fd, bytes)) = self.pieces.front() else {
            return Ok(());
        };
        let rest = bytes.get(self.written..).unwrap_or_default();
        let regular = fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let most = if regular { usize::MAX } else { PIPE_PIECE };
        match rustix::io::write(fd, rest.get(..most).unwrap_or(rest)) {
            Ok(n) => self.written += n,
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The container runs on; its output goes to the log.
            Err(Errno::PIPE) => {
                return Err(CliError {
                    kind: Kind::BrokenPipe,
                    ..CliError::new("")
                });
            }
            Err(e) => return Err(output::failed(e.into())),
        }
        if self.written >= bytes.len() {
            self.pieces.pop_front();
            self.written = 0;
        }
        Ok(())
    }
}
