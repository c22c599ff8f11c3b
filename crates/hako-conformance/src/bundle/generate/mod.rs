//! A `config.json` made by options: those of `oci-runtime-tool generate` that
//! are about Linux, and some for what the specification has since.
//!
//! An option is an [`Entry`] of a table: name, form of its value, the field that
//! it is about, and a function that changes a configuration. A front makes its
//! command line of [`options`], hands what was given to [`apply`], and writes
//! what [`finish`] lets through. Nothing here reads or writes a file, or looks
//! at the machine.
//!
//! Options are applied in the order of the tables, whatever their order on the
//! command line: what removes all of something comes before what adds to it,
//! as upstream. The [`pointer`]s, which reach every field, come last.

mod capabilities;
mod control;
mod general;
mod linux;
mod mounts;
pub mod pointer;
mod process;
mod seccomp;
mod words;

use hako_spec::runtime::Config;

use super::{Finding, Severity, document};

pub use pointer::Change;
pub use seccomp::only as seccomp_only;

/// Why a configuration is not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option's value cannot be understood or applied.
    #[error("--{option} {value:?}: {message}")]
    Value {
        /// The option.
        option: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// The result would be no valid configuration.
    #[error("the configuration would not be valid: {}", told(.0))]
    Invalid(Vec<Broken>),
}

/// A broken rule and the options that the field comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The rule.
    pub finding: Finding,
    /// The options; none when it is the template's.
    pub options: Vec<String>,
}

fn told(broken: &[Broken]) -> String {
    let one = |it: &Broken| {
        let Finding {
            place,
            message,
            section,
            ..
        } = &it.finding;
        let place = match place.as_str() {
            "" => "config.json",
            place => place,
        };
        let from = match it.options.as_slice() {
            [] => String::new(),
            options => format!(", from --{}", options.join(" and --")),
        };
        format!("{place}: {message} ({section}{from})")
    };
    broken.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What is wrong with a value.
type Wrong = String;

/// The part of the help that an option stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The container as a whole.
    Container,
    /// Its process.
    Process,
    /// The process's capabilities.
    Capabilities,
    /// Mounts.
    Mounts,
    /// Hooks.
    Hooks,
    /// Namespaces, devices, paths and labels.
    Linux,
    /// Limits of the cgroup.
    Resources,
    /// The filter of system calls.
    Seccomp,
}

/// What an option does.
#[derive(Clone, Copy)]
enum Act {
    /// Something, when it is true.
    When(fn(&mut Config)),
    /// Sets a truth.
    Bool(fn(&mut Config, bool)),
    /// Takes one value.
    One(fn(&mut Config, &str) -> Result<(), Wrong>),
    /// Takes each of several values.
    Each(fn(&mut Config, &str) -> Result<(), Wrong>),
    /// Takes several values at once.
    All(fn(&mut Config, &[String]) -> Result<(), Wrong>),
}

/// An option.
pub struct Entry {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// Another name, which is not shown.
    pub alias: Option<&'static str>,
    /// How its value is called; empty where it is true or false.
    pub value: &'static str,
    /// What it does, a line.
    pub help: &'static str,
    /// The fields that it is about, as findings name them.
    pub fields: &'static [&'static str],
    act: Act,
}

impl Entry {
    /// Whether its value is true or false, and true when there is none.
    #[must_use]
    pub fn is_bool(&self) -> bool {
        matches!(self.act, Act::When(_) | Act::Bool(_))
    }

    /// Whether it can be given more than once.
    #[must_use]
    pub fn repeats(&self) -> bool {
        matches!(self.act, Act::Each(_) | Act::All(_))
    }

    /// Whether the values may start with a dash.
    #[must_use]
    pub fn takes_anything(&self) -> bool {
        matches!(self.act, Act::All(_))
    }

