//! PAX extended headers (POSIX pax, "pax Extended Header"), with the keywords
//! of star (`SCHILY.xattr.`), libarchive (`LIBARCHIVE.xattr.`) and GNU tar
//! (`GNU.sparse.`).

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{Entry, Error, Limits, number};

/// Records of one or several extended headers in their order; a later record
/// of the same key wins, except that GNU sparse 0.0 repeats its keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Splits `"%d %s=%s\n"` records.
    pub(crate) fn parse(mut body: &[u8], offset: u64) -> Result<Self, Error> {
        let bad = |reason: &str| Error::Pax {
            offset,
            reason: reason.to_owned(),
        };
        let mut records = Vec::new();
        while !body.is_empty() {
            // The header's padding may be counted into it by old writers.
            if body.iter().all(|b| *b == 0) {
                break;
            }
            let space = body
                .iter()
                .take(21)
                .position(|b| *b == b' ')
                .ok_or_else(|| bad("a record has no length"))?;
            let len = body
                .get(..space)
                .and_then(number::decimal)
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(|| bad("a record's length is no number"))?;
            let record = body
                .get(space + 1..len)
                .ok_or_else(|| bad("a record's length is out of range"))?;
            let record = record
                .strip_suffix(b"\n")
                .ok_or_else(|| bad("a record does not end its line"))?;
            let equals = record
                .iter()
                .position(|b| *b == b'=')
                .filter(|at| *at > 0)
                .ok_or_else(|| bad("a record has no key"))?;
            let (key, value) = record.split_at_checked(equals).unwrap_or_default();
            if key.contains(&0) {
                return Err(bad("a key contains NUL"));
            }
            records.push((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()));
            body = body.get(len..).unwrap_or_default();
        }
        Ok(Self(records))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the key that counts.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_slice())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))
    }

    /// Adds a member's own records to the global ones.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Lets the records override what the header said, except for `path`,
    /// `linkpath`, `size` and the sparse keywords, which the reader handles.
    pub(crate) fn apply(
        &self,
        entry: &mut Entry,
        offset: u64,
        limits: &Limits,
    ) -> Result<(), Error> {
        // By name, since star's and libarchive's records can set the same one.
        let mut xattrs: HashMap<Vec<u8>, usize> = HashMap::new();
        for (key, value) in self.effective() {
            let bad = || Error::Pax {
                offset,
                reason: format!("the value of {} is invalid", key.escape_ascii()),
            };
            let xattr = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                Some((name.to_vec(), value.to_vec()))
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let name = percent_decode(name).ok_or_else(bad)?;
                Some((name, base64_decode(value).ok_or_else(bad)?))
            } else {
                None
            };
            if let Some((name, value)) = xattr {
                if name.is_empty() || name.contains(&0) {
                    return Err(bad());
                }
                match xattrs.get(&name).and_then(|at| entry.xattrs.get_mut(*at)) {
                    Some(slot) => slot.1 = value,
                    None => {
                        xattrs.insert(name.clone(), entry.xattrs.len());
                        entry.xattrs.push((name, value));
                    }
                }
                if entry.xattrs.len() > limits.xattrs {
                    let (what, limit) = ("number of xattrs", limits.xattrs as u64);
                    return Err(Error::Limit {
                        offset,
                        what,
                        limit,
                    });
                }
                continue;
            }
            match key {
                // An empty value takes the record back (POSIX pax, "value").
                _ if value.is_empty() => {}
                b"uid" => entry.uid = number::decimal(value).ok_or_else(bad)?,
                b"gid" => entry.gid = number::decimal(value).ok_or_else(bad)?,
                b"uname" => entry.uname = text(value).ok_or_else(bad)?,
                b"gname" => entry.gname = text(value).ok_or_else(bad)?,
                b"mtime" => entry.mtime = number::time(value).ok_or_else(bad)?,
                b"atime" => entry.atime = Some(number::time(value).ok_or_else(bad)?),
                b"ctime" => entry.ctime = Some(number::time(value).ok_or_else(bad)?),
                b"path" | b"linkpath" | b"size" => {}
                _ if key.starts_with(b"GNU.sparse.") => {}
                _ => entry.pax.push((key.to_vec(), value.to_vec())),
            }
        }
        Ok(())
    }

    /// The last record of every key, in their order.
    fn effective(&self) -> Vec<(&[u8], &[u8])> {
        let mut seen = HashSet::new();
        let mut last: Vec<_> = self
            .iter()
            .rev()
            .filter(|(key, _)| seen.insert(*key))
            .collect();
        last.reverse();
        last
    }

    /// A name out of the record `key`; absent if the record is, or is empty.
    pub(crate) fn name(&self, key: &[u8], offset: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.get(key).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => text(value).map(Some).ok_or_else(|| Error::Pax {
                offset,
                reason: format!("{} contains NUL", key.escape_ascii()),
            }),
        }
    }

    /// A number out of the record `key`, at most `i64::MAX`.
    pub(crate) fn size(&self, key: &[u8], offset: u64) -> Result<Option<u64>, Error> {
        match self.get(key).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => number::decimal(value)
                .filter(|size| i64::try_from(*size).is_ok())
                .map(Some)
                .ok_or_else(|| Error::Pax {
                    offset,
                    reason: format!("the value of {} is invalid", key.escape_ascii()),
                }),
        }
    }
}

