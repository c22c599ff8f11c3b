//! A layer that is read and has still to be written as an image.

use std::fs::File;
use std::io::{self, Read, Write};

use hako_layer::target::fill;
use hako_layer::{Applied, XattrPrefix};
use hako_tar::Reader;

use crate::extent::Map;
use crate::layer::Layer;
use crate::layout::directory_size;
use crate::options::{Lower, Options};
use crate::spill::spill;
use crate::tee::Tee;
use crate::{Error, write};

/// The tree of a layer, in memory, whose files' data lies in a file.
pub struct Index<'a> {
    pub(crate) layer: Layer<'a>,
    pub(crate) maps: Vec<Map>,
    pub(crate) blocks: u64,
    applied: Applied,
    tar: u64,
}

impl<'a> Index<'a> {
    /// Reads the uncompressed archive `tar` to its end, so that a digest over it
    /// is complete, and keeps it in `data`, an empty file, open for reading and
    /// writing, which is the image's device afterwards: the archive, zeros up to
    /// a block, and what could not stay in the archive as it was.
    ///
    /// Nothing is synced.
    ///
    /// # Errors
    /// [`Error::Layer`], with the very errors of [`hako_layer::apply`];
    /// [`Error::Data`]; [`Error::TooLarge`]. The file is then to be thrown away.
    pub fn new(tar: impl Read, data: &File, options: &Options<'a>) -> Result<Self, Error> {
        let mut tee = Tee::new(tar, data);
        let layer = match read(&mut tee, options) {
            Ok(layer) => layer,
            Err(error) => return Err(tee.failed().map_or(error, Error::data("write"))),
        };
        let len = tee.written();
        Self::finish(layer, data, len)
    }

    /// The same for an archive that lies in `data` already.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn in_place(data: &File, options: &Options<'a>) -> Result<Self, Error> {
        let len = data.metadata().map_err(Error::data("examine"))?.len();
        let layer = read(Ahead { file: data, at: 0 }, options)?;
        Self::finish(layer, data, len)
    }

    fn finish(mut layer: Layer<'a>, data: &File, len: u64) -> Result<Self, Error> {
        let (maps, blocks) = spill(&mut layer, data, len)?;
        layer.book.report();
        let mut index = Self {
            applied: std::mem::take(&mut layer.book.applied),
            layer,
            maps,
            blocks,
            tar: len,
        };
        if let Some(lower) = index.layer.options.lower {
            index.inherit(lower)?;
        }
        Ok(index)
    }

    /// What indexing came to, as for a layer that was applied.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Length in bytes of the archive at the beginning of the data.
    #[must_use]
    pub fn tar_len(&self) -> u64 {
        self.tar
    }

    /// Length in bytes of the data.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.blocks * crate::format::BLOCK
    }

    /// Completes a layer that was read without its lower layers, now that these
    /// are there: `lower`, the top one first. Every directory in
    /// [`Applied::implicit`], and the root if the archive has no entry for it,
    /// takes owner, mode, xattrs and times of the directory that it covers;
    /// whiteouts in [`Applied::deleted`] that delete nothing go. The lists are
    /// emptied.
    ///
    /// # Errors
    /// [`Error::Layer`], with [`hako_layer::Error::NeedsLower`] if the layer is
    /// to be read anew with [`Options::lower`].
    pub fn inherit(&mut self, lower: &[Lower<'_>]) -> Result<(), Error> {
        self.layer.inherit(&mut self.applied, lower)?;
        Ok(())
    }

    /// Writes the image. The same layer, over the same ones below, gives the
    /// same bytes.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::TooLarge`].
    pub fn write(mut self, out: impl Write) -> Result<Applied, Error> {
        self.mark_opaque()?;
        let tree = &mut self.layer.tree;
        tree.sort();
        for id in 0..tree.len() as u32 {
            if tree.node(id).is_dir() {
                tree.node_mut(id).size = directory_size(tree, id);
            }
        }
        write::image(&self, out)?;
        Ok(self.applied)
    }

    /// Gives opaque directories their mark.
    fn mark_opaque(&mut self) -> Result<(), Error> {
        let Layer {
            book,
            tree,
            xattrs,
            options,
            ..
        } = &mut self.layer;
        let name = XattrPrefix::opaque(options.xattr_prefix).as_bytes();
        for real in &book.opaque {
            if let Some(id) = tree.at(real)
                && tree.node(id).is_dir()
            {
                let set = xattrs.with(tree.node(id).xattrs, name, b"y", real)?;
                tree.node_mut(id).xattrs = set;
            }
        }
        Ok(())
    }
}

fn read<'a>(tar: impl Read, options: &Options<'a>) -> Result<Layer<'a>, Error> {
    let mut layer = Layer::new(options)?;
    fill(&mut layer, &mut Reader::new(tar))?;
    Ok(layer)
}

/// Reads a file from its beginning, whatever its position is.
struct Ahead<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Ahead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_a_broken_archive() {
        let data = File::options().read(true).write(true).open("/dev/full");
        let index = Index::new(&[0; 1024][..], &data.unwrap(), &Options::default());
        assert!(matches!(
            index.err(),
            Some(Error::Data {
                action: "write",
                ..
            })
        ));
    }

    #[test]
    fn a_thread_may_hand_an_index_over() {
        fn sent<T: Send>(_: &T) {}
        let data = tempfile::tempfile().unwrap();
        sent(&Index::new(&b""[..], &data, &Options::default()).unwrap());
    }
}
