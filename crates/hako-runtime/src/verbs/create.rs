//! `create`: set a container up, up to its program.

use super::wait::own_size;
use super::{Global, only_id, passed};
use crate::cli::Args;
use crate::container::launch::{Launched, Request, launch};
use crate::error::Result;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    launched(global, args, true, None).map(|_| 0)
}

/// The part that `run` shares.
pub(super) fn launched(
    global: &Global,
    args: &Args,
    for_start: bool,
    console: Option<std::os::fd::OwnedFd>,
) -> Result<Launched> {
    launch(asked(global, args, for_start, console)?)
}

/// What the flags ask for; the part that `restore` shares.
pub(super) fn asked<'a>(
    global: &'a Global,
    args: &Args,
    for_start: bool,
    console: Option<std::os::fd::OwnedFd>,
) -> Result<Request<'a>> {
    let bundle = args.path("bundle").unwrap_or_else(|| ".".into());
    let bundle = bundle
        .canonicalize()
        .map_err(|e| crate::error::Error::from(e).within(format!("bundle {}", bundle.display())))?;
    Ok(Request {
        root: &global.root,
        id: only_id(args)?,
        bundle,
        config: args.path("config"),
        console_socket: args.path("console-socket"),
        pidfd_socket: args.path("pidfd-socket"),
        pid_file: args.path("pid-file"),
        no_pivot: args.has("no-pivot"),
        no_new_keyring: args.has("no-new-keyring"),
        passed: passed(args)?,
        for_start,
        rootless_cgroups: global.rootless,
        console_size: console.as_ref().and_then(|_| own_size()),
        console,
    })
}
