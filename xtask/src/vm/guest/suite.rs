//! What a suite's program is asked, and what its answers mean: one of Rust's
//! test harness, or the tester of runtimes.

use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::vm::plan::{Event, Kind, OUTPUT_MAX, Suite, Test};

/// How the tester of runtimes is called.
const TESTER: [&str; 2] = ["conformance", "runtime"];
/// Seconds that it gives one command of the runtime.
const COMMAND_TIMEOUT: &str = "100";
/// Checks of one of its processes: it is slow to start, being copied for the
/// containers' programs.
const CHECKS: usize = 16;

/// A test by its `suite::name`, and as its program knows it.
pub(super) type Name = (String, String);

/// How a process that ran tests has ended.
pub(super) struct Ended {
    /// None when it had to be killed.
    pub(super) status: Option<ExitStatus>,
    pub(super) output: Vec<u8>,
    pub(super) seconds: f64,
}

/// The names of a suite's tests.
pub(super) fn list(suite: &Suite) -> Result<Vec<String>> {
    let arguments = match suite.kind {
        Kind::Harness => &["--list", "--format", "terse"][..],
        Kind::Conformance(_) => &[TESTER[0], TESTER[1], "--list"],
    };
    let out = Command::new(&suite.program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", suite.program))?;
    if !out.status.success() {
        bail!("{} {}: {}", suite.program, arguments.join(" "), out.status);
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let name = |line: &str| match suite.kind {
        Kind::Harness => line.strip_suffix(": test").map(str::to_owned),
        // `MUST  cpu.shares  config-linux.md#cpu  What is demanded.`
        Kind::Conformance(_) => line.split_whitespace().nth(1).map(str::to_owned),
    };
    Ok(text.lines().filter_map(name).collect())
}

/// How many tests one process runs.
pub(super) fn at_once(kind: &Kind) -> usize {
    match kind {
        Kind::Harness => 1,
        Kind::Conformance(_) => CHECKS,
    }
}

/// The command that runs [`at_once`] tests.
pub(super) fn command(suite: &Suite, tests: &[Name]) -> Command {
    let mut command = Command::new(&suite.program);
    let names = tests.iter().map(|(_, test)| test);
    match &suite.kind {
        Kind::Harness => {
            command.args(names);
            command.args(["--exact", "--nocapture", "--include-ignored"]);
        }
        Kind::Conformance(arguments) => {
            command.args(TESTER).args(arguments);
            command.args(["--format", "json", "--jobs", "1"]);
            command.args(["--timeout", COMMAND_TIMEOUT, "--exact"]);
            command.args(names.flat_map(|name| ["--filter", name]));
        }
    }
    command
}

/// What came of the tests of a process that has ended. One that has not run is
/// no success.
pub(super) fn events(kind: &Kind, tests: &[Name], ended: &Ended) -> Vec<Event> {
    let report = match kind {
        Kind::Harness => Value::Null,
        Kind::Conformance(_) => serde_json::from_slice(&ended.output).unwrap_or_default(),
    };
    let event = |(name, test): &Name| match find(&report, test) {
        Some(result) => checked(name, result),
        None => test_event(name, failure(kind, ended), ended.seconds, &ended.output),
    };
    tests.iter().map(event).collect()
}

/// Why a test failed of which the process's end and output have to tell.
fn failure(kind: &Kind, ended: &Ended) -> Option<String> {
    match ended.status {
        None => Some("takes too long".to_owned()),
        Some(status) if !status.success() => Some(status.to_string()),
        Some(_) => {
            let text = String::from_utf8_lossy(&ended.output);
            let told = text.contains("1 passed") || text.contains("1 tests, failed: []");
            (!told || !matches!(kind, Kind::Harness)).then(|| "has not run".to_owned())
        }
    }
}

/// A check's result in the tester's report.
fn find<'a>(report: &'a Value, test: &str) -> Option<&'a Value> {
    let results = report.pointer("/0/results")?.as_array()?;
    results.iter().find(|it| it["name"] == test)
}

