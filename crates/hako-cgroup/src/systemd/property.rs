//! The limits of the configuration as properties of a unit
//! (systemd.resource-control(5), org.freedesktop.systemd1(5)).
//!
//! What systemd knows of, it writes again whenever it likes, as at a
//! daemon-reload: so it must be told what is to stay. What has no property, and
//! the exact values, are written to the cgroup's files afterwards, which also
//! tells what is wrong with a value; here such a value is left out.

use hako_spec::runtime::{BlockIo, Cpu, Memory, Resources};

use super::value::{Property, Value};
use crate::convert::{cpu_weight, io_weight, swap_max};

/// Infinity.
const NONE: u64 = u64::MAX;
/// The kernel's period of the quota, in microseconds.
const PERIOD: u64 = 100_000;
/// The largest processor or node that is listed; far beyond the kernel's.
const LARGEST: usize = 1 << 16;

/// What decides on names and types.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Whether systemd has cgroup v2 alone.
    pub(super) unified: bool,
    /// Systemd's version.
    pub(super) version: u32,
}

/// Limits in force, from which others count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InForce {
    /// `memory.max`, bytes.
    pub(super) memory: Option<i64>,
    /// Microseconds in a period.
    pub(super) quota: Option<i64>,
    /// Microseconds.
    pub(super) period: Option<u64>,
}

/// Properties, each once: the last one counts.
#[derive(Debug, Default)]
pub(super) struct List(pub(super) Vec<Property>);

impl List {
    pub(super) fn put(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.put(name, Value::Uint64(value));
    }
}

/// Everything but devices.
pub(super) fn limits(list: &mut List, r: &Resources, now: InForce, d: Dialect) {
    if let Some(memory) = &r.memory {
        self::memory(list, memory, now, d);
    }
    if let Some(cpu) = &r.cpu {
        self::cpu(list, cpu, now, d);
    }
    if let Some(block_io) = &r.block_io {
        io(list, block_io, d);
    }
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        list.number("TasksMax", tasks(or_none(limit)));
    }
    if d.unified {
        for (file, text) in &r.unified {
            // What is malformed, the kernel will say.
            let _ = unified(list, file, text.trim(), d);
        }
        // Systemd puts a group that is idle by its weight.
        if r.unified.get("cpu.idle").is_some_and(|v| v.trim() == "1") {
            idle(list, d);
        }
    }
}

/// A limit of which -1 is none.
fn or_none(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(NONE)
}

/// Systemd does not take 0, for which the file has 1 as well.
fn tasks(limit: u64) -> u64 {
    limit.max(1)
}

fn memory(list: &mut List, m: &Memory, now: InForce, d: Dialect) {
    let limit = m.limit.filter(|v| *v != 0);
    if !d.unified {
        if let Some(limit) = limit {
            list.number("MemoryLimit", or_none(limit));
        }
        return;
    }
    if let Some(limit) = limit {
        list.number("MemoryMax", or_none(limit));
    }
    if let Some(low) = m.reservation.filter(|v| *v != 0) {
        list.number("MemoryLow", or_none(low));
    }
    let from = limit.or(now.memory).unwrap_or(0);
    if let Ok(Some(swap)) = swap_max(m.swap.unwrap_or(0), from) {
        list.number("MemorySwapMax", or_none(swap));
    }
}

fn cpu(list: &mut List, c: &Cpu, now: InForce, d: Dialect) {
    match c.shares {
        Some(shares @ 2..=262_144) if !d.unified => list.number("CPUShares", shares),
        Some(shares) if d.unified && shares != 0 => list.number("CPUWeight", cpu_weight(shares)),
        _ => {}
    }
    if d.unified && c.idle == Some(1) {
        idle(list, d);
    }
    let (quota, period) = (c.quota.filter(|q| *q != 0), c.period.filter(|p| *p != 0));
    if quota.is_some() || period.is_some() {
        quota_of(list, quota.or(now.quota), period, now.period, d);
    }
    for (name, set) in [("AllowedCPUs", &c.cpus), ("AllowedMemoryNodes", &c.mems)] {
        if let Some(set) = set {
            allowed(list, name, set, d);
        }
    }
}

