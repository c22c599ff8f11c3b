//! Archives and directories for the tests, in few words.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use hako_layer::{Applied, Error, Format, Options, XattrPrefix};
use hako_tar::{Entry, Kind, Time, Writer};

pub(crate) const OVERLAY: Format = Format::Overlay {
    xattr_prefix: XattrPrefix::Trusted,
};

/// A member and its data.
pub(crate) type Member = (Entry, Vec<u8>);

pub(crate) fn tar(members: &[Member]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in members {
        writer.append(entry, data.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn file(path: &str, data: &str) -> Member {
    let mut entry = Entry::file(path, data.len() as u64);
    entry.mtime = Time {
        secs: 1_600_000_000,
        nanos: 123_456_789,
    };
    (entry, data.as_bytes().to_vec())
}

pub(crate) fn dir(path: &str, mode: u32) -> Member {
    let mut entry = Entry::dir(path);
    entry.mode = mode;
    entry.mtime = Time {
        secs: 1_500_000_000,
        nanos: 987_654_321,
    };
    (entry, Vec::new())
}

pub(crate) fn symlink(path: &str, target: &str) -> Member {
    let mut entry = Entry::symlink(path, target);
    entry.mtime = Time {
        secs: 1_400_000_000,
        nanos: 5,
    };
    (entry, Vec::new())
}

pub(crate) fn link(path: &str, target: &str) -> Member {
    (Entry::hard_link(path, target), Vec::new())
}

pub(crate) fn device(path: &str, kind: Kind, major: u32, minor: u32) -> Member {
    let mut entry = Entry::new(kind, path);
    (entry.major, entry.minor) = (major, minor);
    (entry, Vec::new())
}

pub(crate) fn with_xattr((mut entry, data): Member, name: &str, value: &[u8]) -> Member {
    entry
        .xattrs
        .push((name.as_bytes().to_vec(), value.to_vec()));
    (entry, data)
}

pub(crate) fn owned((mut entry, data): Member, uid: u64, gid: u64, mode: u32) -> Member {
    (entry.uid, entry.gid, entry.mode) = (uid, gid, mode);
    (entry, data)
}

pub(crate) fn apply(dir: &Path, members: &[Member], format: Format) -> Result<Applied, Error> {
    apply_with(dir, &tar(members), &Options::new(format))
}

pub(crate) fn apply_with(dir: &Path, tar: &[u8], options: &Options<'_>) -> Result<Applied, Error> {
    std::fs::create_dir_all(dir).unwrap();
    hako_layer::apply(tar, File::open(dir).unwrap().as_fd(), options)
}
