//! The results in the forms that people and programs read.

mod json;
mod junit;
mod table;
mod tap;

use crate::runtime::Bench;
use crate::schedule::Tried;

pub use json::json;
pub use junit::junit;
pub use table::{list, table};
pub use tap::tap;

/// All results of one runtime.
#[derive(Debug)]
pub struct Column {
    /// The runtime's name.
    pub name: String,
    /// What it says of itself; may be empty.
    pub version: String,
    /// The results, in the order of the checks, which is the same in every
    /// column of a report.
    pub results: Vec<Tried>,
}

impl Column {
    /// The results of a runtime.
    #[must_use]
    pub fn new(bench: &Bench, results: Vec<Tried>) -> Column {
        Column {
            name: bench.name(),
            version: bench.version().to_owned(),
            results,
        }
    }

    /// Whether every MUST was obeyed and nothing broke.
    #[must_use]
    pub fn is_compliant(&self) -> bool {
        use crate::check::{Level, Outcome};
        self.results.iter().all(|tried| {
            let (outcome, _) = Outcome::of(&tried.verdict);
            match outcome {
                Outcome::Pass | Outcome::Skip => true,
                Outcome::Fail => tried.check.level != Level::Must,
                Outcome::Error => false,
            }
        })
    }
}
