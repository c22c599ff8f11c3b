//! The command line: one table of flags, from which parsing and help come.
//!
//! Flags may stand in any position, before or after the verb and the
//! container's id, and in the spellings of runc and crun alike; an unknown one
//! is an error. Everything from the command of `exec` on belongs to it.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::error::{Error, Result};

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
    verb("spec", "", "write a config.json to start from"),
    verb("features", "", "print what this runtime can do"),
];

const CREATE: &[&str] = &["create", "run"];
const EXEC: &[&str] = &["exec"];
const UPDATE: &[&str] = &["update"];
const EVENTS: &[&str] = &["events"];
const START: &[&str] = &["create", "run", "exec"];

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
    switch("systemd-cgroup", None, &[], "let systemd make the cgroups"),
    value(
        "cgroup-manager",
        None,
        "cgroupfs|systemd",
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
        &["create", "run", "spec"],
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
        START,
        "where the terminal is sent",
    ),
    value(
        "pid-file",
        None,
        "FILE",
        START,
        "write the process id to FILE",
    ),
    switch(
        "no-pivot",
        None,
        CREATE,
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
        &["run", "exec"],
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
        CREATE,
        "accepted; the runtime is no subreaper",
    ),
    switch(
        "all",
        Some('a'),
        &["kill", "list"],
        "kill: every process; list: accepted",
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
    value("l3-cache-schema", None, "TEXT", UPDATE, "not supported"),
    value("mem-bw-schema", None, "TEXT", UPDATE, "not supported"),
    value(
        "interval",
        None,
        "DURATION",
        EVENTS,
        "time between statistics [5s]",
    ),
    switch("stats", None, EVENTS, "print statistics once"),
];

/// A parsed command line.
#[derive(Debug, Default)]
pub struct Args {
    /// The verb; empty with `--help` or `--version` alone.
    pub verb: String,
    /// Arguments that are no flags.
    pub free: Vec<String>,
    flags: Vec<(&'static str, Option<String>)>,
}

impl Args {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let mut args = Args {
            verb: find_verb(&arguments)?.unwrap_or_default().to_owned(),
            ..Args::default()
        };
        let mut parser = Parser::from_args(arguments);
        let mut verb_seen = false;
        loop {
            let next = parser.next().map_err(usage)?;
            let flag = match next {
                None => break,
                Some(Arg::Value(text)) => {
                    let text = text.string().map_err(usage)?;
                    if !verb_seen {
                        verb_seen = true;
                        continue;
                    }
                    args.free.push(text);
                    // The second word of exec starts the command; what follows
                    // the id of ps are ps(1)'s options.
                    let own_rest = match args.verb.as_str() {
                        "exec" => args.free.len() == 2,
                        "ps" => args.free.len() == 1,
                        _ => false,
                    };
                    if own_rest {
                        for rest in parser.raw_args().map_err(usage)? {
                            args.free.push(rest.string().map_err(usage)?);
                        }
                    }
                    continue;
                }
                Some(Arg::Short(c)) => args.lookup(|f| f.short == Some(c)),
                Some(Arg::Long(name)) => {
                    // `spec --rootless` takes no value, the global flag does.
                    let name = match (args.verb.as_str(), name) {
                        ("spec", "rootless") if verb_seen => "rootless-spec",
                        ("list", "all") => "all",
                        (_, name) => name,
                    };
                    args.lookup(|f| f.name == name)
                }
            };
            let long = matches!(next, Some(Arg::Long(_)));
            let Some(flag) = flag else {
                return Err(usage(
                    next.map(|a| a.unexpected().to_string()).unwrap_or_default(),
                ));
            };
            let value = match flag.value {
                Some(_) => Some(parser.value().map_err(usage)?.string().map_err(usage)?),
                // Go's flags allow --switch=false; short ones stand together.
                None => match long.then(|| parser.optional_value()).flatten() {
                    Some(v) if v == "false" => continue,
                    Some(v) if v == "true" => None,
                    Some(v) => {
                        return Err(usage(format!("--{} takes no value, not {v:?}", flag.name)));
                    }
                    None => None,
                },
            };
            args.flags.push((flag.name, value));
        }
        Ok(args)
    }

    fn lookup(&self, matches: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
        let own = |f: &&Flag| f.verbs.contains(&self.verb.as_str()) && matches(f);
        let global = |f: &&Flag| f.verbs.is_empty() && matches(f);
        FLAGS.iter().find(own).or_else(|| FLAGS.iter().find(global))
    }

