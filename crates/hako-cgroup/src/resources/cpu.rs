//! Processor time and processor sets (config-linux.md, "CPU").

use hako_spec::runtime::Cpu;
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Site};
use crate::convert::cpu_weight;
use crate::dir::Dir;
use crate::error::{Error, Field, Result};

fn first_time_field(c: &Cpu) -> Option<&'static str> {
    [
        (c.shares.is_some_and(|v| v != 0), "cpu.shares"),
        (c.quota.is_some_and(|v| v != 0), "cpu.quota"),
        (c.period.is_some_and(|v| v != 0), "cpu.period"),
        (c.burst.is_some(), "cpu.burst"),
        (c.idle.is_some(), "cpu.idle"),
        (
            c.realtime_period.is_some_and(|v| v != 0),
            "cpu.realtimePeriod",
        ),
        (
            c.realtime_runtime.is_some_and(|v| v != 0),
            "cpu.realtimeRuntime",
        ),
    ]
    .into_iter()
    .find_map(|(is_set, name)| is_set.then_some(name))
}

fn sets(c: &Cpu) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("cpus", c.cpus.as_deref().unwrap_or("")),
        ("mems", c.mems.as_deref().unwrap_or("")),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

pub(super) fn is_time_set(c: &Cpu) -> bool {
    first_time_field(c).is_some()
}

pub(super) fn is_set_set(c: &Cpu) -> bool {
    sets(c).next().is_some()
}

pub(super) fn apply(cgroup: &Cgroup, c: &Cpu) -> Result<()> {
    if let (Some(quota), Some(burst)) = (c.quota.filter(|q| *q > 0), c.burst)
        && burst > quota.unsigned_abs()
    {
        return Err(Error::invalid(
            "cpu.burst",
            "must not be larger than cpu.quota",
        ));
    }
    if let Some(field) = first_time_field(c) {
        match cgroup.site_for("cpu", field)? {
            Site::V1(dir) => {
                realtime(dir, c)?;
                time_v1(dir, c)?;
            }
            Site::V2(dir) => time_v2(dir, c)?,
        }
    }
    for (name, value) in sets(c) {
        let field = format!("cpu.{name}");
        let dir = cgroup.site_for("cpuset", &field)?.dir();
        let mut file = format!("cpuset.{name}");
        if !dir.exists(&file) {
            file = name.to_owned();
        }
        dir.write(&file, value).field(&field)?;
    }
    Ok(())
}

/// A write that the kernel may refuse (`EINVAL`) because of another value
/// that is still to be written; tells whether to try again after that.
fn early(dir: &Dir, file: &str, value: &str, retry: bool) -> Result<bool> {
    match dir.write(file, value) {
        Ok(()) => Ok(false),
        Err(e) if retry && e.errno() == Some(Errno::INVAL) => Ok(true),
        Err(e) => Err(e),
    }
}

fn realtime(dir: &Dir, c: &Cpu) -> Result<()> {
    let period = c.realtime_period.filter(|p| *p != 0).map(|p| p.to_string());
    let runtime = c.realtime_runtime.filter(|r| *r != 0);
    let mut again = false;
    if let Some(period) = &period {
        again = early(dir, "cpu.rt_period_us", period, runtime.is_some())
            .field("cpu.realtimePeriod")?;
    }
    if let Some(runtime) = runtime {
        dir.write("cpu.rt_runtime_us", &runtime.to_string())
            .field("cpu.realtimeRuntime")?;
    }
    if let Some(period) = period.filter(|_| again) {
        dir.write("cpu.rt_period_us", &period)
            .field("cpu.realtimePeriod")?;
    }
    Ok(())
}

fn time_v1(dir: &Dir, c: &Cpu) -> Result<()> {
    // Shares of an idle group cannot be set: first out of idle, last into it.
    if c.idle == Some(0) {
        idle(dir, 0)?;
    }
    if let Some(shares) = c.shares.filter(|s| *s != 0) {
        dir.write("cpu.shares", &shares.to_string())
            .field("cpu.shares")?;
        // The kernel clamps silently.
        let got = dir.read_number("cpu.shares")?;
        if got != shares {
            let bound = if shares > got { "at most" } else { "at least" };
            return Err(Error::invalid(
                "cpu.shares",
                format!("{shares} is out of range: {bound} {got}"),
            ));
        }
    }
    let quota = c.quota.filter(|q| *q != 0);
    let period = c.period.filter(|p| *p != 0).map(|p| p.to_string());
    let mut period_again = false;
    if let Some(period) = &period {
        period_again =
            early(dir, "cpu.cfs_period_us", period, quota.is_some()).field("cpu.period")?;
    }
    let burst = c.burst.map(|b| b.to_string());
    let mut burst_again = false;
    if let Some(burst) = &burst {
        match early(dir, "cpu.cfs_burst_us", burst, quota.is_some()) {
            Err(e) if e.is_missing() && c.burst == Some(0) => {}
            other => burst_again = other.field("cpu.burst")?,
        }
    }
    if let Some(quota) = quota {
        dir.write("cpu.cfs_quota_us", &quota.max(-1).to_string())
            .field("cpu.quota")?;
    }
    if let Some(period) = period.filter(|_| period_again) {
        dir.write("cpu.cfs_period_us", &period)
            .field("cpu.period")?;
    }
    if let Some(burst) = burst.filter(|_| burst_again) {
        dir.write("cpu.cfs_burst_us", &burst).field("cpu.burst")?;
    }
    match c.idle {
        Some(value) if value != 0 => idle(dir, value),
        _ => Ok(()),
    }
}

