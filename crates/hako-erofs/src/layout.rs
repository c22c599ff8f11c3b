//! Where everything comes to lie in the image, decided before a byte of it is
//! written: directories name their files by place.
//!
//! ```text
//! superblock, table of devices     3 blocks
//! shared xattrs
//! inodes                           each with its xattrs and what is inline
//! blocks                           of directories and long symlinks
//! ```
//!
//! The root comes first: the superblock has 16 bits for its number. The files of
//! a directory follow each other, then come those of its subdirectories.

use crate::Error;
use crate::extent::{bits_of_run, chunks};
use crate::format::{BLOCK, CHUNK_INDEX, DIRENT, FIRST, INODE, Layout as Form, SLOT, XATTR_HEAD};
use crate::index::Index;
use crate::tree::{Body, Id, ROOT, Tree};
use crate::xattr::{EMPTY, Table};

/// Blocks of a page: readers take metadata by pages.
const PAGE: u64 = 8;

/// The plan of an image.
pub(crate) struct Layout {
    /// Every file once, in the order of the inodes; directories with their
    /// parents.
    pub(crate) order: Vec<(Id, Id)>,
    /// Inode numbers by file; 0 for those that have gone.
    pub(crate) numbers: Vec<u32>,
    /// Where the xattrs that are shared lie, in words; `None` for the others.
    pub(crate) shared: Vec<Option<u32>>,
    /// First block of the inodes.
    pub(crate) meta: u64,
    /// First block behind the inodes.
    pub(crate) blocks: u64,
    /// First block behind the image.
    pub(crate) end: u64,
}

/// How one inode is stored.
pub(crate) struct Shape {
    pub(crate) form: Form,
    /// Bytes of xattrs.
    pub(crate) xattrs: u64,
    /// Bytes of data in the image, of which those behind the last full block may
    /// be inline.
    pub(crate) size: u64,
    /// Bytes from the inode's begin to the end of all that follows it.
    pub(crate) len: u64,
}

impl Shape {
    /// Whole blocks of data.
    pub(crate) fn blocks(&self) -> u64 {
        match self.form {
            Form::Inline => self.size / BLOCK,
            Form::Plain => self.size.div_ceil(BLOCK),
            Form::Chunks => 0,
        }
    }
}

impl Layout {
    pub(crate) fn new(index: &Index<'_>) -> Result<Self, Error> {
        let (order, sharing) = order(index);
        let tree = &index.layer.tree;
        let (shared, words) = share(&index.layer.xattrs, &sharing);
        let mut plan = Self {
            order: Vec::new(),
            numbers: vec![0; tree.len()],
            shared,
            meta: FIRST + (words * 4).div_ceil(BLOCK),
            blocks: 0,
            end: 0,
        };
        // No inode has the number 0, so the first slot stays free.
        let (mut at, mut blocks) = (SLOT, 0);
        for (id, _) in &order {
            let place = plan.fit(index, *id, at);
            let shape = plan.shape(index, *id, place);
            let slot =
                u32::try_from(place / SLOT).map_err(|_| Error::TooLarge { what: "the image" })?;
            if let Some(number) = plan.numbers.get_mut(*id as usize) {
                *number = slot;
            }
            at = (place + shape.len).next_multiple_of(SLOT);
            blocks += shape.blocks();
        }
        plan.order = order;
        plan.blocks = plan.meta + at.div_ceil(BLOCK);
        plan.end = (plan.blocks + blocks).next_multiple_of(PAGE);
        Ok(plan)
    }

    /// The first place from `at` on where the end of a file's data can be
    /// inline, if there is one within a block's length.
    fn fit(&self, index: &Index<'_>, id: Id, at: u64) -> u64 {
        let wish = |place: &u64| self.shape(index, id, *place).form == Form::Inline;
        let places = (at..at + BLOCK).step_by(SLOT as usize);
        match index.layer.tree.node(id).body {
            Body::Dir(_) | Body::Link(_) => places.into_iter().find(wish).unwrap_or(at),
            _ => at,
        }
    }

    /// How a file is stored whose inode begins `place` bytes behind the first.
    pub(crate) fn shape(&self, index: &Index<'_>, id: Id, place: u64) -> Shape {
        let layer = &index.layer;
        let node = layer.tree.node(id);
        let xattrs = self.xattr_len(&layer.xattrs, node.xattrs);
        let head = INODE + xattrs;
        let size = match node.body {
            Body::Dir(_) | Body::Link(_) => node.size,
            _ => 0,
        };
        let tail = size % BLOCK;
        let (form, len) = match node.body {
            Body::Dir(_) | Body::Link(_) => {
                let fits = tail > 0 && (place + head) % BLOCK + tail <= BLOCK;
                if fits {
                    (Form::Inline, head + tail)
                } else {
                    (Form::Plain, head)
                }
            }
            Body::Run(_) | Body::Pieces(_) => {
                let bits = index.chunk_bits(node);
                let count = chunks(node.size, bits);
                let len = head.next_multiple_of(CHUNK_INDEX) + count * CHUNK_INDEX;
                (Form::Chunks, len)
            }
            Body::Empty | Body::Device(_) => (Form::Plain, head),
        };
        Shape {
            form,
            xattrs,
            size,
            len,
        }
    }

