//! Statistics of version 2, told in the terms of version 1.

use super::{Amount, BlkioEntry, Hugetlb, Pressure, Stats, optional, parse};
use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::Result;

pub(super) fn read(cgroup: &Cgroup, stats: &mut Stats) -> Result<()> {
    let Some(dir) = cgroup.v2_dir()? else {
        return Ok(());
    };
    let controllers = cgroup.v2_controllers()?;
    let has = |name: &str| controllers.iter().any(|c| c == name);
    // On a hybrid host version 1 has the processor's time.
    if cgroup.v1_with("cpuacct")?.is_none() {
        cpu(dir, stats)?;
        stats.cpu.pressure = pressure(dir, "cpu.pressure")?;
    }
    if has("memory") {
        memory(dir, stats)?;
        stats.memory.pressure = pressure(dir, "memory.pressure")?;
    }
    if has("pids") {
        super::v1::pids(dir, stats)?;
    }
    if has("io") {
        io(dir, stats)?;
        stats.blkio.pressure = pressure(dir, "io.pressure")?;
    }
    if has("cpuset") {
        let read = |name: &str| dir.read_if_exists(name).map(Option::unwrap_or_default);
        stats.cpuset.cpus = parse::set(&read("cpuset.cpus.effective")?);
        stats.cpuset.mems = parse::set(&read("cpuset.mems.effective")?);
    }
    if has("hugetlb") {
        hugetlb(dir, stats)?;
    }
    Ok(())
}

fn pressure(dir: &Dir, name: &str) -> Result<Option<Pressure>> {
    match dir.read_if_exists(name) {
        Ok(text) => Ok(text.map(|text| parse::pressure(&text))),
        // Switched off at boot (psi=0) or for this cgroup.
        Err(e) if e.errno() == Some(rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e),
    }
}

fn cpu(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let text = dir.read_if_exists("cpu.stat")?.unwrap_or_default();
    let cpu = &mut stats.cpu;
    for (key, value) in parse::pairs(&text) {
        let time = value.saturating_mul(1000);
        match key {
            "usage_usec" => cpu.total = time,
            "user_usec" => cpu.user = time,
            "system_usec" => cpu.kernel = time,
            "nr_periods" => cpu.periods = value,
            "nr_throttled" => cpu.throttled_periods = value,
            "throttled_usec" => cpu.throttled_time = time,
            "nr_bursts" => cpu.burst_periods = value,
            "burst_usec" => cpu.burst_time = time,
            _ => {}
        }
    }
    Ok(())
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let text = dir.read("memory.stat")?;
    let memory = &mut stats.memory;
    memory.raw = parse::pairs(&text)
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.hierarchical = true;
    let events = dir.read_if_exists("memory.events")?.unwrap_or_default();
    let event = |name| {
        parse::pairs(&events)
            .find(|(key, _)| *key == name)
            .map_or(0, |(_, value)| value)
    };
    memory.usage = Amount {
        usage: optional(dir, "memory.current")?.unwrap_or(0),
        max: optional(dir, "memory.peak")?.unwrap_or(0),
        failcnt: event("max"),
        limit: optional(dir, "memory.max")?.unwrap_or(u64::MAX),
    };
    if let Some(swap) = optional(dir, "memory.swap.current")? {
        let limit = optional(dir, "memory.swap.max")?.unwrap_or(u64::MAX);
        memory.swap = Amount {
            usage: swap.saturating_add(memory.usage.usage),
            // The peaks of the two need not be of one moment.
            max: 0,
            failcnt: 0,
            limit: limit.saturating_add(memory.usage.limit),
        };
    }
    Ok(())
}

fn io(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let text = dir.read_if_exists("io.stat")?.unwrap_or_default();
    let b = &mut stats.blkio;
    for (major, minor, key, value) in parse::io_stat(&text) {
        let (table, op) = match key {
            "rbytes" => (&mut b.io_service_bytes, "Read"),
            "wbytes" => (&mut b.io_service_bytes, "Write"),
            "dbytes" => (&mut b.io_service_bytes, "Discard"),
            "rios" => (&mut b.io_serviced, "Read"),
            "wios" => (&mut b.io_serviced, "Write"),
            "dios" => (&mut b.io_serviced, "Discard"),
            _ => continue,
        };
        table.push(BlkioEntry {
            major,
            minor,
            op: op.to_owned(),
            value,
        });
    }
    Ok(())
}

fn hugetlb(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for size in page_sizes() {
        let reserved = optional(dir, &format!("hugetlb.{size}.rsvd.current"))?;
        let usage = match reserved {
            Some(usage) => Some(usage),
            None => optional(dir, &format!("hugetlb.{size}.current"))?,
        };
        let Some(usage) = usage else {
            continue;
        };
        let failcnt = dir
            .read_key(&format!("hugetlb.{size}.events"), "max")?
            .unwrap_or(0);
        let entry = Hugetlb {
            usage,
            max: 0,
            failcnt,
        };
        stats.hugetlb.insert(size, entry);
    }
    Ok(())
}

/// The sizes of huge pages of this kernel, as the control files are named
/// (`2MB`), from `/sys/kernel/mm/hugepages/hugepages-2048kB`.
pub(super) fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let kilobytes = name
                .to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            Some(size_name(kilobytes))
        })
        .collect()
}

fn size_name(kilobytes: u64) -> String {
    if kilobytes >= 1 << 20 {
        format!("{}GB", kilobytes >> 20)
    } else if kilobytes >= 1 << 10 {
        format!("{}MB", kilobytes >> 10)
    } else {
        format!("{kilobytes}KB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::CgroupPath;
    use crate::resources::tests::Fake;

    #[test]
    fn names_of_sizes() {
        let names = [64, 2048, 1 << 20, 16 << 20].map(size_name);
        assert_eq!(names, ["64KB", "2MB", "1GB", "16GB"]);
    }

    #[test]
    fn in_the_terms_of_version_one() {
        let fake = Fake::v2(
            "cpu io memory pids",
            &[
                (
                    "cpu.stat",
                    "usage_usec 7\nuser_usec 3\nsystem_usec 4\nnr_periods 2\nthrottled_usec 5\n",
                ),
                (
                    "cpu.pressure",
                    "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
                ),
                ("memory.stat", "anon 10\nfile 20\n"),
                ("memory.events", "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n"),
                ("memory.current", "100\n"),
                ("memory.max", "max\n"),
                ("memory.swap.current", "5\n"),
                ("memory.swap.max", "50\n"),
                ("pids.current", "3\n"),
                ("pids.max", "max\n"),
                (
                    "io.stat",
                    "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
                ),
            ],
        );
        let cgroup = Cgroup::at(&fake.host, &CgroupPath::parse("c").unwrap());
        let stats = cgroup.stats().unwrap();
        assert_eq!(
            (stats.cpu.total, stats.cpu.user, stats.cpu.kernel),
            (7000, 3000, 4000)
        );
        assert_eq!(stats.cpu.pressure.unwrap().some.total, 9);
        assert_eq!((stats.memory.cache, stats.memory.usage.usage), (20, 100));
        assert_eq!(
            (stats.memory.usage.limit, stats.memory.usage.failcnt),
            (u64::MAX, 6)
        );
        assert_eq!(
            (stats.memory.swap.usage, stats.memory.swap.limit),
            (105, u64::MAX)
        );
        assert_eq!((stats.pids.current, stats.pids.limit), (3, 0));
        assert_eq!(stats.blkio.io_service_bytes.len(), 3);
        assert_eq!(cgroup.oom_kills().unwrap(), 1);
    }
}
