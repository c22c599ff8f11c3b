//! Masked and read-only paths (config-linux.md).
//!
//! Everything is a handle: the path is resolved once inside the root, and what
//! covers it is a detached mount of a device or tmpfs that was checked, so that
//! a racing container cannot redirect either end (CVE-2025-31133).

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use hako_sys::mount_attr::{Change, attr};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::inroot::{Root, stat};
use super::mount::{attach, clone_fd, create, set};
use super::options::Options;
use crate::error::{Context, Error, Result};

/// Makes everything at and below `path` read-only; a missing path is fine.
pub fn read_only(root: &Root, path: &str) -> Result<()> {
    let target = match root.handle(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let tree = clone_fd(target.as_fd(), true)?;
    attach(&tree, target.as_fd())?;
    set(
        tree.as_fd(),
        true,
        Change {
            set: attr::RDONLY,
            ..Change::default()
        },
    )
}

/// Hides `paths`: files behind `/dev/null`, directories behind an empty
/// read-only tmpfs. Missing paths are fine.
pub fn hide(root: &Root, paths: &[String], label: Option<&str>) -> Result<()> {
    let mut null = None;
    let mut empty: Option<OwnedFd> = None;
    let mut hidden = BTreeSet::new();
    for path in paths.iter().filter(|path| hidden.insert(path.as_str())) {
        one(root, path, label, &mut null, &mut empty).context(|| format!("masked path {path}"))?;
    }
    Ok(())
}

fn one(
    root: &Root,
    path: &str,
    label: Option<&str>,
    null: &mut Option<OwnedFd>,
    empty: &mut Option<OwnedFd>,
) -> Result<()> {
    let target = match root.handle(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let is_dir = FileType::from_raw_mode(stat(target.as_fd())?.st_mode).is_dir();
    let cover = if is_dir {
        // One empty tmpfs serves every directory of the container.
        match empty {
            Some(first) => clone_fd(first.as_fd(), false)?,
            None => {
                let read_only = Options {
                    set: attr::RDONLY,
                    ..Options::default()
                };
                let fresh = create("tmpfs", Some("tmpfs"), &read_only, &[], label, 0);
                let fresh = fresh.map_err(Error::from)?;
                attach(&fresh, target.as_fd())?;
                *empty = Some(fresh);
                return Ok(());
            }
        }
    } else {
        let null = match null {
            Some(null) => null,
            None => null.insert(null_device(root)?),
        };
        clone_fd(null.as_fd(), false)?
    };
    Ok(attach(&cover, target.as_fd())?)
}

/// The container's `/dev/null`, certainly the null device.
fn null_device(root: &Root) -> Result<OwnedFd> {
    let fd = root
        .handle_nofollow("/dev/null")
        .context(|| "open /dev/null")?;
    let meta = stat(fd.as_fd())?;
    let is_null = FileType::from_raw_mode(meta.st_mode).is_char_device()
        && meta.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(Error::new("/dev/null is not the null device"));
    }
    Ok(fd)
}
