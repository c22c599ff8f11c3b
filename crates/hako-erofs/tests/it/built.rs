//! One archive, made into a directory and into an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hako_erofs::{Image, Index, Inode, Lower, Options};
use hako_layer::{Applied, Error, XattrPrefix};

use crate::archive::{Member, OVERLAY, tar};
use crate::mounts::{erofs, isolated};
use crate::tree::{self, Node, Tree};

/// An image and its data on disk.
pub(crate) struct Built {
    pub(crate) image: PathBuf,
    pub(crate) data: PathBuf,
}

impl Built {
    pub(crate) fn open(&self) -> (Image<File>, File) {
        let image = Image::open(File::open(&self.image).unwrap()).unwrap();
        (image, File::open(&self.data).unwrap())
    }
}

/// An empty file for a layer's data.
pub(crate) fn data_file(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    options.open(path).unwrap()
}

/// Makes an image of the archive, over `lower` (top one first) if it is given.
pub(crate) fn build(
    work: &Path,
    name: &str,
    tar: &[u8],
    lower: Option<&[&Built]>,
) -> Result<(Built, Applied), hako_erofs::Error> {
    build_with(work, name, tar, lower, |_, _| Ok(()))
}

/// The same, with something done between reading and writing.
pub(crate) fn build_with(
    work: &Path,
    name: &str,
    tar: &[u8],
    lower: Option<&[&Built]>,
    between: impl FnOnce(&mut Index<'_>, &[Lower<'_>]) -> Result<(), hako_erofs::Error>,
) -> Result<(Built, Applied), hako_erofs::Error> {
    let built = Built {
        image: work.join(format!("{name}.erofs")),
        data: work.join(format!("{name}.data")),
    };
    let open: Vec<_> = lower.iter().copied().flatten().map(|l| l.open()).collect();
    let view: Vec<_> = open
        .iter()
        .map(|(image, data)| Lower { image, data })
        .collect();
    let options = Options {
        lower: lower.map(|_| view.as_slice()),
        ..Options::default()
    };
    let mut index = Index::new(tar, &data_file(&built.data), &options)?;
    between(&mut index, &view)?;
    let applied = index.write(File::create(&built.image).unwrap())?;
    Ok((built, applied))
}

/// Whiteouts in a directory have the time of their making, and a group that
/// their directory may give them; neither means anything.
pub(crate) fn timeless(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        if (node.kind, node.rdev) == ('c', 0) {
            (node.mtime, node.owner) = ((0, 0), (0, 0));
        }
    }
    tree
}

/// How many names each file has.
pub(crate) fn links(root: &Path, tree: &Tree) -> BTreeMap<String, u64> {
    let links = |name: &String| std::fs::symlink_metadata(root.join(name)).map(|m| m.nlink());
    let plain = tree.keys().filter(|name| !name.contains('\\'));
    plain
        .map(|name| (name.clone(), links(name).unwrap()))
        .collect()
}

/// What our reader sees, as a tree.
pub(crate) fn read(image: &Image<File>, data: &File) -> Tree {
    let mut tree = Tree::new();
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let visit = |visited: &hako_erofs::Visited| {
        let inode = &visited.inode;
        let name = if visited.path.is_empty() {
            ".".to_owned()
        } else {
            let parts = visited.path.split(|b| *b == b'/');
            parts.fold(".".to_owned(), |path, part| {
                format!("{path}/{}", part.escape_ascii())
            })
        };
        let kind = match inode.mode & 0o170_000 {
            0o040_000 => 'd',
            0o120_000 => 'l',
            0o100_000 => 'f',
            0o010_000 => 'p',
            0o020_000 => 'c',
            _ => 'b',
        };
        let xattrs = image.xattrs(inode)?.into_iter();
        let same = (kind != 'd' && inode.nlink > 1)
            .then(|| first.entry(inode.nid).or_insert(name.clone()).clone());
        let node = Node {
            kind,
            mode: inode.mode & 0o7777,
            owner: (inode.uid, inode.gid),
            mtime: (inode.mtime.secs, i64::from(inode.mtime.nanos)),
            data: match kind {
                'l' => image.target(inode)?,
                'f' => contents(image, data, inode)?,
                _ => Vec::new(),
            },
            rdev: u64::from(inode.rdev),
            xattrs: xattrs
                .map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value))
                .collect(),
            same,
        };
        tree.insert(name, node);
        Ok(())
    };
    image.walk(visit).unwrap();
    tree
}

fn contents(image: &Image<File>, data: &File, inode: &Inode) -> Result<Vec<u8>, hako_erofs::Error> {
    assert!(inode.size <= 16 << 20, "too large for this comparison");
    let mut bytes = vec![0; inode.size as usize];
    for extent in image.extents(inode)? {
        let extent = extent?;
        let room = &mut bytes[extent.at as usize..(extent.at + extent.len) as usize];
        data.read_exact_at(room, extent.data).unwrap();
    }
    Ok(bytes)
}

/// Makes both of the members and compares them in every way.
#[track_caller]
pub(crate) fn compare(members: &[Member]) -> Applied {
    compare_tar(&tar(members))
}

#[track_caller]
pub(crate) fn compare_tar(tar: &[u8]) -> Applied {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("dir");
    std::fs::create_dir(&dir).unwrap();
    let options = hako_layer::Options::new(OVERLAY);
    let expected = hako_layer::apply(tar, File::open(&dir).unwrap().as_fd(), &options);
    let expected = expected.unwrap();
    let (built, applied) = build(temp.path(), "layer", tar, None).unwrap();
    assert_eq!(applied, expected);
    same_tree(&built, &dir, temp.path());
    crate::fsck::check(&built);
    applied
}

/// The image shows the directory, to the kernel and to our reader.
#[track_caller]
pub(crate) fn same_tree(built: &Built, dir: &Path, work: &Path) {
    let expected = timeless(tree::read(dir));
    let target = work.join("mounted");
    let (mounted, names) = isolated(|| {
        erofs(&built.image, &built.data, &target);
        let mounted = tree::read(&target);
        let names = links(&target, &mounted);
        (mounted, names)
    });
    tree::assert_same(&mounted, &expected);
    assert_eq!(names, links(dir, &expected));
    let (image, data) = built.open();
    tree::assert_same(&read(&image, &data), &expected);
    assert_eq!(data.metadata().unwrap().len(), image.data_len());
}

/// The error of indexing, which has to be one of the layer's.
pub(crate) fn layer_error(error: hako_erofs::Error) -> Error {
    match error {
        hako_erofs::Error::Layer(error) => error,
        other => panic!("{other:?}"),
    }
}

pub(crate) const PREFIX: XattrPrefix = XattrPrefix::Trusted;