/// The records of global headers, which hold for all members that follow. They
/// are looked at for every member, so they are bounded more tightly than a
/// member's own.
#[derive(Default)]
pub(crate) struct Globals {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    size: u64,
}

impl Globals {
    /// Merges a further header.
    pub(crate) fn merge(&mut self, header: Records, offset: u64, limit: u64) -> Result<(), Error> {
        // What a record costs beside its bytes, roughly.
        let cost = |key: &[u8], value: &[u8]| (key.len() + value.len() + 64) as u64;
        for (key, value) in header.0 {
            // No honest archive gives all its members one name or size, and
            // readers differ on whether they heed global records at all.
            let names = [&b"path"[..], b"linkpath", b"size"];
            if names.contains(&key.as_slice()) || key.starts_with(b"GNU.sparse.") {
                let reason = format!("global record {}", key.escape_ascii());
                return Err(Error::Pax { offset, reason });
            }
            self.size += cost(&key, &value);
            if let Some(old) = self.records.get(&key) {
                self.size -= cost(&key, old);
            }
            if self.size > limit {
                return Err(Error::Limit {
                    offset,
                    what: "global extended headers",
                    limit,
                });
            }
            self.records.insert(key, value);
        }
        Ok(())
    }

    /// A member's records: the global ones, and its own behind them.
    pub(crate) fn with(&self, own: Records) -> Records {
        if self.records.is_empty() {
            return own;
        }
        let mut all: Vec<_> = self
            .records
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        all.extend(own.0);
        Records(all)
    }
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let high = char::from(*rest.next()?).to_digit(16)?;
            let low = char::from(*rest.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

/// libarchive writes base64 without padding.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut have) = (0u32, 0u32);
    for byte in text.iter().filter(|b| **b != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from((bits >> have) & 0xff).ok()?);
            bits &= (1 << have) - 1;
        }
    }
    Some(out)
}

/// Appends one record to an extended header's body.
pub(crate) fn push_record(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + digits(len) {
        len = rest + digits(len);
    }
    body.extend_from_slice(len.to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

fn digits(n: usize) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// An xattr as a record: star's form where its name allows, else libarchive's.
pub(crate) fn push_xattr(body: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !name.contains(&b'=') {
        push_record(body, &[b"SCHILY.xattr.", name].concat(), value);
        return;
    }
    let mut key = b"LIBARCHIVE.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' | b'%' => key.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => key.push(*byte),
        }
    }
    push_record(body, &key, &base64_encode(value));
}

