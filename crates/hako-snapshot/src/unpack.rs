//! From a layer's archive to its directory.
//!
//! The directory is made in `tmp/`, locked under the layer's chain id: of several
//! processes that want the same layer one unpacks it, the others wait and find
//! it. Who holds such a lock may wait for layers below, whose chain ids are
//! prefixes of its own, so nobody waits in a circle. Hashing and applying go in one pass; the directory appears under
//! `layers/` only if the diff id is right.

use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use hako_layer::{Applied, Devices, Format, Ids, Options, XattrPrefix};
use hako_spec::digest::Digest;
use hako_store::Hasher;

use crate::ahead::Ahead;
use crate::backend::Backend;
use crate::copy;
use crate::dirs::{Temporary, place};
use crate::error::{At, Error, Result};
use crate::key::LayerKey;
use crate::layers::{Snapshotter, UNSYNCED};
use crate::record::{self, LAYER, Layer};
use crate::stack::Stack;

/// A layer that is there.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Its key.
    pub key: LayerKey,
    /// What is known about it.
    pub layer: Layer,
    /// Whether it was there before, so that the archive was not read.
    pub present: bool,
}

impl Snapshotter {
    /// Unpacks layer `index` of `stack` from its uncompressed archive, unless
    /// it is there already (then `tar` is not read).
    ///
    /// Threads may unpack all layers of a stack at once; one that has to know
    /// the layers below waits for them at the end, or (plain copies) at the
    /// beginning. Hold the diff id before calling.
    ///
    /// Errors: [`Error::NeedsLower`] asks for another call with the archive
    /// from its start, which then waits for the layers below.
    /// [`Error::DiffId`], [`Error::Apply`], [`Error::Stream`],
    /// [`Error::Abandoned`], and I/O errors; nothing stays behind then.
    pub fn unpack(&self, stack: &Stack, index: usize, tar: impl Read + Send) -> Result<Unpacked> {
        let (diff_id, chain_id) = stack.ids(index)?;
        let there = |stack: &Stack| match self.find(diff_id, chain_id)? {
            Some(key) => {
                let layer = self.layer(&key)?;
                stack.done(index, key.clone());
                Ok(Some(Unpacked {
                    key,
                    layer,
                    present: true,
                }))
            }
            None => Ok::<_, Error>(None),
        };
        if let Some(found) = there(stack)? {
            return Ok(found);
        }
        let plain = self.backend()?.backend == Backend::Plain;
        let below = match plain || stack.needs_lower(index) {
            true => Some(stack.below(index)?),
            false => None,
        };
        let name = format!("unpack-{}-{}", chain_id.algorithm(), chain_id.hex());
        let tmp = self.dirs.claim(&name)?;
        if let Some(found) = there(stack)? {
            tmp.delete()?;
            return Ok(found);
        }
        let tree = tmp.path.join("fs");
        std::fs::create_dir(&tree).at("create", &tree)?;
        let mut job = Job {
            snapshotter: self,
            stack,
            index,
            diff_id,
            tree: &tree,
        };
        let (key, applied) = match below {
            Some(below) if plain => (LayerKey::plain(chain_id), job.plain(tar, &below)?),
            Some(below) => (LayerKey::chain(chain_id), job.over(tar, &below)?),
            None => job.alone(tar, chain_id)?,
        };
        let layer = Layer {
            diff_id: diff_id.clone(),
            bytes: applied.bytes,
            entries: applied.entries,
            root_entry: applied.root_entry,
            opaque_root: applied.opaque_root,
            warnings: applied.warnings.iter().map(ToString::to_string).collect(),
        };
        self.publish(tmp, &key, &layer)?;
        stack.done(index, key.clone());
        Ok(Unpacked {
            key,
            layer,
            present: false,
        })
    }

    /// Gives a finished layer its place.
    fn publish(&self, tmp: Temporary, key: &LayerKey, layer: &Layer) -> Result<()> {
        record::write(&tmp.path.join(LAYER), layer)?;
        let mark = tmp.path.join(UNSYNCED);
        std::os::unix::fs::symlink(self.mark()?, &mark).at("create", &mark)?;
        let target = self.dirs.layer(key);
        // In the way: a layer that a power loss made worthless.
        self.remove_worthless(key)?;
        self.store.touch();
        // Whoever was faster has the same content.
        tmp.publish(&target).map(drop)
    }
}

