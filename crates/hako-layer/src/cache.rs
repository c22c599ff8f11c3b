//! Directories that were opened lately. Members of one directory follow each
//! other in most archives, so their parent is looked up once.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// How many are kept open.
const SLOTS: usize = 64;

/// A directory of the tree that is built.
pub(crate) struct Dir {
    /// Opened with `O_PATH`.
    pub(crate) fd: OwnedFd,
    /// Its clean path from the root, all symlinks resolved; empty for the root.
    pub(crate) real: Vec<u8>,
    /// Whether what is made in it takes its group.
    pub(crate) setgid: bool,
}

/// Open directories by the path under which the archive names them.
#[derive(Default)]
pub(crate) struct Cache {
    slots: HashMap<Vec<u8>, (Rc<Dir>, u64)>,
    clock: u64,
}

impl Cache {
    pub(crate) fn get(&mut self, path: &[u8]) -> Option<Rc<Dir>> {
        self.clock += 1;
        let (dir, used) = self.slots.get_mut(path)?;
        *used = self.clock;
        Some(Rc::clone(dir))
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, dir: &Rc<Dir>) {
        if self.slots.len() >= SLOTS
            && let Some(oldest) = self
                .slots
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(k, _)| k.clone())
        {
            self.slots.remove(&oldest);
        }
        self.clock += 1;
        self.slots.insert(path, (Rc::clone(dir), self.clock));
    }

    /// Forgets everything: a directory or symlink was removed or changed.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }
}
