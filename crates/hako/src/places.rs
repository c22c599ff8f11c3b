//! Where things are kept, and for whom: from the global flags to an engine.

use std::path::{Path, PathBuf};

use hako_distribution::Environment;
use hako_engine::rootless::{self, Session};
use hako_engine::{Backend, Engine, Places};
use hako_store::Owner;

use crate::cli::{Global, Snapshotter};
use crate::error::{CliError, Result};

/// The runtime when none is named.
const RUNTIME: &str = "hako-runtime";

/// An opened installation.
pub(crate) struct App {
    /// The engine.
    pub(crate) engine: Engine,
    /// The global flags.
    pub(crate) global: Global,
    /// Keeps an unprivileged user's namespaces.
    _session: Session,
}

/// Opens the engine. There must be no threads yet: an unprivileged user's
/// process enters its namespaces here.
pub(crate) fn open(global: Global) -> Result<App> {
    let environment = Environment::current();
    let uid = rustix::process::getuid().as_raw();
    let root = match &global.root {
        Some(root) => absolute(root, "--root")?,
        None => default_root(&environment, uid)?,
    };
    let runroot = match &global.runroot {
        Some(runroot) => absolute(runroot, "--runroot")?,
        None => default_runroot(&environment, uid),
    };
    let session = rootless::enter(&runroot)?;
    let exe = std::env::current_exe()
        .map_err(|e| CliError::from(e).context("cannot find this program's file"))?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut internal = vec![
        text(&exe),
        "--root".to_owned(),
        text(&root),
        "--runroot".to_owned(),
        text(&runroot),
    ];
    let backend = global.snapshotter.map(|kind| {
        let (backend, name) = match (kind, session.rootless) {
            (Snapshotter::Erofs, _) => (Backend::Erofs, "erofs"),
            (Snapshotter::Overlay, false) => (Backend::Overlay, "overlay"),
            (Snapshotter::Overlay, true) => (Backend::OverlayUser, "overlay"),
            (Snapshotter::Plain, _) => (Backend::Plain, "plain"),
        };
        internal.extend(["--snapshotter", name].map(str::to_owned));
        backend
    });
    if backend == Some(Backend::Erofs) && session.rootless {
        return Err(CliError::new(
            "--snapshotter erofs: a user namespace cannot mount EROFS".to_owned(),
        ));
    }
    internal.push("internal".to_owned());
    let engine = Engine::open(Places {
        root,
        runroot,
        owner: Owner::Cli(session.uid),
        rootless: session.rootless,
        runtime: global.runtime.clone().unwrap_or_else(|| RUNTIME.to_owned()),
        internal,
        backend,
    })?;
    Ok(App {
        engine,
        global,
        _session: session,
    })
}

impl App {
    /// Tells the user something that stops nothing.
    pub(crate) fn warn(&self, text: &str) {
        if self.global.warns() {
            crate::output::note(&format!("warning: {text}"));
        }
    }
}

fn absolute(path: &Path, flag: &str) -> Result<PathBuf> {
    let path = std::path::absolute(path)
        .map_err(|e| CliError::from(e).context(format!("{flag} {}", path.display())))?;
    // It becomes a part of JSON documents and command lines.
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(CliError::new(format!(
            "{flag} {}: it is not UTF-8",
            path.display()
        ))),
    }
}

/// What outlives a reboot (XDG Base Directory Specification for users).
fn default_root(environment: &Environment, uid: u32) -> Result<PathBuf> {
    if uid == 0 {
        return Ok(PathBuf::from("/var/lib/hako"));
    }
    let data = environment
        .path("XDG_DATA_HOME")
        .filter(|path| path.is_absolute());
    let data = data.or_else(|| environment.home(uid).map(|home| home.join(".local/share")));
    data.map(|data| data.join("hako")).ok_or_else(|| {
        CliError::new(format!(
            "user {uid} has no home directory: name a place with --root DIR"
        ))
    })
}

/// What does not outlive a reboot. Whether it is the user's own is checked when
/// it is entered.
fn default_runroot(environment: &Environment, uid: u32) -> PathBuf {
    if uid == 0 {
        return PathBuf::from("/run/hako");
    }
    match environment
        .path("XDG_RUNTIME_DIR")
        .filter(|path| path.is_absolute())
    {
        Some(dir) => dir.join("hako"),
        None => PathBuf::from(format!("/tmp/hako-run-{uid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&'static str, &'static str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    #[test]
    fn defaults_of_root_and_users() {
        let none = environment(&[]);
        assert_eq!(default_root(&none, 0).unwrap(), Path::new("/var/lib/hako"));
        assert_eq!(default_runroot(&none, 0), Path::new("/run/hako"));
        let user = environment(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(
            default_root(&user, 7).unwrap(),
            Path::new("/h/.local/share/hako")
        );
        assert_eq!(default_runroot(&user, 7), Path::new("/run/user/7/hako"));
        let data = environment(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]);
        assert_eq!(default_root(&data, 7).unwrap(), Path::new("/d/hako"));
        assert_eq!(default_runroot(&data, 7), Path::new("/tmp/hako-run-7"));
        let relative = environment(&[("HOME", "/h"), ("XDG_DATA_HOME", "d")]);
        assert_eq!(
            default_root(&relative, 7).unwrap(),
            Path::new("/h/.local/share/hako")
        );
        assert!(default_root(&none, 4_000_000_000).is_err());
    }
}
