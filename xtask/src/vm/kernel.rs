//! A Debian kernel, unpacked beside the build and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{output, run};
use crate::vm::modules::Modules;
use crate::workspace;

/// Depends on the newest kernel for virtual machines of this release.
const NEWEST: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// As `uname -r` tells it.
    pub(crate) version: String,
    pub(crate) image: PathBuf,
    pub(crate) modules: Modules,
}

/// The kernel that `--kernel` names: a package file, an unpacked one, a
/// version of `linux-image-VERSION`; else the newest of this release.
pub(crate) fn find(wanted: Option<&str>) -> Result<Kernel> {
    let cache = workspace::target_dir().join("hako/vm/kernels");
    let dir = match wanted {
        Some(path) if Path::new(path).is_dir() => PathBuf::from(path),
        Some(path) if path.ends_with(".deb") => {
            let name = Path::new(path).file_stem().unwrap_or_default();
            let dir = cache.join(name);
            unpack(Path::new(path), &dir)?;
            dir
        }
        Some(version) => download(&format!("linux-image-{version}"), &cache)?,
        None => download(&newest()?, &cache)?,
    };
    open(&dir)
}

fn newest() -> Result<String> {
    let depends = output(Command::new("apt-cache").args(["depends", NEWEST]))
        .context("ask for the newest kernel (Debian's package lists are needed: apt-get update)")?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    match package {
        Some(rest) => Ok(format!("linux-image-{rest}")),
        None => bail!("{NEWEST} is in none of this machine's package lists: apt-get update"),
    }
}

/// Downloads and unpacks a package, unless that has been done.
fn download(package: &str, cache: &Path) -> Result<PathBuf> {
    let dir = cache.join(package);
    if dir.is_dir() {
        return Ok(dir);
    }
    let debs = cache.join(format!(".{package}.{}", std::process::id()));
    fs::create_dir_all(&debs).with_context(|| format!("create {}", debs.display()))?;
    let result = run(Command::new("apt-get")
        .args(["--quiet=2", "--option", "APT::Sandbox::User=root"])
        .args(["download", package])
        .current_dir(&debs))
    .with_context(|| format!("the kernel {package} cannot be had"))
    .and_then(|()| {
        let mut files = fs::read_dir(&debs)?.filter_map(|entry| Some(entry.ok()?.path()));
        let deb = files.find(|path| path.extension().is_some_and(|e| e == "deb"));
        unpack(&deb.context("apt-get download left no package")?, &dir)
    });
    fs::remove_dir_all(&debs).with_context(|| format!("remove {}", debs.display()))?;
    result.map(|()| dir)
}

fn unpack(deb: &Path, dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let new = dir.with_file_name(format!(".new.{name}.{}", std::process::id()));
    fs::create_dir_all(&new).with_context(|| format!("create {}", new.display()))?;
    run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(&new))?;
    fs::rename(&new, dir).with_context(|| format!("rename to {}", dir.display()))
}

fn open(dir: &Path) -> Result<Kernel> {
    let boot = dir.join("boot");
    let names = fs::read_dir(&boot).with_context(|| format!("read {}", boot.display()))?;
    let version = names
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .with_context(|| format!("no kernel in {}", boot.display()))?;
    let lib = ["lib/modules", "usr/lib/modules"].map(|lib| dir.join(lib).join(&version));
    let modules = lib.iter().find(|path| path.is_dir()).unwrap_or(&lib[0]);
    Ok(Kernel {
        image: boot.join(format!("vmlinuz-{version}")),
        modules: Modules::list(modules)?,
        version,
    })
}
