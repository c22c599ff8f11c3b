//! What the probe has answered.

use std::path::Path;

use serde_json::Value;

use crate::check::{Stop, fails};
use crate::probe::Answer;

/// The answers of one container or hook, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    answers: Vec<Answer>,
}

impl Seen {
    /// Reads the lines of a file; none when there is no file. A line that is
    /// being written is left for later.
    pub(crate) fn read(path: &Path) -> Result<Seen, Stop> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(Stop::broken(format!("cannot read {}", path.display())))?,
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let answers = whole
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>();
        match answers {
            Ok(answers) => Ok(Seen { answers }),
            Err(_) => fails(format!(
                "standard output has what nobody wrote there: {whole}"
            )),
        }
    }

    /// How many answers there are.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// The answer to step `n`, counted from 0, which has to be there.
    pub(crate) fn answer(&self, n: usize) -> Result<&Answer, Stop> {
        match self.answers.get(n) {
            Some(answer) => Ok(answer),
            None => fails(match self.answers.len() {
                0 => "the container's process reported nothing".to_owned(),
                len => format!("the container's process ended after {len} steps"),
            }),
        }
    }

    /// What step `n` found; the kernel's error is a failure.
    pub(crate) fn value(&self, n: usize) -> Result<&Value, Stop> {
        match self.answer(n)? {
            Answer::Value(value) => Ok(value),
            Answer::Errno(errno) => fails(format!("inside, step {n}: {}", told(*errno))),
        }
    }

    /// The text that step `n` found.
    pub(crate) fn text(&self, n: usize) -> Result<&str, Stop> {
        let value = self.value(n)?;
        match value.as_str() {
            Some(text) => Ok(text),
            None => fails(format!("inside, step {n}: no text: {value}")),
        }
    }

    /// All answers, for people.
    pub(crate) fn told(&self) -> String {
        serde_json::to_string(&self.answers).unwrap_or_default()
    }
}

/// An error number in words.
pub(crate) fn told(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
