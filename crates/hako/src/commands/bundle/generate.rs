//! `hako bundle generate`: a command line made of the tables of
//! [`hako_conformance::bundle::generate`], and the file.

mod file;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::Error as Unreadable;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use hako_conformance::bundle::generate::{self, Change, Entry, Given, Group};
use hako_spec::runtime::Config;

use super::text;
use crate::cli::Global;
use crate::commands::container::words::env_file;
use crate::error::{CliError, Result};
use crate::output;

/// Where the configuration comes from and goes to.
#[derive(Debug, clap::Args)]
struct Ways {
    /// Start from this config.json; - is the standard input
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// Start from what an unprivileged user can run
    ///
    /// A user namespace with the one id of the caller, the host's network, no
    /// limits; also made of a template.
    #[arg(long)]
    rootless: bool,
    /// Write to a file instead of the standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the seccomp filter alone
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = ArgAction::Set,
        hide_default_value = true,
        hide_possible_values = true
    )]
    linux_seccomp_only: bool,
    /// The operating system: linux
    #[arg(long, value_name = "OS", value_parser = ["linux"], hide = true)]
    os: Option<String>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Args {
    ways: Ways,
    given: Vec<Given>,
    /// `--set` (true) and `--unset`, in their order.
    changes: Vec<(bool, String)>,
}

const SET: &str = "set";
const UNSET: &str = "unset";

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        let command = Ways::augment_args(command);
        let options =
            generate::options().map(|(group, entry)| arg(entry).help_heading(head(group)));
        command.args(options).args([
            pointer(SET, "POINTER=JSON")
                .help("Set any field, as /process/user/umask=18; - is the end of a list"),
            pointer(UNSET, "POINTER").help("Remove any field"),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn pointer(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .action(ArgAction::Append)
        .help_heading("Any field, by its JSON pointer")
}

fn arg(entry: &'static Entry) -> Arg {
    let arg = Arg::new(entry.name).long(entry.name).help(entry.help);
    let arg = match entry.alias {
        Some(alias) => arg.alias(alias),
        None => arg,
    };
    if entry.is_bool() {
        return arg
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true);
    }
    arg.value_name(entry.value)
        .allow_negative_numbers(true)
        .allow_hyphen_values(entry.takes_anything())
        .action(match entry.repeats() {
            true => ArgAction::Append,
            false => ArgAction::Set,
        })
}

fn head(group: Group) -> &'static str {
    match group {
        Group::Container => "Container",
        Group::Process => "Process",
        Group::Capabilities => "Capabilities",
        Group::Mounts => "Mounts",
        Group::Hooks => "Hooks",
        Group::Linux => "Namespaces, devices, paths and labels",
        Group::Resources => "Control group",
        Group::Seccomp => "System calls",
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, Unreadable> {
        let values = |name: &str| -> Vec<(usize, String)> {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<String>(name).into_iter().flatten();
            places.zip(values.cloned()).collect()
        };
        let given = generate::options().filter_map(|(_, entry)| {
            let values: Vec<String> = values(entry.name).into_iter().map(|(_, it)| it).collect();
            (!values.is_empty()).then(|| Given {
                option: entry.name.to_owned(),
                values,
            })
        });
        let sets = values(SET).into_iter().map(|(n, it)| (n, true, it));
        let unsets = values(UNSET).into_iter().map(|(n, it)| (n, false, it));
        let mut changes: Vec<_> = sets.chain(unsets).collect();
        changes.sort_by_key(|(place, ..)| *place);
        Ok(Args {
            ways: Ways::from_arg_matches(matches)?,
            given: given.collect(),
            changes: changes
                .into_iter()
                .map(|(_, is_set, it)| (is_set, it))
                .collect(),
        })
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), Unreadable> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Does it.
pub(crate) fn run(global: &Global, args: &Args) -> Result {
    let changes = args.changes.iter().map(|(is_set, text)| match is_set {
        true => Change::set(text),
        false => Change::unset(text),
    });
    let changes = changes.collect::<std::result::Result<Vec<_>, _>>()?;
    let given = with_files(&args.given)?;
    let mut config = match &args.ways.template {
        Some(path) => template(path)?,
        None => Config::template(),
    };
    if args.ways.rootless {
        let uid = rustix::process::geteuid().as_raw();
        config.make_rootless(uid, rustix::process::getegid().as_raw());
    }
    generate::apply(&mut config, &given)?;
    let (mut config, notes) = generate::finish(config, &given, &changes)?;
    if global.warns() {
        for note in &notes {
            output::note(&text(note));
        }
    }
    let json = match args.ways.linux_seccomp_only {
        true => serde_json::to_string_pretty(&generate::seccomp_only(&mut config))?,
        false => serde_json::to_string_pretty(&config)?,
    };
    let json = format!("{json}\n");
    match &args.ways.output {
        Some(path) => file::replace(path, json.as_bytes())
            .map_err(|e| CliError::from(e).context(format!("cannot write {}", path.display())))?,
        None => output::write(json.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What was given, with the lines of files in the place of their names. A name
/// without a value stands for the caller's variable, if there is one.
fn with_files(given: &[Given]) -> Result<Vec<Given>> {
    let mut all = given.to_vec();
    for it in all.iter_mut().filter(|it| it.option == "env-file") {
        let mut lines = Vec::new();
        for file in &it.values {
            lines.extend(env_file(Path::new(file))?);
        }
        let full = |line: String| match line.contains('=') {
            true => Some(line),
            false => std::env::var(line.trim_end())
                .ok()
                .map(|value| format!("{}={value}", line.trim_end())),
        };
        it.values = lines.into_iter().filter_map(full).collect();
    }
    Ok(all)
}

fn template(path: &Path) -> Result<Config> {
    let read = || -> std::io::Result<Vec<u8>> {
        let most = Config::MAX_LEN as u64 + 1;
        let mut bytes = Vec::new();
        match path == Path::new("-") {
            true => std::io::stdin().lock().take(most).read_to_end(&mut bytes)?,
            false => std::fs::File::open(path)?
                .take(most)
                .read_to_end(&mut bytes)?,
        };
        Ok(bytes)
    };
    let name = path.display();
    let bytes = read().map_err(|e| CliError::from(e).context(format!("cannot read {name}")))?;
    Config::from_slice(&bytes).map_err(|e| CliError::from(e).context(format!("template {name}")))
}
