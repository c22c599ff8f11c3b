//! The compact form of an index, a file of the cache.
//!
//! ```text
//! magic (8) | length of the table (8) | SHA-256 of the table (32) | table | records
//! table = names, virtual names, references, records: counts (4 × 4), then
//!   name:      offset in strings (4), length (4), first reference (4), count (4)
//!   reference: number of a record (4)
//!   record:    offset (4), length (4), first 8 bytes of its SHA-256
//!   strings
//! ```
//!
//! Numbers are little-endian. Names and virtual names are sorted by their
//! bytes. The hashes guard against damage on the disk: whoever can write to
//! the cache on purpose can as well write to the store.

use super::package::{Package, parse_record};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// First bytes; the digit is the format's version.
pub const MAGIC: &[u8; 8] = b"hakodeb1";

const HEAD: usize = 8 + 8 + 32;
const COUNTS: usize = 16;
const NAME: usize = 16;
const REFERENCE: usize = 4;
const RECORD: usize = 16;

/// Collects records.
#[derive(Debug, Default)]
pub(super) struct Builder {
    names: BTreeMap<String, Vec<u32>>,
    provided: BTreeMap<String, Vec<u32>>,
    records: Vec<(u32, u32, [u8; 8])>,
    blob: Vec<u8>,
}

fn number(n: usize) -> Result<u32, String> {
    u32::try_from(n).map_err(|_| "is too large for the cache".to_owned())
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let mut short = [0; 8];
    short.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    short
}

