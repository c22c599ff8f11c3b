//! A bundle with busybox for what runtimes are measured and tried with.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// Makes `dir` a bundle of what `hako-runtime spec` writes, that runs `args`
/// without a terminal, with the variable `env` besides.
pub(crate) fn make(runtime: &Path, dir: &Path, args: &[&str], env: Option<&str>) -> Result<()> {
    let root = dir.join("rootfs");
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("copy /bin/busybox (package busybox-static)")?;
    for name in ["true", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
    }
    let status = Command::new(runtime)
        .arg("spec")
        .current_dir(dir)
        .status()
        .with_context(|| runtime.display().to_string())?;
    ensure!(status.success(), "{} spec: {status}", runtime.display());
    edit(dir, |config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        if let (Some(env), Some(list)) = (env, config["process"]["env"].as_array_mut()) {
            list.push(json!(env));
        }
    })
}

/// Changes a bundle's config.json.
pub(crate) fn edit(dir: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let path = dir.join("config.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let mut config = serde_json::from_slice(&text)?;
    change(&mut config);
    fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
    Ok(())
}
