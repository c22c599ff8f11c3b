//! The files of all packages in one tree.
//!
//! dpkg unpacks packages one after the other through whatever links are
//! there. Here the order must not matter and nothing is written through a
//! link: first all links of all packages are known, then each path is put
//! where it leads. The top directories are links into `/usr` on every image
//! (the merged layout that Debian has required since release 12).

use super::Part;
use super::tree::{Content, Node, Tree};
use crate::error::{Error, Result, io};
use crate::package;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

/// The top directories that lie in `/usr`.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// Most links on the way to a path, as in the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

type Links = BTreeMap<Vec<u8>, Vec<u8>>;

/// Puts the packages' files together.
///
/// # Errors
/// A path that two packages ship differently and neither replaces, or that
/// leads nowhere.
pub(super) fn merge(parts: &[Part]) -> Result<Tree> {
    let mut links = Links::new();
    let mut tree = Tree::default();
    for top in MERGED {
        links.insert(top.into(), format!("usr/{top}").into_bytes());
    }
    let mut order: Vec<(usize, &Part)> = parts.iter().enumerate().collect();
    // base-files knows best what the directories are like.
    order.sort_by_key(|(_, part)| part.candidate.package.name != "base-files");
    for (_, part) in &order {
        for entry in &part.deb.entries {
            if let package::Content::Symlink(target) = &entry.content {
                let known = links
                    .entry(entry.path.clone())
                    .or_insert_with(|| target.clone());
                if MERGED.iter().any(|top| top.as_bytes() == entry.path)
                    && !same_target(known, target)
                {
                    return Err(Error::Malformed {
                        what: format!("package {}", part.candidate.package.name),
                        reason: format!(
                            "/{} leads to {}",
                            String::from_utf8_lossy(&entry.path),
                            String::from_utf8_lossy(target)
                        ),
                    });
                }
            }
        }
    }
    for (number, part) in order {
        for entry in &part.deb.entries {
            insert(&mut tree, &links, parts, number, entry)?;
        }
    }
    for top in ["bin", "lib", "sbin"] {
        tree.add_link(top, &format!("usr/{top}"));
        tree.add_dir(&format!("usr/{top}"), 0o755);
    }
    for top in MERGED {
        if tree.contains(&format!("usr/{top}")) {
            tree.add_link(top, &format!("usr/{top}"));
        }
    }
    check(&tree, parts)?;
    Ok(tree)
}

fn same_target(a: &[u8], b: &[u8]) -> bool {
    fn bare(path: &[u8]) -> &[u8] {
        path.strip_prefix(b"/").unwrap_or(path)
    }
    bare(a) == bare(b)
}

/// Where a path leads: every parent that is a link is followed, and the
/// last part too if `last`. `None` where it climbs out of the root, or the
/// links do not end.
fn lead(links: &Links, path: &[u8], last: bool) -> Option<Vec<u8>> {
    let mut out: Vec<u8> = Vec::new();
    let mut rest: Vec<Vec<u8>> = split(path);
    rest.reverse();
    let mut followed = 0;
    while let Some(part) = rest.pop() {
        if part == b".." {
            let end = out.iter().rposition(|c| *c == b'/').unwrap_or(0);
            if out.is_empty() {
                return None;
            }
            out.truncate(end);
            continue;
        }
        let mut here = out.clone();
        if !here.is_empty() {
            here.push(b'/');
        }
        here.extend_from_slice(&part);
        match links.get(&here).filter(|_| last || !rest.is_empty()) {
            Some(target) => {
                followed += 1;
                if followed > MOST_LINKS {
                    return None;
                }
                if target.starts_with(b"/") {
                    out.clear();
                }
                let mut parts = split(target);
                parts.reverse();
                rest.extend(parts);
            }
            None => out = here,
        }
    }
    Some(out)
}

fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|c| *c == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

