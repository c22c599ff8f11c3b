//! The image's bytes, in one pass, by the plan of `layout`.

use std::io::{BufWriter, Write};

use crate::Error;
use crate::extent::Run;
use crate::format::{
    BLOCK, BLOCK_BITS, DIRENT, HOLE, Layout as Form, RawInode, SLOT, Super, XATTR_HEAD,
    chunk_format, chunk_index, file_type, put,
};
use crate::index::Index;
use crate::layout::{Layout, Shape, listed};
use crate::tree::{Body, Id, Node, ROOT};
use crate::xattr::EMPTY;

/// Writes the whole image.
pub(crate) fn image(index: &Index<'_>, out: impl Write) -> Result<(), Error> {
    let plan = Layout::new(index)?;
    let too_large = |_| {
        let what = "the image";
        Error::TooLarge { what }
    };
    let last = u32::try_from(plan.end).map_err(too_large)?;
    // Inode numbers have 32 bits here, far more than so many blocks can hold.
    let head = Super {
        root: u16::try_from(plan.number(ROOT)).map_err(|_| Error::TooLarge {
            what: "the root directory",
        })?,
        inodes: plan.order.len() as u64,
        blocks: last,
        meta: u32::try_from(plan.meta).map_err(too_large)?,
        xattrs: crate::format::FIRST as u32,
        data_blocks: u32::try_from(index.blocks).map_err(too_large)?,
    };
    let mut image = Image {
        index,
        plan: &plan,
        out: BufWriter::with_capacity(256 << 10, out),
        at: 0,
    };
    image.all(&head).map_err(Error::Write)
}

struct Image<'a, W: Write> {
    index: &'a Index<'a>,
    plan: &'a Layout,
    out: BufWriter<W>,
    /// Bytes so far.
    at: u64,
}

impl<W: Write> Image<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes zeros up to an offset.
    fn pad(&mut self, to: u64) -> std::io::Result<()> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while self.at < to {
            let len = (to - self.at).min(BLOCK) as usize;
            self.put(ZEROS.get(..len).unwrap_or_default())?;
        }
        Ok(())
    }

    fn all(&mut self, head: &Super) -> std::io::Result<()> {
        self.put(&head.encode())?;
        let table = &self.index.layer.xattrs;
        for (number, _) in (0u32..).zip(&self.plan.shared) {
            if self.plan.shared_at(number).is_some() {
                self.put(table.entry(number))?;
            }
        }
        let mut block = self.plan.blocks;
        let mut data = Vec::new();
        for (id, parent) in &self.plan.order {
            let place = u64::from(self.plan.number(*id)) * SLOT;
            self.pad(self.plan.meta * BLOCK + place)?;
            let shape = self.plan.shape(self.index, *id, place);
            self.inode(*id, *parent, &shape, block, &mut data)?;
            block += shape.blocks();
        }
        self.pad(self.plan.blocks * BLOCK)?;
        for (id, parent) in &self.plan.order {
            let place = u64::from(self.plan.number(*id)) * SLOT;
            let shape = self.plan.shape(self.index, *id, place);
            let blocks = shape.blocks() * BLOCK;
            if blocks > 0 {
                self.contents(*id, *parent, &mut data);
                data.truncate(blocks as usize);
                let end = self.at + blocks;
                self.put(&data)?;
                self.pad(end)?;
            }
        }
        self.pad(self.plan.end * BLOCK)?;
        self.out.flush()
    }

    fn inode(
        &mut self,
        id: Id,
        parent: Id,
        shape: &Shape,
        block: u64,
        data: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let node = *self.index.layer.tree.node(id);
        let raw = RawInode {
            layout: shape.form,
            xattrs: shape.xattrs,
            mode: u32::from(node.mode),
            size: node.size,
            union: match node.body {
                Body::Device(number) => number,
                Body::Run(_) | Body::Pieces(_) => chunk_format(self.index.chunk_bits(&node)),
                _ if shape.blocks() > 0 => block as u32,
                _ => 0,
            },
            number: self.plan.number(id),
            uid: node.uid,
            gid: node.gid,
            secs: node.secs,
            nanos: node.nanos,
            nlink: self.links(id, &node),
        };
        self.put(&raw.encode())?;
        self.xattrs(node.xattrs)?;
        match shape.form {
            Form::Plain => Ok(()),
            Form::Inline => {
                self.contents(id, parent, data);
                let full = (shape.blocks() * BLOCK) as usize;
                self.put(data.get(full..).unwrap_or_default())
            }
            Form::Chunks => self.chunks(&node),
        }
    }

    /// A directory has its name, its own dot, and those of its subdirectories.
    fn links(&self, id: Id, node: &Node) -> u32 {
        if !node.is_dir() {
            return node.names;
        }
        let tree = &self.index.layer.tree;
        let below = tree.children(id).filter(|(_, id)| tree.node(*id).is_dir());
        2 + below.count() as u32
    }

    fn xattrs(&mut self, set: u32) -> std::io::Result<()> {
        let table = &self.index.layer.xattrs;
        if set == EMPTY {
            return Ok(());
        }
        let (shared, own) = self.plan.xattrs(table, set);
        let mut head = [0; XATTR_HEAD as usize];
        put(&mut head, 4, &[shared.len() as u8]);
        self.put(&head)?;
        for place in shared {
            self.put(&place.to_le_bytes())?;
        }
        for number in own {
            self.put(table.entry(number))?;
        }
        Ok(())
    }

    fn chunks(&mut self, node: &Node) -> std::io::Result<()> {
        self.pad(self.at.next_multiple_of(8))?;
        let bits = self.index.chunk_bits(node);
        let whole;
        let runs = match node.body {
            Body::Pieces(number) => {
                let map = self.index.maps.get(number as usize);
                map.map_or(&[][..], |map| &map.runs)
            }
            Body::Run(block) => {
                let chunks = crate::extent::chunks(node.size, bits);
                whole = [Run { chunks, block }];
                &whole
            }
            _ => &[],
        };
        for run in runs {
            for chunk in 0..run.chunks {
                let block = match run.block {
                    HOLE => HOLE,
                    first => first.wrapping_add((chunk << (bits - BLOCK_BITS)) as u32),
                };
                self.put(&chunk_index(block))?;
            }
        }
        Ok(())
    }

    /// The data of a directory or symlink.
    fn contents(&self, id: Id, parent: Id, out: &mut Vec<u8>) {
        out.clear();
        let tree = &self.index.layer.tree;
        let node = tree.node(id);
        if !node.is_dir() {
            out.extend_from_slice(tree.target(node));
            return;
        }
        let mut block: Vec<(&[u8], Id)> = Vec::new();
        let mut used = 0;
        for (name, child) in listed(tree, id, parent) {
            let len = DIRENT + name.len();
            if used + len > BLOCK as usize {
                self.directory_block(&block, out);
                out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
                block.clear();
                used = 0;
            }
            block.push((name, child));
            used += len;
        }
        self.directory_block(&block, out);
    }

    /// Entries of fixed size, then the names.
    fn directory_block(&self, names: &[(&[u8], Id)], out: &mut Vec<u8>) {
        let tree = &self.index.layer.tree;
        let mut offset = (names.len() * DIRENT) as u16;
        for (name, id) in names {
            out.extend(u64::from(self.plan.number(*id)).to_le_bytes());
            out.extend(offset.to_le_bytes());
            out.push(file_type(u32::from(tree.node(*id).mode)));
            out.push(0);
            offset += name.len() as u16;
        }
        for (name, _) in names {
            out.extend_from_slice(name);
        }
    }
}
