//! What can go wrong with a cgroup, and on which file or field.

use rustix::io::Errno;

/// An error of this crate. The text names the file or the field of the
/// configuration; the kernel's answer is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing of type cgroup or cgroup2 is mounted.
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
    /// A file or directory could not be opened.
    #[error("cannot open {path}")]
    Open {
        /// What was to be opened.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// What was to be read.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A value was refused.
    #[error("cannot write {value:?} to {path}")]
    Write {
        /// The file.
        path: String,
        /// The value.
        value: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A directory could not be made.
    #[error("cannot create cgroup {path}")]
    Create {
        /// The directory.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A directory could not be removed.
    #[error("cannot remove cgroup {path}")]
    Remove {
        /// The directory.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Several hierarchies failed in a clean-up that went on regardless.
    #[error("{} cgroups could not be removed, first {first}", .others + 1)]
    Several {
        /// The first failure, as text.
        first: String,
        /// How many came after it.
        others: usize,
    },
    /// A directory that should be a cgroup lies on another file system.
    #[error("{path} is not on a cgroup file system")]
    NotCgroup {
        /// The directory.
        path: String,
    },
    /// A file of the kernel had contents that make no sense.
    #[error("{path} has unexpected contents: {text:?}")]
    Malformed {
        /// The file.
        path: String,
        /// What it said (shortened).
        text: String,
    },
    /// `cgroupsPath` is not usable (runtime-spec, config-linux.md, Cgroups Path).
    #[error("cgroups path {path:?} {reason}")]
    Path {
        /// The value.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A limit was asked for whose controller the host does not have.
    #[error(
        "invalid configuration: {field} cannot be set: this container's cgroup has no {controller} \
         controller"
    )]
    Unavailable {
        /// The field of the configuration, as `memory.limit`.
        field: String,
        /// The controller that provides it.
        controller: String,
    },
    /// Controllers were named of which the cgroup has none.
    #[error("unknown controller {controllers:?}: this container's cgroup has none of that name")]
    UnknownController {
        /// The names, with commas between them.
        controllers: String,
    },
    /// A field has a value that cannot be right, or that this kind of
    /// hierarchy cannot express.
    #[error("{field} {reason}")]
    Invalid {
        /// The field of the configuration.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused the value of a field.
    #[error("cannot set {field}")]
    Set {
        /// The field of the configuration.
        field: String,
        /// What was tried.
        source: Box<Error>,
    },
    /// A controller cannot be handed down because processes live in the parent
    /// (cgroups(7), "no internal processes" rule of version 2).
    #[error(
        "cannot enable controllers below {path}: it has processes of its own, and cgroup v2 lets \
         only cgroups without processes hand controllers down"
    )]
    InternalProcesses {
        /// The parent.
        path: String,
    },
    /// The cgroup is threaded (or below one) and a domain controller is needed.
    #[error("{path} is in {mode:?} mode, in which memory and io cannot be limited")]
    Threaded {
        /// The cgroup.
        path: String,
        /// What `cgroup.type` says.
        mode: String,
    },
    /// The device filter could not be loaded or attached.
    #[error("cannot {action} the device filter of {path}")]
    DeviceFilter {
        /// `load`, `attach`, `list` or `detach`.
        action: &'static str,
        /// The cgroup.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Something that should settle did not.
    #[error("{path} did not become {state} within {seconds} s")]
    Timeout {
        /// The cgroup.
        path: String,
        /// The state that was waited for.
        state: &'static str,
        /// How long.
        seconds: u64,
    },
    /// Systemd is not there, or does not answer.
    #[error("cannot reach systemd: tried {tried}")]
    NoSystemd {
        /// Every socket, with what went wrong there.
        tried: String,
    },
    /// Systemd did not do what it was asked for.
    #[error("cannot {action} by systemd")]
    Systemd {
        /// What, and to which unit.
        action: String,
        /// Its answer.
        source: crate::systemd::BusError,
    },
    /// Systemd has put the process somewhere else.
    #[error("systemd has put the process into {found}, not into {expected}")]
    Elsewhere {
        /// Where it should be.
        expected: String,
        /// Where it is.
        found: String,
    },
    /// A process could not be signalled.
    #[error("cannot signal process {pid}")]
    Signal {
        /// The process.
        pid: i32,
        /// The kernel's answer.
        source: Errno,
    },
    /// A notification could not be set up.
    #[error("cannot watch {path} for out-of-memory events")]
    Watch {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The kernel's error number at the end of the chain, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Create { source, .. }
            | Self::Remove { source, .. }
            | Self::DeviceFilter { source, .. }
            | Self::Signal { source, .. }
            | Self::Watch { source, .. } => Some(*source),
            Self::Set { source, .. } => source.errno(),
            _ => None,
        }
    }

    /// Whether the caller lacks the right (`EACCES`, `EPERM`, or a read-only
    /// mount), which a rootless caller may choose to live with.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)
        )
    }

    /// Whether the cgroup or file is not there (any more): `ENOENT`, or
    /// `ENODEV` from a file of a removed cgroup.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV))
    }

    pub(crate) fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Puts the name of a configuration field in front of an error.
pub(crate) trait Field<T> {
    fn field(self, name: &str) -> Result<T>;
}

impl<T> Field<T> for Result<T> {
    fn field(self, name: &str) -> Result<T> {
        self.map_err(|source| Error::Set {
            field: name.to_owned(),
            source: Box::new(source),
        })
    }
}
