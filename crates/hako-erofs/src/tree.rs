//! The tree of a layer in memory, as small as it can be: an image may have
//! millions of names. Files and names are rows of tables, joined by numbers;
//! all text lies in one arena. A file takes 48 bytes, a name 24, its text, and
//! about 6 in the hash table through which it is found.

use std::hash::{BuildHasher as _, RandomState};

use hako_layer::{Error, quote};
use hashbrown::HashTable;

use crate::format::{S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT};

/// A file's number.
pub(crate) type Id = u32;

/// The root directory.
pub(crate) const ROOT: Id = 0;

/// "No name".
const NONE: u32 = u32::MAX;

/// Most bytes of names and targets of symlinks.
const TEXT: u64 = 1 << 30;

/// A file of any kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Modification, whole seconds.
    pub(crate) secs: i64,
    /// In bytes; of a symlink the length of its target, of a directory what it
    /// takes in the image, as soon as that is known.
    pub(crate) size: u64,
    pub(crate) body: Body,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// How many names it has; a directory's subdirectories are not counted.
    pub(crate) names: u32,
    /// A set of [`crate::xattr::Table`].
    pub(crate) xattrs: u32,
    pub(crate) nanos: u32,
    /// Type and permissions.
    pub(crate) mode: u16,
}

/// What a file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A pipe, or an empty file.
    Empty,
    /// A directory, by the first of its names.
    Dir(u32),
    /// A symlink, by the place of its target among the texts.
    Link(u32),
    /// A device, by its number as the kernel stores it.
    Device(u32),
    /// A file whose data is one run, by its first block.
    Run(u32),
    /// A file of several runs, by its number in [`crate::extent::Files`].
    Pieces(u32),
}

impl Node {
    pub(crate) fn kind(&self) -> u32 {
        u32::from(self.mode) & S_IFMT
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.kind() == S_IFLNK
    }

    /// Overlayfs's mark of a deleted file.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == S_IFCHR && self.body == Body::Device(0)
    }
}

/// A name in a directory. Those of one directory form a ring without an end.
#[derive(Clone, Copy)]
struct Name {
    parent: Id,
    node: Id,
    text: u32,
    next: u32,
    previous: u32,
    len: u8,
}

