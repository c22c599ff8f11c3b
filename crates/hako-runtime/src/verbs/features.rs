//! `features`: what this runtime can do (features.md, features-linux.md).

use hako_spec::runtime::{
    Arch, CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures,
    MemoryPolicyFlag, MemoryPolicyMode, MountExtensions, SeccompAction, SeccompFeatures,
    SeccompFlag, SeccompOp, VERSION,
};

use super::print;
use crate::container::identity::NAMES;
use crate::error::Result;
use crate::rootfs::options::KNOWN;

pub(super) fn run() -> Result<u8> {
    print(&format!("{:#}\n", serde_json::to_value(features())?))?;
    Ok(0)
}

fn strings<T: ToString>(list: &[T]) -> Option<Vec<String>> {
    Some(list.iter().map(T::to_string).collect())
}

fn features() -> Features {
    let enabled = |on| {
        Some(Enabled {
            enabled: Some(on),
            ..Enabled::default()
        })
    };
    let hooks = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    let namespaces = [
        "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
    ];
    Features {
        oci_version_min: "1.0.0".to_owned(),
        oci_version_max: VERSION.to_owned(),
        hooks: strings(&hooks),
        mount_options: strings(KNOWN),
        linux: Some(LinuxFeatures {
            namespaces: strings(&namespaces),
            capabilities: strings(NAMES),
            cgroup: Some(CgroupFeatures {
                v1: Some(true),
                v2: Some(true),
                systemd: Some(true),
                systemd_user: Some(true),
                rdma: Some(true),
                ..CgroupFeatures::default()
            }),
            seccomp: Some(seccomp()),
            apparmor: enabled(true),
            selinux: enabled(true),
            intel_rdt: Some(IntelRdtFeatures {
                enabled: Some(true),
                schemata: Some(true),
                monitoring: Some(true),
                ..IntelRdtFeatures::default()
            }),
            mount_extensions: Some(MountExtensions {
                idmap: enabled(true),
                ..MountExtensions::default()
            }),
            memory_policy: Some(memory_policy()),
            net_devices: enabled(true),
            ..LinuxFeatures::default()
        }),
        ..Features::default()
    }
}

fn memory_policy() -> MemoryPolicyFeatures {
    MemoryPolicyFeatures {
        modes: strings(&[
            MemoryPolicyMode::Bind,
            MemoryPolicyMode::Default,
            MemoryPolicyMode::Interleave,
            MemoryPolicyMode::Local,
            MemoryPolicyMode::Preferred,
            MemoryPolicyMode::PreferredMany,
            MemoryPolicyMode::WeightedInterleave,
        ]),
        flags: strings(&[
            MemoryPolicyFlag::NumaBalancing,
            MemoryPolicyFlag::RelativeNodes,
            MemoryPolicyFlag::StaticNodes,
        ]),
        ..MemoryPolicyFeatures::default()
    }
}

fn seccomp() -> SeccompFeatures {
    let flags = [
        SeccompFlag::Tsync,
        SeccompFlag::Log,
        SeccompFlag::SpecAllow,
        SeccompFlag::WaitKillableRecv,
    ];
    let bits = [1u64, 2, 4, 0x20];
    let supported: Vec<SeccompFlag> = flags
        .into_iter()
        .zip(bits)
        .filter(|(_, bit)| hako_sys::seccomp::supports_flag(*bit))
        .map(|(flag, _)| flag)
        .collect();
    SeccompFeatures {
        enabled: Some(true),
        actions: strings(&[
            SeccompAction::Allow,
            SeccompAction::Errno,
            SeccompAction::Kill,
            SeccompAction::KillProcess,
            SeccompAction::KillThread,
            SeccompAction::Log,
            SeccompAction::Notify,
            SeccompAction::Trace,
            SeccompAction::Trap,
        ]),
        operators: strings(&[
            SeccompOp::Equal,
            SeccompOp::GreaterEqual,
            SeccompOp::GreaterThan,
            SeccompOp::LessEqual,
            SeccompOp::LessThan,
            SeccompOp::MaskedEqual,
            SeccompOp::NotEqual,
        ]),
        archs: strings(&[Arch::Aarch64, Arch::Arm, Arch::X32, Arch::X86, Arch::X86_64]),
        known_flags: strings(&flags),
        supported_flags: strings(&supported),
        ..SeccompFeatures::default()
    }
}
