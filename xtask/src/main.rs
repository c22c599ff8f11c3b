//! The project's automation: `cargo xtask help` lists what there is.
//!
//! Written in Rust so that it needs nothing but cargo and behaves the same
//! everywhere. It prints to the terminal, which the libraries must not.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod binaries;
mod command;
mod demo;
mod endure;
mod install;
mod packages;
mod privilege;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
The project's automation.

Usage: cargo xtask COMMAND

Commands:
  demo      build the release binaries and run a first container
  test      install what the tests need, then check and test everything
  vm-test   test on a kernel with cgroup v2 alone, in a virtual machine
  tidy      check the rules that the compiler does not
  install   build and install binaries, man pages and completions
  bench     compare the times of two commands
  bench-runtime
            compare the times of OCI runtimes, and of what none can avoid
  bench-pull
            compare the times of pulling an image until it is ready to run
  endure    many containers at once, and a runtime that is killed
  help      print this; 'COMMAND --help' tells more
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<ExitCode> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        None | Some(Short('h') | Long("help")) => print!("{HELP}"),
        Some(Value(command)) => match command.string()?.as_str() {
            "demo" => return demo::main(parser),
            "test" => test::main(parser)?,
            "vm-test" => return vm::main(parser),
            vm::guest::VERB => return vm::guest::main(parser),
            "tidy" => return tidy::main(parser),
            "install" => install::main(parser)?,
            "bench" => bench::main(parser)?,
            "endure" => endure::main(parser)?,
            "bench-runtime" => bench::runtime::main(parser)?,
            "bench-pull" => bench::pull::main(parser)?,
            "help" => print!("{HELP}"),
            other => anyhow::bail!("no such command: {other} ('cargo xtask help' lists them)"),
        },
        Some(other) => return Err(other.unexpected().into()),
    }
    Ok(ExitCode::SUCCESS)
}
