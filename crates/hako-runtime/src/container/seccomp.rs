//! The seccomp filter of the process (config-linux.md, "Seccomp").

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hako_seccomp::flags::{TSYNC, WAIT_KILLABLE_RECV};
use hako_seccomp::{Instruction, Program};
use hako_spec::runtime::{Arch, ProcessState, Seccomp, State};
use hako_sys::seccomp::{Filter, install};
use rustix::net::SocketType;

use super::console::connect_to;
use crate::error::{Context, Error, Result};
use crate::log;
use crate::sync::send_fd;

/// A compiled filter, ready to be loaded.
#[derive(Debug)]
pub struct Prepared {
    program: Program,
    listener: Option<OwnedFd>,
    metadata: Option<String>,
}

impl Prepared {
    /// Compiles `profile`; connects to its listener, or to `receiver` where it
    /// names none, while the host is in sight.
    pub fn compile(profile: &Seccomp, receiver: Option<&str>) -> Result<Self> {
        let native = Arch::native()
            .ok_or_else(|| Error::new("seccomp is not supported on this architecture"))?;
        let program = hako_seccomp::compile(profile, native).context(|| "linux.seccomp")?;
        let mut prepared = Self::of(program);
        if prepared.program.has_notify {
            if !prepared.program.allows(SENDMSG, [0; 6]) {
                return Err(Error::new(
                    "linux.seccomp: a profile with SCMP_ACT_NOTIFY must allow sendmsg, by which its listener gets the descriptor",
                ));
            }
            let path = profile
                .listener_path
                .as_deref()
                .or(receiver)
                .ok_or_else(|| Error::new("linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath"))?;
            let socket = connect_to(Path::new(path), SocketType::STREAM);
            let socket =
                socket.context(|| format!("failed to connect with seccomp agent {path}"))?;
            prepared.listener = Some(socket);
            prepared.metadata.clone_from(&profile.listener_metadata);
        }
        Ok(prepared)
    }

    /// A program that needs no listener.
    pub fn of(program: Program) -> Self {
        if !program.unknown.is_empty() {
            log::debug(&format!(
                "linux.seccomp: unknown system calls are left out: {}",
                program.unknown.join(", ")
            ));
        }
        Prepared {
            program,
            listener: None,
            metadata: None,
        }
    }

    /// The flags of seccomp(2). There are no other threads to load it into.
    pub fn flags(&self) -> u64 {
        u64::from(self.program.flags & !TSYNC)
    }

    /// What is loaded.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Loads the filter into process `pid`, which is this one. From here on only
    /// the calls that it allows succeed. `state` is the container's, for the
    /// listener.
    pub fn load(&self, state: &State, pid: i32) -> Result<()> {
        let description = match &self.listener {
            Some(_) => serde_json::to_vec(&ProcessState {
                oci_version: state.oci_version.clone(),
                fds: vec!["seccompFd".to_owned()],
                pid,
                metadata: self.metadata.clone(),
                state: state.clone(),
                ..ProcessState::default()
            })?,
            None => Vec::new(),
        };
        let notify =
            install(&self.filters(), self.flags()).context(|| "load the seccomp filter")?;
        if let (Some(socket), Some(fd)) = (&self.listener, notify) {
            send_fd(socket.as_fd(), fd.as_fd(), &description)
                .context(|| "send the seccomp descriptor to its listener")?;
        }
        Ok(())
    }

    /// Loads the filter into this process, which the listener is not told of:
    /// calls that it would be asked about fail with ENOSYS.
    pub fn load_unheard(&self) -> Result<()> {
        let flags = u64::from(self.program.flags) & !u64::from(WAIT_KILLABLE_RECV);
        install(&self.filters(), flags).context(|| "load the seccomp filter")?;
        Ok(())
    }

    fn filters(&self) -> Vec<Filter> {
        let copy = |i: &Instruction| Filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        };
        self.program.instructions.iter().map(copy).collect()
    }

    /// The way to the listener.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Whether the filter lets the stub be executed by its descriptor.
    pub fn allows_execveat(&self) -> bool {
        self.program.allows(EXECVEAT, [0; 6])
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

#[cfg(target_arch = "x86_64")]
const SENDMSG: u32 = 46;
#[cfg(target_arch = "aarch64")]
const SENDMSG: u32 = 211;

#[cfg(target_arch = "x86_64")]
const EXECVEAT: u32 = 322;
#[cfg(target_arch = "aarch64")]
const EXECVEAT: u32 = 281;
