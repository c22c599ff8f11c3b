//! Scheduling attributes of the calling process that rustix lacks:
//! sched_setattr(2), sched_getattr(2), ioprio_set(2), ioprio_get(2),
//! personality(2), set_mempolicy(2).

use rustix::io::Errno;

/// Of ioprio_set(2): one process, or thread.
const WHO_PROCESS: libc::c_int = 1;

/// The fields of `struct sched_attr` (sched_setattr(2)).
#[derive(Debug, Default, Clone, Copy)]
pub struct Attributes {
    /// `SCHED_OTHER` 0, `FIFO` 1, `RR` 2, `BATCH` 3, `ISO` 4, `IDLE` 5, `DEADLINE` 6.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value, for `OTHER` and `BATCH`.
    pub nice: i32,
    /// Static priority, for `FIFO` and `RR`.
    pub priority: u32,
    /// Nanoseconds, for `DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `DEADLINE`.
    pub period: u64,
}

#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the calling thread's scheduling attributes.
pub fn set_attributes(a: &Attributes) -> Result<(), Errno> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: a.policy,
        flags: a.flags,
        nice: a.nice,
        priority: a.priority,
        runtime: a.runtime,
        deadline: a.deadline,
        period: a.period,
    };
    // SAFETY: a sched_attr whose first field is its size, alive for the call.
    crate::check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })?;
    Ok(())
}

/// The calling thread's scheduling attributes.
pub fn attributes() -> Result<Attributes, Errno> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: a sched_attr of the size given, which the kernel may write, alive
    // for the call.
    crate::check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) })?;
    Ok(Attributes {
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    })
}

/// Sets the calling thread's I/O priority: `class` 1 real-time, 2 best
/// effort, 3 idle; `priority` 0 (highest) to 7 (ioprio_set(2)).
pub fn set_io_priority(class: u32, priority: u32) -> Result<(), Errno> {
    let value = (class << 13) | (priority & 0x1fff);
    // SAFETY: integers only.
    crate::check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) })?;
    Ok(())
}

/// The calling thread's I/O priority as class (0: none was set) and level.
pub fn io_priority() -> Result<(u32, u32), Errno> {
    // SAFETY: integers only.
    let value = crate::check(unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) })?;
    let value = u32::try_from(value).map_err(|_| Errno::RANGE)?;
    Ok((value >> 13, value & 0x1fff))
}

/// Sets the execution domain (personality(2)): 0 for Linux, 8 for 32 bit,
/// with flag bits above.
pub fn set_personality(persona: u64) -> Result<(), Errno> {
    // SAFETY: an integer only; the flags change how the next program is
    // loaded, not the memory of this one.
    crate::check(unsafe { libc::syscall(libc::SYS_personality, persona) })?;
    Ok(())
}

/// Sets the memory policy of the calling thread: `mode` with its flag bits,
/// and `nodes` as a bit mask, lowest node first (set_mempolicy(2)).
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<(), Errno> {
    let bits = nodes.len() * 64;
    let pointer = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // The kernel reads `maxnode - 1` bits.
    let maxnode = if nodes.is_empty() { 0 } else { bits + 1 };
    // SAFETY: the mask is readable for the number of bits given.
    crate::check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, maxnode) })?;
    Ok(())
}