fn idle(list: &mut List, d: Dialect) {
    if d.version >= 252 {
        list.number("CPUWeight", 0);
    }
}

fn quota_of(
    list: &mut List,
    quota: Option<i64>,
    period: Option<u64>,
    now: Option<u64>,
    d: Dialect,
) {
    if let Some(period) = period.filter(|_| d.version >= 242) {
        list.number("CPUQuotaPeriodUSec", period);
    }
    let period = period.or(now).unwrap_or(PERIOD).max(1);
    let per_second = match quota.and_then(|q| u64::try_from(q).ok()) {
        None | Some(0) => NONE,
        Some(quota) => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period);
            // Systemd keeps whole percents, of which there should not be too few.
            u64::try_from(exact.max(1).next_multiple_of(10_000)).unwrap_or(NONE)
        }
    };
    list.number("CPUQuotaPerSecUSec", per_second);
}

fn allowed(list: &mut List, name: &str, set: &str, d: Dialect) {
    if let Some(bits) = bits(set).filter(|_| d.version >= 244) {
        list.put(name, Value::Bytes(bits));
    }
}

/// A bit for each number of `0-2,7`, the smallest first.
fn bits(set: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for part in set.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= LARGEST {
            return None;
        }
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0u8);
            }
            *bits.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

fn io(list: &mut List, b: &BlockIo, d: Dialect) {
    match b.weight {
        Some(weight) if d.unified && weight != 0 => list.number("IOWeight", io_weight(weight)),
        Some(weight @ 10..=1000) if !d.unified => list.number("BlockIOWeight", weight.into()),
        _ => {}
    }
}

