//! What a container has used, in one form for both versions: the form of
//! version 1, which `runc events --stats` and Docker's API are made of.

pub mod parse;
mod v1;
mod v2;

use std::collections::BTreeMap;

use crate::cgroup::Cgroup;
use crate::error::Result;

/// Everything that the hierarchies can tell of a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes that may be used.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages by size (`2MB`).
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All time.
    pub total: u64,
    /// Time in user mode.
    pub user: u64,
    /// Time in the kernel.
    pub kernel: u64,
    /// All time by processor; empty in version 2.
    pub per_cpu: Vec<u64>,
    /// Time in user mode by processor; empty in version 2.
    pub per_cpu_user: Vec<u64>,
    /// Time in the kernel by processor; empty in version 2.
    pub per_cpu_kernel: Vec<u64>,
    /// Periods that have passed under a quota.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled_time: u64,
    /// Periods in which saved-up time was used.
    pub burst_periods: u64,
    /// Saved-up time that was used.
    pub burst_time: u64,
    /// Pressure, where the kernel measures it (version 2).
    pub pressure: Option<Pressure>,
}

/// Sets of processors and memory nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// Processors.
    pub cpus: Vec<u16>,
    /// Memory nodes.
    pub mems: Vec<u16>,
    /// The other settings of version 1 by file name without `cpuset.`
    /// (`cpu_exclusive`, `sched_relax_domain_level`, …).
    pub settings: BTreeMap<String, i64>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Used now.
    pub usage: u64,
    /// Used at most so far; 0 where the kernel does not say.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// The limit; the largest number for none.
    pub limit: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// File cache.
    pub cache: u64,
    /// Memory.
    pub usage: Amount,
    /// Memory and swap together, in both versions.
    pub swap: Amount,
    /// Kernel memory; version 1.
    pub kernel: Amount,
    /// TCP buffers; version 1.
    pub kernel_tcp: Amount,
    /// Whether children count too.
    pub hierarchical: bool,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
    /// Pressure (version 2).
    pub pressure: Option<Pressure>,
}

/// Tasks: processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for any number.
    pub limit: u64,
}

/// One line of a table of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlkioEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, or empty.
    pub op: String,
    /// The count.
    pub value: u64,
}

/// Tables of block devices, with the names of version 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blkio {
    /// Bytes.
    pub io_service_bytes: Vec<BlkioEntry>,
    /// Operations.
    pub io_serviced: Vec<BlkioEntry>,
    /// Operations waiting now.
    pub io_queued: Vec<BlkioEntry>,
    /// Nanoseconds from dispatch to completion.
    pub io_service_time: Vec<BlkioEntry>,
    /// Nanoseconds in queues.
    pub io_wait_time: Vec<BlkioEntry>,
    /// Operations merged into others.
    pub io_merged: Vec<BlkioEntry>,
    /// Milliseconds of device time.
    pub io_time: Vec<BlkioEntry>,
    /// Sectors.
    pub sectors: Vec<BlkioEntry>,
    /// Pressure (version 2).
    pub pressure: Option<Pressure>,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Used now.
    pub usage: u64,
    /// Used at most so far; version 1.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Time lost to waiting for a resource (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some task waited.
    pub some: PressureTimes,
    /// All tasks waited.
    pub full: PressureTimes,
}

impl Eq for Pressure {}

/// Shares of time, in percent, over windows, and the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PressureTimes {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

impl Cgroup {
    /// Reads all statistics. What a kernel or a hierarchy does not have stays
    /// zero or empty.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        v1::read(self, &mut stats)?;
        v2::read(self, &mut stats)?;
        Ok(stats)
    }
}

/// A number from a file that may be missing.
pub(crate) fn optional(dir: &crate::dir::Dir, name: &str) -> Result<Option<u64>> {
    match dir.read_number(name) {
        Ok(number) => Ok(Some(number)),
        // EOPNOTSUPP: a file that this cgroup (the root) cannot answer.
        Err(e) if e.is_missing() || e.errno() == Some(rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e),
    }
}
