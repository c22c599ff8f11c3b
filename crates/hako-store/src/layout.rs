//! The store's directory: its making, its version, and the refusal of
//! directories that are something else.
//!
//! `layout-version` is written last and by rename, so a directory with that
//! file is whole. Every directory of the store is 0700: image content holds
//! set-user-id programs that other users of the machine must not reach
//! (CVE-2021-41103, CVE-2021-41091).

use std::fs::DirBuilder;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{At, Error, Result};
use crate::lock::{self, Wait};

/// The version this program writes: `major.minor`.
pub const VERSION: &str = "1.0";
const MAJOR: u32 = 1;
const FILE: &str = "layout-version";

/// Directories that every store has.
const DIRECTORIES: &[&str] = &[
    "blobs",
    "blobs/sha256",
    "ingest",
    "events",
    "leases",
    "trash",
    "snapshots",
    "containers",
];

/// Entries that an unfinished store may hold.
const OURS: &[&str] = &[
    "blobs",
    "ingest",
    "events",
    "leases",
    "trash",
    "snapshots",
    "containers",
    "deb",
    "lost+found",
];

/// Makes sure that `root` is a store of a version we can use.
///
/// One open and one read when it is.
pub fn prepare(root: &Path) -> Result<()> {
    if check(root)? {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .at("create", root)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root, flags, Mode::empty()).at("open", root)?;
    lock::flock(&dir, FlockOperation::LockExclusive, Wait::Forever).at("lock", root)?;
    if check(root)? {
        return Ok(());
    }
    refuse_stranger(root)?;
    for name in DIRECTORIES {
        let path = root.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .at("create", &path)?;
    }
    let (new, path) = (root.join(".layout-version.new"), root.join(FILE));
    let mut file = std::fs::File::create(&new).at("create", &new)?;
    file.write_all(VERSION.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .at("write", &new)?;
    file.sync_all().at("write", &new)?;
    std::fs::rename(&new, &path).at("create", &path)
}

/// Reads the version; `false` when there is none yet.
fn check(root: &Path) -> Result<bool> {
    let path = root.join(FILE);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e).at("open", &path),
    };
    let mut text = String::new();
    match file.take(64).read_to_string(&mut text) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            return Err(Error::LayoutUnreadable {
                path,
                found: "(not text)".to_owned(),
            });
        }
        Err(e) => return Err(e).at("read", &path),
    }
    match parse(&text) {
        Some((major, _)) if major <= MAJOR => Ok(true),
        Some(_) => Err(Error::LayoutNewer {
            path: root.to_path_buf(),
            found: text.trim().to_owned(),
        }),
        None => Err(Error::LayoutUnreadable { path, found: text }),
    }
}

/// Parses the text of a `layout-version` file to its major and minor numbers.
#[must_use]
pub fn parse(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.strip_suffix('\n').unwrap_or(text).split_once('.')?;
    let number = |text: &str| {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        text.parse::<u32>().ok()
    };
    Some((number(major)?, number(minor)?)).filter(|(major, _)| *major > 0)
}

/// `--root /home/me` by mistake must not fill somebody's home.
fn refuse_stranger(root: &Path) -> Result<()> {
    for entry in std::fs::read_dir(root).at("list", root)? {
        let name = entry.at("list", root)?.file_name();
        let known = name
            .to_str()
            .is_some_and(|name| OURS.contains(&name) || name == ".layout-version.new");
        if !known {
            return Err(Error::NotAStore {
                path: root.to_path_buf(),
                stranger: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse("1.0\n"), Some((1, 0)));
        assert_eq!(parse("12.345"), Some((12, 345)));
        for bad in [
            "",
            "1",
            "1.",
            ".1",
            "1.0.0",
            "+1.0",
            "0.1",
            "1.0\n\n",
            "99999999999.0",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn newer_minor_is_used_and_newer_major_refused() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        std::fs::write(dir.path().join(FILE), "1.7\n").unwrap();
        prepare(dir.path()).unwrap();
        std::fs::write(dir.path().join(FILE), "2.0\n").unwrap();
        let error = prepare(dir.path()).unwrap_err();
        assert!(
            matches!(&error, Error::LayoutNewer { found, .. } if found == "2.0"),
            "{error}"
        );
        std::fs::write(dir.path().join(FILE), [0xff, 0xfe]).unwrap();
        assert!(matches!(
            prepare(dir.path()).unwrap_err(),
            Error::LayoutUnreadable { .. }
        ));
    }

    #[test]
    fn a_directory_of_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        let error = prepare(dir.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_store_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blobs")).unwrap();
        std::fs::write(dir.path().join(".layout-version.new"), "1.").unwrap();
        prepare(dir.path()).unwrap();
        assert!(check(dir.path()).unwrap());
    }
}
