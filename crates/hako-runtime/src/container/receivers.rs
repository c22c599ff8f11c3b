//! Who is told of a new process by a handle on it: a pidfd, over a socket that
//! the caller listens at. runc's form is the flag `--pidfd-socket`, crun's the
//! annotation `run.oci.pidfd_receiver`.
//!
//! Connections are made when the process exists, so that it inherits none.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use hako_spec::runtime::Config;
use rustix::net::SocketType;

use super::console::connect_to;
use crate::error::{Context, Result};
use crate::sync::send_fd;

const FLAG: &str = "--pidfd-socket";
const ANNOTATION: &str = "run.oci.pidfd_receiver";

/// Sends `pidfd`, a container's first process: with runc's text "standard" to
/// the flag's `socket`, with crun's blank to the annotation's.
pub fn tell_of_container(pidfd: &OwnedFd, socket: Option<&Path>, config: &Config) -> Result<()> {
    if let Some(path) = socket {
        tell(pidfd, FLAG, path, b"standard")?;
    }
    match config.annotations.get(ANNOTATION) {
        Some(path) => tell(pidfd, ANNOTATION, Path::new(path), b" "),
        None => Ok(()),
    }
}

/// Sends `pidfd`, a process of `exec`, with runc's text "setns".
pub fn tell_of_exec(pidfd: &OwnedFd, socket: Option<&Path>) -> Result<()> {
    match socket {
        Some(path) => tell(pidfd, FLAG, path, b"setns"),
        None => Ok(()),
    }
}

fn tell(pidfd: &OwnedFd, who: &str, path: &Path, text: &[u8]) -> Result<()> {
    connect_to(path, SocketType::STREAM)
        .and_then(|socket| send_fd(socket.as_fd(), pidfd.as_fd(), text))
        .context(|| format!("{who} {}", path.display()))
}
