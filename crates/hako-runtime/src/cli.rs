//! The command line: one [table] of flags, from which parsing and help come.
//!
//! Flags may stand in any position, before or after the verb and the
//! container's id, and in the spellings of runc and crun alike; an unknown one
//! is an error. Everything from the command of `exec` on belongs to it.

mod table;

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::error::{Error, Result};
use table::{FLAGS, Flag, VERBS};

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
                // crun's letters for these two.
                Some(Arg::Short('?')) => args.lookup(|f| f.name == "help"),
                Some(Arg::Short('V')) => args.lookup(|f| f.name == "version"),
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

    /// The verb and the container, for the log. What a command of `exec` has
    /// for arguments may be secret.
    pub fn shown(&self) -> String {
        let id = self.free.first().map_or("", String::as_str);
        format!("{} {id}", self.verb).trim_end().to_owned()
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
                None if arguments.iter().any(|a| a == "-h" || a == "--help") => {
                    Err(usage(format!("No help topic for '{text}'")))
                }
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

/// The help for one verb, or for all, in the order of runc's; `program` is the
/// name by which this program was called.
pub fn help(program: &str, verb: &str) -> String {
    let own = VERBS.iter().find(|v| v.name == verb);
    let mut text = match own {
        Some(v) => format!(
            "NAME:\n   {program} {verb} - {}\n\nUSAGE:\n   {program} {verb} [OPTION…] {}\n\nOPTIONS:\n",
            v.help, v.arguments
        ),
        None => format!(
            "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program} [OPTION…] COMMAND [ARG…]\n\nCOMMANDS:\n"
        ),
    };
    match own {
        Some(_) => text.extend(FLAGS.iter().filter(|f| f.verbs.contains(&verb)).map(line)),
        None => {
            for v in VERBS {
                let call = format!("{} {}", v.name, v.arguments);
                text += &format!("   {call:<34} {}\n", v.help);
            }
        }
    }
    text += "\nGLOBAL OPTIONS:\n";
    text.extend(FLAGS.iter().filter(|f| f.verbs.is_empty()).map(line));
    text
}

fn line(f: &Flag) -> String {
    let short = f.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
    let value = f.value.map_or(String::new(), |v| format!(" {v}"));
    let name = f.name.strip_suffix("-spec").unwrap_or(f.name);
    format!("   {short}--{:<28} {}\n", format!("{name}{value}"), f.help)
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
    fn the_two_meanings_of_rootless() {
        let of = |line: &str| {
            let a = parse(line).unwrap();
            let global = a.get("rootless").map(str::to_owned);
            (global, a.has("rootless-spec"), a.free.len())
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of("--rootless true spec"), (is("true"), false, 0));
        assert_eq!(of("--rootless=auto spec"), (is("auto"), false, 0));
        assert_eq!(of("spec --rootless"), (None, true, 0));
        assert_eq!(of("spec --rootless=false"), (None, false, 0));
        assert_eq!(of("spec --rootless -b /x"), (None, true, 0));
        assert_eq!(
            of("--rootless false spec --rootless"),
            (is("false"), true, 0)
        );
        assert_eq!(of("state --rootless true id"), (is("true"), false, 1));
        assert!(parse("spec --rootless=true --file f").is_ok());
    }

    #[test]
    fn spellings_of_crun() {
        assert!(parse("-V").unwrap().has("version"));
        assert!(parse("-?").unwrap().has("help"));
        let a = parse("--log-level=debug --cgroup-manager=cgroupfs list").unwrap();
        assert_eq!(a.get("log-level"), Some("debug"));
        assert_eq!(parse("help run").unwrap().free, ["run"]);
    }

    #[test]
    fn every_verb_has_help() {
        for v in VERBS {
            assert!(help("runc", v.name).contains(v.help));
        }
        let all = help("runc", "");
        assert!(all.contains("--systemd-cgroup"));
        assert!(all.starts_with("NAME:\n   runc - Open Container Initiative runtime\n"));
        let told = parse("foo -h").unwrap_err().to_string();
        assert!(told.contains("No help topic for 'foo'"), "{told}");
    }
}
