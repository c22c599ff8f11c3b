//! A layer on its way into an image: names and what they ask for become rows of
//! the tree, by the rules of `hako_layer`.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use hako_layer::lower::{Found, find};
use hako_layer::name::{bound, join, split};
use hako_layer::target::{Step, Target, enter};
use hako_layer::{Book, Error, IMPLICIT_MODE, Limits, quote, system};
use hako_tar::{Entry, Reader, Time};
use rustix::io::Errno;

use crate::extent::Piece;
use crate::format::{MAX_NAME, S_IFCHR, S_IFDIR};
use crate::options::{Lower, Options};
use crate::tree::{Body, Id, Node, ROOT, Tree};
use crate::view::Place;
use crate::xattr::{EMPTY, Table};

/// A directory of the layer.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) id: Id,
    /// Its clean path from the root, all symlinks resolved.
    pub(crate) real: Vec<u8>,
}

/// A lower layer's file that this layer has a copy of.
pub(crate) struct Copied {
    /// Where the copy is, by real path, if the path was not used again.
    pub(crate) path: Vec<u8>,
    pub(crate) id: Id,
}

pub(crate) struct Layer<'a> {
    pub(crate) options: Options<'a>,
    pub(crate) book: Book,
    pub(crate) tree: Tree,
    pub(crate) xattrs: Table,
    /// The data of files that are not one run.
    pub(crate) pieces: Vec<Vec<Piece>>,
    /// How many there are in all.
    pub(crate) counted: u64,
    pub(crate) copies: BTreeMap<Vec<u8>, Copied>,
    /// Whoever we are, for [`hako_layer::Ids::Squash`].
    own: (u32, u32),
    root: Arc<Dir>,
    /// The directory that was asked for last, by its name in the archive.
    last: Option<(Vec<u8>, Arc<Dir>)>,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(options: &Options<'a>) -> Result<Self, Error> {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let owner = options.ids.stored(0, 0, b"/")?.unwrap_or(own);
        Ok(Self {
            options: options.clone(),
            book: Book::new(options.lower.is_none()),
            tree: Tree::new(implicit(owner)),
            xattrs: Table::new(),
            pieces: Vec::new(),
            counted: 0,
            copies: BTreeMap::new(),
            own,
            root: Arc::new(Dir {
                id: ROOT,
                real: Vec::new(),
            }),
            last: None,
        })
    }

    /// The owner that an entry's file gets.
    pub(crate) fn owner(&self, entry: &Entry) -> Result<(u32, u32), Error> {
        let owner = self.options.ids.stored(entry.uid, entry.gid, &entry.path)?;
        Ok(owner.unwrap_or(self.own))
    }

    /// Refuses what is too long for a name (NAME_MAX).
    pub(crate) fn proper(base: &[u8], path: &[u8]) -> Result<(), Error> {
        if base.len() <= MAX_NAME {
            return Ok(());
        }
        Err(system("open", path)(Errno::NAMETOOLONG))
    }

    /// Gives a file a name, in place of what had it.
    pub(crate) fn place(&mut self, node: Node, dir: &Dir, base: &[u8]) -> Result<Id, Error> {
        let real = join(&dir.real, base);
        Self::proper(base, &real)?;
        self.vacate(dir, base);
        let id = self.tree.add(node);
        self.tree.link(dir.id, base, id, &real)?;
        Ok(id)
    }

    /// Makes way for a new file: removes what is at the name, whatever it is.
    /// Returns whether something that is no directory was removed.
    pub(crate) fn vacate(&mut self, dir: &Dir, base: &[u8]) -> bool {
        let Some(removed) = self.tree.remove(dir.id, base) else {
            return false;
        };
        self.book.removed(&join(&dir.real, base), removed.is_dir());
        if removed.is_dir() || removed.is_symlink() {
            self.last = None;
        }
        !removed.is_dir()
    }

    pub(crate) fn make_whiteout(&mut self, dir: &Dir, base: &[u8]) -> Result<(), Error> {
        let node = Node {
            body: Body::Device(0),
            mode: S_IFCHR as u16,
            ..implicit(self.own)
        };
        self.place(node, dir, base)?;
        self.book.deleted.insert(join(&dir.real, base));
        Ok(())
    }

    /// Makes a directory that the archive has not described (yet). Its owner is
    /// the container's root.
    fn make_implicit(
        &mut self,
        parent: &Dir,
        name: &[u8],
        real: Vec<u8>,
        may_inherit: bool,
    ) -> Result<Arc<Dir>, Error> {
        self.book.count(&real, &self.options.limits)?;
        let owner = self.options.ids.stored(0, 0, &real)?.unwrap_or(self.own);
        let id = self.place(implicit(owner), parent, name)?;
        if may_inherit && !self.book.is_hidden(&real) {
            self.book.implicit.insert(real.clone());
        }
        Ok(Arc::new(Dir { id, real }))
    }

    /// The layers below, if there are any that are known.
    pub(crate) fn lower(&self) -> &'a [Lower<'a>] {
        self.options.lower.unwrap_or_default()
    }

    /// What the layers below show at a path that this one does not have.
    pub(crate) fn below<'l>(&'l self, real: &[u8]) -> Result<Option<Found<Place<'l>>>, Error> {
        let lower = self.lower();
        if lower.is_empty() {
            return Ok(None);
        }
        let prefix = self.options.xattr_prefix;
        let own = Place::own(self, ROOT);
        find(Some(own), Place::roots(lower, prefix)?, real, false)
    }

    /// Forgets where the last entry was: a symlink is hidden now.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

