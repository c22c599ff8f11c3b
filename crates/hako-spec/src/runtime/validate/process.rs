//! The rules for processes (config.md "Process" and its parts).

use super::{Problems, unique};
use crate::runtime::{Process, Scheduler, SchedulerPolicy};

/// The limits that getrlimit(2) names on Linux.
pub const RLIMITS: &[&str] = &[
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

pub(super) fn check(found: &mut Problems, process: &Process, path: &str) {
    let section = "config.md \"Process\"";
    if process.args.is_empty() {
        found.add(format!("{path}.args"), "has no entry", section);
    }
    found.no_nul(&format!("{path}.args"), &process.args, section);
    found.absolute(&format!("{path}.cwd"), &process.cwd, section);
    found.environment(&format!("{path}.env"), &process.env, section);
    let user = "config.md \"POSIX-platform User\"";
    for (name, id) in [("uid", process.user.uid), ("gid", process.user.gid)] {
        if id == u32::MAX {
            found.add(format!("{path}.user.{name}"), "2^32-1 is no id", user);
        }
    }
    if let Some(place) = process
        .user
        .additional_gids
        .iter()
        .position(|gid| *gid == u32::MAX)
    {
        found.add(
            format!("{path}.user.additionalGids[{place}]"),
            "2^32-1 is no id",
            user,
        );
    }
    rlimits(found, process, path);
    let linux = "config.md \"Linux Process\"";
    if process
        .oom_score_adj
        .is_some_and(|adjust| !(-1000..=1000).contains(&adjust))
    {
        found.add(
            format!("{path}.oomScoreAdj"),
            "is not between -1000 and 1000",
            linux,
        );
    }
    if process
        .io_priority
        .as_ref()
        .is_some_and(|io| !(0..=7).contains(&io.priority))
    {
        found.add(
            format!("{path}.ioPriority.priority"),
            "is not between 0 and 7",
            linux,
        );
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        for (name, list) in [("initial", &affinity.initial), ("final", &affinity.r#final)] {
            if list.as_deref().is_some_and(|list| !is_number_list(list)) {
                let path = format!("{path}.execCPUAffinity.{name}");
                found.add(path, "is not a list of numbers and ranges", linux);
            }
        }
    }
    if let Some(part) = &process.scheduler {
        scheduler(found, part, &format!("{path}.scheduler"));
    }
}

fn rlimits(found: &mut Problems, process: &Process, path: &str) {
    let section = "config.md \"POSIX process\"";
    for (place, limit) in process.rlimits.iter().enumerate() {
        let path = format!("{path}.rlimits[{place}]");
        if !RLIMITS.contains(&limit.kind.as_str()) {
            found.add(
                format!("{path}.type"),
                format!("unknown limit {:?}", limit.kind),
                section,
            );
        }
        if limit.soft > limit.hard {
            found.add(format!("{path}.soft"), "is above the hard limit", section);
        }
    }
    let kinds = process.rlimits.iter().map(|limit| limit.kind.as_str());
    unique(
        found,
        kinds,
        |place| format!("{path}.rlimits[{place}].type"),
        section,
    );
}

/// The combinations that sched_setattr(2) accepts.
fn scheduler(found: &mut Problems, scheduler: &Scheduler, path: &str) {
    let section = "config.md \"Linux Process\"";
    let real_time = matches!(
        scheduler.policy,
        SchedulerPolicy::Fifo | SchedulerPolicy::Rr
    );
    if real_time && !(1..=99).contains(&scheduler.priority) {
        found.add(
            format!("{path}.priority"),
            "is not between 1 and 99",
            section,
        );
    }
    if !real_time && scheduler.priority != 0 {
        let message = format!("must be 0 with {}", scheduler.policy);
        found.add(format!("{path}.priority"), message, section);
    }
    if !(-20..=19).contains(&scheduler.nice) {
        found.add(format!("{path}.nice"), "is not between -20 and 19", section);
    }
    let times = [scheduler.runtime, scheduler.deadline, scheduler.period];
    if scheduler.policy == SchedulerPolicy::Deadline {
        let period = if scheduler.period == 0 {
            scheduler.deadline
        } else {
            scheduler.period
        };
        if scheduler.runtime > scheduler.deadline || scheduler.deadline > period {
            found.add(
                path,
                "runtime, deadline and period do not grow in this order",
                section,
            );
        }
    } else if times.iter().any(|time| *time != 0) {
        let message = format!(
            "runtime, deadline and period do not go with {}",
            scheduler.policy
        );
        found.add(path, message, section);
    }
}

/// `0-3,7`, the kernel's list format without its strides.
pub(super) fn is_number_list(text: &str) -> bool {
    number_list_len(text).is_some()
}

/// How many numbers such a list has; `None` where it is none.
pub(super) fn number_list_len(text: &str) -> Option<u64> {
    let number = |text: &str| match text.bytes().all(|c| c.is_ascii_digit()) {
        true => text.parse::<u32>().ok(),
        false => None,
    };
    let mut len = 0;
    for part in text.split(',') {
        let part = part.trim();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        len += u64::from(number(last)?.checked_sub(number(first)?)?) + 1;
    }
    Some(len)
}