/// A check's event. A SHOULD that is not obeyed counts as a MUST: the runtime
/// is our own.
fn checked(name: &str, result: &Value) -> Event {
    let word = |field: &str| result[field].as_str().unwrap_or_default().to_owned();
    let failure = match result["outcome"].as_str() {
        Some("pass") => None,
        Some("skip") => {
            return Event::LeftOut {
                name: name.to_owned(),
                reason: word("seen"),
            };
        }
        _ => Some(format!("{} of a {}", word("outcome"), word("level"))),
    };
    let text = format!("{}\n{}", word("demand"), word("seen"));
    let seconds = result["seconds"].as_f64().unwrap_or_default();
    test_event(name, failure, seconds, text.as_bytes())
}

/// The event of a test that has run; what it printed is told if it failed.
fn test_event(name: &str, failure: Option<String>, seconds: f64, output: &[u8]) -> Event {
    Event::Test(Test {
        name: name.to_owned(),
        output: failure.as_ref().map_or(String::new(), |_| end(output)),
        failure,
        seconds,
    })
}

/// The last part of a long output.
fn end(text: &[u8]) -> String {
    let from = text.len().saturating_sub(OUTPUT_MAX);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    /// `None` for a success, or why it is none; reasons for leaving out in
    /// brackets.
    fn told(kind: &Kind, raw: Option<i32>, output: &str) -> Vec<Option<String>> {
        let tests = ["a", "b"].map(|name| (format!("suite::{name}"), name.to_owned()));
        let ended = Ended {
            status: raw.map(ExitStatus::from_raw),
            output: output.as_bytes().to_vec(),
            seconds: 1.0,
        };
        let all = tests.get(..at_once(kind).min(2)).unwrap();
        let events = events(kind, all, &ended).into_iter().map(|it| match it {
            Event::Test(test) => test.failure,
            Event::LeftOut { reason, .. } => Some(format!("[{reason}]")),
            other => panic!("{other:?}"),
        });
        events.collect()
    }

    #[test]
    fn what_the_harness_says() {
        let one = |raw, output| told(&Kind::Harness, raw, output).remove(0);
        let good = "test result: ok. 1 passed; 0 failed; 0 ignored";
        assert_eq!(one(Some(0), good), None);
        assert_eq!(one(Some(0), "test x ... ok\n1 tests, failed: []\n"), None);
        let none = "test result: ok. 0 passed; 0 failed; 1 ignored";
        assert_eq!(one(Some(0), none).unwrap(), "has not run");
        assert_eq!(one(Some(101 << 8), good).unwrap(), "exit status: 101");
        assert_eq!(one(None, good).unwrap(), "takes too long");
    }

    #[test]
    fn what_the_tester_says() {
        let two = |raw, a, b| {
            let result = |name, outcome| {
                format!(r#"{{"name":"{name}","level":"MUST","outcome":"{outcome}","seen":"x"}}"#)
            };
            let text = format!(r#"[{{"results":[{},{}]}}]"#, result("b", b), result("a", a));
            told(&Kind::Conformance(Vec::new()), raw, &text)
        };
        let why = |text: &str| Some(text.to_owned());
        assert_eq!(two(Some(0), "pass", "skip"), [None, why("[x]")]);
        // The status speaks of all of them.
        let failed = [why("fail of a MUST"), None];
        assert_eq!(two(Some(1 << 8), "fail", "pass"), failed);
        let none = |raw, text| told(&Kind::Conformance(Vec::new()), raw, text).remove(0);
        assert_eq!(none(Some(0), "[]").unwrap(), "has not run");
        assert_eq!(none(Some(0), "1 passed").unwrap(), "has not run");
        assert_eq!(none(Some(125 << 8), "error").unwrap(), "exit status: 125");
        assert_eq!(none(None, "").unwrap(), "takes too long");
    }

    #[test]
    fn the_end_of_long_output() {
        let text = [vec![b'a'; OUTPUT_MAX], b"end".to_vec()].concat();
        assert_eq!(end(&text).len(), OUTPUT_MAX);
        assert!(end(&text).ends_with("aend"));
    }
}