/// A file of cgroup v2 that systemd has a property for.
fn unified(list: &mut List, file: &str, text: &str, d: Dialect) -> Option<()> {
    let number = || match text {
        "max" => Some(NONE),
        text => text.parse().ok(),
    };
    match file {
        "cpu.max" => {
            let mut words = text.split_whitespace();
            let quota = match words.next()? {
                "max" => None,
                quota => Some(quota.parse().ok()?),
            };
            let period = words.next().map(str::parse).transpose().ok()?;
            quota_of(list, quota, period, None, d);
        }
        "cpu.weight" => list.number("CPUWeight", number()?),
        "cpuset.cpus" => allowed(list, "AllowedCPUs", text, d),
        "cpuset.mems" => allowed(list, "AllowedMemoryNodes", text, d),
        "memory.high" => list.number("MemoryHigh", number()?),
        "memory.low" => list.number("MemoryLow", number()?),
        "memory.max" => list.number("MemoryMax", number()?),
        "memory.min" => list.number("MemoryMin", number()?),
        "memory.swap.max" => list.number("MemorySwapMax", number()?),
        "pids.max" => list.number("TasksMax", tasks(number()?)),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V2: Dialect = Dialect {
        unified: true,
        version: 252,
    };

    fn map(json: &str, now: InForce, d: Dialect) -> Vec<String> {
        let resources = Resources::from_slice(json.as_bytes()).unwrap();
        let mut list = List::default();
        limits(&mut list, &resources, now, d);
        let show = |(name, value): Property| match value {
            Value::Uint64(NONE) => format!("{name}=max"),
            Value::Uint64(n) => format!("{name}={n}"),
            Value::Bytes(b) => format!("{name}={b:?}"),
            other => panic!("{name} {other:?}"),
        };
        let mut lines: Vec<String> = list.0.into_iter().map(show).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn version_two() {
        let json = r#"{"memory":{"limit":1000,"swap":3000,"reservation":500},
            "cpu":{"shares":1024,"quota":25500,"period":50000,"cpus":"0-2,9","mems":"0"},
            "blockIO":{"weight":500},"pids":{"limit":0}}"#;
        assert_eq!(
            map(json, InForce::default(), V2),
            [
                "AllowedCPUs=[7, 2]",
                "AllowedMemoryNodes=[1]",
                "CPUQuotaPerSecUSec=510000",
                "CPUQuotaPeriodUSec=50000",
                "CPUWeight=100",
                "IOWeight=4950",
                "MemoryLow=500",
                "MemoryMax=1000",
                "MemorySwapMax=2000",
                "TasksMax=1",
            ]
        );
        let none = r#"{"memory":{"limit":-1},"cpu":{"quota":-1},"pids":{"limit":-1}}"#;
        assert_eq!(
            map(none, InForce::default(), V2),
            [
                "CPUQuotaPerSecUSec=max",
                "MemoryMax=max",
                "MemorySwapMax=max",
                "TasksMax=max"
            ]
        );
        assert_eq!(map("{}", InForce::default(), V2), [""; 0]);
    }

    #[test]
    fn version_one() {
        let json = r#"{"memory":{"limit":1000,"swap":3000,"reservation":500},
            "cpu":{"shares":1024},"blockIO":{"weight":500},"pids":{"limit":5},
            "unified":{"memory.max":"7"}}"#;
        let v1 = Dialect {
            unified: false,
            ..V2
        };
        assert_eq!(
            map(json, InForce::default(), v1),
            [
                "BlockIOWeight=500",
                "CPUShares=1024",
                "MemoryLimit=1000",
                "TasksMax=5"
            ]
        );
    }

    #[test]
    fn an_old_systemd() {
        let json = r#"{"cpu":{"quota":1,"period":50000,"cpus":"0","idle":1}}"#;
        let old = Dialect { version: 239, ..V2 };
        assert_eq!(
            map(json, InForce::default(), old),
            ["CPUQuotaPerSecUSec=10000"]
        );
        assert_eq!(
            map(json, InForce::default(), V2),
            [
                "AllowedCPUs=[1]",
                "CPUQuotaPerSecUSec=10000",
                "CPUQuotaPeriodUSec=50000",
                "CPUWeight=0"
            ]
        );
    }

    #[test]
    fn an_update_counts_from_what_is_in_force() {
        let now = InForce {
            memory: Some(1000),
            quota: Some(40_000),
            period: Some(200_000),
        };
        assert_eq!(
            map(r#"{"memory":{"swap":1800}}"#, now, V2),
            ["MemorySwapMax=800"]
        );
        assert_eq!(
            map(r#"{"cpu":{"quota":20000}}"#, now, V2),
            ["CPUQuotaPerSecUSec=100000"]
        );
        assert_eq!(
            map(r#"{"cpu":{"period":100000}}"#, now, V2),
            ["CPUQuotaPerSecUSec=400000", "CPUQuotaPeriodUSec=100000"]
        );
    }

    #[test]
    fn files_of_version_two() {
        let json = r#"{"memory":{"limit":5},"unified":{"memory.max":"max","memory.high":"7",
            "memory.min":"1","memory.low":"2","memory.swap.max":"3","pids.max":"0",
            "cpu.max":"5000 10000","cpu.weight":"9","cpu.idle":"1","cpuset.cpus":"1","cpuset.mems":"x",
            "hugetlb.2MB.max":"4"}}"#;
        assert_eq!(
            map(json, InForce::default(), V2),
            [
                "AllowedCPUs=[2]",
                "CPUQuotaPerSecUSec=500000",
                "CPUQuotaPeriodUSec=10000",
                "CPUWeight=0",
                "MemoryHigh=7",
                "MemoryLow=2",
                "MemoryMax=max",
                "MemoryMin=1",
                "MemorySwapMax=3",
                "TasksMax=1",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_set_is_bits_or_none(text in "[0-9, -]{0,12}") {
            if let Some(bits) = bits(&text) {
                prop_assert!(bits.len() <= LARGEST / 8 && bits.last() != Some(&0));
            }
        }

        #[test]
        fn no_quota_overflows(quota in any::<i64>(), period in any::<u64>()) {
            let cpu = Cpu { quota: Some(quota), period: Some(period), ..Cpu::default() };
            let resources = Resources { cpu: Some(cpu), ..Resources::default() };
            limits(&mut List::default(), &resources, InForce::default(), V2);
        }
    }
}