/// A directory of which nothing is known.
fn implicit((uid, gid): (u32, u32)) -> Node {
    let Time { secs, nanos } = Time::default();
    Node {
        secs,
        size: 0,
        body: Tree::empty_dir(),
        uid,
        gid,
        names: 0,
        xattrs: EMPTY,
        nanos,
        mode: (S_IFDIR | IMPLICIT_MODE) as u16,
    }
}

impl Target for Layer<'_> {
    type Dir = Arc<Dir>;

    fn book(&mut self) -> &mut Book {
        &mut self.book
    }

    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    fn root(&self) -> Arc<Dir> {
        Arc::clone(&self.root)
    }

    fn real(dir: &Arc<Dir>) -> &[u8] {
        &dir.real
    }

    fn ascend(&mut self, dir: &Arc<Dir>) -> Result<Arc<Dir>, Error> {
        let real = split(&dir.real).0.to_vec();
        match self.tree.at(&real) {
            Some(id) => Ok(Arc::new(Dir { id, real })),
            None => Err(system("open", &real)(Errno::NOENT)),
        }
    }

    fn step(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Step<Arc<Dir>>, Error> {
        let real = join(&dir.real, name);
        bound(&real, &self.options.limits)?;
        Self::proper(name, &real)?;
        let Some(id) = self.tree.lookup(dir.id, name) else {
            if let Some(Found::Symlink(_, target)) = self.below(&real)? {
                self.book.followed.insert(real);
                return Ok(Step::Link(target));
            }
            if !create {
                return Ok(Step::Missing);
            }
            return self.make_implicit(dir, name, real, true).map(Step::Dir);
        };
        let node = *self.tree.node(id);
        if node.is_dir() {
            return Ok(Step::Dir(Arc::new(Dir { id, real })));
        }
        if node.is_symlink() {
            return Ok(Step::Link(self.tree.target(&node).to_vec()));
        }
        if !node.is_whiteout() {
            let (path, parent) = (quote(entry), quote(&real));
            return Err(Error::NotADirectory { path, parent });
        }
        if !create {
            return Ok(Step::Missing);
        }
        let made = self.make_implicit(dir, name, real, false)?;
        self.book.opaque.insert(made.real.clone());
        Ok(Step::Dir(made))
    }

    fn directory(
        &mut self,
        path: &[u8],
        entry: &[u8],
        create: bool,
    ) -> Result<Option<Arc<Dir>>, Error> {
        if let Some((known, dir)) = &self.last
            && known == path
        {
            return Ok(Some(Arc::clone(dir)));
        }
        let mut dir = self.root();
        for component in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            match enter(self, &dir, component, entry, create)? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
        }
        self.last = Some((path.to_vec(), Arc::clone(&dir)));
        Ok(Some(dir))
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.describe(ROOT, entry)
    }

    fn opaque(&mut self, dir: &Arc<Dir>) -> Result<(), Error> {
        self.book.not_followed(&dir.real)?;
        self.book.applied.opaque_root |= dir.real.is_empty();
        self.book.opaque.insert(dir.real.clone());
        Ok(())
    }

    fn whiteout(&mut self, dir: &Arc<Dir>, base: &[u8]) -> Result<(), Error> {
        let real = join(&dir.real, base);
        self.book.deletable(&real)?;
        match self.tree.lookup(dir.id, base) {
            None => self.make_whiteout(dir, base),
            // A file of this layer hides the lower one by itself.
            Some(id) if self.tree.node(id).is_dir() => {
                self.book.settle(&real);
                self.book.opaque.insert(real);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn node<R: Read>(
        &mut self,
        _: &mut Reader<R>,
        entry: &Entry,
        dir: &Arc<Dir>,
        base: &[u8],
    ) -> Result<(), Error> {
        self.make(entry, dir, base)?;
        if !self.book.followed.is_empty() && self.book.followed.contains(&join(&dir.real, base)) {
            // A lower layer's symlink is hidden now, and leads nowhere any more.
            self.forget();
        }
        Ok(())
    }
}
