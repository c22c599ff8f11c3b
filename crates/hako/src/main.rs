//! `hako`, the command line: a thin front over hako-engine. It parses, calls
//! and prints; what it does to containers and images stands in the engine.

mod attach;
mod cli;
mod commands;
mod error;
mod filter;
mod images;
mod output;
mod places;
mod progress;
mod signals;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    if hako_conformance::probe::is_called() {
        return hako_conformance::probe::main();
    }
    match cli::parse() {
        Ok(cli) => {
            let debug = cli.global.is_debug();
            match commands::dispatch(cli) {
                Ok(code) => code,
                Err(error) => error.report(debug),
            }
        }
        Err(error) => cli::report(&error),
    }
}
