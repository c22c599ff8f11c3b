//! Files of a tar archive, read in place.
//!
//! Nothing is unpacked: the archive is scanned once for where its members lie,
//! and links are followed among the members alone, so no name in it can mean a
//! file of this machine (attacks 18).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hako_tar::codec::{self, Compression};
use hako_tar::{Kind, Reader};

use super::files::Files;
use crate::error::{Error, Result};

/// The most members an archive may have.
const MEMBERS: usize = 1_000_000;
/// How many links may follow one another.
const HOPS: usize = 16;

enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

/// A scanned archive.
pub(crate) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<String, Member>,
}

impl Archive {
    /// Scans the archive at `path`. A compressed one is unpacked first into a
    /// file without a name in the directory `scratch`.
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Self> {
        let failed = |source| Error::File {
            path: path.to_owned(),
            file: "the archive".to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let mut head = Vec::new();
        (&mut file)
            .take(codec::MAGIC as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let compression = codec::detect(&head);
        // A pipe cannot be read twice, a compressed file not from the middle.
        let seekable = file.seek(SeekFrom::Start(0)).is_ok();
        if !seekable || compression != Compression::None {
            let source = std::io::Cursor::new(if seekable { Vec::new() } else { head });
            let source = BufReader::with_capacity(1 << 18, source.chain(file));
            let mut plain = codec::decoder(compression, source).map_err(failed)?;
            let mut copy = tempfile::tempfile_in(scratch).map_err(failed)?;
            std::io::copy(&mut plain, &mut copy).map_err(failed)?;
            copy.seek(SeekFrom::Start(0)).map_err(failed)?;
            file = copy;
        }
        let members = scan(&file).map_err(|source| Error::Archive {
            path: path.to_owned(),
            source,
        })?;
        let Some(members) = members else {
            return Err(Error::Layout {
                path: path.to_owned(),
                reason: format!("more than {MEMBERS} members"),
            });
        };
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            members,
        })
    }

    /// Whether a member of this name is there.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.members.contains_key(file)
    }
}

fn scan(file: &File) -> Result<Option<HashMap<String, Member>>, hako_tar::Error> {
    let mut reader = Reader::new(file);
    let mut members = HashMap::new();
    while let Some(entry) = reader.next_entry()? {
        // A name that we cannot write down is a name that nobody asks for.
        let Some(name) = std::str::from_utf8(&entry.path)
            .ok()
            .and_then(|path| resolve("", path))
        else {
            continue;
        };
        let link = || std::str::from_utf8(&entry.link).ok();
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let member = match entry.kind {
            Kind::File if entry.sparse.is_none() => Member::File {
                offset: entry.offsets.data,
                size: entry.size,
            },
            Kind::HardLink => match link().and_then(|to| resolve("", to)) {
                Some(to) => Member::Link(to),
                None => continue,
            },
            Kind::Symlink => match link().and_then(|to| resolve(parent, to)) {
                Some(to) => Member::Link(to),
                None => continue,
            },
            _ => continue,
        };
        if members.len() >= MEMBERS {
            return Ok(None);
        }
        // As in every tar, the last member of a name counts.
        members.insert(name, member);
    }
    Ok(Some(members))
}

/// `path` as seen from the directory `base`, both in the archive. Nothing if it
/// is absolute or leads above the archive's root.
fn resolve(base: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

impl Files for Archive {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, file: &str) -> std::io::Result<(Box<dyn Read + Send>, u64)> {
        let mut name = file;
        for _ in 0..HOPS {
            match self.members.get(name) {
                Some(Member::File { offset, size }) => {
                    let part = Part {
                        file: Arc::clone(&self.file),
                        position: *offset,
                        end: offset.saturating_add(*size),
                    };
                    return Ok((Box::new(part), *size));
                }
                Some(Member::Link(to)) => name = to,
                None => return Err(std::io::ErrorKind::NotFound.into()),
            }
        }
        Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "too many links",
        ))
    }
}

/// A range of a file, independent of its position.
struct Part {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let Some(buffer) = buffer.get_mut(..wanted) else {
            return Ok(0);
        };
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_tar::{Entry, Writer};

    fn archive(members: &[(Entry, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in members {
            writer.append(entry, data.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn open(bytes: &[u8]) -> Archive {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        Archive::open(&path, dir.path()).unwrap()
    }

    fn members() -> Vec<u8> {
        archive(&[
            (Entry::file("./a", 3), "one"),
            (Entry::file("d/b", 3), "two"),
            (Entry::symlink("d/up", "../a"), ""),
            (Entry::symlink("d/out", "../../a"), ""),
            (Entry::symlink("d/etc", "/etc/passwd"), ""),
            (Entry::symlink("loop", "loop"), ""),
            (Entry::hard_link("hard", "d/b"), ""),
            (Entry::file("../evil", 4), "evil"),
            (Entry::file("/abs", 3), "abs"),
            (Entry::file("a", 6), "newest"),
        ])
    }

    #[test]
    fn members_and_links_stay_inside() {
        let archive = open(&members());
        let read = |name| archive.read(name, 100).ok();
        assert_eq!(read("a").unwrap(), b"newest");
        assert_eq!(read("d/b").unwrap(), b"two");
        assert_eq!(read("d/up").unwrap(), b"newest");
        assert_eq!(read("hard").unwrap(), b"two");
        for bad in [
            "d/out",
            "d/etc",
            "loop",
            "../evil",
            "evil",
            "/abs",
            "abs",
            "d",
            "",
            "/etc/passwd",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
        assert!(archive.has("d/b") && !archive.has("d/c"));
    }

    #[test]
    fn compressed_archives_are_the_same() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut encoder = codec::encoder(compression, None, Vec::new()).unwrap();
            std::io::Write::write_all(&mut encoder, &members()).unwrap();
            let archive = open(&encoder.finish().unwrap());
            assert_eq!(archive.read("d/up", 100).unwrap(), b"newest");
        }
    }

    #[test]
    fn a_broken_archive_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, vec![b'x'; 2048]).unwrap();
        assert!(matches!(
            Archive::open(&path, dir.path()),
            Err(Error::Archive { .. })
        ));
        assert!(matches!(
            Archive::open(&dir.path().join("none"), dir.path()),
            Err(Error::File { .. })
        ));
    }
}
