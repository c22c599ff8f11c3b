//! Writes archives that are the same to the byte for the same entries: layers
//! are named by their digests.
//!
//! The format: ustar where a member fits into it, else a PAX extended header
//! before it that holds exactly the records which did not fit; never a GNU
//! extension. In detail:
//! * a path of at most 100 bytes stands in `name`; a longer one is split at a
//!   slash into `prefix` (at most 155) and `name`, at the first slash that
//!   serves; else `path`. Bytes beyond ASCII stay as they are. A directory's
//!   path ends with one slash.
//! * numbers are octal with leading zeros and a NUL; ids over 2097151, sizes
//!   over 8589934591, and times that are negative, too large or have
//!   nanoseconds are PAX records, and the field is 0 (for times: the whole
//!   seconds, where they fit).
//! * records come in the order hdrcharset, path, linkpath, size, uid, gid, uname,
//!   gname, mtime, atime, ctime, then xattrs by name, then `pax` by key.
//! * the extended header is called `PaxHeaders.0/` and the last component of
//!   the path, as far as it fits and is printable; its mode is 0644, its ids
//!   and time are 0.
//! * sparse files are written as plain ones (image-spec layer.md, "File
//!   Attributes": sparse files should not be used).
//! * the end is two blocks of zeros, with no further padding.

use std::io::{self, Read, Write};

use crate::error::quote;
use crate::header::Block;
use crate::reader::padding;
use crate::{BLOCK, Entry, Error, Kind, number, pax};

/// Where the writer put a member, in bytes from the archive's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its first block, extension header included.
    pub member: u64,
    /// The first byte of its data.
    pub data: u64,
}

