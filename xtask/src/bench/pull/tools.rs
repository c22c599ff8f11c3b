//! Where the peers' programs come from: this machine, or a root file system of
//! a later Debian suite beside it, whose programs run with chroot(8) and find
//! the libraries and settings that they were built for.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::mount::mount_bind_recursive;

use crate::command::run;

/// What the root of a later suite is made of.
const PACKAGES: &str = "containerd podman buildah skopeo umoci isal zstd crun";

/// A set of programs.
#[derive(Debug, Clone, Default)]
pub(super) struct Tools {
    /// The suite and its root file system; none is this machine.
    later: Option<(String, PathBuf)>,
}

impl Tools {
    /// The peers of `suite`, made once below `dir`; they see the directory
    /// `stores` at its own path. For a mount namespace that nobody shares.
    pub(super) fn later(suite: &str, dir: &Path, stores: &Path) -> Result<Tools> {
        let root = dir.join("peers").join(suite);
        if !root.is_dir() {
            debootstrap(suite, PACKAGES, &root)?;
        }
        let shared = ["/proc", "/sys", "/dev"].map(Path::new);
        for shared in shared.into_iter().chain([stores]) {
            let place = root.join(shared.strip_prefix("/")?);
            fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
            // What is mounted on the stores later comes along.
            mount_bind_recursive(shared, &place)
                .with_context(|| format!("mount {} for peers", shared.display()))?;
        }
        Ok(Tools {
            later: Some((suite.to_owned(), root)),
        })
    }

    /// What is behind the names of these tools' peers in tables.
    pub(super) fn mark(&self) -> String {
        let later = self.later.as_ref();
        later.map_or_else(String::new, |(suite, _)| format!("@{suite}"))
    }

    /// A command line that begins with `program`.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.later {
            None => Command::new(program),
            Some((_, root)) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(program);
                command
            }
        }
    }

    /// Whether the program is there.
    pub(super) fn has(&self, program: &str) -> bool {
        let root = self.later.as_ref().map(|(_, root)| root.as_path());
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| match root {
            None => dir.join(program).is_file(),
            Some(root) => dir
                .strip_prefix("/")
                .is_ok_and(|dir| root.join(dir).join(program).is_file()),
        })
    }

    /// The first number with a dot in what the program says of its version.
    pub(super) fn version(&self, program: &str) -> String {
        let mut command = self.command(program);
        let output = command.arg("--version").stdin(Stdio::null()).output();
        let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
        number(&String::from_utf8_lossy(&text)).to_owned()
    }
}

fn number(text: &str) -> &str {
    let mut words = text.split_ascii_whitespace();
    let word =
        words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    let word = word.unwrap_or("?");
    word.split(['~', '+', ',', '-']).next().unwrap_or(word)
}

/// Makes a Debian root file system of the smallest variant and some packages
/// in `dir`, which appears when it is complete.
pub(super) fn debootstrap(suite: &str, packages: &str, dir: &Path) -> Result<()> {
    let new = dir.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    let above = dir.parent().unwrap_or(dir);
    fs::create_dir_all(above).with_context(|| above.display().to_string())?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", suite]).arg(&new);
    run(&mut command).context("make a root file system (package debootstrap)")?;
    if !packages.is_empty() {
        // apt knows in which order packages are configured; debootstrap does not.
        let apt = |verb: &str| {
            let mut apt = Command::new("chroot");
            apt.arg(&new).args(["apt-get", "--quiet=2", "--yes"]);
            // A mirror that lags behind will do; signatures are checked.
            apt.args(["--option", "Acquire::Check-Valid-Until=false", verb]);
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            apt
        };
        run(&mut apt("update"))?;
        let mut install = apt("install");
        run(install
            .arg("--no-install-recommends")
            .args(packages.split(' ')))?;
    }
    fs::rename(&new, dir).with_context(|| format!("rename to {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_programs_tell_them() {
        for (text, wanted) in [
            ("skopeo version 1.9.3", "1.9.3"),
            (
                "containerd github.com/x/containerd/v2 2.1.9+unknown ",
                "2.1.9",
            ),
            ("umoci version 0.6.0+ds-1+b1\nimage spec: 1.1.1", "0.6.0"),
            ("nothing", "?"),
        ] {
            assert_eq!(number(text), wanted);
        }
    }

    #[test]
    fn programs_of_this_machine() {
        let tools = Tools::default();
        assert!(tools.has("sh") && !tools.has("hako-no-such-program"));
        assert_eq!(tools.mark(), "");
        assert_eq!(tools.command("sh").get_program(), "sh");
    }
}
