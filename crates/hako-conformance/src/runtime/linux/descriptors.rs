//! runtime-linux.md: "File descriptors" and "Dev symbolic links".

use crate::check::{Check, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

const LINKS: &str = "runtime-linux.md#dev-symbolic-links";

macro_rules! links {
    ($($name:literal $to:literal)*) => {
        &[
            Check::must(
                "descriptors.standard-only",
                "runtime-linux.md#file-descriptors",
                "The program has its standard descriptors and no others, whatever the caller had open.",
                standard_only,
            ),
            $(Check::must(
                concat!("dev-links.", $name),
                LINKS,
                concat!("/dev/", $name, " is a symbolic link to ", $to, "."),
                |bench| link(bench, concat!("/dev/", $name), $to),
            ),)*
        ]
    };
}

pub(super) const CHECKS: &[Check] = links! {
    "fd" "/proc/self/fd"
    "stdin" "/proc/self/fd/0"
    "stdout" "/proc/self/fd/1"
    "stderr" "/proc/self/fd/2"
};

fn standard_only(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Fds])?;
    let seen = trial.live()?;
    let fds = seen.value(0)?.as_array().cloned().unwrap_or_default();
    let numbers: Vec<u64> = fds.iter().filter_map(|fd| fd[0].as_u64()).collect();
    demand(numbers == [0, 1, 2], || {
        format!("the open descriptors are {fds:?}")
    })?;
    trial.passed()
}

fn link(bench: &Bench, path: &str, to: &str) -> Verdict {
    let trial = Trial::new(bench, &[Step::Link(path.into())])?;
    let seen = trial.live()?;
    let found = seen.text(0)?;
    demand(found == to, || format!("{path} points to '{found}'"))?;
    trial.passed()
}
