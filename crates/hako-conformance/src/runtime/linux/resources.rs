//! Limits that can be read from a control file: "Memory", "CPU", "Block IO",
//! "Huge page limits", "Network", "PIDs", "RDMA".

use serde_json::json;

use super::hierarchy::{Limit, Second, Want, limited};
use super::{does_not_run, faulty, remove};
use crate::check::{Check, Stop};
use crate::runtime::trial::VERSION as BASE;

/// `"name" section, "controller", since, "demand" resources; v1; v2`.
macro_rules! limits {
    ($($name:literal $section:literal $controller:literal $since:expr, $demand:literal
        $resources:tt [$($file:literal $value:literal),*] $second:expr;)*) => {
        pub(super) const CHECKS: &[Check] = &[$(
            Check::must(
                $name,
                concat!("config-linux.md#", $section),
                $demand,
                |bench| limited(bench, &Limit {
                    controller: $controller,
                    since: $since,
                    resources: || json!($resources),
                    first: &[$(($file, $value)),*],
                    second: $second,
                }),
            ),
        )*];
    };
}

const fn is(file: &'static str, value: &'static str) -> Option<Second> {
    Some(Second {
        file,
        want: Want::Line(value),
        given: None,
    })
}

const fn not(file: &'static str, value: &'static str) -> Option<Second> {
    Some(Second {
        file,
        want: Want::Not(value),
        given: None,
    })
}

/// As `not`, if the kernel takes `given`.
const fn if_takes(file: &'static str, given: &'static str, value: &'static str) -> Option<Second> {
    Some(Second {
        file,
        want: Want::Not(value),
        given: Some(given),
    })
}

