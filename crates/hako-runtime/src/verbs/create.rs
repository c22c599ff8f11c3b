//! `create`: set a container up, up to its program.

use hako_spec::runtime::validate::Purpose;

use super::wait::own_size;
use super::{Global, only_id, passed};
use crate::cli::Args;
use crate::container::bundle::Bundle;
use crate::container::filters::Filters;
use crate::container::launch::{Launched, Request, launch};
use crate::error::Result;

pub(super) fn run(global: &Global, args: &Args) -> Result<u8> {
    launched(
        global,
        args,
        bundle(global, args, Purpose::Create)?,
        true,
        None,
    )
    .map(|_| 0)
}

/// The bundle of `create` and `run`; a missing id is told before a bad bundle.
pub(super) fn bundle(global: &Global, args: &Args, purpose: Purpose) -> Result<Bundle> {
    only_id(args)?;
    let dir = args.path("bundle").unwrap_or_else(|| ".".into());
    let filters = Filters::of(&global.root);
    Bundle::open(&dir, args.path("config"), purpose, &filters)
}

/// The part that `run` shares.
pub(super) fn launched(
    global: &Global,
    args: &Args,
    bundle: Bundle,
    for_start: bool,
    console: Option<std::os::fd::OwnedFd>,
) -> Result<Launched> {
    launch(asked(global, args, bundle, for_start, console)?)
}

/// What the flags ask for; the part that `restore` shares.
pub(super) fn asked<'a>(
    global: &'a Global,
    args: &Args,
    bundle: Bundle,
    for_start: bool,
    console: Option<std::os::fd::OwnedFd>,
) -> Result<Request<'a>> {
    Ok(Request {
        root: &global.root,
        id: only_id(args)?,
        bundle,
        console_socket: args.path("console-socket"),
        pidfd_socket: args.path("pidfd-socket"),
        pid_file: args.path("pid-file"),
        no_pivot: args.has("no-pivot"),
        no_new_keyring: args.has("no-new-keyring"),
        passed: passed(args)?,
        for_start,
        rootless_cgroups: global.rootless,
        cgroups: global.cgroups,
        console_size: console.as_ref().and_then(|_| own_size()),
        console,
    })
}
