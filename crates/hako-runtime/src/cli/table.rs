//! Every verb and every flag of the command line.

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Long name without dashes.
    pub name: &'static str,
    /// Short name.
    pub short: Option<char>,
    /// Name of its value in the help; none for a switch.
    pub value: Option<&'static str>,
    /// Verbs that take it; none: global.
    pub verbs: &'static [&'static str],
    /// One line of help.
    pub help: &'static str,
}

/// One verb.
#[derive(Debug)]
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, for the help.
    pub arguments: &'static str,
    /// One line of help.
    pub help: &'static str,
}

const fn verb(name: &'static str, arguments: &'static str, help: &'static str) -> Verb {
    Verb {
        name,
        arguments,
        help,
    }
}

/// Every verb.
pub const VERBS: &[Verb] = &[
    verb(
        "create",
        "ID",
        "set a container up, without starting its program",
    ),
    verb("start", "ID", "start the program of a created container"),
    verb("run", "ID", "create and start a container"),
    verb(
        "exec",
        "ID COMMAND [ARG…]",
        "run another process in a container",
    ),
    verb(
        "kill",
        "ID [SIGNAL]",
        "send a signal to a container (default TERM)",
    ),
    verb("delete", "ID", "remove a stopped container"),
    verb("state", "ID", "print a container's state"),
    verb("list", "", "list containers"),
    verb("ps", "ID [PS-OPTION…]", "list a container's processes"),
    verb("pause", "ID", "suspend all processes of a container"),
    verb("resume", "ID", "let a paused container go on"),
    verb("update", "ID", "change the limits of a container"),
    verb(
        "events",
        "ID",
        "print what a container uses, and when its memory ran out",
    ),
    verb("checkpoint", "ID", "write a container into files, by criu"),
    verb("restore", "ID", "make a container out of such files"),
    verb(
        "mounts",
        "add|remove ID FILE",
        "change the mounts of a running container",
    ),
    verb("spec", "", "write a config.json to start from"),
    verb("features", "", "print what this runtime can do"),
    verb("help", "[COMMAND]", "show the help for a command"),
];

const CREATE: &[&str] = &["create", "run"];
const EXEC: &[&str] = &["exec"];
const UPDATE: &[&str] = &["update"];
const CHECKPOINT: &[&str] = &["checkpoint"];
const RESTORE: &[&str] = &["restore"];
const CRIU: &[&str] = &["checkpoint", "restore"];
const LIVING: &[&str] = &["create", "run", "restore"];
const EVENTS: &[&str] = &["events"];
const START: &[&str] = &["create", "run", "exec"];
const STARTED: &[&str] = &["create", "run", "exec", "restore"];

const fn switch(
    name: &'static str,
    short: Option<char>,
    verbs: &'static [&'static str],
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short,
        value: None,
        verbs,
        help,
    }
}

const fn value(
    name: &'static str,
    short: Option<char>,
    value: &'static str,
    verbs: &'static [&'static str],
    help: &'static str,
) -> Flag {
    Flag {
        name,
        short,
        value: Some(value),
        verbs,
        help,
    }
}

