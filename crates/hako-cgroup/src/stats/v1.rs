//! Statistics of version 1.

use super::{Amount, BlkioEntry, Hugetlb, Stats, optional, parse};
use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::Result;

const SECOND: u128 = 1_000_000_000;
/// `USER_HZ`, in which `cpuacct.stat` counts; the same on all architectures
/// that are supported.
const USER_HZ: u128 = 100;

pub(super) fn read(cgroup: &Cgroup, stats: &mut Stats) -> Result<()> {
    if let Some(dir) = cgroup.v1_with("cpuacct")? {
        cpuacct(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_with("cpu")? {
        let text = dir.read_if_exists("cpu.stat")?.unwrap_or_default();
        for (key, value) in parse::pairs(&text) {
            match key {
                "nr_periods" => stats.cpu.periods = value,
                "nr_throttled" => stats.cpu.throttled_periods = value,
                "throttled_time" => stats.cpu.throttled_time = value,
                "nr_bursts" => stats.cpu.burst_periods = value,
                "burst_time" => stats.cpu.burst_time = value,
                _ => {}
            }
        }
    }
    if let Some(dir) = cgroup.v1_with("cpuset")? {
        cpuset(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_with("memory")? {
        memory(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_with("pids")? {
        pids(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_with("blkio")? {
        blkio(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_with("hugetlb")? {
        hugetlb(dir, stats)?;
    }
    Ok(())
}

pub(super) fn pids(dir: &Dir, stats: &mut Stats) -> Result<()> {
    stats.pids.current = optional(dir, "pids.current")?.unwrap_or(0);
    stats.pids.limit = optional(dir, "pids.max")?
        .filter(|limit| *limit != u64::MAX)
        .unwrap_or(0);
    Ok(())
}

fn cpuacct(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let cpu = &mut stats.cpu;
    cpu.total = dir.read_number("cpuacct.usage")?;
    // Two samples of different moments and grain: scaled so that the parts
    // add up to the whole.
    let text = dir.read("cpuacct.stat")?;
    let ticks = |name| {
        parse::pairs(&text)
            .find(|(key, _)| *key == name)
            .map_or(0, |(_, value)| u128::from(value))
    };
    let nanoseconds = |ticks: u128| u64::try_from(ticks * SECOND / USER_HZ).unwrap_or(u64::MAX);
    cpu.user = nanoseconds(ticks("user"));
    cpu.kernel = nanoseconds(ticks("system"));
    if let Some(text) = dir.read_if_exists("cpuacct.usage_all")? {
        for line in text.lines().skip(1) {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect();
            if let [_, user, kernel] = numbers.as_slice() {
                cpu.per_cpu_user.push(*user);
                cpu.per_cpu_kernel.push(*kernel);
            }
        }
    }
    if let Some(text) = dir.read_if_exists("cpuacct.usage_percpu")? {
        cpu.per_cpu = text
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
    }
    Ok(())
}

fn cpuset(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let prefix = if dir.exists("cpuset.cpus") {
        "cpuset."
    } else {
        ""
    };
    let read = |name: &str| dir.read_if_exists(&format!("{prefix}{name}"));
    stats.cpuset.cpus = parse::set(&read("cpus")?.unwrap_or_default());
    stats.cpuset.mems = parse::set(&read("mems")?.unwrap_or_default());
    for name in [
        "cpu_exclusive",
        "mem_exclusive",
        "mem_hardwall",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ] {
        if let Some(value) = read(name)?.and_then(|text| text.trim().parse().ok()) {
            stats.cpuset.settings.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn amount(dir: &Dir, kind: &str) -> Result<Amount> {
    let read = |what: &str| optional(dir, &format!("memory.{kind}{what}"));
    let Some(usage) = read("usage_in_bytes")? else {
        return Ok(Amount::default());
    };
    Ok(Amount {
        usage,
        max: read("max_usage_in_bytes")?.unwrap_or(0),
        failcnt: read("failcnt")?.unwrap_or(0),
        limit: read("limit_in_bytes")?.unwrap_or(0),
    })
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    let text = dir.read("memory.stat")?;
    memory.raw = parse::pairs(&text)
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = amount(dir, "")?;
    memory.swap = amount(dir, "memsw.")?;
    memory.kernel = amount(dir, "kmem.")?;
    memory.kernel_tcp = amount(dir, "kmem.tcp.")?;
    memory.hierarchical = optional(dir, "memory.use_hierarchy")? == Some(1);
    Ok(())
}

/// The tables come from one of four sources; the first that is there counts:
/// BFQ (with or without debugging), CFQ, throttling.
fn blkio(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let table = |name: String| -> Result<Option<Vec<BlkioEntry>>> {
        Ok(dir
            .read_if_exists(&name)?
            .map(|text| parse::blkio_table(&text)))
    };
    for family in ["blkio.bfq.", "blkio."] {
        let read = |name: &str| table(format!("{family}{name}_recursive"));
        let Some(bytes) = read("io_service_bytes")?.filter(|t| !t.is_empty()) else {
            continue;
        };
        let b = &mut stats.blkio;
        b.io_service_bytes = bytes;
        b.io_serviced = read("io_serviced")?.unwrap_or_default();
        b.io_queued = read("io_queued")?.unwrap_or_default();
        b.io_service_time = read("io_service_time")?.unwrap_or_default();
        b.io_wait_time = read("io_wait_time")?.unwrap_or_default();
        b.io_merged = read("io_merged")?.unwrap_or_default();
        b.io_time = read("time")?.unwrap_or_default();
        b.sectors = read("sectors")?.unwrap_or_default();
        return Ok(());
    }
    for suffix in ["_recursive", ""] {
        let read = |name: &str| table(format!("blkio.throttle.{name}{suffix}"));
        if let Some(bytes) = read("io_service_bytes")? {
            stats.blkio.io_service_bytes = bytes;
            stats.blkio.io_serviced = read("io_serviced")?.unwrap_or_default();
            return Ok(());
        }
    }
    Ok(())
}

/// Sizes are found by the names of the reservation files, or the plain ones.
fn hugetlb(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for size in crate::stats::v2::page_sizes() {
        for kind in ["rsvd.", ""] {
            let read = |what: &str| optional(dir, &format!("hugetlb.{size}.{kind}{what}"));
            if let Some(usage) = read("usage_in_bytes")? {
                let entry = Hugetlb {
                    usage,
                    max: read("max_usage_in_bytes")?.unwrap_or(0),
                    failcnt: read("failcnt")?.unwrap_or(0),
                };
                stats.hugetlb.insert(size, entry);
                break;
            }
        }
    }
    Ok(())
}
