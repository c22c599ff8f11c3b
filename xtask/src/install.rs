//! `cargo xtask install`: binaries, man pages and completions in place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::binaries::{self, Binaries};
use crate::command::{output, run};
use crate::{privilege, workspace};

const HELP: &str = "\
Build hako and install it.

Usage: cargo xtask install [--prefix DIR] [--destdir DIR]

Options:
  --prefix DIR    where it will be used: /usr/local, or ~/.local for users
                  other than root
  --destdir DIR   put before the prefix while copying, for packagers
";

/// Shell, and where its completions lie below the prefix.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/hako"),
    ("zsh", "share/zsh/site-functions/_hako"),
    ("fish", "share/fish/vendor_completions.d/hako.fish"),
];

pub(crate) fn main(mut parser: lexopt::Parser) -> Result<()> {
    let mut prefix: Option<PathBuf> = None;
    let mut destdir: Option<PathBuf> = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("prefix") => prefix = Some(parser.value()?.into()),
            Long("destdir") => destdir = Some(parser.value()?.into()),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let prefix = match prefix {
        Some(prefix) => std::path::absolute(&prefix).context("--prefix")?,
        None => default_prefix()?,
    };
    let at = staged(destdir.as_deref(), &prefix);
    // Told before the build, which takes minutes.
    let bin = at.join("bin");
    writable(&bin)?;
    install(&binaries::release()?, &at)?;

    println!("installed below {}", at.display());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if destdir.is_none() && !std::env::split_paths(&path).any(|dir| dir == bin) {
        println!(
            "{} is not in PATH: add it, or call hako by its path",
            bin.display()
        );
    }
    Ok(())
}

fn default_prefix() -> Result<PathBuf> {
    if privilege::is_root() {
        return Ok("/usr/local".into());
    }
    match std::env::var_os("HOME") {
        Some(home) if !home.is_empty() => Ok(Path::new(&home).join(".local")),
        _ => bail!("HOME is not set: say where to install with --prefix DIR"),
    }
}

/// The prefix below the staging directory.
fn staged(destdir: Option<&Path>, prefix: &Path) -> PathBuf {
    match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(prefix)),
        None => prefix.to_owned(),
    }
}

fn writable(bin: &Path) -> Result<()> {
    let probe = bin.join(".hako-install-probe");
    fs::create_dir_all(bin)
        .and_then(|()| fs::write(&probe, ""))
        .with_context(|| {
            format!(
                "cannot write to {}: run with sudo, or choose another place with --prefix DIR",
                bin.display()
            )
        })?;
    fs::remove_file(&probe).with_context(|| format!("remove {}", probe.display()))
}

fn install(binaries: &Binaries, at: &Path) -> Result<()> {
    let hako = binaries.place(&at.join("bin"))?;
    let man = at.join("share/man/man1");
    fs::create_dir_all(&man).with_context(|| format!("create {}", man.display()))?;
    run(Command::new(&hako).args(["internal", "man"]).arg(&man))?;
    for (shell, file) in COMPLETIONS {
        let script = output(Command::new(&hako).args(["internal", "completions", shell]))?;
        let file = at.join(file);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        fs::write(&file, script).with_context(|| format!("write {}", file.display()))?;
    }
    let doc = at.join("share/doc/hako");
    fs::create_dir_all(&doc).with_context(|| format!("create {}", doc.display()))?;
    binaries::replace(&workspace::root().join("LICENSE"), &doc.join("LICENSE"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn staging_goes_before_the_prefix() {
        let prefix = Path::new("/usr/local");
        assert_eq!(staged(None, prefix), prefix);
        assert_eq!(
            staged(Some(Path::new("/tmp/x")), prefix),
            Path::new("/tmp/x/usr/local")
        );
    }

    #[test]
    fn everything_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        // Stands in for hako: writes a man page, prints a completion.
        let program = dir.path().join("program");
        let script =
            "#!/bin/sh\ncase $2 in man) echo page >\"$3/hako.1\";; *) echo \"for $3\";; esac\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let binaries = Binaries {
            hako: program.clone(),
            runtime: program,
        };
        let at = dir.path().join("usr");
        writable(&at.join("bin")).unwrap();
        install(&binaries, &at).unwrap();
        let read = |file: &str| fs::read_to_string(at.join(file)).unwrap();
        assert_eq!(read("share/man/man1/hako.1"), "page\n");
        assert_eq!(read("share/zsh/site-functions/_hako"), "for zsh\n");
        assert_eq!(
            fs::read_link(at.join("bin/hako-monitor")).unwrap(),
            Path::new("hako-runtime")
        );
        assert!(read("share/doc/hako/LICENSE").contains("Apache License"));
        assert_eq!(fs::read_dir(at.join("bin")).unwrap().count(), 3);
    }
}