    fn xattr_len(&self, table: &Table, set: u32) -> u64 {
        if set == EMPTY {
            return 0;
        }
        let (shared, own) = self.xattrs(table, set);
        let own: usize = own.iter().map(|number| table.entry(*number).len()).sum();
        XATTR_HEAD + (4 * shared.len() + own) as u64
    }

    /// The xattrs of a set: the places of those that are shared, and those that
    /// stand with the inode.
    pub(crate) fn xattrs(&self, table: &Table, set: u32) -> (Vec<u32>, Vec<u32>) {
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for number in table.set(set) {
            match self.shared_at(*number) {
                // Their number has eight bits.
                Some(place) if shared.len() < 255 => shared.push(place),
                _ => own.push(*number),
            }
        }
        (shared, own)
    }

    /// Where a shared xattr lies.
    pub(crate) fn shared_at(&self, number: u32) -> Option<u32> {
        self.shared.get(number as usize).copied().flatten()
    }

    /// A file's inode number.
    pub(crate) fn number(&self, id: Id) -> u32 {
        self.numbers.get(id as usize).copied().unwrap_or_default()
    }
}

impl Index<'_> {
    /// Logarithm of the size of a regular file's chunks.
    pub(crate) fn chunk_bits(&self, node: &crate::tree::Node) -> u32 {
        match node.body {
            Body::Pieces(number) => match self.maps.get(number as usize) {
                Some(map) => map.bits,
                None => bits_of_run(node.size),
            },
            _ => bits_of_run(node.size),
        }
    }
}

/// All files in order, and how often each xattr is used.
fn order(index: &Index<'_>) -> (Vec<(Id, Id)>, Vec<u32>) {
    let (tree, table) = (&index.layer.tree, &index.layer.xattrs);
    let mut order = Vec::with_capacity(tree.len());
    let mut uses = vec![0u32; table.len()];
    let mut seen = vec![false; tree.len()];
    let mut visit = |id: Id, parent: Id, order: &mut Vec<(Id, Id)>| {
        let Some(seen) = seen.get_mut(id as usize).filter(|seen| !**seen) else {
            return;
        };
        *seen = true;
        order.push((id, parent));
        for number in table.set(tree.node(id).xattrs) {
            if let Some(uses) = uses.get_mut(*number as usize) {
                *uses += 1;
            }
        }
    };
    visit(ROOT, ROOT, &mut order);
    let mut dirs = vec![ROOT];
    while let Some(dir) = dirs.pop() {
        let start = dirs.len();
        for (_, id) in tree.children(dir) {
            visit(id, dir, &mut order);
            if tree.node(id).is_dir() {
                dirs.push(id);
            }
        }
        if let Some(new) = dirs.get_mut(start..) {
            new.reverse();
        }
    }
    (order, uses)
}

/// Shares the xattrs that this makes smaller. Returns where they lie, in words,
/// and how many words they take.
fn share(table: &Table, uses: &[u32]) -> (Vec<Option<u32>>, u64) {
    let mut words = 0u64;
    let places = uses
        .iter()
        .zip(0u32..)
        .map(|(uses, number)| {
            let (len, uses) = (table.entry(number).len() as u64, u64::from(*uses));
            let place = u32::try_from(words).ok()?;
            if len + 4 * uses >= len * uses {
                return None;
            }
            words += len / 4;
            Some(place)
        })
        .collect();
    (places, words)
}

/// Bytes of a directory's data.
pub(crate) fn directory_size(tree: &Tree, id: Id) -> u64 {
    let (mut full, mut used) = (0, 0);
    for (name, _) in listed(tree, id, ROOT) {
        let len = (DIRENT + name.len()) as u64;
        if used + len > BLOCK {
            full += 1;
            used = 0;
        }
        used += len;
    }
    full * BLOCK + used
}

/// A directory's names with `.` and `..` among them, sorted.
pub(crate) fn listed(tree: &Tree, id: Id, parent: Id) -> impl Iterator<Item = (&[u8], Id)> {
    let own: [(&[u8], Id); 2] = [(b".", id), (b"..", parent)];
    let mut own = own.into_iter().peekable();
    let mut children = tree.children(id).peekable();
    std::iter::from_fn(move || match (own.peek(), children.peek()) {
        (Some((dots, _)), Some((name, _))) if name < dots => children.next(),
        (Some(_), _) => own.next(),
        (None, _) => children.next(),
    })
}
