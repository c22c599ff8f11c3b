//! Hard links, also to files of lower layers.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use hako_tar::Entry;

use crate::apply::Layer;
use crate::cache::Dir;
use crate::error::{quote, system};
use crate::lower::Found;
use crate::name::{Name, classify, clean, join, split};
use crate::target::MAX_LINKS;
use crate::{Error, sys};

/// Lower layers' files that this layer has copies of: real paths there, and
/// where the copies are. Inode numbers tell nothing: a new file may get that of
/// one which was removed.
#[derive(Default)]
pub(crate) struct Copies {
    by_target: BTreeMap<Vec<u8>, Vec<u8>>,
    by_copy: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Copies {
    fn insert(&mut self, target: Vec<u8>, copy: Vec<u8>) {
        if let Some(old) = self.by_target.insert(target.clone(), copy.clone()) {
            self.by_copy.remove(&old);
        }
        self.by_copy.insert(copy, target);
    }

    /// A file, or a directory with all in it, has gone from this layer.
    pub(crate) fn removed(&mut self, real: &[u8]) {
        if self.by_copy.is_empty() {
            return;
        }
        let (start, end) = (join(real, b""), [real, b"0"].concat());
        let below = self.by_copy.range(start..end).map(|(copy, _)| copy.clone());
        for copy in below.chain([real.to_vec()]).collect::<Vec<_>>() {
            if let Some(target) = self.by_copy.remove(&copy) {
                self.by_target.remove(&target);
            }
        }
    }
}

fn inode(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Layer<'_> {
    /// A hard link has no attributes of its own; its target is a name in the
    /// archive, and a symlink there is linked, not followed.
    pub(crate) fn hard_link(&mut self, entry: &Entry, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let refuse = |reason| Error::LinkTarget {
            path: quote(&entry.path),
            target: quote(&entry.link),
            reason,
        };
        let target = clean(&entry.link, &self.options.limits)?;
        let Name::Entry { parent, base: name } = classify(&target)? else {
            return Err(refuse("a hard link needs a file"));
        };
        let Some(there) = self.resolve(parent, &entry.path, false)? else {
            return self.link_lower(entry, parent, name, dir, base);
        };
        let stat = match sys::stat(&there.fd, name) {
            Ok(stat) if self.overlay().is_some() && sys::is_whiteout(&stat) => None,
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(system("examine", &target)(errno)),
        };
        let Some(stat) = stat else {
            return self.link_lower(entry, parent, name, dir, base);
        };
        if sys::kind(&stat) == FileType::Directory {
            return Err(refuse("it is a directory"));
        }
        self.link(&there.fd, name, dir, base)
    }

    /// Links a file of this tree to one more name.
    fn link(&mut self, from: impl AsFd, name: &[u8], dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let make = || rustix::fs::linkat(&from, name, &dir.fd, base, AtFlags::empty());
        if make().is_ok() {
            return Ok(());
        }
        // Names of one file already: none of them must be removed.
        if let (Ok(a), Ok(b)) = (sys::stat(&from, name), sys::stat(&dir.fd, base))
            && inode(&a) == inode(&b)
        {
            return Ok(());
        }
        self.create(dir, base, make)
    }

    /// A link to what this layer does not have. A file of a lower layer is
    /// copied to the new name; the lower name keeps the file that it has, as it
    /// would in a container that writes to one of the two. Further links to the
    /// same file share the copy.
    fn link_lower(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &[u8],
        dir: &Dir,
        base: &[u8],
    ) -> Result<(), Error> {
        let refuse = |reason| Error::LinkTarget {
            path: quote(&entry.path),
            target: quote(&entry.link),
            reason,
        };
        if self.overlay().is_none() {
            return Err(refuse("it does not exist"));
        }
        if self.options.lower.is_none() {
            return Err(Error::NeedsLower {
                path: quote(&entry.path),
            });
        }
        let missing = "it does not exist in this or a lower layer";
        let parent = self
            .locate(parent, &entry.path)?
            .ok_or_else(|| refuse(missing))?;
        let target = join(&parent, name);
        if let Some(copy) = self.copies.by_target.get(&target) {
            let (parent, name) = split(copy);
            let from = sys::open_dir(&self.root.fd, parent).map_err(system("open", parent))?;
            let name = name.to_vec();
            return self.link(&from, &name, dir, base);
        }
        match self.below(&target)? {
            None => return Err(refuse(missing)),
            Some(Found::Dir(_)) => return Err(refuse("it is a directory")),
            Some(Found::Symlink(from, link)) => {
                self.create(dir, base, || rustix::fs::symlinkat(&*link, &dir.fd, base))?;
                self.copy_attributes(&from.fd, name, dir, base)?;
            }
            Some(Found::File(from)) => self.copy_up(&from.fd, name, dir, base)?,
        }
        self.copies.insert(target, join(&dir.real, base));
        Ok(())
    }

    /// The real path of a directory in the merged view of this layer and those
    /// below. Unlike [`Layer::directory`], nothing is made in this layer.
    fn locate(&mut self, path: &[u8], entry: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut work: Vec<Vec<u8>> = path
            .split(|b| *b == b'/')
            .rev()
            .map(<[u8]>::to_vec)
            .collect();
        let mut real = Vec::new();
        let mut links = 0;
        while let Some(component) = work.pop() {
            let next = match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    real = split(&real).0.to_vec();
                    continue;
                }
                name => join(&real, name),
            };
            crate::name::bound(&next, &self.options.limits)?;
            let (parent, name) = split(&next);
            let target = match sys::open_dir(&self.root.fd, &next) {
                Ok(_) => None,
                Err(Errno::LOOP) => {
                    let dir =
                        sys::open_dir(&self.root.fd, parent).map_err(system("open", parent))?;
                    let target = rustix::fs::readlinkat(&dir, name, Vec::new())
                        .map_err(system("read the symlink", &next))?;
                    Some(target.into_bytes())
                }
                Err(Errno::NOENT) => match self.below(&next)? {
                    Some(Found::Dir(_)) => None,
                    Some(Found::Symlink(_, target)) => {
                        self.book.followed.insert(next.clone());
                        Some(target)
                    }
                    Some(Found::File(_)) | None => return Ok(None),
                },
                Err(Errno::NOTDIR) => return Ok(None),
                Err(errno) => return Err(system("open", &next)(errno)),
            };
            let Some(target) = target else {
                real = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::TooManyLinks { path: quote(entry) });
            }
            if target.first() == Some(&b'/') {
                real.clear();
            }
            work.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(Some(real))
    }
}
