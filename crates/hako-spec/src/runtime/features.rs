//! What a runtime can do (features.md, features-linux.md), as `features` prints it.
//!
//! Names are strings, not the enumerations of the configuration: a runtime
//! may know names that this crate does not. An absent value means unknown.

use std::collections::BTreeMap;

object! {
    /// The features document.
    pub struct Features {
        /// Oldest accepted version of the specification.
        pub oci_version_min: String = "ociVersionMin" required,
        /// Newest accepted version of the specification.
        pub oci_version_max: String = "ociVersionMax" required,
        /// Hooks, `createRuntime`, …
        pub hooks: Option<Vec<String>> = "hooks",
        /// Mount options, `ro`, …
        pub mount_options: Option<Vec<String>> = "mountOptions",
        /// Linux's part.
        pub linux: Option<LinuxFeatures> = "linux",
        /// Anything, by reverse-domain key.
        pub annotations: BTreeMap<String, String> = "annotations",
        /// Annotations of `config.json` that change behaviour; a final dot makes a prefix.
        pub potentially_unsafe_config_annotations: Vec<String> = "potentiallyUnsafeConfigAnnotations",
    }

    /// Linux's part.
    pub struct LinuxFeatures {
        /// Namespaces, `mount`, …
        pub namespaces: Option<Vec<String>> = "namespaces",
        /// Capabilities, `CAP_CHOWN`, …
        pub capabilities: Option<Vec<String>> = "capabilities",
        /// Cgroup managers.
        pub cgroup: Option<CgroupFeatures> = "cgroup",
        /// Seccomp.
        pub seccomp: Option<SeccompFeatures> = "seccomp",
        /// AppArmor.
        pub apparmor: Option<Enabled> = "apparmor",
        /// SELinux.
        pub selinux: Option<Enabled> = "selinux",
        /// Resource director technology.
        pub intel_rdt: Option<IntelRdtFeatures> = "intelRdt",
        /// NUMA memory policies.
        pub memory_policy: Option<MemoryPolicyFeatures> = "memoryPolicy",
        /// Mounts beyond mount(2).
        pub mount_extensions: Option<MountExtensions> = "mountExtensions",
        /// Moving network devices.
        pub net_devices: Option<Enabled> = "netDevices",
    }

    /// Whether a feature is compiled in, whatever the host has.
    pub struct Enabled {
        /// Whether it is.
        pub enabled: Option<bool> = "enabled",
    }

    /// Cgroup managers that are compiled in, whatever the host uses.
    pub struct CgroupFeatures {
        /// Version 1.
        pub v1: Option<bool> = "v1",
        /// Version 2.
        pub v2: Option<bool> = "v2",
        /// Through systemd.
        pub systemd: Option<bool> = "systemd",
        /// Through a user's systemd.
        pub systemd_user: Option<bool> = "systemdUser",
        /// The rdma controller.
        pub rdma: Option<bool> = "rdma",
    }

    /// Seccomp.
    pub struct SeccompFeatures {
        /// Whether it is compiled in.
        pub enabled: Option<bool> = "enabled",
        /// Actions, `SCMP_ACT_NOTIFY`, …
        pub actions: Option<Vec<String>> = "actions",
        /// Operators, `SCMP_CMP_NE`, …
        pub operators: Option<Vec<String>> = "operators",
        /// Architectures, `SCMP_ARCH_X86_64`, …
        pub archs: Option<Vec<String>> = "archs",
        /// Flags that are known.
        pub known_flags: Option<Vec<String>> = "knownFlags",
        /// Flags that work here.
        pub supported_flags: Option<Vec<String>> = "supportedFlags",
    }

    /// Resource director technology.
    pub struct IntelRdtFeatures {
        /// Whether it is compiled in.
        pub enabled: Option<bool> = "enabled",
        /// Whether `schemata` is.
        pub schemata: Option<bool> = "schemata",
        /// Whether `enableMonitoring` is.
        pub monitoring: Option<bool> = "monitoring",
    }

    /// NUMA memory policies.
    pub struct MemoryPolicyFeatures {
        /// Modes, `MPOL_INTERLEAVE`, …
        pub modes: Option<Vec<String>> = "modes",
        /// Flags, `MPOL_F_STATIC_NODES`, …
        pub flags: Option<Vec<String>> = "flags",
    }

    /// Mounts beyond mount(2).
    pub struct MountExtensions {
        /// Idmapped mounts.
        pub idmap: Option<Enabled> = "idmap",
    }
}
