//! The container's process.

use hako_spec::runtime::{Config, ConsoleSize, Process, Rlimit};

use super::Act::{All, Bool, Each, One, When};
use super::{Entry, Wrong, words};

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(
        "args",
        "ARG",
        "Program, then each of its arguments; they replace the template's",
        &["process.args"],
        All(|config, values| {
            of(config).args = values.to_vec();
            Ok(())
        }),
    ),
    Entry::new(
        "env-file",
        "FILE",
        "Set the environment variables of a file, a line each",
        &["process.env"],
        Each(env),
    ),
    Entry::new(
        "env",
        "NAME=VALUE",
        "Set an environment variable",
        &["process.env"],
        Each(env),
    ),
    Entry::new(
        "process-cwd",
        "PATH",
        "Working directory",
        &["process.cwd"],
        One(|config, value| {
            of(config).cwd = value.into();
            Ok(())
        }),
    ),
    Entry::new(
        "process-terminal",
        "",
        "Whether a terminal is its standard input and output",
        &["process.terminal"],
        Bool(|config, value| of(config).terminal = value),
    ),
    Entry::new(
        "process-consolesize",
        "WIDTH:HEIGHT",
        "First size of the terminal, in characters",
        &["process.consoleSize"],
        One(|config, value| {
            let [width, height] = words::parts(value, "WIDTH:HEIGHT")?;
            of(config).console_size = Some(ConsoleSize {
                width: words::decimal(width)?,
                height: words::decimal(height)?,
                ..ConsoleSize::default()
            });
            Ok(())
        }),
    ),
    Entry::new(
        "process-uid",
        "UID",
        "User inside the container",
        &["process.user.uid"],
        One(|config, value| {
            of(config).user.uid = words::number(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "process-gid",
        "GID",
        "Group inside the container",
        &["process.user.gid"],
        One(|config, value| {
            of(config).user.gid = words::number(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "process-groups",
        "GID",
        "Add a supplementary group",
        &["process.user.additionalGids"],
        Each(|config, value| {
            let gid = words::decimal(value)?;
            let groups = &mut of(config).user.additional_gids;
            if !groups.contains(&gid) {
                groups.push(gid);
            }
            Ok(())
        }),
    ),
    Entry::new(
        "process-umask",
        "MASK",
        "File mode creation mask; octal with a leading 0",
        &["process.user.umask"],
        One(|config, value| {
            of(config).user.umask = Some(words::number(value)?);
            Ok(())
        }),
    ),
    Entry::new(
        "process-no-new-privileges",
        "",
        "Whether execve can no longer gain privileges",
        &["process.noNewPrivileges"],
        Bool(|config, value| of(config).no_new_privileges = value),
    ),
    Entry::new(
        "process-rlimits-remove-all",
        "",
        "Remove all resource limits",
        &["process.rlimits"],
        When(|config| of(config).rlimits.clear()),
    ),
    Entry::new(
        "process-rlimits-add",
        "TYPE:HARD:SOFT",
        "Add or replace a resource limit, as RLIMIT_NOFILE:1024:512; -1 is none",
        &["process.rlimits"],
        Each(|config, value| {
            let [kind, hard, soft] = words::parts(value, "TYPE:HARD:SOFT")?;
            let limit = Rlimit {
                kind: kind.into(),
                hard: ceiling(hard)?,
                soft: ceiling(soft)?,
                ..Rlimit::default()
            };
            words::put(&mut of(config).rlimits, |it| it.kind.clone(), limit);
            Ok(())
        }),
    ),
    Entry::new(
        "process-rlimits-remove",
        "TYPE",
        "Remove a resource limit",
        &["process.rlimits"],
        Each(|config, value| {
            of(config).rlimits.retain(|it| it.kind != value);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-oom-score-adj",
        "N",
        "Preference of the out-of-memory killer, -1000 to 1000",
        &["process.oomScoreAdj"],
        One(|config, value| {
            of(config).oom_score_adj = Some(words::number(value)?);
            Ok(())
        }),
    ),
    Entry::new(
        "linux-apparmor",
        "PROFILE",
        "AppArmor profile",
        &["process.apparmorProfile"],
        One(|config, value| {
            of(config).apparmor_profile = words::text(value)?;
            Ok(())
        }),
    ),
    Entry::new(
        "linux-selinux-label",
        "LABEL",
        "SELinux label of the process",
        &["process.selinuxLabel"],
        One(|config, value| {
            of(config).selinux_label = words::text(value)?;
            Ok(())
        }),
    ),
];

/// The process, which a template may lack.
pub(super) fn of(config: &mut Config) -> &mut Process {
    config.process.get_or_insert_with(|| Process {
        cwd: "/".into(),
        ..Process::default()
    })
}

/// Sets a variable where it stands, or at the end.
fn env(config: &mut Config, value: &str) -> Result<(), Wrong> {
    let (name, _) = words::pair(value).map_err(|_| "is not of the form NAME=VALUE".to_owned())?;
    let env = &mut of(config).env;
    // Of two of a name programs see one or the other: one stays.
    let has_name = |entry: &String| entry.split('=').next() == Some(&name);
    match env.iter().position(has_name) {
        Some(place) => {
            let mut n = 0;
            env.retain(|entry| {
                n += 1;
                n - 1 <= place || !has_name(entry)
            });
            if let Some(entry) = env.get_mut(place) {
                *entry = value.to_owned();
            }
        }
        None => env.push(value.to_owned()),
    }
    Ok(())
}

/// A limit; -1 and `unlimited` are RLIM_INFINITY.
fn ceiling(text: &str) -> Result<u64, Wrong> {
    match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => words::decimal(text),
    }
}
