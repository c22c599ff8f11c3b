//! The cgroup: where it is, and its limits.

use hako_spec::runtime::{
    BlockIo, Config, Cpu, DeviceKind, DeviceRule, HugepageLimit, InterfacePriority, Memory,
    NetworkResources, Resources, ThrottleDevice, WeightDevice,
};

use super::Act::{Bool, Each, One};
use super::{Entry, Wrong, words};

/// An option for one number or text of a part of the resources.
macro_rules! one {
    ($name:literal, $value:literal, $help:literal, $field:literal, $part:ident.$member:ident = $read:path) => {
        Entry::new(
            $name,
            $value,
            $help,
            &[concat!("linux.resources.", $field)],
            One(|config, value| {
                $part(config).$member = $read(value)?;
                Ok(())
            }),
        )
    };
}

/// An option for weights or limits of devices; -1 removes one.
macro_rules! devices {
    ($name:literal, $value:literal, $help:literal, $field:literal, $do:expr) => {
        Entry::new(
            $name,
            $value,
            $help,
            &[concat!("linux.resources.blockIO.", $field)],
            Each($do),
        )
    };
}

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "linux-cgroups-path",
        "PATH",
        "Where the cgroup is",
        &["linux.cgroupsPath"],
        One(|config, value| {
            super::linux::of(config).cgroups_path = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-device-cgroup-add",
        "RULE",
        "Add a rule for devices: allow|deny[,type=c][,major=1][,minor=3][,access=rwm]",
        &["linux.resources.devices"],
        Each(|config, value| {
            let rule = rule(value)?;
            of(config).devices.push(rule);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-device-cgroup-remove",
        "RULE",
        "Remove a rule for devices that is the same",
        &["linux.resources.devices"],
        Each(|config, value| {
            let rule = rule(value)?;
            of(config).devices.retain(|it| !same(it, &rule));
            Ok(())
        }),
    ),
    one!(
        "linux-mem-limit",
        "BYTES",
        "Memory; -1 for no limit",
        "memory.limit",
        memory.limit = some
    ),
    one!(
        "linux-mem-reservation",
        "BYTES",
        "Soft limit of memory",
        "memory.reservation",
        memory.reservation = some
    ),
    one!(
        "linux-mem-swap",
        "BYTES",
        "Memory and swap together",
        "memory.swap",
        memory.swap = some
    ),
    one!(
        "linux-mem-swappiness",
        "0-100",
        "Inclination to swap",
        "memory.swappiness",
        memory.swappiness = some
    ),
    one!(
        "linux-mem-kernel-limit",
        "BYTES",
        "Kernel memory; newer kernels ignore it",
        "memory.kernel",
        memory.kernel = some
    ),
    one!(
        "linux-mem-kernel-tcp",
        "BYTES",
        "Buffers of TCP, cgroup v1",
        "memory.kernelTCP",
        memory.kernel_tcp = some
    ),
    Entry::new(
        "linux-disable-oom-kill",
        "",
        "Whether tasks wait for memory instead of being killed, cgroup v1",
        &["linux.resources.memory.disableOOMKiller"],
        Bool(|config, value| memory(config).disable_oom_killer = Some(value)),
    ),
    one!(
        "linux-cpu-shares",
        "N",
        "Relative share of processor time",
        "cpu.shares",
        cpu.shares = some
    ),
    one!(
        "linux-cpu-quota",
        "MICROSECONDS",
        "Processor time in a period",
        "cpu.quota",
        cpu.quota = some
    ),
    one!(
        "linux-cpu-period",
        "MICROSECONDS",
        "Length of a period",
        "cpu.period",
        cpu.period = some
    ),
    one!(
        "linux-cpu-burst",
        "MICROSECONDS",
        "Processor time that can be saved up",
        "cpu.burst",
        cpu.burst = some
    ),
    one!(
        "linux-cpu-idle",
        "0|1",
        "1 for below everything else",
        "cpu.idle",
        cpu.idle = some
    ),
    one!(
        "linux-realtime-runtime",
        "MICROSECONDS",
        "Real-time processor time in a period",
        "cpu.realtimeRuntime",
        cpu.realtime_runtime = some
    ),
    one!(
        "linux-realtime-period",
        "MICROSECONDS",
        "Length of a real-time period",
        "cpu.realtimePeriod",
        cpu.realtime_period = some
    ),
    one!(
        "linux-cpus",
        "LIST",
        "Processors, as 0-3,7",
        "cpu.cpus",
        cpu.cpus = words::text
    ),
    one!(
        "linux-mems",
        "LIST",
        "Memory nodes, as 0-3,7",
        "cpu.mems",
        cpu.mems = words::text
    ),
    Entry::new(
        "linux-pids-limit",
        "N",
        "Number of tasks; -1 for no limit",
        &["linux.resources.pids"],
        One(|config, value| {
            of(config).pids.get_or_insert_default().limit = some(value)?;
            Ok(())
        }),
    ),
    one!(
        "linux-blkio-weight",
        "10-1000",
        "Weight for block devices",
        "blockIO.weight",
        block_io.weight = some
    ),
    one!(
        "linux-blkio-leaf-weight",
        "10-1000",
        "Weight against child cgroups",
        "blockIO.leafWeight",
        block_io.leaf_weight = some
    ),
    devices!(
        "linux-blkio-weight-device",
        "MAJOR:MINOR:WEIGHT",
        "Weight for a device; -1 removes it",
        "weightDevice",
        |config, value| weight(config, value, |it| &mut it.weight)
    ),
    devices!(
        "linux-blkio-leaf-weight-device",
        "MAJOR:MINOR:WEIGHT",
        "The same against child cgroups",
        "weightDevice",
        |config, value| weight(config, value, |it| &mut it.leaf_weight)
    ),
    devices!(
        "linux-blkio-read-bps-device",
        "MAJOR:MINOR:RATE",
        "Bytes read per second; -1 removes it",
        "throttleReadBpsDevice",
        |config, value| throttle(&mut block_io(config).throttle_read_bps_device, value)
    ),
    devices!(
        "linux-blkio-write-bps-device",
        "MAJOR:MINOR:RATE",
        "Bytes written per second; -1 removes it",
        "throttleWriteBpsDevice",
        |config, value| throttle(&mut block_io(config).throttle_write_bps_device, value)
    ),
    devices!(
        "linux-blkio-read-iops-device",
        "MAJOR:MINOR:RATE",
        "Reads per second; -1 removes it",
        "throttleReadIOPSDevice",
        |config, value| throttle(&mut block_io(config).throttle_read_iops_device, value)
    ),
    devices!(
        "linux-blkio-write-iops-device",
        "MAJOR:MINOR:RATE",
        "Writes per second; -1 removes it",
        "throttleWriteIOPSDevice",
        |config, value| throttle(&mut block_io(config).throttle_write_iops_device, value)
    ),
    Entry {
        alias: Some("linux-hugepape-limits-add"),
        ..Entry::new(
            "linux-hugepage-limits-add",
            "SIZE:BYTES",
            "Limit of huge pages of a size, as 2MB:4194304",
            &["linux.resources.hugepageLimits"],
            Each(|config, value| {
                let [page_size, limit] = words::parts(value, "SIZE:BYTES")?;
                let limit = HugepageLimit {
                    page_size: page_size.into(),
                    limit: words::decimal(limit)?,
                    ..HugepageLimit::default()
                };
                words::put(
                    &mut of(config).hugepage_limits,
                    |it| it.page_size.clone(),
                    limit,
                );
                Ok(())
            }),
        )
    },
    Entry {
        alias: Some("linux-hugepape-limits-drop"),
        ..Entry::new(
            "linux-hugepage-limits-drop",
            "SIZE",
            "Remove the limit of huge pages of a size",
            &["linux.resources.hugepageLimits"],
            Each(|config, value| {
                of(config)
                    .hugepage_limits
                    .retain(|it| it.page_size != value);
                Ok(())
            }),
        )
    },
    one!(
        "linux-network-classid",
        "ID",
        "Class of the packets, cgroup v1",
        "network.classID",
        network.class_id = some
    ),
    Entry::new(
        "linux-network-priorities",
        "NAME:PRIORITY",
        "Priority of an interface, cgroup v1; -1 removes it",
        &["linux.resources.network.priorities"],
        Each(|config, value| {
            let [name, priority] = words::parts(value, "NAME:PRIORITY")?;
            let list = &mut network(config).priorities;
            if priority == "-1" {
                list.retain(|it| it.name != name);
                return Ok(());
            }
            let priority = InterfacePriority {
                name: name.into(),
                priority: words::decimal(priority)?,
                ..InterfacePriority::default()
            };
            words::put(list, |it| it.name.clone(), priority);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-unified",
        "FILE=VALUE",
        "What to write into a file of the cgroup, version 2",
        &["linux.resources.unified"],
        Each(|config, value| {
            let (file, value) = words::pair(value)?;
            of(config).unified.insert(file, value);
            Ok(())
        }),
    ),
];

fn of(config: &mut Config) -> &mut Resources {
    super::linux::of(config).resources.get_or_insert_default()
}

fn memory(config: &mut Config) -> &mut Memory {
    of(config).memory.get_or_insert_default()
}

fn cpu(config: &mut Config) -> &mut Cpu {
    of(config).cpu.get_or_insert_default()
}

fn block_io(config: &mut Config) -> &mut BlockIo {
    of(config).block_io.get_or_insert_default()
}

fn network(config: &mut Config) -> &mut NetworkResources {
    of(config).network.get_or_insert_default()
}

fn some<T: TryFrom<i128>>(text: &str) -> Result<Option<T>, Wrong> {
    words::number(text).map(Some)
}

/// `allow,type=c,major=1,minor=3,access=rwm`
fn rule(text: &str) -> Result<DeviceRule, Wrong> {
    let mut words = text.split(',').map(str::trim);
    let mut rule = DeviceRule {
        allow: match words.next() {
            Some("allow") => true,
            Some("deny") => false,
            _ => return Err("starts with neither allow nor deny".into()),
        },
        ..DeviceRule::default()
    };
    for word in words.filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("type", kind)) => rule.kind = Some(words::named(kind, "", DeviceKind::ALL)?),
            Some(("major", major)) => rule.major = Some(words::decimal(major)?),
            Some(("minor", minor)) => rule.minor = Some(words::decimal(minor)?),
            Some(("access", access)) => rule.access = words::text(access)?,
            _ => {
                return Err(format!(
                    "{word:?} is none of type=, major=, minor= and access="
                ));
            }
        }
    }
    Ok(rule)
}

/// Whether two rules are about the same; what they have beside that we do not
/// know.
fn same(one: &DeviceRule, other: &DeviceRule) -> bool {
    let parts = |it: &DeviceRule| (it.allow, it.kind, it.major, it.minor);
    parts(one) == parts(other) && one.access == other.access
}

fn weight(
    config: &mut Config,
    text: &str,
    which: fn(&mut WeightDevice) -> &mut Option<u16>,
) -> Result<(), Wrong> {
    let [major, minor, weight] = words::parts(text, "MAJOR:MINOR:WEIGHT")?;
    let (major, minor) = (words::decimal(major)?, words::decimal(minor)?);
    let weight = match weight {
        "-1" => None,
        weight => Some(words::decimal(weight)?),
    };
    let list = &mut block_io(config).weight_device;
    let is = |it: &WeightDevice| (it.major, it.minor) == (major, minor);
    if !list.iter().any(is) {
        list.push(WeightDevice {
            major,
            minor,
            ..WeightDevice::default()
        });
    }
    for device in list.iter_mut().filter(|it| is(it)) {
        *which(device) = weight;
    }
    list.retain(|it| !is(it) || it.weight.is_some() || it.leaf_weight.is_some());
    Ok(())
}

fn throttle(list: &mut Vec<ThrottleDevice>, text: &str) -> Result<(), Wrong> {
    let [major, minor, rate] = words::parts(text, "MAJOR:MINOR:RATE")?;
    let (major, minor) = (words::decimal(major)?, words::decimal(minor)?);
    if rate == "-1" {
        list.retain(|it| (it.major, it.minor) != (major, minor));
        return Ok(());
    }
    let device = ThrottleDevice {
        major,
        minor,
        rate: words::decimal(rate)?,
        ..ThrottleDevice::default()
    };
    words::put(list, |it| (it.major, it.minor), device);
    Ok(())
}
