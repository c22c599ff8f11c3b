//! The verbs of the command line, a file each.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod mounts;
mod pause;
mod processes;
mod restore;
mod run;
mod select;
mod spec;
mod start;
mod state;
mod update;
mod wait;

use std::path::{Path, PathBuf};

use hako_spec::id::ContainerId;

use crate::cli::Args;
use crate::container::launch::CgroupManager;
use crate::error::{Error, Result};
use crate::proc::short;
use crate::state::Container;

/// What every verb gets.
#[derive(Debug)]
pub struct Global {
    /// Where containers are kept.
    pub root: PathBuf,
    /// Whether missing rights to cgroups are fine.
    pub rootless: bool,
    /// Who makes the cgroups of new containers.
    pub cgroups: CgroupManager,
}

impl Global {
    /// Reads the global flags.
    pub fn of(args: &Args) -> Result<Self> {
        let cgroups = match args.get("cgroup-manager") {
            None if args.has("systemd-cgroup") => CgroupManager::Systemd,
            None | Some("cgroupfs") => CgroupManager::Runtime,
            Some("systemd") => CgroupManager::Systemd,
            Some("disabled") => CgroupManager::Nobody,
            Some(other) => {
                return Err(Error::new(format!(
                    "--cgroup-manager: {other:?} is not cgroupfs, systemd or disabled"
                )));
            }
        };
        let user = !rustix::process::geteuid().is_root() || in_user_namespace();
        let rootless = match args.get("rootless") {
            None | Some("auto") => user,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                return Err(Error::new(format!(
                    "--rootless: {other:?} is not auto, true or false"
                )));
            }
        };
        let root = args.path("root").unwrap_or_else(|| default_root(rootless));
        Ok(Global {
            root: std::path::absolute(root)?,
            rootless,
            cgroups,
        })
    }
}

fn default_root(rootless: bool) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if rootless => Path::new(&dir).join("hako-runtime"),
        _ => PathBuf::from("/run/hako-runtime"),
    }
}

/// A user namespace that maps less than everything: rights over the host's
/// cgroups are not to be had in it.
fn in_user_namespace() -> bool {
    let map = short("/proc/self/uid_map").unwrap_or_default();
    let map = String::from_utf8_lossy(&map);
    !hako_sys::id_map::is_initial(&map)
}

/// Runs the verb; the value is the exit status.
pub fn run(global: &Global, args: &Args) -> Result<u8> {
    match args.verb.as_str() {
        "create" => create::run(global, args),
        "start" => start::run(global, args),
        "run" => run::run(global, args),
        "exec" => exec::run(global, args),
        "kill" => kill::run(global, args),
        "delete" => delete::run(global, args),
        "state" => state::run(global, args),
        "list" => list::run(global, args),
        "ps" => processes::run(global, args),
        "pause" => pause::run(global, args, true),
        "resume" => pause::run(global, args, false),
        "update" => update::run(global, args),
        "events" => events::run(global, args),
        "checkpoint" => checkpoint::run(global, args),
        "restore" => restore::run(global, args),
        "mounts" => mounts::run(global, args),
        "spec" => spec::run(args),
        "features" => features::run(),
        _ => Err(Error::new("no command is given (see hako-runtime --help)")),
    }
}

/// The container id, which stands first.
fn id(args: &Args) -> Result<ContainerId> {
    let text = args
        .free
        .first()
        .ok_or_else(|| Error::new(format!("{} needs a container id", args.verb)))?;
    Ok(text.parse()?)
}

/// The id and nothing else.
fn only_id(args: &Args) -> Result<ContainerId> {
    no_more(args, 1)?;
    id(args)
}

fn no_more(args: &Args, count: usize) -> Result<()> {
    match args.free.get(count) {
        Some(extra) => Err(Error::new(format!("unexpected argument {extra:?}"))),
        None => Ok(()),
    }
}

fn load(global: &Global, args: &Args) -> Result<Container> {
    Container::load(&global.root, &id(args)?)
}

/// Writes to standard output; a reader that went away is no failure.
fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// A document of the caller's, from a file or (`-`) from standard input; no
/// longer than any document may be.
fn document(file: &str) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let most = hako_spec::runtime::Config::MAX_LEN;
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    match file {
        "-" => std::io::stdin().take(limit).read_to_end(&mut bytes)?,
        _ => std::fs::File::open(file)?
            .take(limit)
            .read_to_end(&mut bytes)?,
    };
    match bytes.len() > most {
        true => Err(Error::new(format!("it is longer than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Descriptors to pass on: `--preserve-fds`, and those of socket activation.
fn passed(args: &Args) -> Result<crate::container::program::Passed> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u32>().ok());
    // sd_listen_fds(3): they are for the process that LISTEN_PID names.
    let listen = match number("LISTEN_PID") {
        Some(pid) if pid != std::process::id() => 0,
        _ => number("LISTEN_FDS").unwrap_or(0),
    };
    let preserve = args.number("preserve-fds")?.saturating_add(listen);
    for at in 0..preserve {
        let fd = i32::try_from(at).unwrap_or(i32::MAX).saturating_add(3);
        if hako_sys::fds::inherit(fd).is_err() {
            return Err(Error::new(format!(
                "descriptor {fd} is to be passed on, but is not open"
            )));
        }
    }
    Ok(crate::container::program::Passed { preserve, listen })
}