/// The tables.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    names: Vec<Name>,
    texts: Vec<u8>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Tree {
    /// A tree of a root directory alone.
    pub(crate) fn new(root: Node) -> Self {
        Self {
            nodes: vec![root],
            names: Vec::new(),
            texts: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        // Numbers are made here alone, and the root is always there.
        self.nodes.get(id as usize).unwrap_or(&self.nodes[0])
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> &mut Node {
        let at = if (id as usize) < self.nodes.len() {
            id
        } else {
            ROOT
        };
        &mut self.nodes[at as usize]
    }

    /// How many files there ever were; each number is below.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn text(&self, name: &Name) -> &[u8] {
        let start = name.text as usize;
        let text = self.texts.get(start..start + usize::from(name.len));
        text.unwrap_or_default()
    }

    /// The target of a symlink.
    pub(crate) fn target(&self, node: &Node) -> &[u8] {
        let Body::Link(at) = node.body else {
            return b"";
        };
        let start = at as usize;
        let text = self.texts.get(start..start + node.size as usize);
        text.unwrap_or_default()
    }

    fn find(&self, dir: Id, base: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one((dir, base));
        let same = |at: &u32| {
            let name = &self.names[*at as usize];
            name.parent == dir && self.text(name) == base
        };
        self.index.find(hash, same).copied()
    }

    /// The file under a name.
    pub(crate) fn lookup(&self, dir: Id, base: &[u8]) -> Option<Id> {
        self.find(dir, base).map(|at| self.names[at as usize].node)
    }

    /// The file at a clean path, without following a symlink.
    pub(crate) fn at(&self, path: &[u8]) -> Option<Id> {
        if path.is_empty() {
            return Some(ROOT);
        }
        let mut components = path.split(|b| *b == b'/');
        components.try_fold(ROOT, |dir, base| self.lookup(dir, base))
    }

    /// Adds text, for a name or a symlink's target.
    pub(crate) fn keep(&mut self, text: &[u8], path: &[u8]) -> Result<u32, Error> {
        let at = self.texts.len() as u64;
        if at + text.len() as u64 > TEXT {
            return Err(Error::Limit {
                path: quote(path),
                what: "bytes of names and symlinks",
                limit: TEXT,
            });
        }
        self.texts.extend_from_slice(text);
        Ok(at as u32)
    }

    /// Adds a file, which has no name yet.
    pub(crate) fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        (self.nodes.len() - 1) as Id
    }

    /// Gives a file a name that is free; `path` is for messages.
    pub(crate) fn link(&mut self, dir: Id, base: &[u8], id: Id, path: &[u8]) -> Result<(), Error> {
        let text = self.keep(base, path)?;
        let at = self.names.len() as u32;
        let Body::Dir(first) = self.node(dir).body else {
            return Ok(());
        };
        self.names.push(Name {
            parent: dir,
            node: id,
            text,
            next: first,
            previous: NONE,
            len: base.len() as u8,
        });
        if let Some(next) = self.names.get_mut(first as usize) {
            next.previous = at;
        }
        self.node_mut(dir).body = Body::Dir(at);
        self.node_mut(id).names += 1;
        let (names, texts, hasher) = (&self.names, &self.texts, &self.hasher);
        let hash = |at: &u32| {
            let name = &names[*at as usize];
            let start = name.text as usize;
            let text = &texts[start..start + usize::from(name.len)];
            hasher.hash_one((name.parent, text))
        };
        self.index.insert_unique(hash(&at), at, hash);
        Ok(())
    }

    /// Removes a name, and a directory with all that is in it. Returns what it
    /// was, `None` if there was nothing.
    pub(crate) fn remove(&mut self, dir: Id, base: &[u8]) -> Option<Node> {
        let at = self.find(dir, base)?;
        let removed = *self.node(self.names[at as usize].node);
        self.unlink(at);
        let mut below = Vec::from_iter(self.first(&removed));
        while let Some(at) = below.pop() {
            let name = self.names[at as usize];
            below.extend(self.named(name.next).map(|_| name.next));
            below.extend(self.first(self.node(name.node)));
            self.unlink(at);
        }
        Some(removed)
    }

    fn named(&self, at: u32) -> Option<&Name> {
        self.names.get(at as usize)
    }

    fn first(&self, node: &Node) -> Option<u32> {
        match node.body {
            Body::Dir(first) if first != NONE => Some(first),
            _ => None,
        }
    }

    fn unlink(&mut self, at: u32) {
        let name = self.names[at as usize];
        let hash = self.hasher.hash_one((name.parent, self.text(&name)));
        if let Ok(found) = self.index.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        if let Some(next) = self.names.get_mut(name.next as usize) {
            next.previous = name.previous;
        }
        match self.names.get_mut(name.previous as usize) {
            Some(previous) => previous.next = name.next,
            None => self.node_mut(name.parent).body = Body::Dir(name.next),
        }
        let node = self.node_mut(name.node);
        node.names = node.names.saturating_sub(1);
    }

    /// Sorts the names of all directories by their bytes.
    pub(crate) fn sort(&mut self) {
        let mut ring: Vec<u32> = Vec::new();
        for id in 0..self.nodes.len() {
            let Some(first) = self.first(&self.nodes[id]) else {
                continue;
            };
            ring.clear();
            let mut at = first;
            while let Some(name) = self.named(at) {
                ring.push(at);
                at = name.next;
            }
            ring.sort_unstable_by_key(|at| {
                let name = &self.names[*at as usize];
                let start = name.text as usize;
                &self.texts[start..start + usize::from(name.len)]
            });
            let mut previous = NONE;
            for (position, at) in ring.iter().enumerate() {
                let next = ring.get(position + 1).copied().unwrap_or(NONE);
                let name = &mut self.names[*at as usize];
                (name.previous, name.next) = (previous, next);
                previous = *at;
            }
            self.nodes[id].body = Body::Dir(ring[0]);
        }
    }

    /// The names in a directory with their files, in the order of
    /// [`Self::sort`].
    pub(crate) fn children(&self, dir: Id) -> impl Iterator<Item = (&[u8], Id)> {
        let mut at = self.first(self.node(dir));
        std::iter::from_fn(move || {
            let name = self.named(at?)?;
            at = Some(name.next);
            Some((self.text(name), name.node))
        })
    }

    /// The body of a new directory.
    pub(crate) const fn empty_dir() -> Body {
        Body::Dir(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: u32) -> Node {
        Node {
            secs: 0,
            size: 0,
            body: if kind == S_IFDIR {
                Tree::empty_dir()
            } else {
                Body::Empty
            },
            uid: 0,
            gid: 0,
            names: 0,
            xattrs: 0,
            nanos: 0,
            mode: kind as u16,
        }
    }

    #[test]
    fn rows_are_small() {
        assert_eq!((size_of::<Node>(), size_of::<Name>()), (48, 24));
    }

    #[test]
    fn names_come_sorted_and_go_with_their_directory() {
        let mut tree = Tree::new(node(S_IFDIR));
        let dir = tree.add(node(S_IFDIR));
        tree.link(ROOT, b"d", dir, b"d").unwrap();
        let file = tree.add(node(0o100_000));
        for name in [&b"b"[..], b"a", b"a.b", b"a-b", b"A"] {
            tree.link(dir, name, file, name).unwrap();
        }
        let deep = tree.add(node(S_IFDIR));
        tree.link(dir, b"deep", deep, b"d/deep").unwrap();
        tree.link(deep, b"x", file, b"d/deep/x").unwrap();
        assert_eq!(tree.node(file).names, 6);
        tree.sort();
        let names: Vec<_> = tree.children(dir).map(|(name, _)| name).collect();
        assert_eq!(names, [&b"A"[..], b"a", b"a-b", b"a.b", b"b", b"deep"]);
        assert_eq!(tree.at(b"d/deep/x"), Some(file));
        assert!(tree.remove(dir, b"a").is_some());
        assert_eq!((tree.lookup(dir, b"a"), tree.node(file).names), (None, 5));
        tree.link(ROOT, b"kept", file, b"kept").unwrap();
        assert!(tree.remove(ROOT, b"d").is_some_and(|node| node.is_dir()));
        assert!(tree.remove(ROOT, b"d").is_none());
        assert_eq!((tree.at(b"d/deep/x"), tree.node(file).names), (None, 1));
        assert_eq!((tree.node(deep).names, tree.children(dir).count()), (0, 0));
    }
}
