//! Building the two programs and putting them side by side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command::{Beside, cargo, run};
use crate::workspace;

/// The programs as they are shipped.
#[derive(Debug)]
pub(crate) struct Binaries {
    /// The command line.
    pub(crate) hako: PathBuf,
    /// The OCI runtime, which is the monitor under its second name.
    pub(crate) runtime: PathBuf,
}

/// Builds both in their release profiles, at the same time: each has moments
/// when it keeps only one core busy. `--locked` is left out on purpose: a
/// developer's new dependency is no error here.
pub(crate) fn release() -> Result<Binaries> {
    // One progress bar is enough.
    let mut beside = Beside::start(cargo(RUNTIME).arg("--quiet"))?;
    run(&mut cargo(["build", "--release", "--package", "hako"]))?;
    beside.wait()?;
    Ok(Binaries {
        hako: workspace::built("release", "hako"),
        runtime: workspace::built("runtime", "hako-runtime"),
    })
}

/// Builds the runtime in its own profile: as small as it gets.
pub(crate) fn runtime() -> Result<PathBuf> {
    run(&mut cargo(RUNTIME))?;
    Ok(workspace::built("runtime", "hako-runtime"))
}

const RUNTIME: [&str; 5] = ["build", "--profile", "runtime", "--package", "hako-runtime"];

impl Binaries {
    /// Puts the programs into a directory, where hako finds the runtime beside
    /// itself. Returns the path of hako there.
    pub(crate) fn place(&self, dir: &Path) -> Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let hako = dir.join("hako");
        replace(&self.hako, &hako)?;
        replace(&self.runtime, &dir.join("hako-runtime"))?;
        symlink("hako-runtime", &dir.join("hako-monitor"))?;
        Ok(hako)
    }
}

/// Copies a file over another that may be running right now: a new file
/// appears under the old name.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = beside(to);
    fs::copy(from, &new)
        .with_context(|| format!("copy {} to {}", from.display(), new.display()))?;
    fs::rename(&new, to).with_context(|| format!("rename to {}", to.display()))
}

/// Makes a symbolic link in place of whatever has the name.
pub(crate) fn symlink(target: &str, link: &Path) -> Result<()> {
    let new = beside(link);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", new.display()));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(target, &new).with_context(|| format!("link {}", new.display()))?;
    fs::rename(&new, link).with_context(|| format!("rename to {}", link.display()))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placed_twice_over_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let binaries = Binaries {
            hako: file("a", "one"),
            runtime: file("b", "two"),
        };
        let bin = dir.path().join("deep/bin");
        for _ in 0..2 {
            assert_eq!(binaries.place(&bin).unwrap(), bin.join("hako"));
        }
        assert_eq!(fs::read_to_string(bin.join("hako")).unwrap(), "one");
        assert_eq!(fs::read_to_string(bin.join("hako-monitor")).unwrap(), "two");
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 3);
        file("a", "three");
        binaries.place(&bin).unwrap();
        assert_eq!(fs::read_to_string(bin.join("hako")).unwrap(), "three");
    }
}
