//! `events`: what a container uses, once or again and again, and when it runs
//! out of memory; in the form that runc gave it.

use std::time::{Duration, Instant};

use hako_cgroup::OomEvent;
use hako_cgroup::stats::{Amount, BlkioEntry, Pressure, PressureTimes, Stats};
use hako_spec::runtime::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Global, load, no_more, print};
use crate::cli::Args;
use crate::container::rdt;
use crate::error::{Context, Error, Result};
use crate::log;
use crate::state::Container;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    no_more(args, 1)?;
    let interval = match args.get("interval") {
        None => Duration::from_secs(5),
        Some(text) => duration(text)
            .ok_or_else(|| Error::new(format!("--interval: {text:?} is no duration above 0")))?,
    };
    let container = load(global, args)?;
    if container.status() == Status::Stopped {
        return Err(container.not_running());
    }
    if args.has("stats") {
        tell(&container)?;
        return Ok(0);
    }
    follow(&container, interval)?;
    Ok(0)
}

/// Until the container's end, told by its process, whatever the cgroup says.
fn follow(container: &Container, interval: Duration) -> Result<()> {
    let cgroup = container.saved.cgroup();
    let process = container.pidfd()?;
    let mut oom = cgroup.watch_oom().context(|| "watch the memory")?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let fd = oom.fd();
        let mut ready = [
            PollFd::new(&fd, PollFlags::IN),
            PollFd::new(&process, PollFlags::IN),
        ];
        match poll(&mut ready, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(std::io::Error::from(e).into()),
        }
        let ended = !ready[1].revents().is_empty();
        match oom.read(&cgroup).context(|| "watch the memory")? {
            OomEvent::None => {}
            OomEvent::Oom { .. } => {
                line(container, "oom", None)?;
            }
            OomEvent::Gone => return Ok(()),
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            next = Instant::now() + interval;
            if let Err(e) = tell(container) {
                log::warn(&e.to_string());
            }
        }
    }
}

fn tell(container: &Container) -> Result<()> {
    let stats = container.saved.cgroup().stats().context(|| "statistics")?;
    let groups = container.saved.rdt.as_ref();
    let groups = groups.map(rdt::Saved::stats).unwrap_or_default();
    line(container, "stats", Some(data(&stats, &groups)))
}

/// One event, its members in runc's order, by which scripts know it.
fn line(container: &Container, kind: &str, data: Option<Value>) -> Result<()> {
    #[derive(Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Value>,
    }
    let id = &container.saved.id;
    let text = serde_json::to_string(&Event { kind, id, data })?;
    print(&format!("{text}\n"))
}

/// A Go duration (`5s`, `1m30s`, `100ms`).
fn duration(text: &str) -> Option<Duration> {
    let mut all = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        all += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(all)
        .ok()
        .filter(|d| !d.is_zero())
}