/// Every flag.
pub const FLAGS: &[Flag] = &[
    value(
        "root",
        None,
        "DIR",
        &[],
        "where containers are kept [/run/hako-runtime]",
    ),
    value("log", None, "FILE", &[], "append messages to FILE"),
    value(
        "log-format",
        None,
        "text|json",
        &[],
        "form of the messages [text]",
    ),
    switch("debug", None, &[], "more messages"),
    value(
        "log-level",
        None,
        "error|warning|debug",
        &[],
        "which messages [warning]",
    ),
    value("criu", None, "FILE", &[], "the program criu [from PATH]"),
    switch("systemd-cgroup", None, &[], "let systemd make the cgroups"),
    value(
        "cgroup-manager",
        None,
        "cgroupfs|systemd|disabled",
        &[],
        "who makes the cgroups [cgroupfs]",
    ),
    value(
        "rootless",
        None,
        "auto|true|false",
        &[],
        "whether missing rights to cgroups are fine [auto]",
    ),
    switch("help", Some('h'), &[], "show this help"),
    switch("version", Some('v'), &[], "show the version"),
    value(
        "bundle",
        Some('b'),
        "DIR",
        &["create", "run", "restore", "spec"],
        "the bundle [.]",
    ),
    value(
        "config",
        Some('f'),
        "FILE",
        CREATE,
        "a configuration in place of the bundle's",
    ),
    value(
        "console-socket",
        None,
        "SOCKET",
        STARTED,
        "where the terminal is sent",
    ),
    value(
        "pidfd-socket",
        None,
        "SOCKET",
        STARTED,
        "where a handle on the process is sent",
    ),
    value(
        "pid-file",
        None,
        "FILE",
        STARTED,
        "write the process id to FILE",
    ),
    switch(
        "no-pivot",
        None,
        LIVING,
        "do not use pivot_root (for roots on a ramdisk)",
    ),
    switch(
        "no-new-keyring",
        None,
        CREATE,
        "keep the caller's session keyring",
    ),
    value(
        "preserve-fds",
        None,
        "N",
        START,
        "pass N descriptors on, from 3",
    ),
    switch(
        "detach",
        Some('d'),
        &["run", "exec", "restore"],
        "do not wait for the process",
    ),
    switch(
        "keep",
        None,
        &["run"],
        "do not delete the container when it ends",
    ),
    switch(
        "no-subreaper",
        None,
        LIVING,
        "accepted; the runtime is no subreaper",
    ),
    switch(
        "all",
        Some('a'),
        &["kill", "list"],
        "kill: every process; list: accepted",
    ),
    switch(
        "regex",
        Some('r'),
        &["kill", "delete"],
        "ID is a regular expression: every container that it matches",
    ),
    switch(
        "force",
        Some('f'),
        &["delete"],
        "kill a running container first",
    ),
    value(
        "format",
        Some('f'),
        "table|json",
        &["list", "ps"],
        "form of the output [table]",
    ),
    switch("quiet", Some('q'), &["list"], "ids alone"),
    switch("rootless-spec", None, &["spec"], "for an unprivileged user"),
    value(
        "file",
        Some('f'),
        "FILE",
        &["spec"],
        "write this file of the bundle, also over one that is there",
    ),
    value(
        "process",
        Some('p'),
        "FILE",
        EXEC,
        "read the process from FILE",
    ),
    switch("tty", Some('t'), EXEC, "with a terminal"),
    value("user", Some('u'), "UID[:GID]", EXEC, "as this user"),
    value("cwd", None, "DIR", EXEC, "in this directory"),
    value(
        "env",
        Some('e'),
        "NAME=VALUE",
        EXEC,
        "with this variable (repeatable)",
    ),
    value(
        "cap",
        Some('c'),
        "CAP",
        EXEC,
        "with this capability as well (repeatable)",
    ),
    value(
        "additional-gids",
        Some('g'),
        "GID",
        EXEC,
        "with this group (repeatable)",
    ),
    value(
        "apparmor",
        None,
        "PROFILE",
        EXEC,
        "in this AppArmor profile",
    ),
    value(
        "process-label",
        None,
        "LABEL",
        EXEC,
        "with this SELinux label",
    ),
    switch("no-new-privs", None, EXEC, "set no_new_privs"),
    value(
        "cgroup",
        None,
        "[CONTROLLER:]PATH",
        EXEC,
        "in this cgroup below the container's (repeatable)",
    ),
    switch("ignore-paused", None, EXEC, "even in a paused container"),
    value(
        "resources",
        Some('r'),
        "FILE",
        UPDATE,
        "read all limits from FILE, or - for standard input",
    ),
    value(
        "blkio-weight",
        None,
        "N",
        UPDATE,
        "share of block I/O, 10 to 1000",
    ),
    value("cpu-period", None, "USEC", UPDATE, "period of the quota"),
    value(
        "cpu-quota",
        None,
        "USEC",
        UPDATE,
        "processor time in a period; -1: no limit",
    ),
    value(
        "cpu-burst",
        None,
        "USEC",
        UPDATE,
        "unused quota that may be saved up",
    ),
    value("cpu-share", None, "N", UPDATE, "share of processor time"),
    value(
        "cpu-rt-period",
        None,
        "USEC",
        UPDATE,
        "period of real-time tasks",
    ),
    value(
        "cpu-rt-runtime",
        None,
        "USEC",
        UPDATE,
        "processor time of real-time tasks in a period",
    ),
    value(
        "cpu-idle",
        None,
        "0|1",
        UPDATE,
        "1: only idle processor time",
    ),
    value("cpuset-cpus", None, "LIST", UPDATE, "processors"),
    value("cpuset-mems", None, "LIST", UPDATE, "memory nodes"),
    value("kernel-memory", None, "BYTES", UPDATE, "ignored"),
    value("kernel-memory-tcp", None, "BYTES", UPDATE, "ignored"),
    value(
        "memory",
        None,
        "BYTES",
        UPDATE,
        "memory, with k, m or g as units; -1: no limit",
    ),
    value(
        "memory-reservation",
        None,
        "BYTES",
        UPDATE,
        "memory that is left to it when it is scarce",
    ),
    value(
        "memory-swap",
        None,
        "BYTES",
        UPDATE,
        "memory and swap together; -1: no limit",
    ),
    value("pids-limit", None, "N", UPDATE, "number of tasks"),
    value(
        "l3-cache-schema",
        None,
        "TEXT",
        UPDATE,
        "share of the L3 cache",
    ),
    value(
        "mem-bw-schema",
        None,
        "TEXT",
        UPDATE,
        "share of memory bandwidth",
    ),
    value(
        "interval",
        None,
        "DURATION",
        EVENTS,
        "time between statistics [5s]",
    ),
    switch("stats", None, EVENTS, "print statistics once"),
    value(
        "image-path",
        None,
        "DIR",
        CRIU,
        "where the files are [./checkpoint]",
    ),
    value(
        "work-path",
        None,
        "DIR",
        CRIU,
        "where criu writes its log [with the files]",
    ),
    value(
        "parent-path",
        None,
        "DIR",
        CHECKPOINT,
        "files of a pre-dump, relative to --image-path",
    ),
    switch(
        "leave-running",
        None,
        CHECKPOINT,
        "do not end the container",
    ),
    switch(
        "pre-dump",
        None,
        CHECKPOINT,
        "write its memory alone, and let it run",
    ),
    switch("tcp-established", None, CRIU, "with open TCP connections"),
    switch(
        "tcp-skip-in-flight",
        None,
        CHECKPOINT,
        "leave TCP connections out that are being made",
    ),
    switch("tcp-close", None, RESTORE, "with TCP connections closed"),
    switch(
        "link-remap",
        None,
        CHECKPOINT,
        "link unlinked files back if that is possible",
    ),
    switch("ext-unix-sk", None, CRIU, "with unix sockets to others"),
    switch("ext-unix", None, RESTORE, "as --ext-unix-sk"),
    switch(
        "shell-job",
        None,
        CRIU,
        "with the caller's terminal and session",
    ),
    switch("file-locks", None, CRIU, "with file locks"),
    switch(
        "lazy-pages",
        None,
        CRIU,
        "memory by userfaultfd, when it is needed",
    ),
    value(
        "status-fd",
        None,
        "FD",
        CHECKPOINT,
        "a byte is written to it when the server of lazy pages is ready",
    ),
    value(
        "page-server",
        None,
        "ADDRESS:PORT",
        CHECKPOINT,
        "send the memory to this page server",
    ),
    value(
        "manage-cgroups-mode",
        None,
        "soft|full|strict|ignore",
        CRIU,
        "what criu does with cgroups [soft]",
    ),
    value(
        "network-lock",
        None,
        "iptables|nftables|skip",
        CRIU,
        "how the network is kept quiet",
    ),
    value(
        "empty-ns",
        None,
        "network",
        CRIU,
        "make this namespace, but nothing in it",
    ),
    switch(
        "auto-dedup",
        None,
        CRIU,
        "free memory images that a newer one replaces",
    ),
    value(
        "lsm-profile",
        None,
        "TYPE:NAME",
        RESTORE,
        "another LSM profile: apparmor:PROFILE or selinux:LABEL",
    ),
    value(
        "lsm-mount-context",
        None,
        "CONTEXT",
        RESTORE,
        "another SELinux context of mounts",
    ),
];
