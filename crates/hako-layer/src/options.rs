//! What a caller can choose.

use std::os::fd::BorrowedFd;

use hako_spec::runtime::IdMapping;
use hako_tar::{Entry, Kind};

use crate::error::quote;
use crate::{Error, Notice};

/// How to apply a layer.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// What the directory is.
    pub format: Format,
    /// Which owners the files get.
    pub ids: Ids,
    /// Whether device nodes are made.
    pub devices: Devices,
    /// Roots of the layers below, the top one first, for [`Format::Overlay`].
    /// `Some(&[])` says that there are none; `None` that they are not known
    /// (yet), see [`crate::Applied::implicit`] and [`crate::Error::NeedsLower`].
    pub lower: Option<&'a [BorrowedFd<'a>]>,
    /// Bounds for hostile archives.
    pub limits: Limits,
}

impl Options<'_> {
    /// Options for root: ids as in the archive, devices made, default limits,
    /// lower layers not known.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            ids: Ids::Identity,
            devices: Devices::Create,
            lower: None,
            limits: Limits::default(),
        }
    }
}

/// What the directory is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One layer of an overlay mount, empty before: whiteouts become character
    /// devices 0:0 and opaque directories get an xattr (kernel
    /// Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
    /// directories").
    Overlay {
        /// Which xattrs the mount will look at.
        xattr_prefix: XattrPrefix,
    },
    /// The whole root file system up to this layer: whiteouts delete.
    Plain,
}

/// The namespace of overlayfs's own xattrs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrPrefix {
    /// `trusted.overlay.`, for mounts by root.
    Trusted,
    /// `user.overlay.`, for mounts in a user namespace (`userxattr`).
    User,
}

impl XattrPrefix {
    /// The name of the mark that hides what the lower layers have in a directory.
    #[must_use]
    pub const fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// Owners of the files that are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Ids {
    /// As in the archive.
    Identity,
    /// Mapped from `container_id` to `host_id`; an id outside is an error.
    Ranges {
        /// For owners.
        uids: Vec<IdMapping>,
        /// For groups.
        gids: Vec<IdMapping>,
    },
    /// Everything belongs to whoever calls: for users without subordinate ids.
    Squash,
}

/// What becomes of character and block devices in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// They are made; needs CAP_MKNOD in the initial user namespace.
    Create,
    /// They are left out, with a [`crate::Warning`]; what a lower layer has
    /// under such a name is hidden all the same.
    Skip,
}

impl Devices {
    /// Why a character or block device of the archive is left out, if it is.
    ///
    /// # Errors
    /// [`Error::Device`] for numbers that no device of Linux has: the kernel
    /// would cut them off, and 4096:0 would be the mark of a deletion.
    pub fn left_out(self, entry: &Entry) -> Result<Option<Notice>, Error> {
        let (major, minor) = (entry.major, entry.minor);
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::Device {
                path: quote(&entry.path),
                major,
                minor,
            });
        }
        if entry.kind == Kind::Char && (major, minor) == (0, 0) {
            return Ok(Some(Notice::WhiteoutDevice));
        }
        Ok((self == Self::Skip).then_some(Notice::Device))
    }
}

/// Upper bounds; beyond them an archive is refused.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Number of members, and of directories that are made without one.
    pub entries: u64,
    /// Length in bytes of a path, after resolution of its symlinks.
    pub path: usize,
    /// Number of components of a path, after resolution of its symlinks. The
    /// removal of a tree holds a file descriptor a level.
    pub depth: usize,
    /// Bytes of data of all files together, holes not counted.
    pub bytes: u64,
    /// Size in bytes of a single file, holes included.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            path: 4095,
            depth: 512,
            bytes: 1 << 40,
            file: 1 << 44,
        }
    }
}

impl Ids {
    /// The owner to store, `None` for whoever we are; `path` is for the error.
    ///
    /// # Errors
    /// [`Error::Id`].
    pub fn stored(&self, uid: u64, gid: u64, path: &[u8]) -> Result<Option<(u32, u32)>, Error> {
        // The last id means "none" to the kernel (chown(2)).
        let plain = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let (mapped_uid, mapped_gid) = match self {
            Self::Squash => return Ok(None),
            Self::Identity => (plain(uid), plain(gid)),
            Self::Ranges { uids, gids } => (map(uids, uid), map(gids, gid)),
        };
        let refuse = |kind, id| Error::Id {
            path: quote(path),
            kind,
            id,
        };
        let uid = mapped_uid.ok_or_else(|| refuse("user", uid))?;
        let gid = mapped_gid.ok_or_else(|| refuse("group", gid))?;
        Ok(Some((uid, gid)))
    }
}

/// The id under which `id` is stored, if it has one.
fn map(ranges: &[IdMapping], id: u64) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let within = id.checked_sub(u64::from(range.container_id))?;
        if within >= u64::from(range.size) {
            return None;
        }
        u32::try_from(u64::from(range.host_id) + within).ok()
    })
}