/// A streaming writer of a tar archive. Without [`Writer::finish`] the archive
/// lacks its end.
pub struct Writer<W> {
    out: W,
    offset: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`, in pieces of a block and more: files want a buffer.
    pub fn new(out: W) -> Self {
        Self {
            out,
            offset: 0,
            buffer: Vec::new(),
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends a member. `data` must give exactly `entry.size` bytes for a
    /// file, holes of a sparse one included, and is not read for other kinds.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] before anything is written; [`Error::Data`],
    /// [`Error::Size`] and [`Error::Write`] leave an unusable archive.
    pub fn append(&mut self, entry: &Entry, data: impl Read) -> Result<Placed, Error> {
        let size = if entry.kind.has_data() { entry.size } else { 0 };
        let (records, header) = encode(entry, size)?;
        let member = self.offset;
        if !records.is_empty() {
            let extended = extended_header(entry, records.len())?;
            self.put(entry, &extended)?;
            self.put(entry, &records)?;
            self.pad(entry, records.len() as u64)?;
        }
        self.put(entry, &header)?;
        let placed = Placed {
            member,
            data: self.offset,
        };
        if entry.kind.has_data() {
            self.copy(entry, size, data)?;
            self.pad(entry, size)?;
        }
        Ok(placed)
    }

    /// Ends the archive and gives the destination back, flushed.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<W, Error> {
        let end = |source| Error::Write {
            member: "the end".to_owned(),
            source,
        };
        self.out.write_all(&[0; 2 * BLOCK]).map_err(end)?;
        self.out.flush().map_err(end)?;
        Ok(self.out)
    }

    fn put(&mut self, entry: &Entry, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| Error::Write {
            member: quote(&entry.path),
            source,
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, entry: &Entry, size: u64) -> Result<(), Error> {
        let zeros = [0; BLOCK];
        let n = usize::try_from(padding(size)).unwrap_or(0);
        self.put(entry, zeros.get(..n).unwrap_or_default())
    }

    fn copy(&mut self, entry: &Entry, size: u64, mut data: impl Read) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(128 * 1024, 0);
        let mut left = size;
        // Asks for one byte more than announced, to see that there is none.
        loop {
            let want = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
            let want = want.min(buffer.len());
            let room = buffer.get_mut(..want).unwrap_or_default();
            let n = match data.read(room) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(Error::Data {
                        member: quote(&entry.path),
                        source,
                    });
                }
            };
            if n as u64 > left || (n == 0 && left > 0) {
                return Err(Error::Size {
                    member: quote(&entry.path),
                    size,
                });
            }
            if n == 0 {
                break;
            }
            left -= n as u64;
            self.put(entry, buffer.get(..n).unwrap_or_default())?;
        }
        self.buffer = buffer;
        Ok(())
    }
}

/// The member's PAX records (may be empty) and its header block.
fn encode(entry: &Entry, size: u64) -> Result<(Vec<u8>, Block), Error> {
    let unrepresentable = |reason| Error::Unrepresentable {
        member: quote(&entry.path),
        reason,
    };
    let mut path = entry.path.clone();
    if entry.kind == Kind::Dir && path.last() != Some(&b'/') {
        path.push(b'/');
    }
    let strings = [&path, &entry.link, &entry.uname, &entry.gname];
    if strings.iter().any(|s| s.contains(&0)) {
        return Err(unrepresentable("a name contains NUL"));
    }
    if entry.path.is_empty() {
        return Err(unrepresentable("it has no name"));
    }
    let keys = || entry.xattrs.iter().chain(&entry.pax).map(|(k, _)| k);
    if keys().any(|k| k.is_empty() || k.contains(&0))
        || entry.pax.iter().any(|(k, _)| k.contains(&b'='))
    {
        return Err(unrepresentable("the name of an xattr or record is invalid"));
    }
    let mut records = Vec::new();
    let mut header = Fields::new(entry.kind.flag());
    if let Some((prefix, name)) = split(&path) {
        header.string(0, name);
        header.string(345, prefix);
    } else {
        header.string(0, printable_tail(&path, 100).as_bytes());
        pax::push_record(&mut records, b"path", &path);
    }
    if matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
        if entry.link.len() > 100 {
            pax::push_record(&mut records, b"linkpath", &entry.link);
        } else {
            header.string(157, &entry.link);
        }
    }
    header.octal(100, 8, u64::from(entry.mode & 0o7777));
    for (at, len, key, value) in [
        (124, 12, &b"size"[..], size),
        (108, 8, b"uid", entry.uid),
        (116, 8, b"gid", entry.gid),
    ] {
        if !header.octal(at, len, value) {
            pax::push_record(&mut records, key, value.to_string().as_bytes());
        }
    }
    for (at, key, value) in [
        (265, &b"uname"[..], &entry.uname),
        (297, b"gname", &entry.gname),
    ] {
        if value.len() > 32 {
            pax::push_record(&mut records, key, value);
        } else {
            header.string(at, value);
        }
    }
    let fits = u64::try_from(entry.mtime.secs).is_ok_and(|secs| header.octal(136, 12, secs));
    if !fits {
        header.octal(136, 12, 0);
    }
    for (key, time) in [
        (
            &b"mtime"[..],
            Some(entry.mtime).filter(|t| !fits || t.nanos != 0),
        ),
        (b"atime", entry.atime),
        (b"ctime", entry.ctime),
    ] {
        if let Some(time) = time {
            pax::push_record(&mut records, key, number::format_time(time).as_bytes());
        }
    }
    if matches!(entry.kind, Kind::Char | Kind::Block) {
        let major = header.octal(329, 8, u64::from(entry.major));
        if !header.octal(337, 8, u64::from(entry.minor)) || !major {
            return Err(unrepresentable("its device number is too large"));
        }
    }
    let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
    xattrs.sort();
    for (name, value) in xattrs {
        pax::push_xattr(&mut records, name, value);
    }
    let mut rest: Vec<_> = entry
        .pax
        .iter()
        .filter(|(key, _)| key != b"hdrcharset")
        .collect();
    rest.sort();
    for (key, value) in rest {
        pax::push_record(&mut records, key, value);
    }
    // PAX strings are UTF-8 unless the archive says otherwise.
    if !records.is_empty() && strings.iter().any(|s| std::str::from_utf8(s).is_err()) {
        let mut first = Vec::new();
        pax::push_record(&mut first, b"hdrcharset", b"BINARY");
        records.splice(0..0, first);
    }
    Ok((records, header.finish()))
}

fn extended_header(entry: &Entry, size: usize) -> Result<Block, Error> {
    let mut header = Fields::new(b'x');
    let name = format!("PaxHeaders.0/{}", printable_tail(&entry.path, 80));
    header.string(0, name.as_bytes());
    header.octal(100, 8, 0o644);
    header.octal(108, 8, 0);
    header.octal(116, 8, 0);
    header.octal(136, 12, 0);
    if !header.octal(124, 12, size as u64) {
        let reason = "its records are too large";
        return Err(Error::Unrepresentable {
            member: quote(&entry.path),
            reason,
        });
    }
    Ok(header.finish())
}

/// Splits a path into `prefix` and `name`, if ustar can hold it.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let at = (1..path.len()).find(|at| {
        let name = path.len() - at - 1;
        path.get(*at) == Some(&b'/') && *at <= 155 && (1..=100).contains(&name)
    })?;
    let (prefix, rest) = path.split_at_checked(at)?;
    Some((prefix, rest.get(1..)?))
}

/// The last component as far as it is printable ASCII, cut to `max` bytes.
fn printable_tail(path: &[u8], max: usize) -> String {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    let trimmed = path.get(..end).unwrap_or_default();
    let last = trimmed.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let byte = |b: &u8| {
        if b.is_ascii_graphic() {
            char::from(*b)
        } else {
            '_'
        }
    };
    last.iter().take(max).map(byte).collect()
}

/// A header block under construction.
struct Fields(Block);

impl Fields {
    fn new(flag: u8) -> Self {
        let mut fields = Self([0; BLOCK]);
        fields.string(156, &[flag]);
        fields.string(257, b"ustar\x0000");
        fields.octal(329, 8, 0);
        fields.octal(337, 8, 0);
        fields
    }

    fn string(&mut self, at: usize, value: &[u8]) {
        if let Some(to) = self.0.get_mut(at..at + value.len()) {
            to.copy_from_slice(value);
        }
    }

    /// Writes the value and a NUL, or 0 and false if it does not fit.
    fn octal(&mut self, at: usize, len: usize, value: u64) -> bool {
        let width = len - 1;
        let text = format!("{value:0width$o}");
        let fits = text.len() <= width;
        let zero = "0".repeat(width);
        self.string(
            at,
            if fits {
                text.as_bytes()
            } else {
                zero.as_bytes()
            },
        );
        fits
    }

    fn finish(mut self) -> Block {
        self.string(148, b"        ");
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.string(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reader, Time, entries};
    use proptest::prelude::*;

    fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.append(entry, data.as_slice()).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_small_file_is_plain_ustar_to_the_byte() {
        let mut entry = Entry::file("etc/motd", 3);
        entry.mtime = Time::from_secs(1_700_000_000);
        let archive = write(&[(entry, b"hi\n".to_vec())]);
        assert_eq!(archive.len(), 512 * 4);
        let header = &archive[..512];
        assert_eq!(&header[..9], b"etc/motd\0");
        assert_eq!(
            &header[100..148],
            b"0000644\x000000000\x000000000\x0000000000003\x0014524770400\0"
        );
        assert_eq!(&header[257..265], b"ustar\x0000");
        assert_eq!(&header[148..156], b"010701\0 ");
        assert_eq!(&archive[512..516], b"hi\n\0");
        assert!(archive[1024..].iter().all(|b| *b == 0));
    }

    #[test]
    fn wrong_amounts_of_data_are_refused() {
        for data in [&b"ab"[..], b"abcd"] {
            let mut writer = Writer::new(Vec::new());
            let error = writer.append(&Entry::file("x", 3), data).unwrap_err();
            assert!(matches!(error, Error::Size { size: 3, .. }), "{error}");
        }
    }

    #[test]
    fn names_that_tar_cannot_hold_are_refused() {
        let mut device = Entry::new(Kind::Char, "d");
        device.major = 1 << 30;
        let mut pax = Entry::file("x", 0);
        pax.pax.push((b"a=b".to_vec(), Vec::new()));
        for entry in [Entry::file("a\0b", 0), Entry::file("", 0), device, pax] {
            assert!(matches!(
                encode(&entry, 0),
                Err(Error::Unrepresentable { .. })
            ));
        }
    }

    #[test]
    fn files_over_8_gib_have_a_pax_size() {
        for (size, records) in [((8u64 << 30) - 1, false), (8 << 30, true)] {
            let entry = Entry::file("big", size);
            let (body, header) = encode(&entry, size).unwrap();
            assert_eq!(!body.is_empty(), records);
            let mut archive = Vec::new();
            if records {
                archive.extend(extended_header(&entry, body.len()).unwrap());
                archive.extend_from_slice(&body);
                archive.resize(archive.len().next_multiple_of(BLOCK), 0);
            }
            archive.extend(header);
            let read = Reader::new(archive.as_slice())
                .next_entry()
                .unwrap()
                .unwrap();
            assert_eq!((read.size, read.offsets.data), (size, archive.len() as u64));
        }
    }

    #[test]
    fn sparse_entries_are_written_plain() {
        let mut entry = Entry::file("s", 4);
        entry.sparse = Some(vec![crate::Segment { offset: 1, len: 1 }]);
        let archive = write(&[(entry, b"\0x\0\0".to_vec())]);
        assert_eq!(entries(&archive).unwrap()[0].sparse, None);
    }

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..max)
    }

    /// A name as it can stand in an archive: no NUL, no slash at its end.
    fn name(max: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![4 => b'a'..=b'y', 2 => Just(b'/'), 1 => 1u8..=255];
        proptest::collection::vec(byte, 0..max).prop_map(|mut name| {
            name.push(b'z');
            name
        })
    }

    prop_compose! {
        fn entry()(
            path in name(300), link in name(300), flag in 0usize..7, data in bytes(1500),
            mode in 0u32..0o10000, uid in any::<u64>(), gid in 0u64..5_000_000,
            uname in name(40), secs in -(1i64 << 40)..1 << 40, nanos in 0u32..1_000_000_000,
            whole in any::<bool>(), xattrs in proptest::collection::btree_map(
                "[a-z=.]{1,12}".prop_map(String::into_bytes), bytes(80), 0..4),
            device in 0u32..0o7_777_777, atime in proptest::option::of(any::<i32>()),
        ) -> (Entry, Vec<u8>) {
            use Kind::*;
            let kind = [File, HardLink, Symlink, Char, Block, Dir, Fifo][flag];
            let data = if kind == File { data } else { Vec::new() };
            let is_link = matches!(kind, HardLink | Symlink);
            let is_device = matches!(kind, Char | Block);
            let entry = Entry {
                path, kind, mode, uid, gid, uname,
                link: if is_link { link } else { Vec::new() },
                size: data.len() as u64,
                mtime: Time { secs, nanos: if whole { 0 } else { nanos } },
                atime: atime.map(|s| Time::from_secs(i64::from(s))),
                xattrs: xattrs.into_iter().collect(),
                major: if is_device { device } else { 0 },
                minor: if is_device { device / 2 } else { 0 },
                ..Entry::default()
            };
            (entry, data)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(members in proptest::collection::vec(entry(), 0..5)) {
            let archive = write(&members);
            prop_assert_eq!(archive.len() % BLOCK, 0);
            let mut reader = Reader::new(archive.as_slice());
            for (expected, data) in &members {
                let mut entry = reader.next_entry().unwrap().unwrap();
                let at = usize::try_from(entry.offsets.data).unwrap();
                prop_assert_eq!(&archive[at..at + data.len()], data.as_slice());
                entry.offsets = crate::Offsets::default();
                entry.pax.retain(|(key, _)| key != b"hdrcharset");
                prop_assert_eq!(&entry, expected);
                let mut read = Vec::new();
                reader.data().read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, data);
            }
            prop_assert_eq!(reader.next_entry().unwrap(), None);
            prop_assert_eq!(reader.end(), Some(crate::End::TwoBlocks));
        }

        #[test]
        fn mutated_archives_never_panic(
            members in proptest::collection::vec(entry(), 1..4),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            fix in any::<bool>(),
        ) {
            let mut archive = write(&members);
            for (index, value) in &flips {
                *index.get_mut(&mut archive) = *value;
            }
            if fix {
                // Repaired checksums let the damage through to the fields.
                for block in archive.chunks_exact_mut(BLOCK) {
                    let fields = Fields(block.try_into().unwrap());
                    if &fields.0[257..262] == b"ustar" {
                        block.copy_from_slice(&fields.finish());
                    }
                }
            }
            let _ = entries(&archive);
        }

        #[test]
        fn cut_archives_are_noticed(members in proptest::collection::vec(entry(), 1..4), at in any::<proptest::sample::Index>()) {
            let archive = write(&members);
            let cut = at.index(archive.len() - 2 * BLOCK);
            match entries(&archive[..cut]) {
                Err(Error::Truncated { .. }) => {}
                Err(error) => prop_assert!(false, "{}", error),
                Ok(found) => prop_assert!(found.len() <= members.len()),
            }
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _ = entries(&noise);
        }
    }
}
