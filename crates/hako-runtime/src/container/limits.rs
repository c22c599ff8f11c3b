//! Limits and scheduling of the process: rlimits, scheduler, I/O priority,
//! CPU affinity, memory policy, personality (config.md, "Linux Process";
//! config-linux.md, "Memory Policy", "Personality").

use hako_spec::runtime::{
    IoClass, IoPriority, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode, Personality,
    PersonalityDomain, Rlimit, Scheduler, SchedulerFlag, SchedulerPolicy,
};
use hako_sys::limits::RESOURCES;
use hako_sys::sched;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, getrlimit, prlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::{Context, Error, Result};
use crate::log;

/// Raises the hard limits of process `pid` that are below `limits`: within a user
/// namespace nobody could (getrlimit(2): `CAP_SYS_RESOURCE` in the initial one).
/// The process sets the rest itself, when it needs its resources no more.
pub fn raise(pid: i32, limits: &[Rlimit]) -> Result<()> {
    let pid = Pid::from_raw(pid);
    for limit in limits {
        let resource = resource(&limit.kind)?;
        let now = getrlimit(resource);
        let enough = |hard: u64| (limit.hard != u64::MAX) && hard >= limit.hard;
        if now.maximum.is_none_or(enough) {
            continue;
        }
        let new = rustix::process::Rlimit {
            current: now.current,
            maximum: (limit.hard != u64::MAX).then_some(limit.hard),
        };
        prlimit(pid, resource, new)
            .map(|_| ())
            .context(|| format!("raise the hard limit {} to {}", limit.kind, limit.hard))?;
    }
    Ok(())
}

fn resource(name: &str) -> Result<Resource> {
    RESOURCES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, resource)| *resource)
        .ok_or_else(|| Error::new(format!("unknown resource limit {name:?}")))
}

/// Sets `limits`. A limit that cannot be set is an error.
pub fn rlimits(limits: &[Rlimit]) -> Result<()> {
    let value = |n: u64| (n != u64::MAX).then_some(n);
    for limit in limits {
        let resource = resource(&limit.kind)?;
        let new = rustix::process::Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        setrlimit(resource, new)
            .context(|| format!("set {} to {} (hard {})", limit.kind, limit.soft, limit.hard))?;
    }
    Ok(())
}

/// Sets the scheduling policy. `restricted`: the process may not use every CPU.
pub fn scheduler(s: &Scheduler, restricted: bool) -> Result<()> {
    let policy = match s.policy {
        SchedulerPolicy::Other => 0,
        SchedulerPolicy::Fifo => 1,
        SchedulerPolicy::Rr => 2,
        SchedulerPolicy::Batch => 3,
        SchedulerPolicy::Iso => 4,
        SchedulerPolicy::Idle => 5,
        SchedulerPolicy::Deadline => 6,
    };
    let mut flags = 0;
    for flag in &s.flags {
        flags |= match flag {
            SchedulerFlag::ResetOnFork => 0x01,
            SchedulerFlag::Reclaim => 0x02,
            SchedulerFlag::DlOverrun => 0x04,
            SchedulerFlag::KeepPolicy => 0x08,
            SchedulerFlag::KeepParams => 0x10,
            SchedulerFlag::UtilClampMin => 0x20,
            SchedulerFlag::UtilClampMax => 0x40,
        };
    }
    let priority = u32::try_from(s.priority)
        .map_err(|_| Error::new(format!("scheduler priority {} is negative", s.priority)))?;
    sched::set_attributes(&sched::Attributes {
        policy,
        flags,
        nice: s.nice,
        priority,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    })
    .map_err(|e| match e {
        // sched_setattr(2): the mask of CPUs must include all of the system.
        Errno::PERM if restricted => Error::new(
            "operation not permitted: process scheduler can't be used together with AllowedCPUs",
        ),
        e => e.into(),
    })
    .context(|| format!("set scheduler {}", s.policy))
}

