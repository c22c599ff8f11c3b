//! Linux's part of `config.json` (config-linux.md).

use std::collections::BTreeMap;

use super::{IdMapping, Resources, Seccomp};

object! {
    /// The `linux` object.
    pub struct Linux {
        /// User mappings of a new user namespace.
        pub uid_mappings: Vec<IdMapping> = "uidMappings",
        /// Group mappings of a new user namespace.
        pub gid_mappings: Vec<IdMapping> = "gidMappings",
        /// Kernel parameters, name with dots or slashes to value.
        pub sysctl: BTreeMap<String, String> = "sysctl",
        /// Cgroup limits.
        pub resources: Option<Resources> = "resources",
        /// Where the cgroup is; absolute below the hierarchy's mount, or relative.
        pub cgroups_path: Option<String> = "cgroupsPath",
        /// Namespaces to create or join; others are the runtime's.
        pub namespaces: Vec<Namespace> = "namespaces",
        /// Device nodes beside the default ones.
        pub devices: Vec<Device> = "devices",
        /// Host network devices to move in, by their name on the host.
        pub net_devices: BTreeMap<String, NetDevice> = "netDevices",
        /// System call filter.
        pub seccomp: Option<Seccomp> = "seccomp",
        /// `shared`, `slave`, `private` or `unbindable`, or those with `r` in front.
        pub rootfs_propagation: Option<String> = "rootfsPropagation",
        /// Paths inside that cannot be read.
        pub masked_paths: Vec<String> = "maskedPaths",
        /// Paths inside that cannot be written.
        pub readonly_paths: Vec<String> = "readonlyPaths",
        /// SELinux context of the mounts.
        pub mount_label: Option<String> = "mountLabel",
        /// Cache and memory bandwidth classes.
        pub intel_rdt: Option<IntelRdt> = "intelRdt",
        /// NUMA memory policy.
        pub memory_policy: Option<MemoryPolicy> = "memoryPolicy",
        /// Execution domain.
        pub personality: Option<Personality> = "personality",
        /// Clock offsets of a new time namespace: `monotonic`, `boottime`.
        pub time_offsets: BTreeMap<String, TimeOffset> = "timeOffsets",
    }

    /// A namespace to create, or to join when it has a path.
    pub struct Namespace {
        /// Which.
        pub kind: NamespaceKind = "type" required,
        /// Namespace file to join, absolute in the runtime's mount namespace.
        pub path: Option<String> = "path",
    }

    /// The offset of one clock.
    pub struct TimeOffset {
        /// Seconds.
        pub secs: i64 = "secs",
        /// Nanoseconds, below 10^9.
        pub nanosecs: u32 = "nanosecs",
    }

    /// A device node inside the container.
    pub struct Device {
        /// Where, inside the container.
        pub path: String = "path" required,
        /// Which kind of node.
        pub kind: DeviceKind = "type" required,
        /// Major number; not for a FIFO.
        pub major: Option<i64> = "major",
        /// Minor number; not for a FIFO.
        pub minor: Option<i64> = "minor",
        /// Permission bits (some writers add the file type's).
        pub file_mode: Option<u32> = "fileMode",
        /// Owner inside the container.
        pub uid: Option<u32> = "uid",
        /// Group inside the container.
        pub gid: Option<u32> = "gid",
    }

    /// What becomes of a moved network device.
    pub struct NetDevice {
        /// Name inside; absent means the host's. `%d` asks for a free number.
        pub name: Option<String> = "name",
    }

    /// Execution domain (personality(2)).
    pub struct Personality {
        /// Which.
        pub domain: PersonalityDomain = "domain" required,
        /// None are defined.
        pub flags: Vec<String> = "flags",
    }

    /// Resource director technology: the container's resctrl group.
    pub struct IntelRdt {
        /// Group's name; absent means the container's id, `/` the default group.
        pub clos_id: Option<String> = "closID",
        /// Lines for the group's `schemata`, written last.
        pub schemata: Vec<String> = "schemata",
        /// Line for the L3 cache, written first.
        pub l3_cache_schema: Option<String> = "l3CacheSchema",
        /// Line for the memory bandwidth, written second.
        pub mem_bw_schema: Option<String> = "memBwSchema",
        /// Whether the container gets a monitoring group.
        pub enable_monitoring: bool = "enableMonitoring",
    }

    /// NUMA memory policy (set_mempolicy(2)).
    pub struct MemoryPolicy {
        /// Mode.
        pub mode: Option<MemoryPolicyMode> = "mode",
        /// Nodes, `0-3,7`.
        pub nodes: Option<String> = "nodes",
        /// Mode flags.
        pub flags: Vec<MemoryPolicyFlag> = "flags",
    }
}

names! {
    /// Kinds of namespaces (config-linux.md "Namespaces").
    pub enum NamespaceKind("namespace type") {
        /// Mount table.
        Mount = "mount",
        /// Process ids.
        Pid = "pid",
        /// Network stack.
        Network = "network",
        /// System V IPC and POSIX message queues.
        Ipc = "ipc",
        /// Host and domain name.
        Uts = "uts",
        /// Users, groups and capabilities.
        User = "user",
        /// View of the cgroup hierarchy.
        Cgroup = "cgroup",
        /// Monotonic and boot-time clocks.
        Time = "time",
    }

    /// Kinds of device nodes; `a` stands in cgroup rules alone.
    pub enum DeviceKind("device type") {
        /// All, in cgroup rules.
        All = "a",
        /// Character device.
        Char = "c",
        /// Block device.
        Block = "b",
        /// Unbuffered character device; the same as `c` on Linux.
        Unbuffered = "u",
        /// FIFO.
        Fifo = "p",
    }

    /// Execution domains.
    pub enum PersonalityDomain("personality domain") {
        /// The default.
        Linux = "LINUX",
        /// uname shows a 32-bit processor.
        Linux32 = "LINUX32",
    }

    /// Modes of set_mempolicy(2).
    pub enum MemoryPolicyMode("memory policy mode") {
        /// The system's.
        Default = "MPOL_DEFAULT",
        /// From the nodes alone.
        Bind = "MPOL_BIND",
        /// Round robin over the nodes.
        Interleave = "MPOL_INTERLEAVE",
        /// Round robin by weight.
        WeightedInterleave = "MPOL_WEIGHTED_INTERLEAVE",
        /// From one node, others when it is full.
        Preferred = "MPOL_PREFERRED",
        /// From several nodes, others when they are full.
        PreferredMany = "MPOL_PREFERRED_MANY",
        /// From the node of the processor.
        Local = "MPOL_LOCAL",
    }

    /// Mode flags of set_mempolicy(2).
    pub enum MemoryPolicyFlag("memory policy flag") {
        /// Pages may move between the nodes.
        NumaBalancing = "MPOL_F_NUMA_BALANCING",
        /// Node numbers are relative to the cpuset.
        RelativeNodes = "MPOL_F_RELATIVE_NODES",
        /// Node numbers are not remapped.
        StaticNodes = "MPOL_F_STATIC_NODES",
    }
}

impl Linux {
    /// The entry for a kind of namespace.
    #[must_use]
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.kind == kind)
    }
}
