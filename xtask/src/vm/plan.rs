//! What the host tells the guest, and what the guest tells the host: a file
//! in the initramfs, and lines of JSON through a port.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the plan lies in the guest.
pub(crate) const PATH: &str = "/plan.json";
/// The name of the port for the reports.
pub(crate) const PORT: &str = "hako.report";
/// The most of a test's output that is told.
pub(crate) const OUTPUT_MAX: usize = 64 << 10;

/// What the guest is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Files of kernel modules, in the order in which they are loaded.
    pub(crate) modules: Vec<String>,
    /// Whether systemd becomes the first process.
    pub(crate) systemd: bool,
    /// What is run, one after the other.
    pub(crate) suites: Vec<Suite>,
    /// The environment of the tests.
    pub(crate) environment: BTreeMap<String, String>,
    /// Tests that run at once.
    pub(crate) jobs: usize,
    /// Seconds after which a test is killed.
    pub(crate) test_timeout: u64,
    /// Run tests alone whose `suite::name` contains one of these; all without.
    pub(crate) filters: Vec<String>,
}

/// A program that has tests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Suite {
    pub(crate) name: String,
    /// Its path in the guest.
    pub(crate) program: String,
    pub(crate) kind: Kind,
    /// Tests that cannot run in the guest: the start of the name, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

/// How a suite's program is called.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// With the arguments of Rust's test harness.
    Harness,
    /// As `hako conformance runtime`, whose checks are the tests, with these
    /// arguments: the runtime and how it is called.
    Conformance(Vec<String>),
}

/// What has happened in the guest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// The guest is up.
    Up {
        kernel: String,
        /// `cgroup.controllers` of the root.
        controllers: String,
    },
    /// A suite begins.
    Suite { name: String, tests: usize },
    /// A test has ended.
    Test(Test),
    /// A test was left out, or has said that it cannot be tried.
    LeftOut { name: String, reason: String },
    /// The guest cannot go on.
    Error(String),
    /// All suites are done.
    Done,
}

/// How a test has ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Test {
    pub(crate) name: String,
    /// Why it failed (`exit status: 101`); none for success.
    pub(crate) failure: Option<String>,
    pub(crate) seconds: f64,
    /// What it has printed, if it failed.
    pub(crate) output: String,
}
