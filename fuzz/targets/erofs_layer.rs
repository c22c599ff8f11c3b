//! Any archive, as an image and as a directory: both are refused, or show the
//! same. Needs root, as device nodes and foreign owners do.
#![no_main]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use hako_erofs::{Image, Index, Visited};
use hako_layer::{Error, Format, Limits, Options, XattrPrefix};

/// Mode, owner, size, time, links, device, content.
type Node = (u32, u32, u32, u64, i64, u64, u64, Vec<u8>);

const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER: u32 = 0o020_000;

fn node(mut node: Node) -> Node {
    if node.0 & 0o170_000 == DIRECTORY {
        node.3 = 0;
    }
    if node.0 & 0o170_000 == CHARACTER && node.6 == 0 {
        // A whiteout: its owner, time and mode mean nothing.
        (node.1, node.2, node.4) = (0, 0, 0);
    }
    // Beyond them, file systems have times of their own.
    node.4 = node.4.clamp(-(1 << 31), (1 << 31) - 1);
    node
}

fn directory(root: &Path, path: &[u8], found: &mut BTreeMap<Vec<u8>, Node>) {
    let place = root.join(OsStr::from_bytes(path));
    let meta = std::fs::symlink_metadata(&place).expect("a file");
    let content = match meta.mode() & 0o170_000 {
        REGULAR if meta.len() < 1 << 20 => std::fs::read(&place).expect("a file"),
        SYMLINK => std::fs::read_link(&place)
            .expect("a symlink")
            .as_os_str()
            .as_bytes()
            .to_vec(),
        _ => Vec::new(),
    };
    let device = matches!(meta.mode() & 0o170_000, CHARACTER | 0o060_000);
    let rdev = if device { meta.rdev() } else { 0 };
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    let facts = (
        mode,
        uid,
        gid,
        meta.len(),
        meta.mtime(),
        meta.nlink(),
        rdev,
        content,
    );
    found.insert(path.to_vec(), node(facts));
    if meta.is_dir() {
        for entry in std::fs::read_dir(&place).expect("a list") {
            let name = entry.expect("an entry").file_name();
            let below = hako_layer::name::join(path, name.as_bytes());
            directory(root, &below, found);
        }
    }
}

fn image(bytes: &[u8], data: &File) -> BTreeMap<Vec<u8>, Node> {
    let image = Image::open(bytes).expect("an image");
    image.check().expect("a whole image");
    let mut found = BTreeMap::new();
    let visit = |Visited { path, inode }: &Visited| {
        let mut content = Vec::new();
        match inode.mode & 0o170_000 {
            REGULAR if inode.size < 1 << 20 => {
                content.resize(inode.size as usize, 0);
                for extent in image.extents(inode)? {
                    let extent = extent?;
                    let room = &mut content[extent.at as usize..][..extent.len as usize];
                    data.read_exact_at(room, extent.data).expect("data");
                }
            }
            SYMLINK => content = image.target(inode)?,
            _ => {}
        }
        let facts = (
            inode.mode,
            inode.uid,
            inode.gid,
            inode.size,
            inode.mtime.secs,
            u64::from(inode.nlink),
            u64::from(inode.rdev),
            content,
        );
        found.insert(path.clone(), node(facts));
        Ok(())
    };
    image.walk(visit).expect("a whole image");
    found
}

/// Makes the checksums of headers right, or few inputs would get far.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let blocks = bytes.chunks_exact_mut(512);
    for block in blocks.filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = &summed(bytes)[..];
    let limits = Limits {
        entries: 100,
        bytes: 1 << 20,
        file: 1 << 24,
        ..Limits::default()
    };
    let data = tempfile::tempfile().expect("a file");
    let options = hako_erofs::Options {
        limits: limits.clone(),
        ..hako_erofs::Options::default()
    };
    let index = Index::new(bytes, &data, &options);
    let temp = tempfile::tempdir().expect("a directory");
    let root = File::open(temp.path()).expect("the directory");
    let options = Options {
        limits,
        ..Options::new(Format::Overlay {
            xattr_prefix: XattrPrefix::Trusted,
        })
    };
    let applied = hako_layer::apply(bytes, root.as_fd(), &options);
    let (index, applied) = match (index, applied) {
        (Ok(index), Ok(applied)) => (index, applied),
        // Most of these are about what a file system can do.
        (_, Err(Error::System { .. }))
        | (Err(hako_erofs::Error::Layer(Error::System { .. })), _) => return,
        (Err(hako_erofs::Error::Layer(ours)), Err(theirs)) => {
            assert_eq!(ours.to_string(), theirs.to_string());
            return;
        }
        (Err(error), _) => panic!("only the image is refused: {error:?}"),
        (Ok(_), Err(error)) => panic!("only the directory is refused: {error:?}"),
    };
    let mut written = Vec::new();
    let ours = index.write(&mut written).expect("an image");
    assert_eq!(
        (ours.entries, ours.bytes, ours.whiteouts),
        (applied.entries, applied.bytes, applied.whiteouts)
    );
    assert_eq!(
        (ours.implicit, ours.assumed, ours.deleted),
        (applied.implicit, applied.assumed, applied.deleted)
    );
    let mut expected = BTreeMap::new();
    directory(temp.path(), b"", &mut expected);
    assert_eq!(image(&written, &data), expected);
});
