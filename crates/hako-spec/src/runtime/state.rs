//! A container's state (runtime.md "State"), given to hooks and callers.

use std::collections::BTreeMap;

object! {
    /// The state of a container.
    pub struct State {
        /// Version of the specification.
        pub oci_version: String = "ociVersion" required,
        /// The container's id.
        pub id: String = "id" required,
        /// Where in its life it is.
        pub status: Status = "status" required,
        /// Its process, as seen by the reader; 0 once there is none.
        pub pid: i32 = "pid",
        /// Absolute path of its bundle.
        pub bundle: String = "bundle" required,
        /// Those of its `config.json`.
        pub annotations: BTreeMap<String, String> = "annotations",
    }

    /// What a seccomp listener's owner gets (config-linux.md "The Container Process State").
    pub struct ProcessState {
        /// Version of the specification.
        pub oci_version: String = "ociVersion" required,
        /// Names of the descriptors sent along, in their order: `seccompFd`.
        pub fds: Vec<String> = "fds",
        /// The process, as seen by the runtime.
        pub pid: i32 = "pid" required,
        /// The profile's `listenerMetadata`.
        pub metadata: Option<String> = "metadata",
        /// The container's state.
        pub state: State = "state" required,
    }
}

names! {
    /// Where in its life a container is.
    pub enum Status("container status") {
        /// Being created.
        Creating = "creating",
        /// Created; the user's program has not started.
        Created = "created",
        /// The user's program runs.
        Running = "running",
        /// The process has exited.
        Stopped = "stopped",
        /// Frozen; not in the specification, but every runtime says it so.
        Paused = "paused",
    }
}