/// One unpacking.
struct Job<'a> {
    snapshotter: &'a Snapshotter,
    stack: &'a Stack,
    index: usize,
    diff_id: &'a Digest,
    tree: &'a Path,
}

impl Job<'_> {
    fn options(&self, format: Format) -> Result<Options<'static>> {
        let mut options = Options::new(format);
        if self.snapshotter.is_rootless() {
            options.devices = Devices::Skip;
            if self.snapshotter.backend()?.single_id == Some(true) {
                options.ids = Ids::Squash;
            }
        }
        Ok(options)
    }

    fn prefix(&self) -> Result<XattrPrefix> {
        Ok(match self.snapshotter.backend()?.backend {
            Backend::OverlayUser => XattrPrefix::User,
            _ => XattrPrefix::Trusted,
        })
    }

    fn overlay(&self) -> Result<Options<'static>> {
        self.options(Format::Overlay {
            xattr_prefix: self.prefix()?,
        })
    }

    /// Without a view of the layers below, which are waited for only if the
    /// archive leaves out directories or deletes something. (A missing entry of
    /// the root is made up for when a container's snapshot is prepared.)
    fn alone(&mut self, tar: impl Read + Send, chain_id: &Digest) -> Result<(LayerKey, Applied)> {
        let mut applied = self.apply(tar, &self.overlay()?)?;
        let depends = [&applied.implicit, &applied.assumed, &applied.deleted];
        if depends.iter().all(|list| list.is_empty()) {
            return Ok((LayerKey::alone(self.diff_id), applied));
        }
        let below = self.open_below(&self.stack.below(self.index)?)?;
        let below: Vec<BorrowedFd<'_>> = below.iter().map(|fd| fd.as_fd()).collect();
        let root = place(self.tree)?;
        hako_layer::inherit(&mut applied, root.as_fd(), &below, self.prefix()?)
            .map_err(|e| self.error(e))?;
        Ok((LayerKey::chain(chain_id), applied))
    }

    /// With a view of the layers below.
    fn over(&mut self, tar: impl Read + Send, below: &[LayerKey]) -> Result<Applied> {
        let below = self.open_below(below)?;
        let below: Vec<BorrowedFd<'_>> = below.iter().map(|fd| fd.as_fd()).collect();
        let options = self.overlay()?;
        // Shortens the options' lifetime to that of `below`.
        let options: Options<'_> = Options {
            lower: Some(&below),
            ..options
        };
        self.apply(tar, &options)
    }

    /// Onto a copy of all layers below.
    fn plain(&mut self, tar: impl Read + Send, below: &[LayerKey]) -> Result<Applied> {
        if let Some(top) = below.last() {
            copy::tree(&self.snapshotter.layer_path(top), self.tree)?;
        }
        self.apply(tar, &self.options(Format::Plain)?)
    }

    fn apply(&self, tar: impl Read + Send, options: &Options<'_>) -> Result<Applied> {
        let root = place(self.tree)?;
        let failed = |source| Error::Stream {
            diff_id: self.diff_id.clone(),
            source,
        };
        std::thread::scope(|scope| {
            let hasher = Hasher::like(self.diff_id);
            let mut tar = Ahead::start(scope, tar, hasher).map_err(failed)?;
            let applied =
                hako_layer::apply(&mut tar, root.as_fd(), options).map_err(|e| self.error(e))?;
            // The digest is over all that comes, archive or not.
            let actual = tar.finish().map_err(failed)?;
            if actual != *self.diff_id {
                return Err(Error::DiffId {
                    expected: self.diff_id.clone(),
                    actual,
                });
            }
            Ok(applied)
        })
    }

    fn error(&self, source: hako_layer::Error) -> Error {
        let diff_id = self.diff_id.clone();
        if matches!(source, hako_layer::Error::NeedsLower { .. })
            && !self.stack.needs_lower(self.index)
        {
            self.stack.set_needs_lower(self.index);
            return Error::NeedsLower { diff_id };
        }
        Error::Apply {
            diff_id,
            path: self.tree.to_path_buf(),
            source,
        }
    }

    /// The trees below, the top one first, none that another one hides.
    fn open_below(&self, below: &[LayerKey]) -> Result<Vec<OwnedFd>> {
        let mut trees = Vec::new();
        for key in below.iter().rev() {
            trees.push(place(&self.snapshotter.layer_path(key))?);
            if self.snapshotter.layer(key)?.opaque_root {
                break;
            }
        }
        Ok(trees)
    }
}
