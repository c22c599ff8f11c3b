//! Memory limits (config-linux.md, "Memory").

use hako_spec::runtime::Memory;
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Site};
use crate::convert::{or_max, swap_max};
use crate::dir::Dir;
use crate::error::{Error, Field, Result};

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP: &str = "memory.memsw.limit_in_bytes";

fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|v| *v != 0)
}

/// The first field that asks for something. `useHierarchy` is what every kernel
/// since 5.11 does.
fn first_field(m: &Memory) -> Option<&'static str> {
    [
        (set(m.limit).is_some(), "memory.limit"),
        (set(m.swap).is_some(), "memory.swap"),
        (set(m.reservation).is_some(), "memory.reservation"),
        (m.swappiness.is_some(), "memory.swappiness"),
        (
            m.disable_oom_killer == Some(true),
            "memory.disableOOMKiller",
        ),
        (set(m.kernel_tcp).is_some(), "memory.kernelTCP"),
        (set(m.kernel).is_some(), "memory.kernel"),
    ]
    .into_iter()
    .find_map(|(is_set, name)| is_set.then_some(name))
}

pub(super) fn is_set(m: &Memory) -> bool {
    first_field(m).is_some()
}

pub(super) fn apply(cgroup: &Cgroup, m: &Memory) -> Result<()> {
    let Some(field) = first_field(m) else {
        return Ok(());
    };
    for (name, value) in [
        ("memory.limit", m.limit),
        ("memory.reservation", m.reservation),
        ("memory.swap", m.swap),
    ] {
        if value.is_some_and(|v| v < -1) {
            return Err(Error::invalid(name, "must not be below -1"));
        }
    }
    if m.swappiness.is_some_and(|s| s > 100) {
        return Err(Error::invalid(
            "memory.swappiness",
            "must be between 0 and 100",
        ));
    }
    match cgroup.site_for("memory", field)? {
        Site::V1(dir) => v1(dir, m),
        Site::V2(dir) => v2(dir, m),
    }
}

/// `checkBeforeUpdate` alone.
pub(super) fn check(cgroup: &Cgroup, m: &Memory) -> Result<()> {
    match cgroup.site("memory")? {
        Some(Site::V2(dir)) if m.check_before_update == Some(true) => {
            check_usage(dir, m.limit.unwrap_or(0), m.swap.unwrap_or(0))
        }
        _ => Ok(()),
    }
}

fn v1(dir: &Dir, m: &Memory) -> Result<()> {
    let limit = set(m.limit);
    let mut swap = set(m.swap);
    // Unlimited memory within a limit of memory and swap would be refused.
    if limit == Some(-1) && swap.is_none() && dir.exists(SWAP) {
        swap = Some(-1);
    }
    // The kernel keeps limit <= memsw.limit at every moment: whichever grows
    // has to make room first.
    let swap_first = match (limit, swap) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(swap)) => dir.read_number(LIMIT)? < swap.unsigned_abs(),
        _ => false,
    };
    if swap_first {
        v1_swap(dir, swap)?;
        v1_limit(dir, limit)?;
    } else {
        v1_limit(dir, limit)?;
        v1_swap(dir, swap)?;
    }
    if let Some(reservation) = set(m.reservation) {
        dir.write("memory.soft_limit_in_bytes", &reservation.to_string())
            .field("memory.reservation")?;
    }
    if m.disable_oom_killer == Some(true) {
        dir.write("memory.oom_control", "1")
            .field("memory.disableOOMKiller")?;
    }
    if let Some(swappiness) = m.swappiness {
        dir.write("memory.swappiness", &swappiness.to_string())
            .field("memory.swappiness")?;
    }
    // The limit of all kernel memory is one that kernels since 5.16 ignore.
    if let Some(tcp) = set(m.kernel_tcp) {
        dir.write("memory.kmem.tcp.limit_in_bytes", &tcp.to_string())
            .field("memory.kernelTCP")?;
    }
    Ok(())
}

fn v1_limit(dir: &Dir, limit: Option<i64>) -> Result<()> {
    let Some(limit) = limit else {
        return Ok(());
    };
    match dir.write(LIMIT, &limit.to_string()) {
        Err(e) if e.errno() == Some(Errno::BUSY) => {
            let usage = dir.read_number("memory.usage_in_bytes")?;
            let peak = dir.read_number("memory.max_usage_in_bytes")?;
            Err(Error::invalid(
                "memory.limit",
                format!("{limit} is below the current usage {usage} (peak {peak})"),
            ))
        }
        other => other.field("memory.limit"),
    }
}

fn v1_swap(dir: &Dir, swap: Option<i64>) -> Result<()> {
    match swap {
        Some(swap) => match dir.write(SWAP, &swap.to_string()) {
            Err(e) if e.is_missing() => Err(Error::invalid(
                "memory.swap",
                "cannot be limited: this kernel does not account swap",
            )),
            other => other.field("memory.swap"),
        },
        None => Ok(()),
    }
}

