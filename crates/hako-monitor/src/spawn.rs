//! Executing the runtime and the event command: with clean signals, the given
//! streams, and nothing else of the monitor's.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use hako_sys::clone::{Forked, exit_now, fork};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Error, Result};

/// What a program gets as its three streams.
pub(crate) struct Streams<'a> {
    pub(crate) stdin: BorrowedFd<'a>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
}

/// `/dev/null`.
pub(crate) fn null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::path("open", "/dev/null"))
}

/// Executes `argv`, whose first member is an absolute path. Returns once the
/// program is running; its end is told by SIGCHLD.
pub(crate) fn spawn(argv: &[OsString], streams: &Streams<'_>) -> Result<Pid> {
    let program = PathBuf::from(argv.first().cloned().unwrap_or_default());
    let failed = |source| Error::Execute {
        program: program.clone(),
        source,
    };
    let c_string = |s: &OsString| CString::new(s.as_bytes()).map_err(|_| failed(Errno::INVAL));
    let arguments = argv.iter().map(c_string).collect::<Result<Vec<_>>>()?;
    let path = arguments.first().ok_or_else(|| failed(Errno::NOENT))?;
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            CString::new(key.into_vec()).ok()
        })
        .collect();
    // Closed by a successful exec; else it carries the reason.
    let (report, fault) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
    match fork(0, None).map_err(failed)? {
        Forked::Child => {
            let error = child(path, &arguments, &environment, streams);
            let _ = rustix::io::write(&fault, &error.raw_os_error().to_ne_bytes());
            exit_now(127);
        }
        Forked::Parent { pid, .. } => {
            drop(fault);
            let mut number = [0u8; 4];
            loop {
                match rustix::io::read(&report, &mut number) {
                    Err(Errno::INTR) => {}
                    Ok(4) => {
                        let errno = Errno::from_raw_os_error(i32::from_ne_bytes(number));
                        return Err(failed(errno));
                    }
                    _ => return Ok(pid),
                }
            }
        }
    }
}

/// Returns only on failure.
fn child(path: &CString, argv: &[CString], env: &[CString], streams: &Streams<'_>) -> Errno {
    let prepare = || {
        // Each could be one of the three numbers: out of the way first.
        let up = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let (stdin, stdout, stderr) =
            (up(streams.stdin)?, up(streams.stdout)?, up(streams.stderr)?);
        rustix::stdio::dup2_stdin(stdin.as_fd())?;
        rustix::stdio::dup2_stdout(stdout.as_fd())?;
        rustix::stdio::dup2_stderr(stderr.as_fd())?;
        hako_sys::signal::reset()
    };
    match prepare() {
        Ok(()) => hako_sys::exec::path(path, argv, env),
        Err(e) => e,
    }
}