/// runc's shape: what is empty or zero is left out where runc leaves it out.
fn data(stats: &Stats, groups: &Map<String, Value>) -> Value {
    let cpu = &stats.cpu;
    let mut usage = object([("kernel", cpu.kernel.into()), ("user", cpu.user.into())]);
    put(&mut usage, "total", cpu.total);
    list(&mut usage, "percpu", &cpu.per_cpu);
    list(&mut usage, "percpu_kernel", &cpu.per_cpu_kernel);
    list(&mut usage, "percpu_user", &cpu.per_cpu_user);
    let mut throttling = Map::new();
    put(&mut throttling, "periods", cpu.periods);
    put(&mut throttling, "throttledPeriods", cpu.throttled_periods);
    put(&mut throttling, "throttledTime", cpu.throttled_time);
    let mut cpu_told = object([("usage", usage.into())]);
    if !throttling.is_empty() {
        cpu_told.insert("throttling".to_owned(), throttling.into());
    }
    pressure(&mut cpu_told, cpu.pressure.as_ref());

    let mut cpuset = Map::new();
    for name in [
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ] {
        let value = stats.cpuset.settings.get(name).copied().unwrap_or(0);
        cpuset.insert(name.to_owned(), value.into());
    }
    list(&mut cpuset, "cpus", &stats.cpuset.cpus);
    list(&mut cpuset, "mems", &stats.cpuset.mems);

    let memory = &stats.memory;
    let mut memory_told = Map::new();
    put(&mut memory_told, "cache", memory.cache);
    for (name, amount) in [
        ("usage", &memory.usage),
        ("swap", &memory.swap),
        ("kernel", &memory.kernel),
        ("kernelTCP", &memory.kernel_tcp),
    ] {
        if *amount != Amount::default() {
            memory_told.insert(name.to_owned(), told(amount));
        }
    }
    if !memory.raw.is_empty() {
        let raw: Map<String, Value> = memory
            .raw
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()))
            .collect();
        memory_told.insert("raw".to_owned(), raw.into());
    }
    pressure(&mut memory_told, memory.pressure.as_ref());

    let mut pids = Map::new();
    put(&mut pids, "current", stats.pids.current);
    put(&mut pids, "limit", stats.pids.limit);

    let blkio = &stats.blkio;
    let mut blkio_told = Map::new();
    for (name, table) in [
        ("ioServiceBytesRecursive", &blkio.io_service_bytes),
        ("ioServicedRecursive", &blkio.io_serviced),
        ("ioQueueRecursive", &blkio.io_queued),
        ("ioServiceTimeRecursive", &blkio.io_service_time),
        ("ioWaitTimeRecursive", &blkio.io_wait_time),
        ("ioMergedRecursive", &blkio.io_merged),
        ("ioTimeRecursive", &blkio.io_time),
        ("sectorsRecursive", &blkio.sectors),
    ] {
        if !table.is_empty() {
            blkio_told.insert(name.to_owned(), table.iter().map(entry).collect());
        }
    }
    pressure(&mut blkio_told, blkio.pressure.as_ref());

    let hugetlb: Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, pages)| {
            let mut told = object([("failcnt", pages.failcnt.into())]);
            put(&mut told, "usage", pages.usage);
            put(&mut told, "max", pages.max);
            (size.clone(), told.into())
        })
        .collect();

    json!({
        "cpu": cpu_told,
        "cpuset": cpuset,
        "memory": memory_told,
        "pids": pids,
        "blkio": blkio_told,
        "hugetlb": hugetlb,
        "intel_rdt": groups,
        "network_interfaces": null,
    })
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A number that is left out when it is 0.
fn put(map: &mut Map<String, Value>, name: &str, value: u64) {
    if value != 0 {
        map.insert(name.to_owned(), value.into());
    }
}

/// A list that is left out when it is empty.
fn list<T: Copy + Into<Value>>(map: &mut Map<String, Value>, name: &str, values: &[T]) {
    if !values.is_empty() {
        map.insert(
            name.to_owned(),
            values.iter().map(|v| (*v).into()).collect(),
        );
    }
}

fn told(amount: &Amount) -> Value {
    let mut told = object([
        ("limit", amount.limit.into()),
        ("failcnt", amount.failcnt.into()),
    ]);
    put(&mut told, "usage", amount.usage);
    put(&mut told, "max", amount.max);
    told.into()
}

fn entry(entry: &BlkioEntry) -> Value {
    let mut told = Map::new();
    put(&mut told, "major", entry.major);
    put(&mut told, "minor", entry.minor);
    if !entry.op.is_empty() {
        told.insert("op".to_owned(), entry.op.clone().into());
    }
    put(&mut told, "value", entry.value);
    told.into()
}

fn pressure(map: &mut Map<String, Value>, pressure: Option<&Pressure>) {
    let times = |times: &PressureTimes| {
        json!({
            "avg10": times.avg10, "avg60": times.avg60, "avg300": times.avg300,
            "total": times.total,
        })
    };
    if let Some(pressure) = pressure {
        let told = json!({ "some": times(&pressure.some), "full": times(&pressure.full) });
        map.insert("psi".to_owned(), told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("1h", Some(3_600_000)),
            ("0s", None),
            ("", None),
            ("5", None),
            ("s", None),
            ("5x", None),
            ("-5s", None),
            ("99999999999999999999h", None),
        ] {
            let wanted = millis.map(Duration::from_millis);
            assert_eq!(duration(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn nothing_used_keeps_its_shape() {
        let value = data(&Stats::default(), &Map::new());
        assert_eq!(value["cpu"], json!({ "usage": { "kernel": 0, "user": 0 } }));
        assert_eq!(value["memory"], json!({}));
        assert_eq!(value["cpuset"]["cpu_exclusive"], 0);
        assert!(value["network_interfaces"].is_null());
        let mut stats = Stats::default();
        stats.memory.usage.usage = 7;
        stats.cpu.per_cpu = vec![1, 2];
        stats.cpu.pressure = Some(Pressure::default());
        let value = data(&stats, &Map::new());
        assert_eq!(
            value["memory"]["usage"],
            json!({ "limit": 0, "usage": 7, "failcnt": 0 })
        );
        assert_eq!(value["cpu"]["usage"]["percpu"], json!([1, 2]));
        assert_eq!(value["cpu"]["psi"]["some"]["avg10"], 0.0);
    }
}
