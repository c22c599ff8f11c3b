//! The floor under every OCI runtime: what the kernel must be asked for to run
//! one fixed bundle, with no choices, no checks and no error messages worth the
//! name. Runtimes are measured as ratios to it (`cargo xtask bench-runtime`).
//!
//! It is no runtime: the mounts, limits and namespaces are those that
//! `prepare` has made the bundle ask for, written down here a second time.
#![allow(clippy::print_stderr)]

mod bundle;
mod cgroups;
mod child;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use hako_sys::clone::{Forked, exit_now, flags, fork};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use cgroups::Cgroups;

const HELP: &str = "Usage: floor prepare BUNDLE | floor run BUNDLE STATE-DIR";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["prepare", bundle] => bundle::prepare(Path::new(bundle)).map(|()| 0),
        ["run", bundle, state] => run(Path::new(bundle), Path::new(state)),
        _ => Err(anyhow::anyhow!(HELP)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(125)
        }
    }
}

/// Runs the bundle's program; the value is its exit status.
fn run(bundle: &Path, state: &Path) -> Result<u8> {
    let config = fs::read(bundle.join("config.json")).context("config.json")?;
    let filter = bundle::filter(bundle)?;
    let root = bundle.join("rootfs");
    let name = format!("floor-{}", std::process::id());

    let dir = state.join(&name);
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let cgroups = Cgroups::make(&name)?;
    let join = cgroups.open()?;
    let mut new = flags::NEWNS | flags::NEWUTS | flags::NEWIPC | flags::NEWPID | flags::NEWNET;
    if join.tasks.is_empty() {
        new |= flags::NEWCGROUP;
    }
    let pidfd = match fork(new, join.v2.as_ref().map(std::os::fd::AsFd::as_fd)).context("clone3")? {
        Forked::Child => {
            let error = child::become_program(&root, &join, &filter);
            eprintln!("error: {error:#}");
            exit_now(126)
        }
        Forked::Parent { pid, pidfd } => {
            let record = format!("{{\"pid\":{}}}", pid.as_raw_nonzero());
            fs::write(dir.join("state.json"), record).context("state.json")?;
            pidfd
        }
    };
    let status = waitid(
        WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
        WaitIdOptions::EXITED,
    )
    .context("wait")?;
    cgroups.remove()?;
    fs::remove_file(dir.join("state.json"))?;
    fs::remove_dir(&dir)?;
    drop(config);
    match status.and_then(|status| status.exit_status()) {
        Some(code) => Ok(u8::try_from(code).unwrap_or(255)),
        None => bail!("the program was killed"),
    }
}
