//! `cargo xtask vm-test`: tests on a kernel of their own, where cgroup v2 is
//! the only hierarchy and has all controllers.
//!
//! The host side builds the programs, gathers a small system from this
//! machine's Debian packages into an initramfs, boots a Debian kernel with it
//! under qemu's software emulation (which needs neither root nor KVM) and
//! prints what the guest reports. The guest's first process is this program
//! again ([`guest`]). Another kind of guest is another [`Machine::init`].

mod cpio;
pub(crate) mod guest;
mod kernel;
mod modules;
mod plan;
mod qemu;
mod report;
mod suites;
mod systemd;
mod tree;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lexopt::prelude::*;

use crate::vm::plan::Plan;
use crate::vm::qemu::Machine;
use crate::vm::report::Report;
use crate::vm::tree::Tree;
use crate::workspace;

const HELP: &str = "\
Boot a Debian kernel under qemu (software emulation; no KVM, no root) and run
the tests of hako-cgroup, hako-runtime, hako-monitor and hako there, where
cgroup v2 is the only hierarchy, and the checks of 'hako conformance runtime'
with hako-runtime (--filter hako-conformance runs them alone).

Usage: cargo xtask vm-test [OPTIONS]

Options:
  --kernel VERSION|PATH   linux-image-VERSION of this machine's apt sources, a
                          package file, or the directory of an unpacked one
                          (default: what linux-image-cloud-amd64 depends on)
  --filter STR            only tests whose suite::name contains STR (may be
                          given more than once)
  --systemd               boot with systemd as the first process, and run the
                          tests of hako-runtime and those checks with
                          --systemd-cgroup
  --memory MB             memory of the machine (default: 3072)
  --timeout S             seconds that the machine may take (default: 5400)

Needs the packages qemu-system-x86 and e2fsprogs, and those that the tests run
(runc, crun, umoci and others: an error names what is missing).
";

/// How much longer than on real hardware tests wait for something.
const PATIENCE: &str = "10";
/// Seconds that one test may take.
const TEST_TIMEOUT: u64 = 600;

/// What the guest's first process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    /// This program.
    Bare,
    /// Systemd.
    Systemd,
}

struct Options {
    kernel: Option<String>,
    filters: Vec<String>,
    guest: Guest,
    memory: u32,
    timeout: Duration,
}

pub(crate) fn main(mut parser: lexopt::Parser) -> Result<ExitCode> {
    let mut options = Options {
        kernel: None,
        filters: Vec::new(),
        guest: Guest::Bare,
        memory: 3072,
        timeout: Duration::from_secs(5400),
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("kernel") => options.kernel = Some(parser.value()?.string()?),
            Long("filter") => options.filters.push(parser.value()?.string()?),
            Long("systemd") => options.guest = Guest::Systemd,
            Long("memory") => options.memory = parser.value()?.parse()?,
            Long("timeout") => options.timeout = Duration::from_secs(parser.value()?.parse()?),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    qemu::check()?;
    let kernel = kernel::find(options.kernel.as_deref())?;
    let runs = workspace::target_dir().join("hako/vm/runs");
    let dir = runs.join(std::process::id().to_string());
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    sweep(&runs)?;
    let result = test(&kernel, &dir, options);
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    result
}

/// Removes what runs have left that were killed: their directories are named
/// by their pids.
fn sweep(runs: &Path) -> Result<()> {
    let read = || format!("read {}", runs.display());
    for entry in fs::read_dir(runs).with_context(read)? {
        let entry = entry.with_context(read)?;
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn test(kernel: &kernel::Kernel, dir: &Path, options: Options) -> Result<ExitCode> {
    let mut tree = match options.guest {
        Guest::Bare => Tree::system(&[], &[])?,
        Guest::Systemd => Tree::system(&systemd::PACKAGES, &systemd::PROGRAMS)?,
    };
    let suites = suites::build(&mut tree, options.guest)?;
    let mut modules = Vec::new();
    for module in kernel.modules.wanted()? {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let at = format!("modules/{name}");
        tree.file(&at, &module);
        modules.push(format!("/{at}"));
    }
    let mut environment = suites::environment()
        .map(|(k, v)| (k.to_owned(), v))
        .to_vec();
    let others = [
        ("HAKO_TEST_PATIENCE", PATIENCE),
        ("HAKO_TEST_CACHE", "/var/tmp/hako"),
        ("HAKO_FAST_EXITS", "30"),
        ("HOME", "/root"),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("TERM", "dumb"),
    ];
    environment.extend(others.map(|(k, v)| (k.to_owned(), v.to_owned())));
    if options.guest == Guest::Systemd {
        environment.push(("HAKO_RUNTIME_CGROUPS".to_owned(), "systemd".to_owned()));
        systemd::files(&mut tree, &environment)?;
    }
    let plan = Plan {
        modules,
        suites,
        systemd: options.guest == Guest::Systemd,
        environment: environment.into_iter().collect(),
        jobs: 2,
        test_timeout: TEST_TIMEOUT,
        filters: options.filters,
    };
    tree.text(
        plan::PATH.trim_start_matches('/'),
        serde_json::to_string(&plan)?,
    );
    // Cargo may replace the program that runs; the guest gets that one.
    tree.file("xtask", Path::new("/proc/self/exe"));
    let initramfs = dir.join("initramfs");
    tree.write(&initramfs)?;

    let machine = Machine {
        kernel: &kernel.image,
        initramfs: &initramfs,
        dir,
        memory: options.memory,
        init: &["/xtask", guest::VERB, guest::BOOT],
    };
    eprintln!("+ boot {}", kernel.version);
    let mut running = machine.start(options.timeout)?;
    let mut report = Report::new(&kernel.version);
    let end = report.follow(&mut running);
    if let Err(error) = &end {
        eprintln!(
            "error: {error:#}\nthe console's last lines:\n{}",
            running.console()
        );
    }
    Ok(report.finish(end.is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_dead_are_removed() {
        let runs = tempfile::tempdir().unwrap();
        let mine = runs.path().join(std::process::id().to_string());
        // No kernel has pids above 2^22.
        let dead = runs.path().join("99999999");
        for dir in [&mine, &dead] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("disk"), "x").unwrap();
        }
        sweep(runs.path()).unwrap();
        assert!(mine.exists() && !dead.exists());
    }
}
