//! One normative sentence, and what came of trying it.

use crate::runtime::Bench;

/// How strong a sentence is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// MUST, MUST NOT, REQUIRED: who fails it is not compliant.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED.
    Should,
    /// MAY, OPTIONAL: told for information.
    May,
}

impl Level {
    /// The word as the specifications write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
            Level::May => "MAY",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// A sentence of a specification, with the way to try it.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// `operation.what`, in small letters, digits, dots and dashes; no two
    /// checks have the same.
    pub name: &'static str,
    /// How strong the sentence is.
    pub level: Level,
    /// Document and anchor: `runtime.md#create`.
    pub section: &'static str,
    /// What is demanded, in one sentence.
    pub demand: &'static str,
    /// Tries it.
    pub(crate) run: fn(&Bench) -> Verdict,
}

impl Check {
    /// A sentence with MUST, MUST NOT or REQUIRED.
    pub(crate) const fn must(
        name: &'static str,
        section: &'static str,
        demand: &'static str,
        run: fn(&Bench) -> Verdict,
    ) -> Check {
        Check {
            name,
            level: Level::Must,
            section,
            demand,
            run,
        }
    }

    /// The same as a sentence with SHOULD or RECOMMENDED.
    pub(crate) const fn should(self) -> Check {
        Check {
            level: Level::Should,
            ..self
        }
    }

    /// The same as a sentence with MAY or OPTIONAL.
    pub(crate) const fn may(self) -> Check {
        Check {
            level: Level::May,
            ..self
        }
    }

    /// The document, which is the chapter that results are summed up by.
    #[must_use]
    pub fn chapter(&self) -> &'static str {
        self.section
            .split_once('#')
            .map_or(self.section, |(document, _)| document)
    }

    /// Where the sentence can be read.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", crate::runtime::SPECIFICATION, self.section)
    }
}

/// What a try says; `Ok` when the sentence is obeyed.
pub type Verdict = Result<(), Stop>;

/// Why a try did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The sentence is not obeyed: what was seen, in one line or more.
    Fails(String),
    /// It cannot be tried on this machine, and why.
    Skipped(String),
    /// The tester could not do its own part.
    Broken(String),
}

impl Stop {
    /// For `map_err`: the tester's own work failed.
    pub(crate) fn broken<E: std::fmt::Display>(
        doing: impl std::fmt::Display,
    ) -> impl Fn(E) -> Stop {
        move |error| Stop::Broken(format!("{doing}: {error}"))
    }
}

/// A sentence that is not obeyed.
pub(crate) fn fails<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fails(text.into()))
}

/// Fails with `text` unless `good`.
pub(crate) fn demand(good: bool, text: impl FnOnce() -> String) -> Verdict {
    match good {
        true => Ok(()),
        false => Err(Stop::Fails(text())),
    }
}

/// A check's outcome as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The sentence is obeyed.
    Pass,
    /// It is not.
    Fail,
    /// It could not be tried here.
    Skip,
    /// The tester failed.
    Error,
}

impl Outcome {
    /// The outcome of a verdict, and its words.
    #[must_use]
    pub fn of(verdict: &Verdict) -> (Outcome, &str) {
        match verdict {
            Ok(()) => (Outcome::Pass, ""),
            Err(Stop::Fails(text)) => (Outcome::Fail, text),
            Err(Stop::Skipped(text)) => (Outcome::Skip, text),
            Err(Stop::Broken(text)) => (Outcome::Error, text),
        }
    }

    /// One small word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Skip => "skip",
            Outcome::Error => "error",
        }
    }
}