fn base64_encode(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut bits = 0u32;
        for at in 0..3 {
            bits = (bits << 8) | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * at)) & 0x3f;
            out.push(ALPHABET[index as usize]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_count_themselves() {
        for n in [1, 4, 5, 88, 89, 90, 91, 92, 93, 990, 991, 992] {
            let mut body = Vec::new();
            push_record(&mut body, b"key", &vec![b'v'; n]);
            let space = body.iter().position(|b| *b == b' ').unwrap();
            let len: usize = std::str::from_utf8(&body[..space])
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(len, body.len());
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in [
            &b"6 a=b"[..],
            b"5 a=b\n",
            b"7 a=b\n",
            b"x a=b\n",
            b" a=b\n",
            b"5 ab\n",
            b"5 =b\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"99999999999999999999 a=b\n",
            b"7 a\0=b\n",
        ] {
            assert!(Records::parse(body, 0).is_err(), "{}", body.escape_ascii());
        }
        let records = Records::parse(b"6 a=b\n6 a=c\n7 b=x=\n", 0).unwrap();
        assert_eq!(records.get(b"a"), Some(&b"c"[..]));
        assert_eq!(records.get(b"b"), Some(&b"x="[..]));
    }

    #[test]
    fn global_headers_stay_bounded() {
        let mut all = Globals::default();
        let limit = Limits::default().globals;
        let header = |n: u32| Records(vec![(n.to_be_bytes().to_vec(), vec![0; 100])]);
        // The same key over and over takes no more room.
        for _ in 0..1000 {
            all.merge(header(0), 0, limit).unwrap();
        }
        let error = (1..1000)
            .find_map(|n| all.merge(header(n), 0, limit).err())
            .unwrap();
        assert!(matches!(error, Error::Limit { .. }));
    }

    #[test]
    fn the_last_record_counts_and_an_empty_one_takes_back() {
        let mut globals = Globals::default();
        globals
            .merge(
                Records::parse(b"11 mtime=7\n9 uid=70\n", 0).unwrap(),
                0,
                1000,
            )
            .unwrap();
        let own = Records::parse(b"9 mtime=\n8 gid=1\n8 gid=2\n6 k=1\n5 k=\n", 0).unwrap();
        let mut entry = Entry::default();
        globals
            .with(own)
            .apply(&mut entry, 0, &Limits::default())
            .unwrap();
        assert_eq!(
            (entry.mtime.secs, entry.uid, entry.gid, entry.pax),
            (0, 70, 2, Vec::new())
        );
    }

    /// A megabyte of records takes linear time: done at once, or not for hours.
    #[test]
    fn attack_06_many_records_take_linear_time() {
        let mut body = Vec::new();
        for n in 0..100_000u32 {
            push_record(&mut body, format!("k{n:x}").as_bytes(), b"");
        }
        for n in 0..20_000u32 {
            push_record(
                &mut body,
                format!("SCHILY.xattr.{}", n % 900).as_bytes(),
                b"v",
            );
        }
        let mut entry = Entry::default();
        Records::parse(&body, 0)
            .unwrap()
            .apply(&mut entry, 0, &Limits::default())
            .unwrap();
        assert_eq!(entry.xattrs.len(), 900);
    }

    proptest! {
        #[test]
        fn records_round_trip(pairs in proptest::collection::vec(
            ("[a-zA-Z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..200)), 0..8)) {
            let mut body = Vec::new();
            for (k, v) in &pairs {
                push_record(&mut body, k.as_bytes(), v);
            }
            let records = Records::parse(&body, 0).unwrap();
            let back: Vec<_> =
                records.iter().map(|(k, v)| (String::from_utf8(k.to_vec()).unwrap(), v.to_vec())).collect();
            prop_assert_eq!(back, pairs);
        }

        #[test]
        fn xattrs_round_trip(name in "[a-z=%.]{1,20}", value in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut body = Vec::new();
            push_xattr(&mut body, name.as_bytes(), &value);
            let mut entry = Entry::default();
            Records::parse(&body, 0).unwrap().apply(&mut entry, 0, &Limits::default()).unwrap();
            prop_assert_eq!(entry.xattrs, vec![(name.into_bytes(), value)]);
        }

        #[test]
        fn parsing_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Records::parse(&body, 0);
        }
    }
}
