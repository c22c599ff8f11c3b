//! The file tree of an image while it is made.

use super::{Part, spool};
use crate::error::{Result, io};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Dir,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A file that was made here.
    Bytes(Arc<[u8]>),
    /// A file of a package.
    Packed {
        /// Which package, as the parts are numbered.
        package: usize,
        /// Offset in the package's spool.
        offset: u64,
        /// Size in bytes.
        size: u64,
        /// Files of one package with the same number are hard links.
        inode: usize,
    },
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970; `None` for the image's own time.
    pub mtime: Option<u64>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The package that it is from.
    pub owner: Option<usize>,
}

impl Node {
    fn new(content: Content, mode: u32) -> Self {
        Self {
            content,
            mode,
            uid: 0,
            gid: 0,
            mtime: None,
            xattrs: Vec::new(),
            owner: None,
        }
    }
}

/// Nodes by path; paths have no slash at either end.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// All nodes but the root.
    pub nodes: BTreeMap<Vec<u8>, Node>,
    /// Time of nodes that have none of their own.
    pub default_time: u64,
}

impl Tree {
    /// A node by its very path, links not followed.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path.as_bytes())
    }

    /// Whether something is there, links not followed.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path.as_bytes())
    }

    /// Adds a directory where nothing is.
    pub fn add_dir(&mut self, path: &str, mode: u32) {
        self.add(path, Node::new(Content::Dir, mode));
    }

    /// Adds a file where nothing is.
    pub fn add_file(&mut self, path: &str, bytes: impl Into<Arc<[u8]>>) {
        self.add(path, Node::new(Content::Bytes(bytes.into()), 0o644));
    }

    /// Adds a file with other permissions where nothing is.
    pub fn add_file_mode(&mut self, path: &str, bytes: impl Into<Arc<[u8]>>, mode: u32) {
        self.add(path, Node::new(Content::Bytes(bytes.into()), mode));
    }

    /// Adds a link where nothing is.
    pub fn add_link(&mut self, path: &str, target: &str) {
        self.add(path, Node::new(Content::Symlink(target.into()), 0o777));
    }

    fn add(&mut self, path: &str, node: Node) {
        self.nodes.entry(path.as_bytes().to_vec()).or_insert(node);
    }

    /// The contents of a file that has at most `limit` bytes. `None` for
    /// what is no file, or larger.
    ///
    /// # Errors
    /// A spool cannot be read.
    pub fn read(&self, parts: &[Part], path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(node) = self.get(path) else {
            return Ok(None);
        };
        match &node.content {
            Content::Bytes(bytes) if bytes.len() as u64 <= limit => Ok(Some(bytes.to_vec())),
            Content::Packed {
                package,
                offset,
                size,
                ..
            } if *size <= limit => {
                let Some(file) = spool(parts, *package) else {
                    return Ok(None);
                };
                let mut bytes = vec![0; usize::try_from(*size).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut bytes, *offset)
                    .map_err(io("the package cache", "read"))?;
                Ok(Some(bytes))
            }
            _ => Ok(None),
        }
    }

    /// The paths below a directory.
    pub fn below<'a>(
        &'a self,
        directory: &str,
    ) -> impl Iterator<Item = (&'a [u8], &'a Node)> + use<'a> {
        let prefix = format!("{directory}/").into_bytes();
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, node)| (path.as_slice(), node))
    }

    /// Adds the directories that no package ships.
    pub fn complete(&mut self) {
        let mut missing = Vec::new();
        for path in self.nodes.keys() {
            for (i, _) in path.iter().enumerate().filter(|(_, c)| **c == b'/') {
                let parent = path.get(..i).unwrap_or_default();
                if !self.nodes.contains_key(parent) {
                    missing.push(parent.to_vec());
                }
            }
        }
        for path in missing {
            self.nodes
                .entry(path)
                .or_insert_with(|| Node::new(Content::Dir, 0o755));
        }
    }

    /// Lets no node be later than a time, and gives those without one the
    /// tree's.
    pub fn clamp(&mut self, latest: u64) {
        for node in self.nodes.values_mut() {
            node.mtime = Some(node.mtime.unwrap_or(self.default_time).min(latest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_and_clamps() {
        let mut tree = Tree {
            default_time: 50,
            ..Tree::default()
        };
        tree.add_file("a/b/c", *b"x");
        tree.add_dir("a-b", 0o700);
        tree.add_dir("a-b", 0o777);
        tree.complete();
        tree.clamp(40);
        let paths: Vec<_> = tree
            .nodes
            .keys()
            .map(|p| String::from_utf8_lossy(p).into_owned())
            .collect();
        assert_eq!(paths, ["a", "a-b", "a/b", "a/b/c"]);
        assert_eq!(tree.get("a-b").unwrap().mode, 0o700);
        assert!(tree.nodes.values().all(|n| n.mtime == Some(40)));
        assert_eq!(tree.below("a").count(), 2);
        assert_eq!(tree.read(&[], "a/b/c", 1).unwrap().unwrap(), b"x");
        assert_eq!(tree.read(&[], "a/b/c", 0).unwrap(), None);
    }
}
