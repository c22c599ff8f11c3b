//! The run state: what is true until the machine stops. It lies on a tmpfs as
//! a rule, but not everywhere (`--runroot`, a container without one), so a
//! file with the boot id says which boot it belongs to.
//!
//! The directory itself and `containers/` are 0711: with a user namespace,
//! foreign runtimes reach the bundle as an unprivileged user by its path. A
//! container's own directory is made 0700 by the engine unless it needs that.
//! All else is 0700.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{At, Result};
use crate::lock::{self, Wait};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const FILE: &str = "boot-id";

/// What the run state consists of, with modes. Nothing else is ever removed.
const DIRECTORIES: &[(&str, u32)] = &[
    ("containers", 0o711),
    ("runtime", 0o700),
    ("networks", 0o700),
    ("locks", 0o700),
];

/// The run state's directory of this boot.
#[derive(Debug, Clone)]
pub struct Runroot {
    path: PathBuf,
    fresh: bool,
}

impl Runroot {
    /// Opens the run state at `path`, making it when there is none, and clears
    /// it when it is from before a reboot.
    ///
    /// Three system calls when there is nothing to do.
    ///
    /// Errors: I/O errors.
    pub fn open(path: &Path) -> Result<Runroot> {
        let path = std::path::absolute(path).at("name", path)?;
        Runroot::with_boot_id(&path, &boot_id()?)
    }

    fn with_boot_id(path: &Path, now: &str) -> Result<Runroot> {
        let done = |fresh| {
            Ok(Runroot {
                path: path.to_path_buf(),
                fresh,
            })
        };
        if recorded(path)?.as_deref() == Some(now) {
            return done(false);
        }
        if !path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(path)
                .at("create", path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        lock::flock(&dir, FlockOperation::LockExclusive, Wait::Forever).at("lock", path)?;
        if recorded(path)?.as_deref() == Some(now) {
            return done(false);
        }
        // After a reboot nothing below is mounted any more and no process
        // lives that knows of it.
        for (name, mode) in DIRECTORIES {
            let dir = path.join(name);
            match std::fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).at("clear", &dir);
                }
                _ => {}
            }
            DirBuilder::new()
                .mode(*mode)
                .create(&dir)
                .at("create", &dir)?;
        }
        let (new, file) = (path.join(".boot-id.new"), path.join(FILE));
        std::fs::File::create(&new)
            .and_then(|mut file| file.write_all(now.as_bytes()))
            .at("write", &new)?;
        std::fs::rename(&new, &file).at("create", &file)?;
        done(true)
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this call found no state of this boot: containers that the
    /// store lists as running are not.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// `containers/<id>`.
    #[must_use]
    pub fn container(&self, id: &str) -> PathBuf {
        self.path.join("containers").join(id)
    }
}

/// The id of this boot.
///
/// Errors: those of reading it from `/proc`.
pub fn boot_id() -> Result<String> {
    let path = Path::new(BOOT_ID);
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .at("read", path)
}

fn recorded(path: &Path) -> Result<Option<String>> {
    let file = path.join(FILE);
    match std::fs::read(&file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("read", &file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_clears_our_state_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run/hako");
        let first = Runroot::with_boot_id(&root, "one").unwrap();
        assert!(first.is_fresh());
        std::fs::create_dir(first.container("a")).unwrap();
        std::fs::write(root.join("foreign"), "x").unwrap();
        assert!(!Runroot::with_boot_id(&root, "one").unwrap().is_fresh());
        assert!(first.container("a").exists());
        assert!(Runroot::with_boot_id(&root, "two").unwrap().is_fresh());
        assert!(!first.container("a").exists());
        assert!(root.join("containers").is_dir() && root.join("foreign").exists());
    }

    #[test]
    fn this_boot_has_an_id() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Runroot::open(dir.path()).unwrap().is_fresh());
        assert!(!Runroot::open(dir.path()).unwrap().is_fresh());
    }
}