    const fn new(
        name: &'static str,
        value: &'static str,
        help: &'static str,
        fields: &'static [&'static str],
        act: Act,
    ) -> Self {
        let alias = None;
        Entry {
            name,
            alias,
            value,
            help,
            fields,
            act,
        }
    }

    fn apply(&self, config: &mut Config, values: &[String]) -> Result<(), Error> {
        let wrong = |value: &str, message| Error::Value {
            option: self.name.to_owned(),
            value: value.to_owned(),
            message,
        };
        let last = values.last().map(String::as_str).unwrap_or_default();
        match self.act {
            Act::When(change) => {
                if words::truth(last).map_err(|message| wrong(last, message))? {
                    change(config);
                }
            }
            Act::Bool(change) => {
                change(
                    config,
                    words::truth(last).map_err(|message| wrong(last, message))?,
                );
            }
            Act::One(change) => change(config, last).map_err(|message| wrong(last, message))?,
            Act::Each(change) => {
                for value in values {
                    change(config, value).map_err(|message| wrong(value, message))?;
                }
            }
            Act::All(change) => {
                change(config, values).map_err(|message| wrong(&values.join(" "), message))?;
            }
        }
        Ok(())
    }
}

/// The tables, in the order in which they are applied.
const TABLES: [(Group, &[Entry]); 8] = [
    (Group::Container, general::ENTRIES),
    (Group::Process, process::ENTRIES),
    (Group::Capabilities, capabilities::ENTRIES),
    (Group::Mounts, mounts::ENTRIES),
    (Group::Hooks, mounts::HOOKS),
    (Group::Linux, linux::ENTRIES),
    (Group::Resources, control::ENTRIES),
    (Group::Seccomp, seccomp::ENTRIES),
];

/// All options, in the order in which they are applied.
pub fn options() -> impl Iterator<Item = (Group, &'static Entry)> {
    let table = |(group, entries): (Group, &'static [Entry])| {
        entries.iter().map(move |entry| (group, entry))
    };
    TABLES.into_iter().flat_map(table)
}

/// An option that was given, with its values in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The name of an [`Entry`].
    pub option: String,
    /// At least one.
    pub values: Vec<String>,
}

/// Applies the options that were given to a configuration.
///
/// # Errors
/// [`Error::Value`] for the first that cannot be applied.
pub fn apply(config: &mut Config, given: &[Given]) -> Result<(), Error> {
    for (_, entry) in options() {
        for it in given.iter().filter(|it| it.option == entry.name) {
            entry.apply(config, &it.values)?;
        }
    }
    Ok(())
}

/// Applies the changes of single fields, checks the result against the
/// specification, and gives what else is noteworthy about it.
///
/// # Errors
/// [`Error::Value`] for a change that cannot be made; [`Error::Invalid`] with
/// all rules that the result would break.
pub fn finish(
    config: Config,
    given: &[Given],
    changes: &[Change],
) -> Result<(Config, Vec<Finding>), Error> {
    let config = pointer::apply(config, changes)?;
    let (broken, notes): (Vec<_>, Vec<_>) = document(&config)
        .into_iter()
        .partition(|it| it.severity == Severity::Error);
    if broken.is_empty() {
        return Ok((config, notes));
    }
    let blamed = |finding: Finding| {
        let options = blamed(&finding.place, given, changes);
        Broken { finding, options }
    };
    Err(Error::Invalid(broken.into_iter().map(blamed).collect()))
}

/// The options that are about a field.
fn blamed(place: &str, given: &[Given], changes: &[Change]) -> Vec<String> {
    // One is the other, or within it.
    let within = |part: &str, whole: &str| {
        part.strip_prefix(whole)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let meets = |field: &str| field.is_empty() || within(place, field) || within(field, place);
    let mut names = Vec::new();
    for (_, entry) in options() {
        let is_given = given.iter().any(|it| it.option == entry.name);
        if is_given && entry.fields.iter().any(|field| meets(field)) {
            names.push(entry.name.to_owned());
        }
    }
    let changes = changes.iter().filter(|change| meets(&change.field()));
    names.extend(changes.map(Change::to_string));
    names
}

#[cfg(test)]
mod tests;
