//! bundle.md: what a runtime finds in a bundle's directory.

use std::fs;

use crate::check::{Check, Stop, Verdict, demand};
use crate::probe::Step;
use crate::runtime::Bench;
use crate::runtime::trial::Trial;

/// The chapter's checks.
pub(crate) const CHECKS: &[&[Check]] = &[&[
    Check::must(
        "bundle.config",
        "bundle.md#container-format",
        "The configuration is the file config.json at the top of the bundle: without it there is no container.",
        config,
    ),
    Check::must(
        "bundle.config-below",
        "bundle.md#container-format",
        "A config.json in a directory of the bundle is not the bundle's.",
        |bench| elsewhere(bench, "rootfs/config.json"),
    ),
    Check::must(
        "bundle.config-other-name",
        "bundle.md#container-format",
        "A configuration with another name is not the bundle's.",
        |bench| elsewhere(bench, "Config.json"),
    ),
    Check::must(
        "bundle.root",
        "bundle.md#container-format",
        "The container's root file system is the directory that root.path names.",
        root,
    ),
]];

fn config(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    trial.erred(&trial.create_as_it_is()?)?;
    trial.errs(&["state", &trial.id])?;
    // The same bundle with the file is good.
    trial.create()?;
    trial.passed()
}

fn elsewhere(bench: &Bench, name: &str) -> Verdict {
    let trial = Trial::new(bench, &[])?;
    let path = trial.bundle().join(name);
    fs::write(&path, trial.config.to_string())
        .map_err(Stop::broken(format!("cannot write {}", path.display())))?;
    trial.erred(&trial.create_as_it_is()?)?;
    trial.errs(&["state", &trial.id])?;
    trial.passed()
}

fn root(bench: &Bench) -> Verdict {
    let trial = Trial::new(bench, &[Step::Read("/file".into()), Step::List("/".into())])?;
    fs::write(trial.rootfs().join("file"), "of the root")
        .map_err(Stop::broken("cannot write a file"))?;
    let seen = trial.live()?;
    demand(seen.text(0)? == "of the root", || seen.told())?;
    let names = seen.value(1)?;
    let bundle = names
        .as_array()
        .is_some_and(|all| all.iter().any(|name| name == "config.json"));
    demand(!bundle, || format!("the root has {names}"))?;
    trial.passed()
}
