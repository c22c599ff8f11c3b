//! runtime-linux.md and config-linux.md: what a container on Linux has.

mod cgroups;
mod default_devices;
mod descriptors;
mod device_rules;
mod devices;
mod filesystems;
pub(super) mod hierarchy;
pub(super) mod kernel;
mod listener;
mod mappings;
pub(super) mod namespaces;
mod net_devices;
mod paths;
mod resources;
mod seccomp;
pub(super) mod syscalls;
mod unified;

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::bench::Bench;
use super::edit::{push, remove};
use super::trial::{Trial, VERSION as BASE};
use crate::check::{Check, Stop, Verdict, demand, fails};
use crate::probe::Step;

/// The checks of runtime-linux.md.
pub(crate) const RUNTIME: &[&[Check]] = &[descriptors::CHECKS];

/// The checks of config-linux.md, by section.
pub(crate) const CHECKS: &[&[Check]] = &[
    filesystems::CHECKS,
    namespaces::CHECKS,
    namespaces::MORE,
    mappings::CHECKS,
    devices::CHECKS,
    devices::REQUIRED,
    default_devices::CHECKS,
    net_devices::CHECKS,
    cgroups::CHECKS,
    device_rules::CHECKS,
    resources::CHECKS,
    resources::MORE,
    unified::CHECKS,
    kernel::RDT,
    kernel::POLICIES,
    kernel::POLICY_FAULTS,
    kernel::SYSCTLS,
    seccomp::DEFAULTS,
    seccomp::ARCHITECTURES,
    seccomp::FLAGS,
    syscalls::ACTIONS,
    syscalls::NUMBERS,
    syscalls::COMPARISONS,
    seccomp::FAULTS,
    listener::CHECKS,
    paths::CHECKS,
    kernel::LABEL,
    kernel::PERSONALITIES,
];

/// Reads a file outside of containers; that it cannot be read is a failure.
pub(super) fn read(path: impl AsRef<Path>) -> Result<String, Stop> {
    let path = path.as_ref();
    fs::read_to_string(path).or_else(|error| fails(format!("{}: {error}", path.display())))
}

/// Where a link outside of containers points.
fn link(path: &str) -> Result<String, Stop> {
    let to = fs::read_link(path).or_else(|error| fails(format!("{path}: {error}")))?;
    Ok(to.to_string_lossy().into_owned())
}

/// Demands that two things are the same.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers give what they have just made"
)]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Verdict {
    demand(found == wanted, || {
        format!("{what} is {found:?}, not {wanted:?}")
    })
}

/// Demands an error for a configuration that is taken without its fault.
fn faulty(bench: &Bench, version: &str, base: fn(&mut Value), fault: fn(&mut Value)) -> Verdict {
    let sound = Trial::of(bench, version, &[Step::Say("it runs".into())])?.edit(base);
    match sound.live().and_then(|seen| seen.text(0).map(drop)) {
        Err(Stop::Fails(text)) => return fails(format!("without the fault: {text}")),
        other => other?,
    }
    sound.passed()?;
    does_not_run(Trial::of(bench, version, &[])?.edit(base).edit(fault))
}

/// Demands that a container's program is never run. As the specification leaves
/// open how an error is told, a `start` that says nothing will do.
pub(super) fn does_not_run(mut trial: Trial<'_>) -> Verdict {
    trial.steps(&[Step::Say("it runs".into())]);
    let mut done = trial.try_create()?;
    if done.is_ok() {
        done = trial.call(&["start", &trial.id])?;
    }
    if done.is_ok() {
        trial.becomes("stopped")?;
        demand(trial.seen()?.len() == 0, || "the program is run".into())?;
        trial.bench.works()?;
    } else {
        trial.erred(&done)?;
    }
    trial.passed()
}
