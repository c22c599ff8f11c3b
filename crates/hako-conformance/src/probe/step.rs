//! What the probe can be asked, and how it answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing to do or to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The arguments, as an array.
    Args,
    /// The environment, as an array of `NAME=VALUE` in its order.
    Env,
    /// The working directory.
    Cwd,
    /// uname(2): an object of `nodename`, `domainname` and `machine`.
    Uname,
    /// A file's text, up to 1 MiB.
    Read(String),
    /// Opens a file for writing, which must exist, and writes a text into it.
    Write(String, String),
    /// Appends a line to a file, making it when it is missing.
    Append(String, String),
    /// Makes a new file with a text.
    Create(String, String),
    /// lstat(2): an object of `kind` (one letter as ls has them), `mode` (the
    /// twelve low bits), `uid`, `gid`, `major`, `minor`, `size`, `ino`, `dev`.
    Stat(String),
    /// Where a symbolic link points.
    Link(String),
    /// A directory's names, sorted.
    List(String),
    /// mkdir(2).
    Mkdir(String),
    /// Opens a file for reading and reads a byte.
    Open(String),
    /// Opens a file for reading, for writing or both (`r`, `w`, `rw`), and does
    /// nothing with it.
    Access(String, String),
    /// mknod(2) of a device: path, kind (`c` or `b`), major, minor.
    Mknod(String, char, u32, u32),
    /// `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` in nanoseconds.
    Clocks,
    /// getppid(2) with these arguments, which the kernel does not look at; a
    /// seccomp filter does.
    Getppid([u64; 6]),
    /// unshare(2) of namespaces by their names below `/proc/self/ns`; the
    /// mounts of a new mount namespace are private.
    Unshare(Vec<String>),
    /// setns(2) to the namespace of a file.
    Join(String),
    /// mount(2) of a file system: type, target.
    MountNew(String, String),
    /// A bind mount: source, target.
    Bind(String, String),
    /// Makes the mount at a path `shared`, `private` or `slave`.
    Propagation(String, String),
    /// Becomes another program.
    Exec(Vec<String>),
    /// Executes a program and gives its status.
    Execute(Vec<String>),
    /// The open descriptors, as an array of `[number, what]`.
    Fds,
    /// The size of the terminal at standard input: `[rows, columns]`.
    Terminal,
    /// getrlimit(2) of all limits: an object of `[soft, hard]` by name
    /// (`RLIMIT_NOFILE`); null is no limit.
    Limits,
    /// sched_getattr(2): an object of `policy` (its number), `flags`, `nice`,
    /// `priority`, `runtime`, `deadline` and `period`.
    Scheduler,
    /// ioprio_get(2): `[class, level]`; class 0 when none was set.
    IoPriority,
    /// All of standard input, which is a container's state. From here on
    /// `{pid}` in the path of a `Read`, `Stat` or `Link` is the state's pid.
    State,
    /// `f_flags` of statvfs(3) for a path.
    MountFlags(String),
    /// All of standard input.
    Stdin,
    /// Further answers are appended to this file, in place of standard output.
    Into(String),
    /// A word that comes back as it is, to know where one is.
    Say(String),
    /// Sleeps for this many milliseconds.
    Sleep(u64),
    /// Waits for a signal and gives its number; all signals are blocked from
    /// the probe's first `Wait` or `Block` on.
    Wait,
    /// Blocks all signals, for a later [`Step::Wait`].
    Block,
    /// Ends with this status; nothing after it is done.
    Exit(u8),
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What was asked for.
    Value(Value),
    /// The kernel's error number.
    Errno(i32),
}
