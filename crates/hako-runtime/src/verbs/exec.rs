//! `exec`: another process in a running container.

use hako_spec::runtime::validate;
use hako_spec::runtime::{Capabilities, Config, Process};
use hako_sys::signal;

use super::wait::{console_pair, foreground, own_size, receive_console};
use super::{Global, load, passed};
use crate::cli::Args;
use crate::container::exec::{Request, read_process, start};
use crate::container::filters::Filters;
use crate::error::{Error, Result};

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    let container = load(global, args)?;
    let read = container.read(&Filters::of(&global.root))?;
    let mut process = process(args, &read.config)?;
    if let Some(problem) = validate::process(&process).first() {
        return Err(Error::new(problem.to_string()));
    }
    let detach = args.has("detach");
    let own_console = process.terminal && !detach && args.get("console-socket").is_none();
    let (theirs, ours) = match own_console {
        true => {
            let (theirs, ours) = console_pair()?;
            process.console_size = process.console_size.or_else(own_size);
            (Some(theirs), Some(ours))
        }
        false => (None, None),
    };
    let request = Request {
        process,
        console_socket: args.path("console-socket"),
        console: theirs,
        pidfd_socket: args.path("pidfd-socket"),
        pid_file: args.path("pid-file"),
        passed: passed(args)?,
        sub_cgroups: sub_cgroups(args),
        ignore_paused: args.has("ignore-paused"),
    };
    if detach {
        start(&global.root, &container, &read, request)?;
        return Ok(0);
    }
    // Before there is a process that could miss one.
    let signals = signal::block_all()?;
    let started = start(&global.root, &container, &read, request)?;
    let terminal = ours.as_ref().map(receive_console).transpose()?;
    foreground(&started.pidfd, &signals, terminal.as_ref())
}

/// The container's process with the flags' changes, or the one of `--process`.
fn process(args: &Args, config: &Config) -> Result<Process> {
    let command = args.free.get(1..).unwrap_or_default();
    if let Some(path) = args.path("process") {
        if let Some(extra) = command.first() {
            return Err(Error::new(format!(
                "unexpected argument {extra:?} with --process"
            )));
        }
        let mut p = read_process(&path)?;
        // What confines the container confines all of it, unless told otherwise.
        let own = config.process.clone().unwrap_or_default();
        p.apparmor_profile = p.apparmor_profile.or(own.apparmor_profile);
        p.selinux_label = p.selinux_label.or(own.selinux_label);
        label(&mut p, args);
        return Ok(p);
    }
    if command.is_empty() {
        return Err(Error::new("exec needs a command"));
    }
    let mut p = config.process.clone().unwrap_or_default();
    p.args = command.to_vec();
    p.terminal = args.has("tty");
    if let Some(cwd) = args.get("cwd") {
        p.cwd = cwd.to_owned();
    }
    p.env.extend(args.all("env").map(str::to_owned));
    if let Some(user) = args.get("user") {
        let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
        let number = |text: &str| {
            text.parse::<u32>().map_err(|_| {
                Error::new(format!("--user: {text:?} is not a number (UID or UID:GID)"))
            })
        };
        p.user.uid = number(uid)?;
        if !gid.is_empty() {
            p.user.gid = number(gid)?;
        }
    }
    for gid in args.all("additional-gids") {
        let gid = gid
            .parse()
            .map_err(|_| Error::new(format!("--additional-gids: {gid:?} is not a number")))?;
        p.user.additional_gids.push(gid);
    }
    add_capabilities(&mut p, args);
    label(&mut p, args);
    p.no_new_privileges |= args.has("no-new-privs");
    Ok(p)
}

/// The cgroups below the container's; `/` is the container's own, and no other
/// one in its place.
fn sub_cgroups(args: &Args) -> Vec<String> {
    args.all("cgroup").map(str::to_owned).collect()
}

fn label(p: &mut Process, args: &Args) {
    if let Some(profile) = args.get("apparmor") {
        p.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = args.get("process-label") {
        p.selinux_label = Some(label.to_owned());
    }
}

fn add_capabilities(p: &mut Process, args: &Args) {
    for cap in args.all("cap") {
        let caps = p.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
            if !set.iter().any(|c| c == cap) {
                set.push(cap.to_owned());
            }
        }
        // A user other than root keeps it through execve(2) by the ambient
        // set, which must also be inheritable.
        let inheritable = caps.inheritable.iter().any(|c| c == cap);
        if p.user.uid != 0 || inheritable {
            for set in [&mut caps.inheritable, &mut caps.ambient] {
                if !set.iter().any(|c| c == cap) {
                    set.push(cap.to_owned());
                }
            }
        }
    }
}
