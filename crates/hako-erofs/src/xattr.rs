//! Extended attributes: which of them a file gets, by the rules of the kernel
//! when they are set on a file system that has them all (fs/xattr.c), and each
//! kept once, in the form that it has in the image.

use std::collections::HashMap;
use std::sync::Arc;

use hako_layer::{Book, Error, quote, system, wanted};
use rustix::io::Errno;

use crate::Xattrs;
use crate::acl::Acl;
use crate::format::{ACL_ACCESS, ACL_DEFAULT, NAMESPACES, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

/// Longest name of an xattr, its namespace included (XATTR_NAME_MAX).
const MAX_NAME: usize = 255;
/// Longest value that the format can have; the kernel allows one byte more.
const MAX_VALUE: usize = 65_535;
/// Most bytes of a file's xattrs: their number of words is one of 16 bits.
const MAX_SET: usize = 65_000 * 4;
/// Most bytes of all different xattrs together.
const MAX_TABLE: u64 = 256 << 20;

/// The set of no xattrs.
pub(crate) const EMPTY: u32 = 0;

/// All xattrs of a layer, and the sets of them that files have.
pub(crate) struct Table {
    entries: Vec<Arc<[u8]>>,
    known: HashMap<Arc<[u8]>, u32>,
    sets: Vec<Arc<[u32]>>,
    known_sets: HashMap<Arc<[u32]>, u32>,
    bytes: u64,
}

impl Table {
    pub(crate) fn new() -> Self {
        let none: Arc<[u32]> = Arc::new([]);
        Self {
            entries: Vec::new(),
            known: HashMap::new(),
            sets: vec![Arc::clone(&none)],
            known_sets: HashMap::from([(none, EMPTY)]),
            bytes: 0,
        }
    }

    /// The xattrs of a set, by their numbers.
    pub(crate) fn set(&self, set: u32) -> &[u32] {
        self.sets.get(set as usize).map_or(&[], |set| set)
    }

    /// An xattr as it stands in the image.
    pub(crate) fn entry(&self, number: u32) -> &[u8] {
        self.entries.get(number as usize).map_or(&[], |entry| entry)
    }

    /// How many xattrs there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The set of a file's xattrs, given as pairs of names and values.
    pub(crate) fn intern(
        &mut self,
        pairs: &[(Vec<u8>, Vec<u8>)],
        path: &[u8],
    ) -> Result<u32, Error> {
        let entries = pairs
            .iter()
            .filter_map(|(name, value)| encode(name, value).map(Arc::from))
            .collect();
        self.collect(entries, path)
    }

    fn collect(&mut self, mut entries: Vec<Arc<[u8]>>, path: &[u8]) -> Result<u32, Error> {
        entries.sort_unstable();
        let size: usize = entries.iter().map(|entry| entry.len()).sum();
        if size > MAX_SET {
            return Err(system("set the xattrs of", path)(Errno::NOSPC));
        }
        let mut set = Vec::with_capacity(entries.len());
        for entry in entries {
            set.push(self.number(entry, path)?);
        }
        let set: Arc<[u32]> = set.into();
        if let Some(known) = self.known_sets.get(&set) {
            return Ok(*known);
        }
        self.grow(4 * set.len(), path)?;
        let number = self.sets.len() as u32;
        self.sets.push(Arc::clone(&set));
        self.known_sets.insert(set, number);
        Ok(number)
    }

    /// A set with one xattr more.
    pub(crate) fn with(
        &mut self,
        set: u32,
        name: &[u8],
        value: &[u8],
        path: &[u8],
    ) -> Result<u32, Error> {
        let old = self.set(set).iter();
        let mut entries: Vec<Arc<[u8]>> = old.map(|number| self.entry(*number).into()).collect();
        entries.extend(encode(name, value).map(Arc::from));
        self.collect(entries, path)
    }

    fn number(&mut self, entry: Arc<[u8]>, path: &[u8]) -> Result<u32, Error> {
        if let Some(number) = self.known.get(&entry) {
            return Ok(*number);
        }
        self.grow(entry.len(), path)?;
        let number = self.entries.len() as u32;
        self.entries.push(Arc::clone(&entry));
        self.known.insert(entry, number);
        Ok(number)
    }

    fn grow(&mut self, bytes: usize, path: &[u8]) -> Result<(), Error> {
        self.bytes += bytes as u64;
        if self.bytes <= MAX_TABLE {
            return Ok(());
        }
        Err(Error::Limit {
            path: quote(path),
            what: "bytes of different xattrs",
            limit: MAX_TABLE,
        })
    }
}

/// An entry of the image: lengths, number of the namespace, name, value.
fn encode(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let (rest, number) = NAMESPACES
        .iter()
        .find_map(|(space, number)| Some((name.strip_prefix(*space)?, *number)))?;
    let mut out = vec![u8::try_from(rest.len()).ok()?, number];
    out.extend(u16::try_from(value.len()).ok()?.to_le_bytes());
    out.extend(rest);
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Some(out)
}

/// What the kernel says to an xattr.
enum Verdict {
    Taken,
    Ignored,
    Refused,
    Error(Errno),
}

/// The xattrs that a file of this mode gets, and its mode with them: an access
/// control list changes it. What would be refused is noted and left out.
pub(crate) fn accepted(
    pairs: &[(Vec<u8>, Vec<u8>)],
    mode: u32,
    book: &mut Book,
    path: &[u8],
) -> Result<(Xattrs, u32), Error> {
    let (mut taken, mut mode) = (Vec::new(), mode);
    for (name, value) in pairs.iter().filter(|(name, _)| wanted(name)) {
        let mut value = value.clone();
        match judge(name, &mut value, &mut mode) {
            Verdict::Taken => taken.push((name.clone(), value)),
            Verdict::Ignored => {}
            Verdict::Refused => book.refused(name, path),
            Verdict::Error(errno) => return Err(system("set an xattr of", path)(errno)),
        }
    }
    Ok((taken, mode))
}

fn judge(name: &[u8], value: &mut Vec<u8>, mode: &mut u32) -> Verdict {
    if name.is_empty() || name.len() > MAX_NAME {
        return Verdict::Error(Errno::RANGE);
    }
    if name.contains(&0) {
        return Verdict::Error(Errno::INVAL);
    }
    if value.len() > MAX_VALUE {
        return Verdict::Error(Errno::TOOBIG);
    }
    let kind = *mode & S_IFMT;
    if name.starts_with(b"user.") && !matches!(kind, S_IFREG | S_IFDIR) {
        return Verdict::Refused;
    }
    match name {
        b"user." | b"trusted." | b"security." => Verdict::Error(Errno::INVAL),
        b"security.capability" if !is_capability(value) => Verdict::Error(Errno::INVAL),
        _ if name == ACL_ACCESS || name == ACL_DEFAULT => acl(name, value, mode),
        _ if NAMESPACES.iter().any(|(space, _)| name.starts_with(space)) => Verdict::Taken,
        _ => Verdict::Refused,
    }
}

fn acl(name: &[u8], value: &mut Vec<u8>, mode: &mut u32) -> Verdict {
    let kind = *mode & S_IFMT;
    let acl = match Acl::parse(value) {
        Ok(acl) => acl,
        Err(_) => return Verdict::Error(Errno::INVAL),
    };
    let Some(acl) = acl.filter(|_| kind != S_IFLNK) else {
        // Nothing to set, or on a symlink, which has no permissions.
        return if kind == S_IFLNK {
            Verdict::Refused
        } else {
            Verdict::Ignored
        };
    };
    *value = acl.value();
    if name == ACL_DEFAULT {
        return if kind == S_IFDIR {
            Verdict::Taken
        } else {
            Verdict::Refused
        };
    }
    *mode = *mode & !0o777 | acl.mode();
    if acl.is_plain() {
        Verdict::Ignored
    } else {
        Verdict::Taken
    }
}

/// Whether a value has the form of file capabilities (capabilities(7), "File
/// capability extended attribute versioning").
fn is_capability(value: &[u8]) -> bool {
    const REVISION: u32 = 0xFF00_0000;
    let Some(magic) = value.first_chunk() else {
        return value.is_empty();
    };
    let revision = u32::from_le_bytes(*magic) & REVISION;
    matches!((revision >> 24, value.len()), (2, 20) | (3, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &[u8], value: &[u8], mode: u32) -> Result<bool, Errno> {
        let (mut value, mut mode) = (value.to_vec(), mode);
        match judge(name, &mut value, &mut mode) {
            Verdict::Taken => Ok(true),
            Verdict::Ignored | Verdict::Refused => Ok(false),
            Verdict::Error(errno) => Err(errno),
        }
    }

    #[test]
    fn names_and_values_are_judged_as_by_the_kernel() {
        let capability = [&0x0200_0001u32.to_le_bytes()[..], &[0; 16]].concat();
        for (name, value, mode, expected) in [
            (&b"user.x"[..], &b""[..], S_IFREG, Ok(true)),
            (b"user.x", b"", S_IFLNK, Ok(false)),
            (b"trusted.x", b"1", S_IFLNK, Ok(true)),
            (b"foreign.x", b"1", S_IFREG, Ok(false)),
            (b"user.", b"1", S_IFREG, Err(Errno::INVAL)),
            (b"", b"1", S_IFREG, Err(Errno::RANGE)),
            (&[b'x'; 256], b"1", S_IFREG, Err(Errno::RANGE)),
            (b"user.x", &[0; 65_536], S_IFREG, Err(Errno::TOOBIG)),
            (b"security.capability", b"1234", S_IFREG, Err(Errno::INVAL)),
            (b"security.capability", &capability, S_IFREG, Ok(true)),
        ] {
            assert_eq!(
                verdict(name, value, mode),
                expected,
                "{}",
                name.escape_ascii()
            );
        }
    }

    #[test]
    fn equal_sets_are_kept_once_whatever_their_order() {
        let mut table = Table::new();
        let (a, b) = (
            (b"user.a".to_vec(), b"1".to_vec()),
            (b"user.b".to_vec(), b"2".to_vec()),
        );
        let one = table.intern(&[a.clone(), b.clone()], b"f").unwrap();
        assert_eq!(table.intern(&[b, a.clone()], b"g").unwrap(), one);
        assert_ne!(table.intern(&[a], b"h").unwrap(), one);
        assert_eq!(table.intern(&[], b"i").unwrap(), EMPTY);
        assert_eq!((table.len(), table.set(one).len()), (2, 2));
        assert_eq!(table.entry(0), b"\x01\x01\x01\0a1\0\0");
    }
}
