//! hako-runtime: an OCI runtime, from a bundle to a process, with the command
//! line that runc defined. Called as `hako-monitor` it is a container's
//! monitor.
//!
//! It is run several times for every container, so that its start-up is the
//! product's speed: no threads, no async, few crates.

// Nothing here is anybody else's: `pub` says what a module offers its siblings.
#![allow(unreachable_pub)]

mod cli;
mod container;
mod criu;
mod ere;
mod error;
mod log;
mod proc;
mod rootfs;
mod state;
mod sync;
mod time;
mod verbs;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use cli::Args;
use error::{Error, Kind};

/// The parsers of what comes from outside, for the fuzz targets alone.
#[doc(hidden)]
pub mod outside {
    pub use crate::criu::wire::read as criu_answer;
    pub use crate::ere::Pattern;
    pub use crate::state::parse as record;
}

/// The whole program, whichever of its two names it was called by; gives the
/// exit status.
pub fn main() -> u8 {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new("hako-monitor")) {
        return hako_monitor::main(arguments);
    }
    let called = Path::new(&name).file_name().and_then(OsStr::to_str);
    runtime(called.unwrap_or("hako-runtime"), arguments)
}

fn runtime(program: &str, arguments: impl Iterator<Item = OsString>) -> u8 {
    let args = match Args::parse(arguments) {
        Ok(args) => args,
        Err(e) => return fail(&e, 1),
    };
    let json = match args.get("log-format") {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            return fail(
                &Error::new(format!("--log-format: {other:?} is not text or json")),
                1,
            );
        }
    };
    let level = match (args.get("log-level"), args.has("debug")) {
        (_, true) | (Some("debug"), _) => log::Level::Debug,
        (None | Some("warning"), _) => log::Level::Warning,
        (Some("error"), _) => log::Level::Error,
        (Some(other), _) => {
            let told = format!("--log-level: {other:?} is not error, warning or debug");
            return fail(&Error::new(told), 1);
        }
    };
    if let Err(e) = log::open(args.get("log"), json, level) {
        return fail(&e, 1);
    }
    let help = match args.verb.as_str() {
        "help" => Some(args.free.first().map_or("", String::as_str)),
        verb => args.has("help").then_some(verb),
    };
    let text = match help {
        Some(verb) => Some(cli::help(program, verb)),
        None => (args.verb.is_empty() && args.has("version")).then(|| version(program)),
    };
    if let Some(text) = text {
        use std::io::Write as _;
        let _ = std::io::stdout().write_all(text.as_bytes());
        return 0;
    }
    log::debug(&format!(
        "hako-runtime {}: {}",
        env!("CARGO_PKG_VERSION"),
        args.shown()
    ));
    match verbs::Global::of(&args).and_then(|global| verbs::run(&global, &args)) {
        Ok(status) => status,
        // What failed is told by 255 from the statuses of a process, as runc has it.
        Err(e) if args.verb == "exec" => {
            fail(&e, 255);
            255
        }
        Err(e) => fail(&e, 1),
    }
}

/// As `runc --version` prints it; engines read the "spec" line. `HAKO_COMMIT` in
/// the environment of the build tells of which sources it is.
fn version(program: &str) -> String {
    format!(
        "{program} version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("HAKO_COMMIT").unwrap_or("unknown"),
        hako_spec::runtime::VERSION
    )
}

fn fail(error: &Error, otherwise: u8) -> u8 {
    log::error(error);
    match error.kind {
        Kind::NotFound => 127,
        Kind::NotExecutable => 126,
        Kind::Refused(status) => status,
        Kind::Runtime | Kind::Hook | Kind::Damaged => otherwise,
    }
}
