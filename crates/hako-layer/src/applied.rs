//! What applying a layer came to.

/// Facts about an applied layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Members of the archive, whiteouts included.
    pub entries: u64,
    /// Bytes of file data written.
    pub bytes: u64,
    /// Whiteouts and opaque markers met.
    pub whiteouts: u64,
    /// Directories that exist because something lies in them, without an entry
    /// of their own, by their path from the root, parents first. They have
    /// mode 0755, owner 0:0 and time 0, until [`crate::inherit`] gives them the
    /// lower layers' attributes. If this is empty and `root_entry` is true,
    /// the layer is the same whatever lies below. Always empty for
    /// [`crate::Format::Plain`] and when the lower layers were given.
    pub implicit: Vec<Vec<u8>>,
    /// Directories that were implicit when something was put into them, and
    /// have an entry of their own now, or are gone: [`crate::inherit`] has to
    /// make sure that the layers below have no symlinks there. Always empty for
    /// [`crate::Format::Plain`] and when the lower layers were given.
    pub assumed: Vec<Vec<u8>>,
    /// Whiteouts that were made, by the path that they delete. Where the layers
    /// below have nothing to delete, overlayfs would list such a name and then
    /// not find it; [`crate::inherit`] removes them. Always empty for
    /// [`crate::Format::Plain`] and when the lower layers were given.
    pub deleted: Vec<Vec<u8>>,
    /// Whether the archive describes the root directory itself. If not, a new
    /// root has the attributes of an implicit directory.
    pub root_entry: bool,
    /// The whole of the lower layers is hidden by this one. Overlayfs does not
    /// look at a root's opaque xattr: whoever mounts has to leave them out.
    pub opaque_root: bool,
    /// What could not be done as the archive wants it.
    pub warnings: Vec<Warning>,
}

/// One thing that was left out, on however many entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What was left out.
    pub notice: Notice,
    /// The first entry that it concerns.
    pub path: Vec<u8>,
    /// How many entries it concerns.
    pub count: u64,
}

/// Kinds of [`Warning`]s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An xattr that the kernel or file system refused (EPERM, ENOTSUP).
    Xattr {
        /// Its name.
        name: Vec<u8>,
    },
    /// A device node, by [`crate::Devices::Skip`].
    Device,
    /// A character device 0:0, which stands for a deleted file in overlayfs and
    /// cannot be shown: the name is taken as deleted.
    WhiteoutDevice,
    /// Metadata of the old AUFS driver (`.wh..wh.aufs` and the like).
    Aufs,
    /// A volume label.
    Label,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = crate::error::quote(&self.path);
        match &self.notice {
            Notice::Xattr { name } => write!(f, "xattr {} not set", name.escape_ascii())?,
            Notice::Device => write!(f, "device node left out")?,
            Notice::WhiteoutDevice => write!(f, "device 0:0 taken as a deletion")?,
            Notice::Aufs => write!(f, "AUFS metadata left out")?,
            Notice::Label => write!(f, "volume label left out")?,
        }
        match self.count {
            1 => write!(f, ": {path}"),
            count => write!(f, ": {path} and {} more", count - 1),
        }
    }
}

impl Applied {
    /// Whether the layer is the same whatever lies below, so that
    /// [`crate::inherit`] has nothing to do.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        let lists = [&self.implicit, &self.assumed, &self.deleted];
        self.root_entry && lists.iter().all(|list| list.is_empty())
    }

    /// Counts a notice, keeping its first path. The number of different xattr
    /// names is bounded, since the archive chooses them.
    pub fn warn(&mut self, notice: Notice, path: &[u8]) {
        const KINDS: usize = 64;
        if let Some(known) = self.warnings.iter_mut().find(|w| w.notice == notice) {
            known.count += 1;
        } else if self.warnings.len() < KINDS {
            self.warnings.push(Warning {
                notice,
                path: path.to_vec(),
                count: 1,
            });
        }
    }
}
