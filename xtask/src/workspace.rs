//! Where things lie in the source tree.

use std::path::{Path, PathBuf};

/// The root of the source tree: this crate lies in `xtask/` below it.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's output directory.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Where cargo puts a binary of a profile (the directory `dev` is `debug`).
pub(crate) fn built(profile: &str, name: &str) -> PathBuf {
    let profile = if profile == "dev" { "debug" } else { profile };
    // The target that `.cargo/config.toml` builds for.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    target_dir().join(target).join(profile).join(name)
}
