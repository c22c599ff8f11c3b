//! The tree as a tar, straight into the store.
//!
//! Entries come in the order of their paths' bytes; the first name of a file
//! has its contents and the others are hard links to it. A thread writes the
//! tar while this one hashes and stores it; the store sees the end of the
//! stream only if the whole tar was written, so nothing that is cut off can
//! get a name.

use super::{Assembled, Content, Node, Part, spool};
use crate::error::{Error, Result};
use hako_spec::digest::Digest;
use hako_store::Store;
use hako_tar::{Entry, Kind, Time, Writer};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes that are handed over at once.
const PIECE: usize = 256 << 10;

/// Pieces that wait at most.
const WAITING: usize = 8;

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the tar, which is stored as it is: also the diff id.
    pub digest: Digest,
    /// Size of the tar in bytes.
    pub size: u64,
    /// Bytes of the files in it.
    pub contents: u64,
}

/// Writes the layer into the store; `limit` bounds its size in bytes.
///
/// # Errors
/// A package's contents cannot be read, or the store cannot be written.
pub fn write(assembled: &Assembled, parts: &[Part], store: &Store, limit: u64) -> Result<Layer> {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let job = scope.spawn(move || {
            let out = BufWriter::with_capacity(PIECE, Outlet(sender));
            let (contents, out) = stream(assembled, parts, out)?;
            let outlet = out.into_inner().map_err(|e| e.to_string())?;
            outlet.0.send(Piece::End).map_err(|e| e.to_string())?;
            Ok::<u64, String>(contents)
        });
        let mut source = Inlet {
            receiver,
            piece: Vec::new(),
            read: 0,
            ended: false,
        };
        let stored = store.blobs().put_stream(&mut source, limit);
        // A writer that waits for a reader is freed.
        drop(source);
        let written = job.join().map_err(|_| Error::Worker("write the layer"))?;
        match (written, stored) {
            (Ok(contents), Ok((digest, size))) => Ok(Layer {
                digest,
                size,
                contents,
            }),
            (Err(reason), Err(hako_store::Error::Source { .. }) | Ok(_)) => Err(Error::Malformed {
                what: "the layer".to_owned(),
                reason,
            }),
            (_, Err(error)) => Err(Error::Store(Box::new(error))),
        }
    })
}

enum Piece {
    Data(Vec<u8>),
    End,
}

struct Outlet(SyncSender<Piece>);

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::other("the store stopped reading");
        self.0.send(Piece::Data(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Inlet {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read >= self.piece.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Piece::Data(piece)) => {
                    self.piece = piece;
                    self.read = 0;
                }
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::Error::other("the layer was not written to its end")),
            }
        }
        let left = self.piece.get(self.read..).unwrap_or_default();
        let n = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), left.get(..n)) {
            to.copy_from_slice(from);
        }
        self.read += n;
        Ok(n)
    }
}

/// A range of a file.
struct Range<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = self
            .file
            .read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// Writes the tar; gives the bytes of all files.
fn stream<W: Write>(
    assembled: &Assembled,
    parts: &[Part],
    out: W,
) -> std::result::Result<(u64, W), String> {
    let mut writer = Writer::new(out);
    let mut first_names: HashMap<(usize, usize), &[u8]> = HashMap::new();
    let mut contents = 0u64;
    for (path, node) in &assembled.tree.nodes {
        let mut entry = entry(path, node);
        match &node.content {
            Content::Dir => entry.kind = Kind::Dir,
            Content::Fifo => entry.kind = Kind::Fifo,
            Content::Symlink(target) => {
                entry.kind = Kind::Symlink;
                entry.link.clone_from(target);
            }
            Content::Bytes(bytes) => {
                entry.size = bytes.len() as u64;
                contents += entry.size;
                writer
                    .append(&entry, bytes.as_ref())
                    .map_err(|e| chain(&e))?;
                continue;
            }
            Content::Packed {
                package,
                offset,
                size,
                inode,
            } => {
                if let Some(first) = first_names.get(&(*package, *inode)) {
                    entry.kind = Kind::HardLink;
                    entry.link = first.to_vec();
                } else {
                    first_names.insert((*package, *inode), path);
                    let file = spool(parts, *package).ok_or("a file of no package")?;
                    entry.size = *size;
                    contents += size;
                    let data = Range {
                        file,
                        offset: *offset,
                        left: *size,
                    };
                    writer.append(&entry, data).map_err(|e| chain(&e))?;
                    continue;
                }
            }
        }
        writer.append(&entry, io::empty()).map_err(|e| chain(&e))?;
    }
    Ok((contents, writer.finish().map_err(|e| chain(&e))?))
}

fn entry(path: &[u8], node: &Node) -> Entry {
    let seconds = node.mtime.unwrap_or(0);
    Entry {
        mode: node.mode & 0o7777,
        uid: node.uid,
        gid: node.gid,
        mtime: Time::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)),
        xattrs: node.xattrs.clone(),
        ..Entry::new(Kind::File, path)
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::part;
    use super::super::{Tree, merge};
    use super::*;
    use crate::package::Content as Packed;

    fn tree(parts: &[Part]) -> Assembled {
        let mut tree: Tree = merge::merge(parts).unwrap();
        tree.complete();
        tree.clamp(7);
        Assembled { tree, created: 7 }
    }

    #[test]
    fn gnu_tar_reads_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let mut one = part(
            "a",
            "",
            &[
                "usr/z=first",
                "usr/b=!second",
                "usr/l -> b",
                "etc/",
                "usr/c=gone",
            ],
        );
        // c becomes a second name of z: the first in order has the data.
        one.deb.entries[4].content = one.deb.entries[0].content.clone();
        assert!(matches!(
            one.deb.entries[4].content,
            Packed::File { inode: 0, .. }
        ));
        let parts = [one];
        let made = tree(&parts);
        let layer = write(&made, &parts, &store, 1 << 20).unwrap();
        assert_eq!(layer.contents, 11);
        assert_eq!(write(&made, &parts, &store, 1 << 20).unwrap(), layer);
        let tar = store.blobs().read(&layer.digest, 1 << 20).unwrap();
        assert_eq!(tar.len() as u64, layer.size);
        let file = dir.path().join("x.tar");
        std::fs::write(&file, tar).unwrap();
        let out = std::process::Command::new("tar")
            .args(["--utc", "-tvf"])
            .arg(&file)
            .output()
            .expect("tar runs");
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && out.stderr.is_empty());
        let lines: Vec<String> = text
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "-rwxr-xr-x 0/0 6 1970-01-01 00:00 usr/b",
            "-rw-r--r-- 0/0 5 1970-01-01 00:00 usr/c",
            "hrw-r--r-- 0/0 0 1970-01-01 00:00 usr/z link to usr/c",
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00 usr/l -> b",
        ] {
            assert!(lines.iter().any(|l| l == line), "{line} in {lines:#?}");
        }
    }

    #[test]
    fn a_layer_that_breaks_off_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let mut one = part("a", "", &["a=first", "z=second"]);
        // The spool has fewer bytes than the entry says.
        one.deb.entries[1].content = Packed::File {
            offset: 3,
            size: 1000,
            inode: 1,
        };
        let parts = [one];
        let error = write(&tree(&parts), &parts, &store, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("layer"), "{error}");
        assert_eq!(store.blobs().list().unwrap().len(), 0);
        let good = [part("a", "", &["a=first"])];
        assert!(write(&tree(&good), &good, &store, 100).is_err());
        assert_eq!(store.blobs().list().unwrap().len(), 0);
    }
}
