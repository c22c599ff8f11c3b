//! Taking a .deb apart (deb(5)): its control files in memory, its files as
//! entries whose contents lie in a spool file.

use crate::ar;
use crate::codec::{Compression, drain};
use crate::control;
use crate::error::{Error, Result, io};
use crate::index::Package;
use hako_tar::Kind;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};

/// Most bytes of all control files of a package. The largest (texlive's
/// lists of sums) have 10 MB.
const LARGEST_CONTROL: u64 = 128 << 20;

/// Most files of one package.
const MOST_FILES: usize = 2_000_000;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Dir,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A regular file: where in the spool it starts, and its size. Hard
    /// links to each other have the same `inode`.
    File {
        /// Offset in the spool in bytes.
        offset: u64,
        /// Size in bytes.
        size: u64,
        /// Number of the first name of the file in the package.
        inode: usize,
    },
    /// A named pipe.
    Fifo,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root, without a slash at either end; never empty.
    pub path: Vec<u8>,
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970; negative times are 0.
    pub mtime: u64,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A package taken apart.
#[derive(Debug)]
pub struct Deb {
    /// The control file.
    pub control: String,
    /// The other control files by name: md5sums, conffiles, postinst, ...
    pub info: Vec<(String, Vec<u8>)>,
    /// The files in the archive's order.
    pub entries: Vec<Entry>,
    /// The contents of the files.
    pub spool: File,
}

