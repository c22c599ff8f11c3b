//! `cargo xtask test`: everything that CI demands.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::binaries::{self, Binaries};
use crate::command::{cargo, run};
use crate::{packages, privilege, tidy, workspace};

const HELP: &str = "\
Install what the tests need (Debian packages, as root), then check the format,
lints and rules, build the binaries and run all tests.

Usage: cargo xtask test [-- ARGUMENTS OF THE TEST RUNNER]

The runner is cargo-nextest where it is installed, else cargo test. The tests
find the programs by HAKO_BIN and HAKO_RUNTIME.
";

pub(crate) fn main(mut parser: lexopt::Parser) -> Result<()> {
    let mut runner_args = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            // Only behind `--`.
            Value(value) => {
                runner_args.push(value);
                runner_args.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !privilege::is_root() {
        bail!(
            "the tests mount, make namespaces and cgroups and install Debian packages, which only \
             root may: run 'sudo env \"PATH=$PATH\" cargo xtask test', or test crates that do \
             none of it with 'cargo test --package NAME'"
        );
    }
    packages::install()?;
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;

    // The tests run the runtime that is shipped, and tidy measures it.
    let runtime = binaries::runtime()?;
    tidy::check(Some(&runtime))?;

    // The same selection as the runner's, so that nothing is built twice.
    run(&mut cargo(["build", "--workspace", "--bins", "--tests"]))?;
    // Side by side, as they are installed.
    let bin = workspace::target_dir().join("hako/test");
    let programs = Binaries {
        hako: workspace::built("dev", "hako"),
        runtime,
    };
    let hako = programs.place(&bin)?;
    let with_programs = |mut command: Command| {
        command
            .env("HAKO_BIN", &hako)
            .env("HAKO_RUNTIME", bin.join("hako-runtime"));
        command
    };
    if nextest() {
        run(&mut with_programs(cargo([
            "test",
            "--workspace",
            "--doc",
            "--quiet",
        ])))?;
        let mut command = with_programs(cargo(["nextest", "run", "--workspace", "--no-fail-fast"]));
        run(command.args(runner_args))
    } else {
        let mut command = with_programs(cargo(["test", "--workspace", "--no-fail-fast"]));
        run(command.args(runner_args))
    }
}

fn nextest() -> bool {
    let mut version = cargo(["nextest", "--version"]);
    version
        .current_dir(Path::new("/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}
