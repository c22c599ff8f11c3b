//! What one member of an archive says about one file, as plain data: the
//! reader fills it, the writer is fed with it.

/// A point in time: `secs` since the epoch, rounded down, plus `nanos`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds since 1970-01-01T00:00:00Z; negative before it.
    pub secs: i64,
    /// Nanoseconds to add, `0..1_000_000_000`.
    pub nanos: u32,
}

impl Time {
    /// The time `secs` whole seconds after the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// The type of a member (POSIX pax, `typeflag`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file, contiguous and sparse ones included.
    #[default]
    File,
    /// A further name of the member whose path is in `link`.
    HardLink,
    /// A symbolic link to `link`.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
    /// A type that this crate does not know, by its flag byte (`V` is a GNU
    /// volume label); its data, `size` bytes, can be read.
    Other(u8),
}

impl Kind {
    /// The `typeflag` byte.
    #[must_use]
    pub const fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::Char => b'3',
            Self::Block => b'4',
            Self::Dir => b'5',
            Self::Fifo => b'6',
            Self::Other(flag) => flag,
        }
    }

    /// Whether members of this type have a body in the archive.
    #[must_use]
    pub const fn has_data(self) -> bool {
        matches!(self, Self::File | Self::Other(_))
    }
}

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in bytes, never 0.
    pub len: u64,
}

/// Where a member lies in the archive, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offsets {
    /// The first block that belongs to the member, extension headers included.
    pub member: u64,
    /// The member's own header block.
    pub header: u64,
    /// The first byte of the file's data (behind a sparse map, if there is one).
    pub data: u64,
    /// How many bytes of data are stored; less than `size` for a sparse file,
    /// whose segments lie there end to end.
    pub stored: u64,
}

/// One member of an archive.
///
/// Names are bytes: tar has no encoding. They have no NUL, but nothing else is
/// promised of them; whoever makes files from them has to distrust them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name, as in the archive but for the slash that ends a directory's.
    pub path: Vec<u8>,
    /// Target of a hard link (a name in the archive) or symlink; else empty.
    pub link: Vec<u8>,
    /// The type.
    pub kind: Kind,
    /// Permission bits, `0..=0o7777`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Owner's name, may be empty.
    pub uname: Vec<u8>,
    /// Group's name, may be empty.
    pub gname: Vec<u8>,
    /// Size of the file in bytes, holes included; 0 where there is no data.
    pub size: u64,
    /// Time of modification.
    pub mtime: Time,
    /// Time of access, where a PAX record gives it.
    pub atime: Option<Time>,
    /// Time of status change, where a PAX record gives it.
    pub ctime: Option<Time>,
    /// Extended attributes by full name (`user.x`), each name once.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Major number of a device.
    pub major: u32,
    /// Minor number of a device.
    pub minor: u32,
    /// PAX records that have no field here, each key once.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// Data of a sparse file: ascending, not overlapping, within `size`.
    pub sparse: Option<Vec<Segment>>,
    /// Place in the archive; ignored by the writer.
    pub offsets: Offsets,
}

impl Entry {
    /// An entry of the kind, owned by 0:0, of time 0; mode 0755 for
    /// directories, 0777 for symlinks, 0644 for the rest.
    #[must_use]
    pub fn new(kind: Kind, path: impl Into<Vec<u8>>) -> Self {
        let mode = match kind {
            Kind::Dir => 0o755,
            Kind::Symlink => 0o777,
            _ => 0o644,
        };
        Self {
            path: path.into(),
            kind,
            mode,
            ..Self::default()
        }
    }

    /// A regular file of `size` bytes.
    #[must_use]
    pub fn file(path: impl Into<Vec<u8>>, size: u64) -> Self {
        Self {
            size,
            ..Self::new(Kind::File, path)
        }
    }

    /// A directory.
    #[must_use]
    pub fn dir(path: impl Into<Vec<u8>>) -> Self {
        Self::new(Kind::Dir, path)
    }

    /// A symbolic link to `target`.
    #[must_use]
    pub fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self {
            link: target.into(),
            ..Self::new(Kind::Symlink, path)
        }
    }

    /// A hard link to the member named `target`.
    #[must_use]
    pub fn hard_link(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self {
            link: target.into(),
            ..Self::new(Kind::HardLink, path)
        }
    }
}
