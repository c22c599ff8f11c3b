//! From a layer's archive to its directory: the files themselves, or the archive
//! and an image over it ([`crate::erofs`]).
//!
//! The directory is made in `tmp/`, locked under the layer's chain id: of several
//! processes that want the same layer one unpacks it, the others wait and find
//! it. Who holds such a lock may wait for layers below, whose chain ids are
//! prefixes of its own, so nobody waits in a circle. Hashing and applying go in one pass; the directory appears under
//! `layers/` only if the diff id is right.

use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use hako_erofs::{Index, Lower};
use hako_layer::{Applied, Devices, Format, Ids, Options, XattrPrefix};
use hako_spec::digest::Digest;
use hako_store::Hasher;

use crate::ahead::Ahead;
use crate::backend::Backend;
use crate::copy;
use crate::dirs::{Temporary, place};
use crate::erofs::{self, Below};
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
        let backend = self.backend()?.backend;
        let plain = backend == Backend::Plain;
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
        let job = Job {
            snapshotter: self,
            stack,
            index,
            diff_id,
            dir: &tmp.path,
            tree: &tree,
        };
        let (key, applied) = match below {
            Some(below) if plain => (LayerKey::plain(chain_id), job.plain(tar, &below)?),
            Some(below) if backend == Backend::Erofs && self.are_images(&below) => {
                (LayerKey::chain(chain_id), job.index_over(tar, &below)?)
            }
            Some(below) => (LayerKey::chain(chain_id), job.over(tar, &below)?),
            None if backend == Backend::Erofs => job.index(tar, chain_id)?,
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

    fn are_images(&self, layers: &[LayerKey]) -> bool {
        let mut dirs = layers.iter().map(|key| self.dirs.layer(key));
        dirs.all(|dir| erofs::is_image(&dir))
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

/// Whether it takes something from the layers below.
fn depends(applied: &Applied) -> bool {
    let lists = [&applied.implicit, &applied.assumed, &applied.deleted];
    lists.iter().any(|list| !list.is_empty())
}

/// One unpacking.
struct Job<'a> {
    snapshotter: &'a Snapshotter,
    stack: &'a Stack,
    index: usize,
    diff_id: &'a Digest,
    /// The layer's directory in the making, and its tree.
    dir: &'a Path,
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
    fn alone(&self, tar: impl Read + Send, chain_id: &Digest) -> Result<(LayerKey, Applied)> {
        let mut applied = self.apply(tar, &self.overlay()?)?;
        if !depends(&applied) {
            return Ok((LayerKey::alone(self.diff_id), applied));
        }
        let below = self.open_below(&self.stack.below(self.index)?)?;
        let below: Vec<BorrowedFd<'_>> = below.iter().map(|fd| fd.as_fd()).collect();
        let root = place(self.tree)?;
        hako_layer::inherit(&mut applied, root.as_fd(), &below, self.prefix()?)
            .map_err(|e| self.error(e))?;
        Ok((LayerKey::chain(chain_id), applied))
    }

    /// The same as an image.
    fn index(&self, tar: impl Read + Send, chain_id: &Digest) -> Result<(LayerKey, Applied)> {
        let mut index = self.read(tar, None)?;
        if !depends(index.applied()) {
            return Ok((
                LayerKey::alone(self.diff_id),
                erofs::write(self.dir, index)?,
            ));
        }
        let below = self.stack.below(self.index)?;
        if !self.snapshotter.are_images(&below) {
            // Seen from directories, it has to be one.
            self.stack.set_needs_lower(self.index);
            let diff_id = self.diff_id.clone();
            return Err(Error::NeedsLower { diff_id });
        }
        let below = self.images_below(&below)?;
        let lower: Vec<Lower<'_>> = below.iter().map(Below::lower).collect();
        index.inherit(&lower).map_err(|e| self.image_error(e))?;
        Ok((LayerKey::chain(chain_id), erofs::write(self.dir, index)?))
    }

    /// As an image, with a view of the layers below.
    fn index_over(&self, tar: impl Read + Send, below: &[LayerKey]) -> Result<Applied> {
        let below = self.images_below(below)?;
        let lower: Vec<Lower<'_>> = below.iter().map(Below::lower).collect();
        erofs::write(self.dir, self.read(tar, Some(&lower))?)
    }

    fn read<'l>(&self, tar: impl Read + Send, lower: Option<&'l [Lower<'l>]>) -> Result<Index<'l>> {
        self.verified(tar, |tar| {
            erofs::index(self.dir, tar, lower)?.map_err(|e| self.image_error(e))
        })
    }

    /// With a view of the layers below.
    fn over(&self, tar: impl Read + Send, below: &[LayerKey]) -> Result<Applied> {
        self.snapshotter.provide(below)?;
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
    fn plain(&self, tar: impl Read + Send, below: &[LayerKey]) -> Result<Applied> {
        if let Some(top) = below.last() {
            copy::tree(&self.snapshotter.layer_path(top), self.tree)?;
        }
        self.apply(tar, &self.options(Format::Plain)?)
    }

    fn apply(&self, tar: impl Read + Send, options: &Options<'_>) -> Result<Applied> {
        let root = place(self.tree)?;
        self.verified(tar, |tar| {
            hako_layer::apply(tar, root.as_fd(), options).map_err(|e| self.error(e))
        })
    }

    /// Does `work` with the archive, which has to be the layer's.
    fn verified<T>(
        &self,
        tar: impl Read + Send,
        work: impl FnOnce(&mut Ahead<'_>) -> Result<T>,
    ) -> Result<T> {
        let failed = |source| Error::Stream {
            diff_id: self.diff_id.clone(),
            source,
        };
        std::thread::scope(|scope| {
            let hasher = Hasher::like(self.diff_id);
            let mut tar = Ahead::start(scope, tar, hasher).map_err(failed)?;
            let done = work(&mut tar)?;
            // The digest is over all that comes, archive or not.
            let actual = tar.finish().map_err(failed)?;
            if actual != *self.diff_id {
                return Err(Error::DiffId {
                    expected: self.diff_id.clone(),
                    actual,
                });
            }
            Ok(done)
        })
    }

    fn image_error(&self, source: hako_erofs::Error) -> Error {
        match source {
            hako_erofs::Error::Layer(source) => self.error(source),
            source => Error::Image {
                path: self.dir.to_path_buf(),
                source,
            },
        }
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
        self.seen(below, |key| place(&self.snapshotter.layer_path(key)))
    }

    /// The images below, in the same way.
    fn images_below(&self, below: &[LayerKey]) -> Result<Vec<Below>> {
        self.seen(below, |key| Below::open(&self.snapshotter.dirs.layer(key)))
    }

    fn seen<T>(&self, below: &[LayerKey], open: impl Fn(&LayerKey) -> Result<T>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for key in below.iter().rev() {
            all.push(open(key)?);
            if self.snapshotter.layer(key)?.opaque_root {
                break;
            }
        }
        Ok(all)
    }
}