    /// Whether a switch or a value was given.
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(n, _)| *n == name)
    }

    /// The last value given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.flags
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .and_then(|(_, v)| v.as_deref())
    }

    /// Every value given.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags
            .iter()
            .filter(move |(n, _)| *n == name)
            .filter_map(|(_, v)| v.as_deref())
    }

    /// The last value as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A number, or 0 when it was not given.
    pub fn number(&self, name: &str) -> Result<u32> {
        self.get(name).map_or(Ok(0), |v| {
            v.parse()
                .map_err(|_| Error::new(format!("--{name}: {v:?} is not a number")))
        })
    }
}

fn find_verb(arguments: &[OsString]) -> Result<Option<&'static str>> {
    let mut skip = false;
    for text in arguments.iter().filter_map(|a| a.to_str()) {
        if skip {
            skip = false;
            continue;
        }
        if let Some(name) = text.strip_prefix("--") {
            let global = |f: &&Flag| f.verbs.is_empty() && f.name == name;
            skip = FLAGS.iter().find(global).is_some_and(|f| f.value.is_some());
        } else if !text.starts_with('-') {
            let known = VERBS.iter().find(|v| v.name == text);
            return match known {
                Some(verb) => Ok(Some(verb.name)),
                None => Err(usage(format!("unknown command {text:?}"))),
            };
        }
    }
    Ok(None)
}

fn usage(e: impl std::fmt::Display) -> Error {
    let text = e.to_string();
    Error::new(format!("{text} (see hako-runtime --help)"))
}

/// The help for one verb, or for all.
pub fn help(verb: &str) -> String {
    let mut text = String::new();
    let line = |f: &Flag| {
        let short = f.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
        let value = f.value.map_or(String::new(), |v| format!(" {v}"));
        let name = f.name.strip_suffix("-spec").unwrap_or(f.name);
        format!("  {short}--{:<28} {}\n", format!("{name}{value}"), f.help)
    };
    match VERBS.iter().find(|v| v.name == verb) {
        Some(v) => {
            text += &format!(
                "hako-runtime {} [FLAG…] {}\n\n{}\n\n",
                v.name, v.arguments, v.help
            );
            FLAGS
                .iter()
                .filter(|f| f.verbs.contains(&verb))
                .for_each(|f| text += &line(f));
            text += "\nGlobal flags:\n";
        }
        None => {
            text += "hako-runtime: an OCI runtime\n\nUsage: hako-runtime [FLAG…] COMMAND [ARG…]\n\nCommands:\n";
            for v in VERBS {
                text += &format!(
                    "  {:<34} {}\n",
                    format!("{} {}", v.name, v.arguments),
                    v.help
                );
            }
            text += "\nGlobal flags:\n";
        }
    }
    FLAGS
        .iter()
        .filter(|f| f.verbs.is_empty())
        .for_each(|f| text += &line(f));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_in_any_position() {
        for line in [
            "--root /r create -b /b id --pid-file p",
            "create id --root=/r --bundle /b --pid-file=p",
            "--root /r create --pid-file p --bundle=/b id",
        ] {
            let a = parse(line).unwrap();
            assert_eq!(
                (a.verb.as_str(), a.free.as_slice()),
                ("create", &["id".to_owned()][..])
            );
            let got = [a.get("root"), a.get("bundle"), a.get("pid-file")];
            assert_eq!(got, [Some("/r"), Some("/b"), Some("p")], "{line}");
        }
    }

    #[test]
    fn the_command_of_exec_is_its_own() {
        let a = parse("exec id -t --user 1:2 sh -c --user=3 -d").unwrap();
        assert_eq!(a.free, ["id", "sh", "-c", "--user=3", "-d"]);
        assert!(a.has("tty") && !a.has("detach"));
        assert_eq!(a.get("user"), Some("1:2"));
        assert_eq!(parse("exec id -- ls -l").unwrap().free, ["id", "ls", "-l"]);
        let a = parse("exec -dt id --process p --pid-file f").unwrap();
        assert!(a.has("detach") && a.has("tty"));
        assert_eq!(
            (a.get("process"), a.get("pid-file")),
            (Some("p"), Some("f"))
        );
        assert_eq!(parse("ps id -e -f").unwrap().free, ["id", "-e", "-f"]);
    }

    #[test]
    fn unknown_flags_are_errors() {
        assert!(parse("create --nonsense id").is_err());
        assert!(parse("state --bundle /b id").is_err());
        assert!(parse("run --detach=maybe id").is_err());
        assert!(parse("--root /x frobnicate").is_err());
        assert!(parse("run -d=false id").is_err());
        assert!(!parse("run --detach=false id").unwrap().has("detach"));
        assert!(parse("delete -f id").unwrap().has("force"));
        assert_eq!(parse("list -f json").unwrap().get("format"), Some("json"));
    }

    #[test]
    fn every_verb_has_help() {
        for v in VERBS {
            assert!(help(v.name).contains(v.help));
        }
        assert!(help("").contains("--systemd-cgroup"));
    }
}
