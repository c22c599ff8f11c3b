//! What the testers execute inside a container and as a hook: a program that
//! does the [`Step`]s that its first argument lists and answers each with a line
//! of JSON.
//!
//! It is the tester's own program under the name [`NAME`]: static, so it runs in
//! an empty root file system. It looks at the kernel's files and calls; what they
//! mean is judged outside.

mod act;
mod kernel;
mod step;

use std::io::Write as _;
use std::process::ExitCode;

pub(crate) use act::limits;
pub use step::{Answer, Step};

/// The name by which the program knows that it is the probe.
pub const NAME: &str = "hako-probe";

/// Whether this process was executed as the probe.
#[must_use]
pub fn is_called() -> bool {
    std::env::args_os()
        .next()
        .is_some_and(|name| std::path::Path::new(&name).file_name() == Some(NAME.as_ref()))
}

/// The probe's `main`. Its status: that of the last [`Step::Exit`], 0 without
/// one, 120 when the steps cannot be read, 121 when an answer cannot be written.
#[must_use]
pub fn main() -> ExitCode {
    let steps = std::env::args().nth(1).unwrap_or_default();
    let steps: Vec<Step> = match serde_json::from_str(&steps) {
        Ok(steps) => steps,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{NAME}: {error}");
            return ExitCode::from(120);
        }
    };
    let mut actor = act::Actor::default();
    for step in &steps {
        if let Step::Exit(code) = step {
            return ExitCode::from(*code);
        }
        let answer = match actor.act(step) {
            Ok(value) => Answer::Value(value),
            Err(errno) => Answer::Errno(errno.raw_os_error()),
        };
        if actor.tell(&answer).is_err() {
            return ExitCode::from(121);
        }
    }
    ExitCode::SUCCESS
}
