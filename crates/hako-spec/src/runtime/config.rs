//! `config.json` (config.md): what is the same on all POSIX systems.

use std::collections::BTreeMap;

use super::{Linux, Process};
use crate::{Error, object};

object! {
    /// A bundle's `config.json`.
    pub struct Config {
        /// Version of the specification (config.md "Specification version").
        pub oci_version: String = "ociVersion" required,
        /// The container's process; needed to start, not to create.
        pub process: Option<Process> = "process",
        /// The root file system; needed on Linux.
        pub root: Option<Root> = "root",
        /// Host name inside the UTS namespace.
        pub hostname: Option<String> = "hostname",
        /// NIS domain name inside the UTS namespace.
        pub domainname: Option<String> = "domainname",
        /// Mounts, in this order.
        pub mounts: Vec<Mount> = "mounts",
        /// Programs to run at points of the container's life.
        pub hooks: Option<Hooks> = "hooks",
        /// Anything, by reverse-domain key.
        pub annotations: BTreeMap<String, String> = "annotations",
        /// Linux's part.
        pub linux: Option<Linux> = "linux",
    }

    /// The root file system (config.md "Root").
    pub struct Root {
        /// Absolute, or relative to the bundle.
        pub path: String = "path" required,
        /// Whether it is read-only inside.
        pub readonly: bool = "readonly",
    }

    /// A mount (config.md "Mounts").
    pub struct Mount {
        /// Where, inside the container; relative ones are below `/`.
        pub destination: String = "destination" required,
        /// File-system type; ignored for bind mounts.
        pub kind: Option<String> = "type",
        /// Device, file, directory or a dummy.
        pub source: Option<String> = "source",
        /// Options as mount(8) spells them; unknown ones are the file system's.
        pub options: Vec<String> = "options",
        /// Mapping of owners of an idmapped mount.
        pub uid_mappings: Vec<IdMapping> = "uidMappings",
        /// Mapping of groups of an idmapped mount.
        pub gid_mappings: Vec<IdMapping> = "gidMappings",
    }

    /// A range of ids (config-linux.md "User namespace mappings").
    pub struct IdMapping {
        /// First id inside the container.
        pub container_id: u32 = "containerID" required,
        /// First id outside.
        pub host_id: u32 = "hostID" required,
        /// Number of ids.
        pub size: u32 = "size" required,
    }

    /// Hooks in the order in which they are called (config.md "POSIX-platform Hooks").
    pub struct Hooks {
        /// After the namespaces exist, in the runtime's; deprecated, still called.
        pub prestart: Vec<Hook> = "prestart",
        /// As `prestart`, after it.
        pub create_runtime: Vec<Hook> = "createRuntime",
        /// In the container's namespaces, before pivot_root.
        pub create_container: Vec<Hook> = "createContainer",
        /// In the container, before the user's program.
        pub start_container: Vec<Hook> = "startContainer",
        /// After the user's program started, in the runtime's namespaces.
        pub poststart: Vec<Hook> = "poststart",
        /// After the container was deleted, in the runtime's namespaces.
        pub poststop: Vec<Hook> = "poststop",
    }

    /// A program to run; it gets the container's state on its stdin.
    pub struct Hook {
        /// Absolute path.
        pub path: String = "path" required,
        /// Arguments with the program's name first; empty means the path alone.
        pub args: Vec<String> = "args",
        /// Environment, `NAME=value`.
        pub env: Vec<String> = "env",
        /// Seconds after which it is ended and counts as failed.
        pub timeout: Option<i64> = "timeout",
    }
}

impl Config {
    /// Longest `config.json` in bytes that is read.
    pub const MAX_LEN: usize = 16 << 20;

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Json`] naming the path of the field.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let what = "runtime configuration";
        if bytes.len() > Self::MAX_LEN {
            return Err(Error::TooLarge {
                what,
                size: bytes.len(),
                limit: Self::MAX_LEN,
            });
        }
        object::from_slice(bytes, what)
    }
}