/// Sets the I/O priority.
pub fn io_priority(p: &IoPriority) -> Result<()> {
    let class = match p.class {
        IoClass::RealTime => 1,
        IoClass::BestEffort => 2,
        IoClass::Idle => 3,
    };
    let priority = u32::try_from(p.priority)
        .ok()
        .filter(|p| *p < 8)
        .ok_or_else(|| Error::new(format!("I/O priority {} is not in 0 to 7", p.priority)))?;
    sched::set_io_priority(class, priority).context(|| format!("set I/O priority {}", p.class))
}

/// Sets the execution domain.
pub fn personality(p: &Personality) -> Result<()> {
    if let Some(flag) = p.flags.first() {
        return Err(Error::new(format!(
            "personality flag {flag:?} is not supported"
        )));
    }
    let domain = match p.domain {
        PersonalityDomain::Linux => 0,
        PersonalityDomain::Linux32 => 8,
    };
    sched::set_personality(domain).context(|| format!("set personality {}", p.domain))
}

/// Sets the NUMA memory policy.
pub fn memory_policy(p: &MemoryPolicy) -> Result<()> {
    let named = p.mode.unwrap_or(MemoryPolicyMode::Default);
    let mut mode = match named {
        MemoryPolicyMode::Default => 0,
        MemoryPolicyMode::Preferred => 1,
        MemoryPolicyMode::Bind => 2,
        MemoryPolicyMode::Interleave => 3,
        MemoryPolicyMode::Local => 4,
        MemoryPolicyMode::PreferredMany => 5,
        MemoryPolicyMode::WeightedInterleave => 6,
    };
    for flag in &p.flags {
        mode |= match flag {
            MemoryPolicyFlag::StaticNodes => 1 << 15,
            MemoryPolicyFlag::RelativeNodes => 1 << 14,
            MemoryPolicyFlag::NumaBalancing => 1 << 13,
        };
    }
    let mut mask = Vec::new();
    for node in
        list(p.nodes.as_deref().unwrap_or_default(), 1024).context(|| "linux.memoryPolicy.nodes")?
    {
        let word = node / 64;
        if mask.len() <= word {
            mask.resize(word + 1, 0u64);
        }
        if let Some(bits) = mask.get_mut(word) {
            *bits |= 1 << (node % 64);
        }
    }
    sched::set_memory_policy(mode, &mask).context(|| format!("set memory policy {named}"))
}

/// Binds this process to the CPUs of a list such as `0-3,7`.
pub fn affinity(cpus: &str) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in list(cpus, CpuSet::MAX_CPU).context(|| format!("CPU list {cpus:?}"))? {
        set.set(cpu);
    }
    let bits = (0..64).filter(|cpu| set.is_set(*cpu));
    let mask = bits.fold(0u64, |mask, cpu| mask | 1 << cpu);
    let pid = std::process::id();
    log::debug(&format!("nsexec[{pid}]: affinity: {mask:#x}"));
    sched_setaffinity(None, &set).context(|| format!("set CPU affinity {cpus:?}"))
}

/// Lets this process run on every CPU of its cgroup.
pub fn all_cpus() {
    let mut set = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        set.set(cpu);
    }
    // Refused to nobody for himself; and then the caller's CPUs do as well.
    let _ = sched_setaffinity(None, &set);
}

/// Reads a list of numbers and ranges below `limit`.
fn list(text: &str, limit: usize) -> Result<Vec<usize>> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| {
            n.trim()
                .parse::<usize>()
                .ok()
                .filter(|n| *n < limit)
                .ok_or_else(|| Error::new(format!("{n:?} is not a number below {limit}")))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(Error::new(format!("range {part:?} runs backwards")));
        }
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(list("0-2, 5,,7", 64).unwrap(), [0, 1, 2, 5, 7]);
        assert_eq!(list("", 64).unwrap(), Vec::<usize>::new());
        for bad in ["a", "3-1", "64", "1-", "-1", "99999999999999999999"] {
            assert!(list(bad, 64).is_err(), "{bad}");
        }
    }
}
