//! Cgroup limits (config-linux.md "Control groups").

use std::collections::BTreeMap;

use super::DeviceKind;
use crate::{Error, object};

object! {
    /// The `resources` object.
    pub struct Resources {
        /// Which devices may be used, in this order.
        pub devices: Vec<DeviceRule> = "devices",
        /// Memory.
        pub memory: Option<Memory> = "memory",
        /// Processors.
        pub cpu: Option<Cpu> = "cpu",
        /// Number of tasks.
        pub pids: Option<Pids> = "pids",
        /// Block devices.
        pub block_io: Option<BlockIo> = "blockIO",
        /// Huge pages.
        pub hugepage_limits: Vec<HugepageLimit> = "hugepageLimits",
        /// Network classes and priorities, cgroup v1.
        pub network: Option<NetworkResources> = "network",
        /// RDMA, by device.
        pub rdma: BTreeMap<String, Rdma> = "rdma",
        /// Cgroup v2 files and what to write into them.
        pub unified: BTreeMap<String, String> = "unified",
    }

    /// One rule of the allowed device list.
    pub struct DeviceRule {
        /// Allow or deny.
        pub allow: bool = "allow" required,
        /// Kind; absent means all.
        pub kind: Option<DeviceKind> = "type",
        /// Major number; absent means all.
        pub major: Option<i64> = "major",
        /// Minor number; absent means all.
        pub minor: Option<i64> = "minor",
        /// Of `r`, `w` and `m`; absent means all.
        pub access: Option<String> = "access",
    }

    /// Memory; bytes, -1 for no limit.
    pub struct Memory {
        /// Limit.
        pub limit: Option<i64> = "limit",
        /// Soft limit.
        pub reservation: Option<i64> = "reservation",
        /// Limit of memory and swap together.
        pub swap: Option<i64> = "swap",
        /// Limit of kernel memory; not recommended, ignored by new kernels.
        pub kernel: Option<i64> = "kernel",
        /// Limit of TCP buffers; not recommended.
        pub kernel_tcp: Option<i64> = "kernelTCP",
        /// 0 to 100.
        pub swappiness: Option<u64> = "swappiness",
        /// Whether tasks wait instead of being killed, cgroup v1.
        pub disable_oom_killer: Option<bool> = "disableOOMKiller",
        /// Whether children count too, cgroup v1.
        pub use_hierarchy: Option<bool> = "useHierarchy",
        /// Whether a limit below the usage is refused.
        pub check_before_update: Option<bool> = "checkBeforeUpdate",
    }

    /// Processor time and sets; microseconds.
    pub struct Cpu {
        /// Relative share, 2 to 262144.
        pub shares: Option<u64> = "shares",
        /// Time per period; not positive for no limit.
        pub quota: Option<i64> = "quota",
        /// Time that may be saved up for bursts.
        pub burst: Option<u64> = "burst",
        /// Length of a period.
        pub period: Option<u64> = "period",
        /// Time per real-time period.
        pub realtime_runtime: Option<i64> = "realtimeRuntime",
        /// Length of a real-time period.
        pub realtime_period: Option<u64> = "realtimePeriod",
        /// Processors, `0-3,7`.
        pub cpus: Option<String> = "cpus",
        /// Memory nodes, `0-3,7`.
        pub mems: Option<String> = "mems",
        /// 1 for below everything else, 0 for not.
        pub idle: Option<i64> = "idle",
    }

    /// Number of tasks.
    pub struct Pids {
        /// At most so many; -1 for no limit, 0 is a limit.
        pub limit: Option<i64> = "limit",
    }

    /// Weights and limits of block devices.
    pub struct BlockIo {
        /// Weight, 10 to 1000.
        pub weight: Option<u16> = "weight",
        /// Weight against child cgroups, cgroup v1 with CFQ.
        pub leaf_weight: Option<u16> = "leafWeight",
        /// Weights by device.
        pub weight_device: Vec<WeightDevice> = "weightDevice",
        /// Bytes read per second.
        pub throttle_read_bps_device: Vec<ThrottleDevice> = "throttleReadBpsDevice",
        /// Bytes written per second.
        pub throttle_write_bps_device: Vec<ThrottleDevice> = "throttleWriteBpsDevice",
        /// Reads per second.
        pub throttle_read_iops_device: Vec<ThrottleDevice> = "throttleReadIOPSDevice",
        /// Writes per second.
        pub throttle_write_iops_device: Vec<ThrottleDevice> = "throttleWriteIOPSDevice",
    }

    /// A device's weight.
    pub struct WeightDevice {
        /// Major number.
        pub major: i64 = "major" required,
        /// Minor number.
        pub minor: i64 = "minor" required,
        /// Weight, 10 to 1000.
        pub weight: Option<u16> = "weight",
        /// Weight against child cgroups.
        pub leaf_weight: Option<u16> = "leafWeight",
    }

    /// A device's limit.
    pub struct ThrottleDevice {
        /// Major number.
        pub major: i64 = "major" required,
        /// Minor number.
        pub minor: i64 = "minor" required,
        /// Bytes or operations per second.
        pub rate: u64 = "rate" required,
    }

    /// Huge pages of one size.
    pub struct HugepageLimit {
        /// `64KB`, `2MB`, `1GB`.
        pub page_size: String = "pageSize" required,
        /// Bytes.
        pub limit: u64 = "limit" required,
    }

    /// The `net_cls` and `net_prio` controllers of cgroup v1.
    pub struct NetworkResources {
        /// Class of the packets.
        pub class_id: Option<u32> = "classID",
        /// Priorities by interface.
        pub priorities: Vec<InterfacePriority> = "priorities",
    }

    /// The priority of one interface.
    pub struct InterfacePriority {
        /// Interface in the runtime's network namespace.
        pub name: String = "name" required,
        /// Priority.
        pub priority: u32 = "priority" required,
    }

    /// Limits of one RDMA device.
    pub struct Rdma {
        /// Handles.
        pub hca_handles: Option<u32> = "hcaHandles",
        /// Objects.
        pub hca_objects: Option<u32> = "hcaObjects",
    }
}

impl Resources {
    /// Reads resources by themselves, as `update --resources FILE` takes them.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Json`] naming the path of the field.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let what = "resources description";
        let limit = super::Config::MAX_LEN;
        if bytes.len() > limit {
            return Err(Error::TooLarge {
                what,
                size: bytes.len(),
                limit,
            });
        }
        object::from_slice(bytes, what)
    }
}
