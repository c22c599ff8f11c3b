//! This layer and those below as one view, for `hako_layer::lower`.

use hako_layer::lower::{Child, Instance};
use hako_layer::name::join;
use hako_layer::{Error, XattrPrefix};

use crate::Inode;
use crate::format::{S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT};
use crate::layer::Layer;
use crate::options::Lower;
use crate::tree::Id;

/// A directory of this layer or of one below.
pub(crate) enum Place<'a> {
    Own {
        layer: &'a Layer<'a>,
        id: Id,
        real: Vec<u8>,
    },
    Lower {
        lower: &'a Lower<'a>,
        number: u32,
        dir: Inode,
        prefix: XattrPrefix,
    },
}

impl<'a> Place<'a> {
    /// The root of the layer in the making.
    pub(crate) fn own(layer: &'a Layer<'_>, id: Id) -> Self {
        Self::Own {
            layer,
            id,
            real: Vec::new(),
        }
    }

    /// The roots of the layers below.
    pub(crate) fn roots(lower: &'a [Lower<'a>], prefix: XattrPrefix) -> Result<Vec<Self>, Error> {
        let root = |(number, lower): (usize, &'a Lower<'a>)| {
            let dir = lower.image.root().map_err(|error| error.into_lower(b"/"))?;
            let number = number as u32;
            Ok(Self::Lower {
                lower,
                number,
                dir,
                prefix,
            })
        };
        lower.iter().enumerate().map(root).collect()
    }
}

impl Instance for Place<'_> {
    fn opaque(&self, path: &[u8]) -> Result<bool, Error> {
        match self {
            Self::Own { layer, real, .. } => Ok(layer.book.opaque.contains(real)),
            Self::Lower {
                lower, dir, prefix, ..
            } => {
                let wanted = prefix.opaque().as_bytes();
                let xattrs = lower.image.xattrs(dir);
                let xattrs = xattrs.map_err(|error| error.into_lower(path))?;
                let mark = xattrs.iter().find(|(name, _)| name == wanted);
                Ok(mark.is_some_and(|(_, value)| value == b"y"))
            }
        }
    }

    fn child(&self, name: &[u8], path: &[u8]) -> Result<Child<Self>, Error> {
        match self {
            Self::Own { layer, id, real } => {
                let tree = &layer.tree;
                let Some(id) = tree.lookup(*id, name) else {
                    return Ok(Child::Missing);
                };
                let node = tree.node(id);
                Ok(match node.kind() {
                    S_IFDIR => Child::Dir(Self::Own {
                        layer,
                        id,
                        real: join(real, name),
                    }),
                    S_IFLNK => Child::Symlink(tree.target(node).to_vec()),
                    _ if node.is_whiteout() => Child::Whiteout,
                    _ => Child::File,
                })
            }
            Self::Lower {
                lower,
                number,
                dir,
                prefix,
            } => {
                let failed = |error: crate::Error| error.into_lower(path);
                let Some(inode) = lower.image.lookup(dir, name).map_err(failed)? else {
                    return Ok(Child::Missing);
                };
                Ok(match inode.mode & S_IFMT {
                    S_IFDIR => Child::Dir(Self::Lower {
                        lower,
                        number: *number,
                        dir: inode,
                        prefix: *prefix,
                    }),
                    S_IFLNK => Child::Symlink(lower.image.target(&inode).map_err(failed)?),
                    S_IFCHR if inode.rdev == 0 => Child::Whiteout,
                    _ => Child::File,
                })
            }
        }
    }
}
