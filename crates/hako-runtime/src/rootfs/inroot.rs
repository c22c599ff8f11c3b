//! Paths below the container's root, resolved as the container would resolve
//! them and never outside of it: openat2(2) with `RESOLVE_IN_ROOT`, so that
//! neither `..`, nor links, nor their exchange during the call lead to the
//! host (CVE-2021-30465).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// Links followed while directories are made, as many as the kernel follows.
const MAX_LINKS: u32 = 40;

/// A directory that is the root of every path given to it.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Takes an open directory.
    pub fn new(dir: OwnedFd) -> Self {
        Root(dir)
    }

    /// The directory itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens `path`, absolute or not, in this root.
    pub fn open(&self, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        openat2(
            self.fd(),
            path,
            flags,
            mode,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// A handle on whatever is at `path`, following links.
    pub fn handle(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// A handle on whatever is at `path` without following a link there.
    pub fn handle_nofollow(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.open(
            path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// The directory at `path`, made with its parents (0755) where missing.
    pub fn make_dir(&self, path: &str) -> Result<OwnedFd> {
        self.make_dir_limited(path, 0)
            .context(|| format!("make directory {path}"))
    }

    fn make_dir_limited(&self, path: &str, links: u32) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        if let Some(dir) = self.make_last(path, flags) {
            return Ok(dir);
        }
        let parts: Vec<&str> = path
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        let mut parent = self.open(".", flags, Mode::empty())?;
        let mut prefix = String::new();
        for (at, part) in parts.iter().enumerate() {
            prefix.push('/');
            prefix.push_str(part);
            let next = match self.open(&prefix, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&parent, *part, Mode::from_raw_mode(0o755)) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => {
                            if let Some(target) = link_target(parent.as_fd(), part) {
                                // A link to nowhere: make what it points at.
                                if links == MAX_LINKS {
                                    return Err(Errno::LOOP.into());
                                }
                                let up = prefix.len() - part.len();
                                let head = if target.starts_with('/') {
                                    ""
                                } else {
                                    &prefix[..up]
                                };
                                let rest = parts.get(at + 1..).unwrap_or_default().join("/");
                                return self.make_dir_limited(
                                    &format!("{head}{target}/{rest}"),
                                    links + 1,
                                );
                            }
                        }
                        Err(e) => return Err(Error::from(e).within(&prefix)),
                    }
                    self.open(&prefix, flags, Mode::empty())
                        .context(|| prefix.clone())?
                }
                other => other.context(|| prefix.clone())?,
            };
            parent = next;
        }
        Ok(parent)
    }

    /// The usual case: only the last directory is missing.
    fn make_last(&self, path: &str, flags: OFlags) -> Option<OwnedFd> {
        let (dir, name) = split(path).ok()?;
        let parent = self.open(dir, flags, Mode::empty()).ok()?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).ok()?;
        self.open(path, flags, Mode::empty()).ok()
    }

    /// A handle on the file at `path`; an empty file (mode `mode`), with its
    /// parent directories, is made where nothing is.
    pub fn make_file(&self, path: &str, mode: u32) -> Result<OwnedFd> {
        self.make_file_limited(path, mode, 0)
            .context(|| format!("make file {path}"))
    }

    fn make_file_limited(&self, path: &str, mode: u32, links: u32) -> Result<OwnedFd> {
        match self.handle(path) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let (dir, name) = split(path)?;
        let parent = self.make_dir(dir)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode)) {
            Ok(_) => Ok(self.handle(path)?),
            Err(Errno::EXIST) => match link_target(parent.as_fd(), name) {
                Some(target) if links < MAX_LINKS => {
                    let next = if target.starts_with('/') {
                        target
                    } else {
                        format!("{dir}/{target}")
                    };
                    self.make_file_limited(&next, mode, links + 1)
                }
                Some(_) => Err(Errno::LOOP.into()),
                None => Ok(self.handle(path)?),
            },
            Err(e) => Err(e.into()),
        }
    }
}

/// The directory part and the last component of `path`.
pub fn split(path: &str) -> Result<(&str, &str)> {
    let trimmed = path.trim_end_matches('/');
    let (dir, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    if name.is_empty() || name == "." || name == ".." {
        return Err(Error::new(format!("{path:?} does not name a file")));
    }
    Ok((if dir.is_empty() { "/" } else { dir }, name))
}

fn link_target(parent: BorrowedFd<'_>, name: &str) -> Option<String> {
    rustix::fs::readlinkat(parent, name, Vec::new())
        .ok()?
        .into_string()
        .ok()
}

/// openat2(2), tried again when a rename elsewhere made the kernel give up.
pub fn openat2(
    dir: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    for _ in 0..128 {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The type and device of what `fd` refers to.
pub fn stat(fd: BorrowedFd<'_>) -> rustix::io::Result<rustix::fs::Stat> {
    const EMPTY: &CStr = c"";
    rustix::fs::statat(fd, EMPTY, AtFlags::EMPTY_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        (dir, Root::new(fd.unwrap()))
    }

    #[test]
    fn makes_directories_through_links_inside() {
        let (dir, root) = root();
        symlink("/run", dir.path().join("var-run")).unwrap();
        root.make_dir("/var-run/a/b").unwrap();
        assert!(dir.path().join("run/a/b").is_dir());
    }

    #[test]
    fn links_to_the_outside_stay_inside() {
        let (dir, root) = root();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        symlink("../../../../../../../tmp", dir.path().join("up")).unwrap();
        root.make_dir(&format!("/up/hako-inroot-{name}")).unwrap();
        assert!(dir.path().join(format!("tmp/hako-inroot-{name}")).is_dir());
        assert!(!std::path::Path::new(&format!("/tmp/hako-inroot-{name}")).exists());
    }

    #[test]
    fn makes_the_target_of_a_dangling_file_link() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        symlink(
            "../run/resolve/stub.conf",
            dir.path().join("etc/resolv.conf"),
        )
        .unwrap();
        root.make_file("/etc/resolv.conf", 0o644).unwrap();
        assert!(dir.path().join("run/resolve/stub.conf").is_file());
    }

    #[test]
    fn link_loops_end() {
        let (dir, root) = root();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(root.make_dir("/a/c").is_err());
        assert!(root.make_file("/a", 0o600).is_err());
    }
}
