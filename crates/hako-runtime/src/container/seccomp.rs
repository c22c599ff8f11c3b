//! The seccomp filter of the process (config-linux.md, "Seccomp").

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hako_seccomp::Program;
use hako_spec::runtime::{Arch, ProcessState, Seccomp, State};
use hako_sys::seccomp::{Filter, NEW_LISTENER, install};
use rustix::net::SocketType;

use super::console::{connect_to, send_fd};
use crate::error::{Context, Error, Result};

/// A compiled filter, ready to be loaded.
#[derive(Debug)]
pub struct Prepared {
    program: Program,
    listener: Option<OwnedFd>,
    state: Vec<u8>,
}

/// Compiles `profile`; connects to its listener while the host is in sight.
pub fn prepare(profile: &Seccomp, state: &State) -> Result<Prepared> {
    let native = Arch::native()
        .ok_or_else(|| Error::new("seccomp is not supported on this architecture"))?;
    let program = hako_seccomp::compile(profile, native).context(|| "linux.seccomp")?;
    let mut listener = None;
    let mut description = Vec::new();
    if program.has_notify {
        let path = profile
            .listener_path
            .as_deref()
            .ok_or_else(|| Error::new("linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath"))?;
        let socket = connect_to(Path::new(path), SocketType::STREAM);
        listener = Some(socket.context(|| format!("seccomp listener {path}"))?);
        description = serde_json::to_vec(&ProcessState {
            oci_version: state.oci_version.clone(),
            fds: vec!["seccompFd".to_owned()],
            pid: state.pid,
            metadata: profile.listener_metadata.clone(),
            state: state.clone(),
            ..ProcessState::default()
        })?;
    }
    Ok(Prepared {
        program,
        listener,
        state: description,
    })
}

impl Prepared {
    /// Loads the filter into this process. From here on only the calls that it
    /// allows succeed.
    pub fn load(&self) -> Result<()> {
        let filters: Vec<Filter> = self
            .program
            .instructions
            .iter()
            .map(|i| Filter {
                code: i.code,
                jt: i.jt,
                jf: i.jf,
                k: i.k,
            })
            .collect();
        let mut flags = u64::from(self.program.flags);
        if self.listener.is_some() {
            flags |= NEW_LISTENER;
        }
        let notify = install(&filters, flags).context(|| "load the seccomp filter")?;
        if let (Some(socket), Some(fd)) = (&self.listener, notify) {
            send_fd(socket.as_fd(), fd.as_fd(), &self.state)
                .context(|| "send the seccomp descriptor to its listener")?;
        }
        Ok(())
    }

    /// Whether the filter lets the stub mark its error descriptor.
    pub fn allows_report(&self) -> bool {
        self.program.allows(FCNTL, [0, 2, 1, 0, 0, 0])
    }
}

#[cfg(target_arch = "x86_64")]
const FCNTL: u32 = 72;
#[cfg(target_arch = "aarch64")]
const FCNTL: u32 = 25;
