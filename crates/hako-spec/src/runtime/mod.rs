//! The documents of the OCI runtime specification, 1.3: `config.json`, state
//! and features.
//!
//! The sections for Windows, Solaris, z/OS, FreeBSD and virtual machines are
//! passed through in `extra`.

pub mod capability;
mod cgroup;
mod config;
mod features;
mod linux;
mod process;
mod seccomp;
mod state;
pub mod template;
pub mod validate;

pub use cgroup::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, NetworkResources, Pids,
    Rdma, Resources, ThrottleDevice, WeightDevice,
};
pub use config::{Config, Hook, Hooks, IdMapping, Mount, Root};
pub use features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MountExtensions, SeccompFeatures,
};
pub use linux::{
    Device, DeviceKind, IntelRdt, Linux, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode,
    Namespace, NamespaceKind, NetDevice, Personality, PersonalityDomain, TimeOffset,
};
pub use process::{
    Capabilities, ConsoleSize, CpuAffinity, IoClass, IoPriority, Process, Rlimit, Scheduler,
    SchedulerFlag, SchedulerPolicy, User,
};
pub use seccomp::{Arch, Seccomp, SeccompAction, SeccompArg, SeccompFlag, SeccompOp, SyscallRule};
pub use state::{ProcessState, State, Status};

/// The version of the runtime specification that these types follow.
pub const VERSION: &str = "1.3.0";
