//! Verbs that take several containers or images: what fails for one is told,
//! and the others have their turn.

use std::process::ExitCode;

use hako_engine::{Container, Engine, Filter, Phase};

use crate::error::{CliError, Result};

/// Does `work` with each; the status is that of the first failure.
pub(crate) fn each<T>(
    all: impl IntoIterator<Item = T>,
    mut work: impl FnMut(T) -> Result<()>,
) -> Result {
    let mut first = None;
    for one in all {
        if let Err(error) = work(one) {
            if error.kind == crate::error::Kind::BrokenPipe {
                return Err(error);
            }
            error.print();
            first.get_or_insert(error.kind.status());
        }
    }
    match first {
        None => Ok(ExitCode::SUCCESS),
        Some(status) => Err(CliError::said(status)),
    }
}

/// What `--all` of a verb means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those whose process runs.
    Running,
    /// All.
    All,
}

/// The containers that are meant: by name, or all of them. With a name as the
/// user gave it.
pub(crate) fn chosen(
    engine: &Engine,
    names: &[String],
    all: bool,
    which: Which,
) -> Result<Vec<String>> {
    match (names.is_empty(), all) {
        (false, true) => Err(CliError::new(
            "--all and names of containers exclude each other",
        )),
        (true, false) => Err(CliError::new("no container named").hint("name one, or say --all")),
        (false, false) => Ok(names.to_vec()),
        (true, true) => {
            let filter = if which == Which::All {
                Filter::All
            } else {
                Filter::Running
            };
            let found = engine.containers(filter)?;
            Ok(found
                .into_iter()
                .filter(|c| which == Which::All || runs(c))
                .map(|c| c.record.id)
                .collect())
        }
    }
}

/// Whether its process runs.
pub(crate) fn runs(container: &Container) -> bool {
    container.state.phase == Phase::Running
}