limits! {
    "memory.limit" "memory" "memory" BASE,
        "limit limits the memory, in bytes."
        { "memory": { "limit": 134_217_728 } }
        ["memory.limit_in_bytes" "134217728"] is("memory.max", "134217728");
    "memory.unlimited" "memory" "memory" BASE,
        "-1 as a limit is no limit."
        { "memory": { "limit": -1 } }
        ["memory.limit_in_bytes" "9223372036854771712"] is("memory.max", "max");
    "memory.reservation" "memory" "memory" BASE,
        "reservation is the soft limit of the memory."
        { "memory": { "reservation": 100_663_296 } }
        ["memory.soft_limit_in_bytes" "100663296"] is("memory.low", "100663296");
    "memory.swap" "memory" "memory" BASE,
        "swap limits memory and swap together."
        { "memory": { "limit": 134_217_728, "swap": 201_326_592 } }
        ["memory.limit_in_bytes" "134217728", "memory.memsw.limit_in_bytes" "201326592"]
        is("memory.swap.max", "67108864");
    "memory.kernel" "memory" "memory" BASE,
        "kernel limits the kernel's memory."
        { "memory": { "kernel": 67_108_864 } }
        ["memory.kmem.limit_in_bytes" "67108864"] None;
    "memory.kernel-tcp" "memory" "memory" BASE,
        "kernelTCP limits the memory of TCP buffers."
        { "memory": { "kernelTCP": 33_554_432 } }
        ["memory.kmem.tcp.limit_in_bytes" "33554432"] None;
    "memory.swappiness" "memory" "memory" BASE,
        "swappiness is set."
        { "memory": { "swappiness": 37 } }
        ["memory.swappiness" "37"] None;
    "memory.swappiness-zero" "memory" "memory" BASE,
        "A swappiness of 0 is set."
        { "memory": { "swappiness": 0 } }
        ["memory.swappiness" "0"] None;
    "memory.oom-killer" "memory" "memory" BASE,
        "disableOOMKiller disables the OOM killer."
        { "memory": { "limit": 134_217_728, "disableOOMKiller": true } }
        ["memory.oom_control" "1=oom_kill_disable 1"] None;
    "memory.hierarchy" "memory" "memory" BASE,
        "useHierarchy has child cgroups share the limits."
        { "memory": { "useHierarchy": true } }
        ["memory.use_hierarchy" "1"] is("memory.max", "max");
    "cpu.shares" "cpu" "cpu" BASE,
        "shares is the relative share of CPU time."
        { "cpu": { "shares": 2048 } }
        ["cpu.shares" "2048"] not("cpu.weight", "100");
    "cpu.quota" "cpu" "cpu" BASE,
        "quota limits the CPU time in a period."
        { "cpu": { "quota": 60_000 } }
        ["cpu.cfs_quota_us" "60000"] is("cpu.max", "60000 100000");
    "cpu.period" "cpu" "cpu" BASE,
        "period is the length of a period."
        { "cpu": { "quota": 60_000, "period": 120_000 } }
        ["cpu.cfs_quota_us" "60000", "cpu.cfs_period_us" "120000"] is("cpu.max", "60000 120000");
    "cpu.burst" "cpu" "cpu" "1.1.0",
        "burst is the time that may be saved up."
        { "cpu": { "quota": 60_000, "period": 100_000, "burst": 30_000 } }
        ["cpu.cfs_quota_us" "60000", "cpu.cfs_burst_us" "30000"] is("cpu.max.burst", "30000");
    "cpu.realtime-runtime" "cpu" "cpu" BASE,
        "realtimeRuntime is the time of realtime tasks in a period."
        { "cpu": { "realtimeRuntime": 10_000 } }
        ["cpu.rt_runtime_us" "10000"] None;
    "cpu.realtime-period" "cpu" "cpu" BASE,
        "realtimePeriod is the length of a period of realtime tasks."
        { "cpu": { "realtimePeriod": 500_000 } }
        ["cpu.rt_period_us" "500000"] None;
    "cpu.cpus" "cpu" "cpuset" BASE,
        "cpus are the CPUs that the container runs on."
        { "cpu": { "cpus": "0" } }
        ["cpuset.cpus" "0"] is("cpuset.cpus", "0");
    "cpu.mems" "cpu" "cpuset" BASE,
        "mems are the memory nodes that the container runs on."
        { "cpu": { "mems": "0" } }
        ["cpuset.mems" "0"] is("cpuset.mems", "0");
    "cpu.idle" "cpu" "cpu" "1.1.0",
        "An idle of 1 makes the container's tasks run when nobody else does."
        { "cpu": { "idle": 1 } }
        ["cpu.idle" "1"] is("cpu.idle", "1");
    "block-io.weight" "block-io" "blkio" BASE,
        "weight is the cgroup's weight."
        { "blockIO": { "weight": 300 } }
        ["blkio.bfq.weight" "300"] not("io.weight", "default 100");
    "block-io.leaf-weight" "block-io" "blkio" BASE,
        "leafWeight is the weight against child cgroups."
        { "blockIO": { "leafWeight": 300 } }
        ["blkio.leaf_weight" "300"] None;
    "block-io.weight-device" "block-io" "blkio" BASE,
        "weightDevice is a device's weight."
        { "blockIO": { "weightDevice": [{ "major": 7, "minor": 0, "weight": 300 }] } }
        // Only devices with a policy for it have weights in version 2.
        ["blkio.bfq.weight_device" "7:0 300"] if_takes("io.weight", "7:0 200", "default 100");
    "block-io.read-bps" "block-io" "blkio" BASE,
        "throttleReadBpsDevice limits the bytes read from a device."
        { "blockIO": { "throttleReadBpsDevice": [{ "major": 7, "minor": 0, "rate": 1_048_576 }] } }
        ["blkio.throttle.read_bps_device" "7:0 1048576"]
        is("io.max", "7:0 rbps=1048576 wbps=max riops=max wiops=max");
    "block-io.write-bps" "block-io" "blkio" BASE,
        "throttleWriteBpsDevice limits the bytes written to a device."
        { "blockIO": { "throttleWriteBpsDevice": [{ "major": 7, "minor": 0, "rate": 2_097_152 }] } }
        ["blkio.throttle.write_bps_device" "7:0 2097152"]
        is("io.max", "7:0 rbps=max wbps=2097152 riops=max wiops=max");
    "block-io.read-iops" "block-io" "blkio" BASE,
        "throttleReadIOPSDevice limits the reads from a device."
        { "blockIO": { "throttleReadIOPSDevice": [{ "major": 7, "minor": 0, "rate": 300 }] } }
        ["blkio.throttle.read_iops_device" "7:0 300"]
        is("io.max", "7:0 rbps=max wbps=max riops=300 wiops=max");
    "block-io.write-iops" "block-io" "blkio" BASE,
        "throttleWriteIOPSDevice limits the writes to a device."
        { "blockIO": { "throttleWriteIOPSDevice": [{ "major": 7, "minor": 0, "rate": 400 }] } }
        ["blkio.throttle.write_iops_device" "7:0 400"]
        is("io.max", "7:0 rbps=max wbps=max riops=max wiops=400");
    "hugepages.limit" "huge-page-limits" "hugetlb" BASE,
        "hugepageLimits limits the use of huge pages of a size."
        { "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }
        ["hugetlb.2MB.limit_in_bytes" "4194304"] is("hugetlb.2MB.max", "4194304");
    "hugepages.reservation" "huge-page-limits" "hugetlb" "1.1.0",
        "hugepageLimits limits the reservations of huge pages of a size."
        { "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }
        ["hugetlb.2MB.rsvd.limit_in_bytes" "4194304"] is("hugetlb.2MB.rsvd.max", "4194304");
    "network.class-id" "network" "net_cls" BASE,
        "classID tags the packets."
        { "network": { "classID": 1_048_577 } }
        ["net_cls.classid" "1048577"] None;
    "network.priorities" "network" "net_prio" BASE,
        "priorities has the priority of an interface's traffic."
        { "network": { "priorities": [{ "name": "lo", "priority": 5 }] } }
        ["net_prio.ifpriomap" "lo 5"] None;
    "pids.limit" "pids" "pids" BASE,
        "limit is the greatest number of tasks."
        { "pids": { "limit": 177 } }
        ["pids.max" "177"] is("pids.max", "177");
    "pids.unlimited" "pids" "pids" BASE,
        "-1 as the limit is no limit."
        { "pids": { "limit": -1 } }
        ["pids.max" "max"] is("pids.max", "max");
}

const SECOND: &str = "config-linux.md#block-io";
const HUGE: &str = "config-linux.md#huge-page-limits";

pub(super) const MORE: &[Check] = &[
    Check::must(
        "pids.limit-zero",
        "config-linux.md#pids",
        "A limit of 0 is a limit.",
        |bench| {
            limited(
                bench,
                &Limit {
                    controller: "pids",
                    since: "1.3.0",
                    resources: || json!({ "pids": { "limit": 0 } }),
                    first: &[("pids.max", "0|1")],
                    second: is("pids.max", "0|1"),
                },
            )
        },
    )
    .should(),
    Check::must(
        "block-io.no-weight",
        SECOND,
        "A device without weight and leafWeight is an error.",
        |bench| {
            super::hierarchy::of("blkio")?;
            let trial = crate::runtime::trial::Trial::new(bench, &[])?.edit(|config| {
                config["linux"]["resources"] =
                    json!({ "blockIO": { "weightDevice": [{ "major": 7, "minor": 0 }] } });
            });
            does_not_run(trial)
        },
    ),
    Check::must(
        "block-io.no-rate",
        SECOND,
        "A limit of a device without a rate is an error.",
        |bench| {
            throttle(bench, |config| {
                remove(
                    &mut config["linux"]["resources"]["blockIO"]["throttleReadBpsDevice"][0],
                    "rate",
                );
            })
        },
    ),
    Check::must(
        "block-io.no-device",
        SECOND,
        "A limit of a device without its numbers is an error.",
        |bench| {
            throttle(bench, |config| {
                let device =
                    &mut config["linux"]["resources"]["blockIO"]["throttleReadBpsDevice"][0];
                remove(device, "major");
                remove(device, "minor");
            })
        },
    ),
    Check::must(
        "hugepages.unknown-size",
        HUGE,
        "A page size that the kernel has no control file for is an error.",
        |bench| {
            huge(bench, |config| {
                config["linux"]["resources"]["hugepageLimits"][0]["pageSize"] = json!("3MB");
            })
        },
    ),
    Check::must(
        "hugepages.without-size",
        HUGE,
        "A limit without a page size is an error.",
        |bench| {
            huge(bench, |config| {
                remove(
                    &mut config["linux"]["resources"]["hugepageLimits"][0],
                    "pageSize",
                );
            })
        },
    ),
    Check::must(
        "hugepages.without-limit",
        HUGE,
        "A page size without a limit is an error.",
        |bench| {
            huge(bench, |config| {
                remove(
                    &mut config["linux"]["resources"]["hugepageLimits"][0],
                    "limit",
                );
            })
        },
    ),
    Check::must(
        "cpu.burst-above-quota",
        "config-linux.md#cpu",
        "A burst above the quota may be an error.",
        |bench| {
            super::hierarchy::of("cpu")?;
            faulty(
                bench,
                "1.1.0",
                |config| {
                    config["linux"]["resources"] =
                        json!({ "cpu": { "quota": 60_000, "burst": 10_000 } });
                },
                |config| config["linux"]["resources"]["cpu"]["burst"] = json!(70_000),
            )
        },
    )
    .may(),
    Check::must(
        "rdma.limits",
        "config-linux.md#rdma",
        "hcaHandles and hcaObjects limit a device.",
        |_| {
            super::hierarchy::of("rdma")?;
            Err(Stop::Skipped(
                "this tester has no RDMA device to try it with".into(),
            ))
        },
    ),
];

fn throttle(
    bench: &crate::runtime::Bench,
    fault: fn(&mut serde_json::Value),
) -> crate::check::Verdict {
    super::hierarchy::of("blkio")?;
    faulty(
        bench,
        BASE,
        |config| {
            let limit = json!([{ "major": 7, "minor": 0, "rate": 1_048_576 }]);
            config["linux"]["resources"]["blockIO"]["throttleReadBpsDevice"] = limit;
        },
        fault,
    )
}

fn huge(bench: &crate::runtime::Bench, fault: fn(&mut serde_json::Value)) -> crate::check::Verdict {
    super::hierarchy::of("hugetlb")?;
    faulty(
        bench,
        BASE,
        |config| {
            config["linux"]["resources"]["hugepageLimits"] =
                json!([{ "pageSize": "2MB", "limit": 4_194_304 }]);
        },
        fault,
    )
}
