//! A directory tree as data, with all that an unpacker has to get right, so
//! that two trees can be compared and their difference read.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// All that is compared of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    /// Contents of a file, target of a symlink.
    pub(crate) data: Vec<u8>,
    pub(crate) rdev: u64,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    /// The first name of the same inode, for hard links.
    pub(crate) same: Option<String>,
}

pub(crate) type Tree = BTreeMap<String, Node>;

/// Reads a tree; the root is `.`. A file larger than 16 MiB is represented by
/// its data regions.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut inodes = BTreeMap::new();
    walk(root, ".", &mut tree, &mut inodes);
    tree
}

fn walk(path: &Path, name: &str, tree: &mut Tree, inodes: &mut BTreeMap<(u64, u64), String>) {
    let meta = std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let kind = meta.file_type();
    let (kind, data) = if kind.is_dir() {
        ('d', Vec::new())
    } else if kind.is_symlink() {
        (
            'l',
            std::fs::read_link(path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec(),
        )
    } else if kind.is_file() {
        ('f', contents(path, meta.len()))
    } else if kind.is_fifo() {
        ('p', Vec::new())
    } else if kind.is_char_device() {
        ('c', Vec::new())
    } else {
        ('b', Vec::new())
    };
    let same = (kind != 'd' && meta.nlink() > 1).then(|| {
        inodes
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| name.to_owned())
            .clone()
    });
    let node = Node {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        data,
        rdev: if matches!(kind, 'c' | 'b') {
            meta.rdev()
        } else {
            0
        },
        xattrs: xattrs(path),
        same,
    };
    tree.insert(name.to_owned(), node);
    if kind == 'd' {
        let mut children: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap())
            .collect();
        children.sort_by_key(std::fs::DirEntry::file_name);
        for child in children {
            let base = child.file_name();
            let base = base.as_bytes().escape_ascii().to_string();
            walk(&child.path(), &format!("{name}/{base}"), tree, inodes);
        }
    }
}

fn contents(path: &Path, len: u64) -> Vec<u8> {
    if len <= 16 << 20 {
        return std::fs::read(path).unwrap();
    }
    use rustix::fs::{SeekFrom, seek};
    let file = std::fs::File::open(path).unwrap();
    let mut text = format!("{len} bytes");
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        text.push_str(&format!(", {start}..{at}"));
    }
    text.into_bytes()
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..n]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    for name in names.filter(|name| *name != b"security.selinux") {
        let mut value = vec![0; 64 << 10];
        let n = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(n);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    found
}

/// What differs, one line each; empty if nothing does.
pub(crate) fn difference(left: &Tree, right: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for name in names {
        match (left.get(name), right.get(name)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => lines.push(format!("{name}:\n  left  {a:?}\n  right {b:?}")),
            (Some(a), None) => lines.push(format!("{name}: only left {a:?}")),
            (None, Some(b)) => lines.push(format!("{name}: only right {b:?}")),
            (None, None) => {}
        }
    }
    lines
}

/// Fails with the difference if there is one.
#[track_caller]
pub(crate) fn assert_same(left: &Tree, right: &Tree) {
    let lines = difference(left, right);
    assert!(lines.is_empty(), "the trees differ:\n{}", lines.join("\n"));
}

/// Names alone, for the tests to which nothing else matters.
pub(crate) fn names(root: &Path) -> Vec<String> {
    read(root)
        .into_keys()
        .filter(|name| name != ".")
        .map(|name| name[2..].to_owned())
        .collect()
}

/// Runs a shell script; it has to succeed. Its output is returned.
#[track_caller]
pub(crate) fn shell(script: &str, dir: &Path) -> String {
    let script = format!("set -eu\n{script}");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