fn insert(
    tree: &mut Tree,
    links: &Links,
    parts: &[Part],
    number: usize,
    entry: &package::Entry,
) -> Result<()> {
    let is_dir = entry.content == package::Content::Dir;
    // A directory that another package has as a link is what the link leads
    // to, as for dpkg.
    let place = lead(links, &entry.path, is_dir).filter(|path| !path.is_empty());
    let Some(path) = place else {
        if is_dir {
            return Ok(());
        }
        return Err(Error::Malformed {
            what: name(parts, number),
            reason: format!("/{} leads nowhere", String::from_utf8_lossy(&entry.path)),
        });
    };
    if MERGED.iter().any(|top| top.as_bytes() == path) {
        // The links themselves, which are made for every image.
        return match entry.content {
            package::Content::Symlink(_) => Ok(()),
            _ => Err(Error::Malformed {
                what: name(parts, number),
                reason: format!(
                    "/{} is neither a directory nor a link",
                    String::from_utf8_lossy(&path)
                ),
            }),
        };
    }
    let node = Node {
        content: match &entry.content {
            package::Content::Dir => Content::Dir,
            package::Content::Symlink(target) => Content::Symlink(target.clone()),
            package::Content::Fifo => Content::Fifo,
            package::Content::File {
                offset,
                size,
                inode,
            } => Content::Packed {
                package: number,
                offset: *offset,
                size: *size,
                inode: *inode,
            },
        },
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: Some(entry.mtime),
        xattrs: entry.xattrs.clone(),
        owner: Some(number),
    };
    let Some(there) = tree.nodes.get(&path) else {
        tree.nodes.insert(path, node);
        return Ok(());
    };
    if there.content == Content::Dir && node.content == Content::Dir {
        return Ok(());
    }
    let other = there.owner.unwrap_or(number);
    if replaces(parts, number, other) {
        if there.content != Content::Dir {
            tree.nodes.insert(path, node);
        }
        return Ok(());
    }
    if other == number || replaces(parts, other, number) || same(there, &node, parts)? {
        return Ok(());
    }
    Err(Error::FileConflict {
        path: format!("/{}", String::from_utf8_lossy(&path)),
        first: name(parts, other),
        second: name(parts, number),
    })
}

fn name(parts: &[Part], number: usize) -> String {
    parts.get(number).map_or_else(
        || "a package".to_owned(),
        |part| part.candidate.package.name.clone(),
    )
}

/// Whether one package may take over files of another (Policy 7.6.1).
fn replaces(parts: &[Part], number: usize, other: usize) -> bool {
    let (Some(part), Some(other)) = (parts.get(number), parts.get(other)) else {
        return false;
    };
    let other = &other.candidate.package;
    number_differs(part, other)
        && part.candidate.package.replaces.iter().any(|relation| {
            relation.name == other.name && relation.admits(Some(other.version.as_str()))
        })
}

fn number_differs(part: &Part, other: &crate::index::Package) -> bool {
    part.candidate.package.name != other.name
}

/// Whether two nodes are the same to whoever reads them.
fn same(a: &Node, b: &Node, parts: &[Part]) -> Result<bool> {
    match (&a.content, &b.content) {
        (Content::Symlink(a), Content::Symlink(b)) => Ok(a == b),
        (Content::Fifo, Content::Fifo) => Ok(true),
        (
            Content::Packed {
                package: p,
                offset: o,
                size: s,
                ..
            },
            Content::Packed {
                package: q,
                offset: r,
                size: t,
                ..
            },
        ) => {
            if s != t || (a.mode, a.uid, a.gid) != (b.mode, b.uid, b.gid) {
                return Ok(false);
            }
            let (Some(one), Some(two)) = (super::spool(parts, *p), super::spool(parts, *q)) else {
                return Ok(false);
            };
            let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
            let mut at = 0;
            while at < *s {
                let n = usize::try_from(s - at)
                    .unwrap_or(usize::MAX)
                    .min(left.len());
                let (Some(left), Some(right)) = (left.get_mut(..n), right.get_mut(..n)) else {
                    return Ok(false);
                };
                let reading = || io("the package cache", "read");
                one.read_exact_at(left, o + at).map_err(reading())?;
                two.read_exact_at(right, r + at).map_err(reading())?;
                if left != right {
                    return Ok(false);
                }
                at += n as u64;
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Nothing may lie below what is no directory.
fn check(tree: &Tree, parts: &[Part]) -> Result<()> {
    for (path, node) in &tree.nodes {
        for (i, _) in path.iter().enumerate().filter(|(_, c)| **c == b'/') {
            let parent = path.get(..i).unwrap_or_default();
            if let Some(above) = tree.nodes.get(parent).filter(|n| n.content != Content::Dir) {
                return Err(Error::FileConflict {
                    path: format!("/{}", String::from_utf8_lossy(parent)),
                    first: name(parts, above.owner.unwrap_or(usize::MAX)),
                    second: name(parts, node.owner.unwrap_or(usize::MAX)),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