impl Builder {
    pub(super) fn add<'a>(
        &mut self,
        name: &str,
        provides: impl Iterator<Item = &'a str>,
        record: &str,
    ) -> Result<(), String> {
        let id = number(self.records.len())?;
        let entry = (
            number(self.blob.len())?,
            number(record.len())?,
            checksum(record.as_bytes()),
        );
        self.records.push(entry);
        self.blob.extend_from_slice(record.as_bytes());
        push(&mut self.names, name, id);
        for virtual_name in provides {
            push(&mut self.provided, virtual_name, id);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, String> {
        let mut names = Vec::new();
        let mut references = Vec::new();
        let mut strings = Vec::new();
        for (name, ids) in self.names.iter().chain(&self.provided) {
            for n in [
                strings.len(),
                name.len(),
                references.len() / REFERENCE,
                ids.len(),
            ] {
                names.extend(number(n)?.to_le_bytes());
            }
            strings.extend(name.bytes());
            references.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        }
        let mut table = Vec::new();
        for n in [
            self.names.len(),
            self.provided.len(),
            references.len() / REFERENCE,
            self.records.len(),
        ] {
            table.extend(number(n)?.to_le_bytes());
        }
        table.extend(names);
        table.extend(references);
        for (offset, length, check) in self.records {
            table.extend(offset.to_le_bytes());
            table.extend(length.to_le_bytes());
            table.extend(check);
        }
        table.extend(strings);
        let mut out = Vec::with_capacity(HEAD + table.len() + self.blob.len());
        out.extend(MAGIC);
        out.extend((table.len() as u64).to_le_bytes());
        out.extend(<[u8; 32]>::from(Sha256::digest(&table)));
        out.extend(table);
        out.extend(self.blob);
        Ok(out)
    }
}

fn push(map: &mut BTreeMap<String, Vec<u32>>, name: &str, id: u32) {
    match map.get_mut(name) {
        Some(ids) if ids.last() == Some(&id) => {}
        Some(ids) => ids.push(id),
        None => {
            map.insert(name.to_owned(), vec![id]);
        }
    }
}

/// Why a lookup failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The file is not what was written: it is to be made anew.
    #[error("the cached index is damaged ({0})")]
    Damaged(&'static str),
    /// The archive's own record cannot be used.
    #[error("{0}")]
    Malformed(String),
}

/// An index that is open for lookups.
#[derive(Debug)]
pub struct Index {
    file: File,
    table: Vec<u8>,
    names: usize,
    provided: usize,
    references: usize,
    records: usize,
}

impl Index {
    /// Opens a compact index and checks its table.
    ///
    /// # Errors
    /// The file cannot be read, is of another format, or damaged.
    pub fn open(file: File) -> Result<Self, Trouble> {
        let damaged = Trouble::Damaged;
        let length = file.metadata().map_err(|_| damaged("length"))?.len();
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0)
            .map_err(|_| damaged("head"))?;
        let (magic, rest) = head.split_at(8);
        let (size, hash) = rest.split_at(8);
        let size = u64::from_le_bytes(size.try_into().unwrap_or_default());
        if magic != MAGIC || size > length.saturating_sub(HEAD as u64) {
            return Err(damaged("head"));
        }
        let mut table = vec![0; usize::try_from(size).map_err(|_| damaged("head"))?];
        file.read_exact_at(&mut table, HEAD as u64)
            .map_err(|_| damaged("table"))?;
        if Sha256::digest(&table).as_slice() != hash {
            return Err(damaged("table"));
        }
        let mut index = Self {
            names: read(&table, 0).unwrap_or(0),
            provided: read(&table, 4).unwrap_or(0),
            references: read(&table, 8).unwrap_or(0),
            records: read(&table, 12).unwrap_or(0),
            file,
            table: Vec::new(),
        };
        let blob = index.records.checked_sub(1).map_or(0, |last| {
            let at = index.record_at(last);
            read(&table, at).unwrap_or(0) as u64 + read(&table, at + 4).unwrap_or(0) as u64
        });
        index.table = table;
        if (HEAD as u64) + size + blob != length {
            return Err(damaged("length"));
        }
        Ok(index)
    }

    /// The number of packages.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there is no package.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The packages of this very name, in the order of the index.
    ///
    /// # Errors
    /// A record is damaged or malformed.
    pub fn packages(&self, name: &str) -> Result<Vec<Package>, Trouble> {
        self.lookup(name, 0, self.names)
    }

    /// The packages that provide a virtual package of this name.
    ///
    /// # Errors
    /// A record is damaged or malformed.
    pub fn providers(&self, name: &str) -> Result<Vec<Package>, Trouble> {
        self.lookup(name, self.names, self.provided)
    }

    /// Where the table has a record.
    fn record_at(&self, id: usize) -> usize {
        let names = self
            .names
            .saturating_add(self.provided)
            .saturating_mul(NAME);
        let references = self.references.saturating_mul(REFERENCE);
        COUNTS
            .saturating_add(names)
            .saturating_add(references)
            .saturating_add(id.saturating_mul(RECORD))
    }

    fn lookup(&self, name: &str, first: usize, count: usize) -> Result<Vec<Package>, Trouble> {
        let strings = self.record_at(self.records);
        let entry = |i: usize| {
            let at = COUNTS + first.saturating_add(i).saturating_mul(NAME);
            let start = strings.saturating_add(read(&self.table, at)?);
            let text = self
                .table
                .get(start..start.saturating_add(read(&self.table, at + 4)?))?;
            Some((
                text,
                read(&self.table, at + 8)?,
                read(&self.table, at + 12)?,
            ))
        };
        let damaged = || Trouble::Damaged("table");
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (text, start, found) = entry(middle).ok_or_else(damaged)?;
            match text.cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let base = self
                        .record_at(0)
                        .saturating_sub(self.references.saturating_mul(REFERENCE));
                    return (start..start.saturating_add(found))
                        .map(|reference| {
                            let at = base.saturating_add(reference.saturating_mul(REFERENCE));
                            self.record(read(&self.table, at).ok_or_else(damaged)?)
                        })
                        .collect();
                }
            }
        }
        Ok(Vec::new())
    }

    fn record(&self, id: usize) -> Result<Package, Trouble> {
        let damaged = || Trouble::Damaged("record");
        let at = self.record_at(id);
        let offset = read(&self.table, at).ok_or_else(damaged)?;
        let length = read(&self.table, at + 4).ok_or_else(damaged)?;
        let check = self.table.get(at + 8..at + 16).ok_or_else(damaged)?;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, (HEAD + self.table.len()) as u64 + offset as u64)
            .map_err(|_| damaged())?;
        if checksum(&bytes) != check {
            return Err(damaged());
        }
        parse_record(std::str::from_utf8(&bytes).map_err(|_| damaged())?)
            .map_err(Trouble::Malformed)
    }
}

fn read(table: &[u8], at: usize) -> Option<usize> {
    let bytes = table.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
}