fn idle(dir: &Dir, value: i64) -> Result<()> {
    match dir.write("cpu.idle", &value.to_string()) {
        // Kernels before 5.15 have no idle groups; not being one is no wish.
        Err(e) if e.is_missing() && value == 0 => Ok(()),
        other => other.field("cpu.idle"),
    }
}

fn time_v2(dir: &Dir, c: &Cpu) -> Result<()> {
    for (value, field) in [
        (c.realtime_period.map(|p| p != 0), "cpu.realtimePeriod"),
        (c.realtime_runtime.map(|r| r != 0), "cpu.realtimeRuntime"),
    ] {
        if value == Some(true) {
            return Err(Error::invalid(field, "does not exist in cgroup v2"));
        }
    }
    if c.idle == Some(0) {
        idle(dir, 0)?;
    }
    if let Some(shares) = c.shares.filter(|s| *s != 0) {
        dir.write("cpu.weight", &cpu_weight(shares).to_string())
            .field("cpu.shares")?;
    }
    let quota = c.quota.filter(|q| *q != 0);
    let period = c.period.filter(|p| *p != 0);
    let limits = quota.is_some() || period.is_some();
    let burst = c.burst.map(|b| b.to_string());
    let mut again = false;
    if let Some(burst) = &burst {
        again = early(dir, "cpu.max.burst", burst, limits).field("cpu.burst")?;
    }
    if limits {
        let quota = match quota {
            Some(q) if q > 0 => q.to_string(),
            Some(_) => "max".to_owned(),
            // Only the period changes: the quota that is in force stays.
            None => {
                let now = dir.read("cpu.max")?;
                now.split_whitespace().next().unwrap_or("max").to_owned()
            }
        };
        let value = match period {
            Some(period) => format!("{quota} {period}"),
            None => quota,
        };
        dir.write("cpu.max", &value).field("cpu.quota")?;
    }
    if let Some(burst) = burst.filter(|_| again) {
        dir.write("cpu.max.burst", &burst).field("cpu.burst")?;
    }
    match c.idle {
        Some(value) if value != 0 => idle(dir, value),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::resources::tests::{Fake, chain};

    #[test]
    fn version_one() {
        let fake = Fake::v1(&[
            ("cpu.shares", ""),
            ("cpu.cfs_quota_us", ""),
            ("cpu.cfs_period_us", ""),
            ("cpu.cfs_burst_us", ""),
            ("cpu.rt_runtime_us", ""),
            ("cpu.rt_period_us", ""),
            ("cpu.idle", ""),
        ]);
        fake.apply(
            r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"burst":1000,"idle":1,
                "realtimeRuntime":9,"realtimePeriod":10,"cpus":"1","mems":"0"}}"#,
        )
        .unwrap();
        for (file, value) in [
            ("cpu/c/cpu.shares", "512"),
            ("cpu/c/cpu.cfs_quota_us", "50000"),
            ("cpu/c/cpu.cfs_period_us", "100000"),
            ("cpu/c/cpu.cfs_burst_us", "1000"),
            ("cpu/c/cpu.rt_runtime_us", "9"),
            ("cpu/c/cpu.rt_period_us", "10"),
            ("cpu/c/cpu.idle", "1"),
            ("cpuset/c/cpuset.cpus", "1"),
            ("cpuset/c/cpuset.mems", "0"),
        ] {
            assert_eq!(fake.read(file), value, "{file}");
        }
        fake.apply(r#"{"cpu":{"quota":-5}}"#).unwrap();
        assert_eq!(fake.read("cpu/c/cpu.cfs_quota_us"), "-1");
    }

    #[test]
    fn version_two() {
        let fake = Fake::v2(
            "cpu cpuset",
            &[
                ("cpu.weight", ""),
                ("cpu.max", "max 100000\n"),
                ("cpu.max.burst", ""),
                ("cpu.idle", ""),
                ("cpuset.cpus", ""),
                ("cpuset.mems", ""),
            ],
        );
        fake.apply(
            r#"{"cpu":{"shares":1024,"quota":50000,"period":200000,"burst":7,"idle":0,"cpus":"0-1"}}"#,
        )
        .unwrap();
        for (file, value) in [
            ("c/cpu.weight", "100"),
            ("c/cpu.max", "50000 200000"),
            ("c/cpu.max.burst", "7"),
            ("c/cpu.idle", "0"),
            ("c/cpuset.cpus", "0-1"),
            ("c/cpuset.mems", ""),
        ] {
            assert_eq!(fake.read(file), value, "{file}");
        }
        fake.apply(r#"{"cpu":{"period":300000}}"#).unwrap();
        assert_eq!(fake.read("c/cpu.max"), "50000 300000");
        fake.apply(r#"{"cpu":{"quota":-1}}"#).unwrap();
        assert_eq!(fake.read("c/cpu.max"), "max");
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let fake = Fake::v2("cpu", &[("cpu.max", "max 100000\n")]);
        for (json, text) in [
            (
                r#"{"cpu":{"quota":10,"burst":11}}"#,
                "cpu.burst must not be larger than cpu.quota",
            ),
            (
                r#"{"cpu":{"realtimeRuntime":5}}"#,
                "cpu.realtimeRuntime does not exist in cgroup v2",
            ),
        ] {
            assert_eq!(chain(&fake.apply(json).unwrap_err()), text);
        }
    }
}
