//! The runtime under test, and the place where it is tried.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;
use tempfile::TempDir;

use super::command::{self, Done};
use super::trial::Trial;
use crate::check::{Stop, Verdict};
use crate::probe::Step;

/// Which runtime, and how to call it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Arguments before every verb (`--systemd-cgroup`).
    pub arguments: Vec<String>,
    /// How long one command of the runtime may take.
    pub patience: Duration,
    /// Leave the bundles and containers of checks that fail where they are.
    pub keep: bool,
}

/// Why nothing can be tried.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The containers that are tried are root's.
    #[error("trying a runtime needs root")]
    NeedsRoot,
    /// The runtime's program is not there.
    #[error("{} is not a program that can be executed", .0.display())]
    NoProgram(PathBuf),
    /// A place for the bundles cannot be made.
    #[error("cannot {doing}")]
    Place {
        /// What was being done, and with which path.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

/// A runtime under test.
#[derive(Debug)]
pub struct Bench {
    pub(crate) options: Options,
    /// The program's absolute path.
    pub(crate) program: PathBuf,
    /// What it says of itself: all that `--version` prints.
    version: String,
    place: TempDir,
    count: AtomicU32,
    works: OnceLock<Verdict>,
    features: OnceLock<Option<Value>>,
    known: Mutex<BTreeMap<String, Verdict>>,
}

impl Bench {
    /// Finds the runtime and makes a place for its bundles, below the directory
    /// for temporary files.
    pub fn new(options: Options) -> Result<Bench, SetupError> {
        if !rustix::process::geteuid().is_root() {
            return Err(SetupError::NeedsRoot);
        }
        let program =
            find(&options.program).ok_or_else(|| SetupError::NoProgram(options.program.clone()))?;
        let place = tempfile::Builder::new()
            .prefix("hako-conformance-")
            .tempdir()
            .map_err(|source| SetupError::Place {
                doing: "make a directory for bundles".to_owned(),
                source,
            })?;
        let failed = |doing: String| move |source| SetupError::Place { doing, source };
        let path = place.path();
        // Containers in user namespaces have to come through.
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))
            .map_err(failed(format!("change the mode of {}", path.display())))?;
        let probe = path.join(crate::probe::NAME);
        fs::copy("/proc/self/exe", &probe)
            .and_then(|_| fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)))
            .map_err(failed(format!("copy this program to {}", probe.display())))?;
        let mut bench = Bench {
            options,
            program,
            version: String::new(),
            place,
            count: AtomicU32::new(0),
            works: OnceLock::new(),
            features: OnceLock::new(),
            known: Mutex::default(),
        };
        bench.version = bench.ask_version();
        Ok(bench)
    }

    /// The first line of the runtime's `--version`; empty when it has none.
    #[must_use]
    pub fn version(&self) -> &str {
        self.version.lines().next().unwrap_or_default().trim()
    }

    /// The runtime's name: the last part of its path.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn ask_version(&self) -> String {
        let mut command = std::process::Command::new(&self.program);
        command.arg("--version");
        match command::finish(&mut command, self.place.path(), self.options.patience) {
            Ok(Done { out, .. }) => out,
            Err(_) => String::new(),
        }
    }

    /// The probe's program outside of containers.
    pub(crate) fn probe(&self) -> PathBuf {
        self.place.path().join(crate::probe::NAME)
    }

    /// Whether the runtime is called so that systemd makes the cgroups: then
    /// their paths name units.
    pub(crate) fn by_systemd(&self) -> bool {
        let mut all = self.options.arguments.iter().map(String::as_str);
        all.any(|a| {
            [
                "--systemd-cgroup",
                "--systemd-cgroup=true",
                "--cgroup-manager=systemd",
            ]
            .contains(&a)
        })
    }

    /// For what is about cgroups' paths that are paths.
    pub(crate) fn takes_paths(&self) -> Verdict {
        match self.by_systemd() {
            true => Err(Stop::Skipped(
                "with systemd a cgroup's path names a unit".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Whether the runtime can run a container at all; tried once. Who demands
    /// an error asks, as a runtime that always fails obeys nothing.
    pub(crate) fn works(&self) -> Verdict {
        let attempt = || {
            let trial = Trial::new(self, &[Step::Say("it works".into())])?;
            trial.live()?.text(0)?;
            trial.passed()
        };
        self.works.get_or_init(attempt).clone()
    }

    /// The features document, if the runtime has one.
    pub(crate) fn features(&self) -> Option<&Value> {
        let ask = || {
            let mut command = std::process::Command::new(&self.program);
            command.args(&self.options.arguments).arg("features");
            let done = command::finish(&mut command, self.place.path(), self.options.patience);
            let done = done.ok().filter(Done::is_ok)?;
            let document: Value = serde_json::from_str(&done.out).ok()?;
            document.is_object().then_some(document)
        };
        self.features.get_or_init(ask).as_ref()
    }

    /// Whether the runtime says that it knows a version of the specification: in
    /// its features document, or else in a line `spec: VERSION` of `--version`, or
    /// else by taking a configuration of it. If not, what is new in the version
    /// cannot be tried.
    pub(crate) fn knows(&self, version: &str) -> Verdict {
        let known = self.known.lock().ok();
        if let Some(known) = known.as_ref().and_then(|known| known.get(version)) {
            return known.clone();
        }
        drop(known);
        let verdict = self.ask_version_of_specification(version);
        if let Ok(mut known) = self.known.lock() {
            known.insert(version.to_owned(), verdict.clone());
        }
        verdict
    }

    fn ask_version_of_specification(&self, version: &str) -> Verdict {
        let older = |what: String| Err(Stop::Skipped(what));
        let features = self.features().and_then(|it| it["ociVersionMax"].as_str());
        let printed = || {
            self.version
                .lines()
                .find_map(|line| line.strip_prefix("spec: "))
        };
        if let Some(newest) = features.or_else(printed) {
            return match numbers(newest) >= numbers(version) {
                true => Ok(()),
                false => older(format!(
                    "this is new in {version}, and the runtime knows the specification up to {newest}"
                )),
            };
        }
        self.works()?;
        let trial = Trial::new(self, &[])?
            .edit(|config| config["ociVersion"] = Value::from(version.to_owned()));
        let done = trial.try_create()?;
        trial.passed()?;
        match done.is_ok() {
            true => Ok(()),
            false => older(format!(
                "this is new in {version}, and the runtime refuses a configuration of it"
            )),
        }
    }

    /// A number and a directory for a trial.
    pub(crate) fn next(&self) -> (u32, PathBuf) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        (number, self.place.path().join(format!("t{number}")))
    }

    /// Keeps what is there beyond this program's end, and says where it is.
    pub fn leave(&mut self) -> &Path {
        self.place.disable_cleanup(true);
        self.place.path()
    }
}

/// The numbers of a version, without what follows them.
pub(crate) fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

/// The absolute path of a program.
fn find(program: &Path) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
    };
    if program.components().count() > 1 || program.is_absolute() {
        let path = std::path::absolute(program).ok()?;
        return is_program(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| is_program(path))
}