impl Deb {
    /// A control file by name, as text.
    pub fn info(&self, name: &str) -> Option<String> {
        let (_, bytes) = self.info.iter().find(|(n, _)| n == name)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Reads a package. `spool` is an empty file; `limit` bounds what the files
/// unpack to.
///
/// # Errors
/// The file is no package, not the one that the index means, or has
/// something that no package may have.
pub fn read(deb: File, expected: &Package, spool: File, limit: u64) -> Result<Deb> {
    let what = format!("package {} {}", expected.name, expected.version);
    let malformed = |reason: String| Error::Malformed {
        what: what.clone(),
        reason,
    };
    let mut reader = ar::Reader::new(BufReader::with_capacity(64 << 10, deb))
        .map_err(|e| malformed(e.to_string()))?;
    let next = |reader: &mut ar::Reader<BufReader<File>>| loop {
        match reader.next_member() {
            Err(e) => return Err(malformed(e.to_string())),
            Ok(None) => return Err(malformed("a member of the archive is missing".to_owned())),
            // Names that begin with an underscore are for extensions.
            Ok(Some(member)) if member.name.starts_with('_') => {}
            Ok(Some(member)) => return Ok(member),
        }
    };
    let first = next(&mut reader)?;
    let mut format = String::new();
    (&mut reader)
        .take(16)
        .read_to_string(&mut format)
        .map_err(|e| malformed(e.to_string()))?;
    if first.name != "debian-binary" || !format.starts_with("2.") {
        return Err(malformed(
            "it is not in the format 2.x of Debian packages".to_owned(),
        ));
    }
    let compression = |name: &str, stem: &str| {
        name.strip_prefix(stem)
            .and_then(Compression::of_suffix)
            .ok_or_else(|| {
                malformed(format!(
                    "{name:?} where {stem} (plain, .gz, .xz or .zst) is expected"
                ))
            })
    };
    let member = next(&mut reader)?;
    let packed = compression(&member.name, "control.tar")?;
    let (text, info) = packed
        .decoder(&mut reader, LARGEST_CONTROL)
        .map_err(|e| e.to_string())
        .and_then(read_control)
        .map_err(malformed)?;
    check_identity(&text, expected).map_err(malformed)?;
    let member = next(&mut reader)?;
    let packed = compression(&member.name, "data.tar")?;
    let mut out = BufWriter::with_capacity(256 << 10, spool);
    let entries = packed
        .decoder(&mut reader, limit)
        .map_err(|e| e.to_string())
        .and_then(|data| read_data(data, &mut out))
        .map_err(malformed)?;
    let spool = out
        .into_inner()
        .map_err(|e| io("the package cache", "write")(e.into_error()))?;
    Ok(Deb {
        control: text,
        info,
        entries,
        spool,
    })
}

type Files = Vec<(String, Vec<u8>)>;

fn read_control(tar: impl Read) -> std::result::Result<(String, Files), String> {
    let mut reader = hako_tar::Reader::new(tar);
    let mut text = None;
    let mut info = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|e| e.to_string())? {
        if entry.kind != Kind::File {
            continue;
        }
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        let plain = |c: &u8| c.is_ascii_alphanumeric() || b"._-+".contains(c);
        if !name.first().is_some_and(u8::is_ascii_alphanumeric) || !name.iter().all(plain) {
            return Err(format!(
                "a control file called {:?}",
                String::from_utf8_lossy(name)
            ));
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let mut bytes = Vec::new();
        reader
            .data()
            .read_to_end(&mut bytes)
            .map_err(|e| e.to_string())?;
        if name == "control" {
            text = Some(String::from_utf8_lossy(&bytes).into_owned());
        } else {
            info.push((name, bytes));
        }
    }
    reader.drain().map_err(|e| e.to_string())?;
    info.sort();
    Ok((text.ok_or("there is no control file")?, info))
}

/// The package must say of itself what the index says of it.
fn check_identity(text: &str, expected: &Package) -> std::result::Result<(), String> {
    let fields = control::single(text).map_err(|e| format!("its control file: {e}"))?;
    for (name, value) in [
        ("Package", expected.name.as_str()),
        ("Version", expected.version.as_str()),
        ("Architecture", expected.architecture.as_str()),
    ] {
        let own = fields.get(name).unwrap_or_default();
        if own != value {
            return Err(format!(
                "it says of itself {name}: {own}, the index says {value}"
            ));
        }
    }
    Ok(())
}

/// A member's name as a path from the root: without `./`, with nothing that
/// climbs. Empty for the root itself.
fn inside(name: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|c| *c == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(format!("a file called {:?}", String::from_utf8_lossy(name))),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

fn read_data(tar: impl Read, out: &mut impl Write) -> std::result::Result<Vec<Entry>, String> {
    let mut reader = hako_tar::Reader::new(tar);
    let mut entries: Vec<Entry> = Vec::new();
    // Where regular files are, for hard links to them.
    let mut names = std::collections::HashMap::new();
    let mut offset = 0u64;
    while let Some(entry) = reader.next_entry().map_err(|e| e.to_string())? {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let path = inside(&entry.path)?;
        if path.is_empty() {
            if entry.kind == Kind::Dir {
                continue;
            }
            return Err("the root is not a directory".to_owned());
        }
        let content = match entry.kind {
            Kind::Dir => Content::Dir,
            Kind::Symlink => Content::Symlink(entry.link.clone()),
            Kind::Fifo => Content::Fifo,
            Kind::File => {
                let size =
                    std::io::copy(&mut reader.data(), out).map_err(|e| format!("{shown}: {e}"))?;
                let start = offset;
                offset += size;
                names.insert(path.clone(), entries.len());
                Content::File {
                    offset: start,
                    size,
                    inode: entries.len(),
                }
            }
            Kind::HardLink => {
                let target = inside(&entry.link)?;
                let original = names.get(&target).and_then(|i| entries.get(*i));
                original
                    .map(|original| original.content.clone())
                    .ok_or_else(|| format!("{shown} is a hard link to what is no file before it"))?
            }
            Kind::Char | Kind::Block => return Err(format!("{shown} is a device")),
            Kind::Other(flag) => return Err(format!("{shown} is of the unknown type {flag}")),
        };
        entries.push(Entry {
            path,
            content,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: u64::try_from(entry.mtime.secs).unwrap_or(0),
            xattrs: entry.xattrs,
        });
        if entries.len() > MOST_FILES {
            return Err(format!("more than {MOST_FILES} files"));
        }
    }
    reader.drain().map_err(|e| e.to_string())?;
    Ok(entries)
}

/// Decompresses a member to its end: the fuzzers' way in.
///
/// # Errors
/// As [`read`].
pub fn scan(deb: &[u8], limit: u64) -> std::result::Result<u64, String> {
    let mut reader = ar::Reader::new(deb).map_err(|e| e.to_string())?;
    let mut total = 0;
    while let Some(member) = reader.next_member().map_err(|e| e.to_string())? {
        let suffix = member
            .name
            .split_once(".tar")
            .map_or("", |(_, suffix)| suffix);
        if let Some(compression) = Compression::of_suffix(suffix) {
            let decoder = compression
                .decoder(&mut reader, limit)
                .map_err(|e| e.to_string())?;
            total += if member.name.starts_with("data") {
                read_data(decoder, &mut std::io::sink())?.len() as u64
            } else {
                drain(decoder).map_err(|e| e.to_string())?
            };
        }
    }
    Ok(total)
}
