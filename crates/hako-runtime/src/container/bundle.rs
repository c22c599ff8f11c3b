//! A bundle, read once: its directory and its configuration (bundle.md).

use std::path::{Path, PathBuf};

use hako_spec::runtime::validate::{self, Purpose};

use super::filters::{Filters, Read};
use super::pids;
use crate::error::{Context, Error, Result};

/// A bundle whose configuration is sound as far as can be told without making
/// anything.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path of the directory.
    pub dir: PathBuf,
    /// Its configuration.
    pub read: Read,
}

impl Bundle {
    /// Reads the bundle in `dir`, with another file than its `config.json` if
    /// there is one. `purpose`: what it is to be good for.
    pub fn open(
        dir: &Path,
        other: Option<PathBuf>,
        purpose: Purpose,
        filters: &Filters,
    ) -> Result<Self> {
        let dir = dir
            .canonicalize()
            .context(|| format!("bundle {}", dir.display()))?;
        let path = other.unwrap_or_else(|| dir.join("config.json"));
        let text = std::fs::read(&path).context(|| path.display().to_string())?;
        let mut read = filters.read(text).context(|| path.display().to_string())?;
        let config = &mut read.config;
        let problems = validate::config(config, purpose);
        if let Some(first) = problems.first() {
            let more = match problems.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            return Err(Error::new(format!("{}: {first}{more}", path.display())));
        }
        if let Some(resources) = config.linux.as_mut().and_then(|l| l.resources.as_mut()) {
            pids::translate(&config.oci_version, resources);
        }
        Ok(Bundle { dir, read })
    }

    /// The directory's path as text.
    pub fn path(&self) -> Result<&str> {
        utf8(&self.dir)
    }

    /// Whether the process wants a terminal.
    pub fn wants_terminal(&self) -> bool {
        let process = self.read.config.process.as_ref();
        process.is_some_and(|p| p.terminal)
    }

    /// The root's absolute path: relative ones start at the bundle (config.md,
    /// "Root").
    pub fn rootfs(&self) -> Result<String> {
        let root = self
            .read
            .config
            .root
            .as_ref()
            .ok_or_else(|| Error::new("config.json has no root"))?;
        let path = self.dir.join(&root.path);
        let real = path
            .canonicalize()
            .context(|| format!("root {}", path.display()))?;
        if !real.is_dir() {
            return Err(Error::new(format!(
                "root {} is not a directory",
                path.display()
            )));
        }
        Ok(utf8(&real)?.to_owned())
    }
}

/// A path as text, which records need it to be.
pub fn utf8(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::new(format!("{} is not UTF-8", path.display())))
}
