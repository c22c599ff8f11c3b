//! The container's process (config.md "Process", "POSIX process", "Linux Process").

use crate::{Error, object};

object! {
    /// A process, of `config.json` or for exec.
    pub struct Process {
        /// Whether a pseudoterminal is its stdio.
        pub terminal: bool = "terminal",
        /// The terminal's first size; ignored without one.
        pub console_size: Option<ConsoleSize> = "consoleSize",
        /// Ids inside the container.
        pub user: User = "user" always,
        /// Program and arguments.
        pub args: Vec<String> = "args",
        /// Environment, `NAME=value`.
        pub env: Vec<String> = "env",
        /// Working directory, absolute.
        pub cwd: String = "cwd" required,
        /// The five capability sets; none given means that the runtime leaves them.
        pub capabilities: Option<Capabilities> = "capabilities",
        /// Resource limits.
        pub rlimits: Vec<Rlimit> = "rlimits",
        /// Whether execve can no longer gain privileges.
        pub no_new_privileges: bool = "noNewPrivileges",
        /// AppArmor profile.
        pub apparmor_profile: Option<String> = "apparmorProfile",
        /// OOM killer's preference, -1000 to 1000; absent means untouched.
        pub oom_score_adj: Option<i32> = "oomScoreAdj",
        /// Scheduling.
        pub scheduler: Option<Scheduler> = "scheduler",
        /// SELinux label.
        pub selinux_label: Option<String> = "selinuxLabel",
        /// I/O scheduling.
        pub io_priority: Option<IoPriority> = "ioPriority",
        /// Processors for exec; not for the container's first process.
        pub exec_cpu_affinity: Option<CpuAffinity> = "execCPUAffinity",
    }

    /// A terminal's size in characters.
    pub struct ConsoleSize {
        /// Lines.
        pub height: u32 = "height" required,
        /// Columns.
        pub width: u32 = "width" required,
    }

    /// Numeric ids inside the container (config.md "User").
    pub struct User {
        /// User.
        pub uid: u32 = "uid" always,
        /// Group.
        pub gid: u32 = "gid" always,
        /// File mode creation mask; absent means untouched.
        pub umask: Option<u32> = "umask",
        /// Supplementary groups.
        pub additional_gids: Vec<u32> = "additionalGids",
    }

    /// Capability sets, names as in capabilities(7), `CAP_CHOWN`.
    pub struct Capabilities {
        /// Limit of what execve can gain.
        pub bounding: Vec<String> = "bounding",
        /// What is checked.
        pub effective: Vec<String> = "effective",
        /// What is kept over execve of files with inheritable capabilities.
        pub inheritable: Vec<String> = "inheritable",
        /// What can be made effective.
        pub permitted: Vec<String> = "permitted",
        /// What is kept over execve of ordinary files.
        pub ambient: Vec<String> = "ambient",
    }

    /// A resource limit, in the unit of setrlimit(2).
    pub struct Rlimit {
        /// `RLIMIT_NOFILE`, …
        pub kind: String = "type" required,
        /// Ceiling of the soft limit; 2^64-1 for none.
        pub hard: u64 = "hard" required,
        /// What is enforced.
        pub soft: u64 = "soft" required,
    }

    /// Scheduling (sched_setattr(2)).
    pub struct Scheduler {
        /// Policy.
        pub policy: SchedulerPolicy = "policy" required,
        /// Niceness of `SCHED_OTHER` and `SCHED_BATCH`, -20 to 19.
        pub nice: i32 = "nice",
        /// Static priority of `SCHED_FIFO` and `SCHED_RR`.
        pub priority: i32 = "priority",
        /// Flags.
        pub flags: Vec<SchedulerFlag> = "flags",
        /// Nanoseconds of `SCHED_DEADLINE`.
        pub runtime: u64 = "runtime",
        /// Nanoseconds of `SCHED_DEADLINE`.
        pub deadline: u64 = "deadline",
        /// Nanoseconds of `SCHED_DEADLINE`.
        pub period: u64 = "period",
    }

    /// I/O scheduling (ioprio_set(2)).
    pub struct IoPriority {
        /// Class.
        pub class: IoClass = "class" required,
        /// 0, the highest, to 7.
        pub priority: i32 = "priority" always,
    }

    /// Processor lists such as `0-3,7`, for exec.
    pub struct CpuAffinity {
        /// Before the move into the container's cgroup.
        pub initial: Option<String> = "initial",
        /// After it.
        pub r#final: Option<String> = "final",
    }
}

names! {
    /// Scheduling policies of sched(7).
    pub enum SchedulerPolicy("scheduling policy") {
        /// The default.
        Other = "SCHED_OTHER",
        /// Real-time, first in first out.
        Fifo = "SCHED_FIFO",
        /// Real-time, round robin.
        Rr = "SCHED_RR",
        /// For batch jobs.
        Batch = "SCHED_BATCH",
        /// Reserved by the kernel; not implemented there.
        Iso = "SCHED_ISO",
        /// Below everything else.
        Idle = "SCHED_IDLE",
        /// Real-time, earliest deadline first.
        Deadline = "SCHED_DEADLINE",
    }

    /// Flags of sched_setattr(2).
    pub enum SchedulerFlag("scheduler flag") {
        /// Children get the default policy.
        ResetOnFork = "SCHED_FLAG_RESET_ON_FORK",
        /// Reclaims bandwidth that other deadline tasks leave.
        Reclaim = "SCHED_FLAG_RECLAIM",
        /// A signal on overrun.
        DlOverrun = "SCHED_FLAG_DL_OVERRUN",
        /// Leaves the policy.
        KeepPolicy = "SCHED_FLAG_KEEP_POLICY",
        /// Leaves the parameters.
        KeepParams = "SCHED_FLAG_KEEP_PARAMS",
        /// Sets the lower utilisation clamp.
        UtilClampMin = "SCHED_FLAG_UTIL_CLAMP_MIN",
        /// Sets the upper utilisation clamp.
        UtilClampMax = "SCHED_FLAG_UTIL_CLAMP_MAX",
    }

    /// I/O scheduling classes.
    pub enum IoClass("I/O priority class") {
        /// Best effort, the default.
        BestEffort = "IOPRIO_CLASS_BE",
        /// Real-time.
        RealTime = "IOPRIO_CLASS_RT",
        /// Only when nobody else needs the disk.
        Idle = "IOPRIO_CLASS_IDLE",
    }
}

impl Process {
    /// Reads a process by itself, as `exec --process FILE` takes it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Json`] naming the path of the field.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let what = "process description";
        let limit = super::Config::MAX_LEN;
        if bytes.len() > limit {
            return Err(Error::TooLarge {
                what,
                size: bytes.len(),
                limit,
            });
        }
        object::from_slice(bytes, what)
    }
}