fn v2(dir: &Dir, m: &Memory) -> Result<()> {
    let limit = m.limit.unwrap_or(0);
    for (is_set, field) in [
        (m.swappiness.is_some(), "memory.swappiness"),
        (
            m.disable_oom_killer == Some(true),
            "memory.disableOOMKiller",
        ),
        (m.kernel.is_some_and(|v| v > 0), "memory.kernel"),
        (m.kernel_tcp.is_some_and(|v| v > 0), "memory.kernelTCP"),
    ] {
        if is_set {
            return Err(Error::invalid(field, "does not exist in cgroup v2"));
        }
    }
    if m.check_before_update == Some(true) {
        check_usage(dir, limit, m.swap.unwrap_or(0))?;
    }
    // An update of swap alone counts from the limit that is in force.
    let counted_from = match (limit, set(m.swap)) {
        (0, Some(1..)) => dir
            .read_if_exists("memory.max")?
            .and_then(|max| max.trim().parse().ok())
            .unwrap_or(0),
        _ => limit,
    };
    if let Some(swap) = swap_max(m.swap.unwrap_or(0), counted_from)? {
        match dir.write("memory.swap.max", &or_max(swap)) {
            // Without swap accounting there is nothing to allow or forbid.
            Err(e) if e.errno() == Some(Errno::NOENT) && swap <= 0 => {}
            other => other.field("memory.swap")?,
        }
    }
    if limit != 0 {
        dir.write("memory.max", &or_max(limit))
            .field("memory.limit")?;
    }
    if let Some(reservation) = set(m.reservation) {
        dir.write("memory.low", &or_max(reservation))
            .field("memory.reservation")?;
    }
    Ok(())
}

/// `checkBeforeUpdate`: version 1's kernel refuses a limit below the usage by
/// itself, version 2's would call the OOM killer. `swap` is memory and swap
/// together.
fn check_usage(dir: &Dir, limit: i64, swap: i64) -> Result<()> {
    let refuse = |field, what, limit, usage| {
        Err(Error::invalid(
            field,
            format!("{limit}: rejecting {what} limit below the current usage {usage}"),
        ))
    };
    if limit <= 0 && swap <= 0 {
        return Ok(());
    }
    let memory = dir.read_number("memory.current")?;
    if swap > 0 {
        let swapped = match dir.read_number("memory.swap.current") {
            Err(e) if e.is_missing() => 0,
            other => other?,
        };
        let usage = memory.saturating_add(swapped);
        if swap.unsigned_abs() < usage {
            return refuse("memory.swap", "memory+swap", swap, usage);
        }
    }
    if limit > 0 && limit.unsigned_abs() < memory {
        return refuse("memory.limit", "memory", limit, memory);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::resources::tests::{Fake, chain};

    #[test]
    fn version_one() {
        let fake = Fake::v1(&[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.limit_in_bytes", ""),
            ("memory.soft_limit_in_bytes", ""),
            ("memory.oom_control", ""),
            ("memory.swappiness", ""),
            ("memory.kmem.tcp.limit_in_bytes", ""),
        ]);
        fake.apply(
            r#"{"memory":{"limit":1000,"swap":2000,"reservation":500,"kernel":5,"kernelTCP":6,
                "swappiness":7,"disableOOMKiller":true,"useHierarchy":true}}"#,
        )
        .unwrap();
        for (file, value) in [
            ("limit_in_bytes", "1000"),
            ("memsw.limit_in_bytes", "2000"),
            ("soft_limit_in_bytes", "500"),
            ("oom_control", "1"),
            ("swappiness", "7"),
            ("kmem.tcp.limit_in_bytes", "6"),
        ] {
            assert_eq!(fake.read(&format!("memory/c/memory.{file}")), value);
        }
        // Taking the limit away takes that of swap away, too.
        fake.apply(r#"{"memory":{"limit":-1}}"#).unwrap();
        assert_eq!(fake.read("memory/c/memory.memsw.limit_in_bytes"), "-1");
    }

    #[test]
    fn version_two() {
        let fake = Fake::v2(
            "memory",
            &[
                ("memory.max", ""),
                ("memory.low", ""),
                ("memory.swap.max", ""),
                ("memory.current", "600\n"),
                ("memory.swap.current", "0\n"),
            ],
        );
        fake.apply(r#"{"memory":{"limit":1000,"swap":3000,"reservation":500}}"#)
            .unwrap();
        assert_eq!(fake.read("c/memory.max"), "1000");
        assert_eq!(fake.read("c/memory.swap.max"), "2000");
        assert_eq!(fake.read("c/memory.low"), "500");
        // Swap alone counts from the limit that is in force.
        fake.apply(r#"{"memory":{"swap":1800}}"#).unwrap();
        assert_eq!(fake.read("c/memory.swap.max"), "800");
        fake.apply(r#"{"memory":{"limit":-1}}"#).unwrap();
        assert_eq!(fake.read("c/memory.max"), "max");
        assert_eq!(fake.read("c/memory.swap.max"), "max");
        let e = fake
            .apply(r#"{"memory":{"limit":500,"checkBeforeUpdate":true}}"#)
            .unwrap_err();
        assert_eq!(
            chain(&e),
            "memory.limit 500: rejecting memory limit below the current usage 600"
        );
        for field in ["swappiness", "kernel", "kernelTCP"] {
            let json = format!(r#"{{"memory":{{"{field}":3}}}}"#);
            assert!(fake.apply(&json).is_err(), "{field}");
        }
    }

    #[test]
    fn version_two_without_swap() {
        let fake = Fake::v2("memory", &[("memory.max", "")]);
        fake.apply(r#"{"memory":{"limit":1000,"swap":1000}}"#)
            .unwrap();
        let e = fake
            .apply(r#"{"memory":{"limit":1000,"swap":1500}}"#)
            .unwrap_err();
        assert!(
            chain(&e).starts_with("cannot set memory.swap: "),
            "{}",
            chain(&e)
        );
    }
}
