//! What the guest reports, for a person.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::vm::plan::{Event, Test};
use crate::vm::qemu::Running;

/// No longer than this does a guest that lives say nothing: a test is over, or
/// killed, before.
const SILENCE: Duration = Duration::from_secs(super::TEST_TIMEOUT + 120);

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    passed: usize,
    failed: usize,
    left_out: usize,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count {
            passed,
            failed,
            left_out,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {left_out} left out")
    }
}

/// The events so far.
pub(crate) struct Report {
    kernel: String,
    start: Instant,
    /// In the order in which they ran.
    suites: Vec<(String, Count)>,
    all: Count,
    failed: Vec<String>,
    left_out: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new(kernel: &str) -> Self {
        Report {
            kernel: kernel.to_owned(),
            start: Instant::now(),
            suites: Vec::new(),
            all: Count::default(),
            failed: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Prints events as they come, until the guest is done.
    pub(crate) fn follow(&mut self, running: &mut Running) -> Result<()> {
        while let Some(event) = running.next(SILENCE)? {
            match event {
                Event::Up {
                    kernel,
                    controllers,
                } => eprintln!(
                    "  up after {:.0} s: Linux {kernel}, cgroup v2 with {controllers}",
                    self.start.elapsed().as_secs_f64()
                ),
                Event::Suite { name, tests } => {
                    eprintln!("  {name}: {tests} tests");
                    self.suites.push((name, Count::default()));
                }
                Event::Test(test) => self.test(test),
                Event::LeftOut { name, reason } => {
                    self.count(|count| count.left_out += 1);
                    self.left_out.push((name, reason));
                }
                Event::Error(text) => bail!("in the guest: {text}"),
                Event::Done => return Ok(()),
            }
        }
        bail!("the machine went off before the tests were done")
    }

    fn test(&mut self, test: Test) {
        let word = if test.failure.is_none() {
            "PASS"
        } else {
            "FAIL"
        };
        eprintln!("    {word} [{:>8.3}s] {}", test.seconds, test.name);
        match &test.failure {
            None => self.count(|count| count.passed += 1),
            Some(failure) => {
                self.count(|count| count.failed += 1);
                println!("---- {failure}\n{}\n----", test.output.trim_end());
                self.failed.push(test.name);
            }
        }
    }

    /// Counts a test of the suite that runs.
    fn count(&mut self, add: impl Fn(&mut Count)) {
        add(&mut self.all);
        if let Some((_, count)) = self.suites.last_mut() {
            add(count);
        }
    }

    /// Prints the summary.
    pub(crate) fn finish(&self, complete: bool) -> ExitCode {
        if !self.failed.is_empty() {
            println!("\nfailures:");
        }
        for name in &self.failed {
            println!("    {name}");
        }
        if !self.left_out.is_empty() {
            println!("\nleft out:");
        }
        for (name, reason) in &self.left_out {
            println!("    {name}: {reason}");
        }
        println!("\nsuites:");
        for (name, count) in &self.suites {
            println!("    {name}: {count}");
        }
        let good = complete && self.failed.is_empty() && self.all.passed > 0;
        println!(
            "\nvm-test: {}. Linux {}: {}; {:.0} s{}",
            if good { "ok" } else { "FAILED" },
            self.kernel,
            self.all,
            self.start.elapsed().as_secs_f64(),
            if complete { "" } else { ", and not done" }
        );
        if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
