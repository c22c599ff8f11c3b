//! The `ar` archives that .deb files are (deb(5), ar(5)): the common format
//! without its extensions, which dpkg does not accept either.

use std::io::{self, Read};

/// Magic at the start of the archive.
const MAGIC: &[u8; 8] = b"!<arch>\n";

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, without the trailing `/` that GNU ar writes.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Reads the members of an archive one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    /// Bytes of the present member that are still to be read.
    left: u64,
    /// Whether a padding byte follows the present member.
    padded: bool,
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<R: Read> Reader<R> {
    /// Reads the magic.
    ///
    /// # Errors
    /// The input is no ar archive, or cannot be read.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let mut magic = [0; 8];
        inner.read_exact(&mut magic).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                invalid("not an ar archive")
            } else {
                e
            }
        })?;
        if magic != *MAGIC {
            return Err(invalid("not an ar archive"));
        }
        Ok(Self {
            inner,
            left: 0,
            padded: false,
        })
    }

    /// Goes to the next member, past what is unread of the present one.
    /// `None` at the end of the archive.
    ///
    /// # Errors
    /// A header is malformed or cut off, or the input cannot be read.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let skip = self.left;
        let skipped = io::copy(&mut (&mut self.inner).take(skip), &mut io::sink())?;
        self.left = 0;
        if skipped != skip {
            return Err(invalid("the ar archive ends inside a member"));
        }
        if std::mem::take(&mut self.padded) {
            // The last member's padding may be missing.
            let mut byte = [0];
            match self.inner.read(&mut byte)? {
                0 => return Ok(None),
                _ if byte != *b"\n" => {
                    return Err(invalid("an ar member is not padded by a line break"));
                }
                _ => {}
            }
        }
        let mut header = Vec::with_capacity(60);
        (&mut self.inner).take(60).read_to_end(&mut header)?;
        let header: &[u8; 60] = match header.as_slice().try_into() {
            Ok(header) => header,
            Err(_) if header.is_empty() => return Ok(None),
            Err(_) => return Err(invalid("the ar archive ends inside a header")),
        };
        let member = parse_header(header)?;
        self.left = member.size;
        self.padded = member.size % 2 == 1;
        Ok(Some(member))
    }
}

impl<R: Read> Read for Reader<R> {
    /// Reads from the present member, up to its end. An archive that ends
    /// before is an error, never a short member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..wanted).filter(|b| !b.is_empty()) else {
            return Ok(0);
        };
        let n = self.inner.read(buffer)?;
        if n == 0 {
            return Err(invalid("the ar archive ends inside a member"));
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

/// Takes a header apart: name 16, time 12, uid 6, gid 6, mode 8, size 10,
/// end 2 bytes.
///
/// # Errors
/// Size or end are malformed, or the name is one of the extensions.
pub fn parse_header(header: &[u8; 60]) -> io::Result<Member> {
    let field = |from: usize, to: usize| {
        header
            .get(from..to)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .map(str::trim_ascii_end)
            .ok_or_else(|| invalid("an ar header is not text"))
    };
    if field(58, 60)? != "`" || header.get(59) != Some(&b'\n') {
        return Err(invalid("an ar header has no end mark"));
    }
    let name = field(0, 16)?;
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || name.starts_with(['/', '#']) || name.contains(['/', '\0']) {
        return Err(invalid("an ar member has no plain name"));
    }
    let size = field(48, 58)?;
    if size.is_empty() || !size.bytes().all(|c| c.is_ascii_digit()) {
        return Err(invalid("an ar member has no size"));
    }
    Ok(Member {
        name: name.to_owned(),
        size: size
            .parse()
            .map_err(|_| invalid("an ar member has no size"))?,
    })
}

/// Reads a whole archive and throws it away: the fuzzers' way in. Gives the
/// members and the number of bytes in them.
///
/// # Errors
/// As [`Reader::next_member`].
pub fn scan(data: &[u8]) -> io::Result<(usize, u64)> {
    let mut reader = Reader::new(data)?;
    let (mut members, mut bytes) = (0, 0);
    while reader.next_member()?.is_some() {
        members += 1;
        bytes += io::copy(&mut reader, &mut io::sink())?;
    }
    Ok((members, bytes))
}

/// Writes an archive: for tests that make their own packages.
pub fn write(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for (name, data) in members {
        out.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                "100644",
                data.len()
            )
            .bytes(),
        );
        out.extend_from_slice(data);
        if data.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_members() {
        let data = write(&[("debian-binary", b"2.0\n"), ("odd", b"abc"), ("last/", b"")]);
        let mut reader = Reader::new(data.as_slice()).unwrap();
        let mut found = Vec::new();
        while let Some(member) = reader.next_member().unwrap() {
            let mut text = String::new();
            if member.name != "odd" {
                reader.read_to_string(&mut text).unwrap();
            }
            found.push((member.name, member.size, text));
        }
        let expected = [
            ("debian-binary", 4, "2.0\n"),
            ("odd", 3, ""),
            ("last", 0, ""),
        ];
        assert_eq!(
            found,
            expected.map(|(n, s, t)| (n.to_owned(), s, t.to_owned()))
        );
    }

    #[test]
    fn refuses_what_is_cut_or_bent() {
        let whole = write(&[("debian-binary", b"2.0\n"), ("data.tar", b"abcdef")]);
        assert_eq!(scan(&whole).unwrap(), (2, 10));
        for end in [0, 7, 9, 60, 70, 75, 100, 130, whole.len() - 1] {
            let result = scan(&whole[..end]);
            assert!(result.is_err(), "cut at {end}: {result:?}");
        }
        for (at, byte) in [(0, b'x'), (8, b'/'), (56, b'x'), (66, b'x')] {
            let mut bent = whole.clone();
            bent[at] = byte;
            assert!(scan(&bent).is_err(), "byte {at}");
        }
        let mut huge = whole;
        huge[56..66].copy_from_slice(b"9999999999");
        assert!(scan(&huge).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(mut data in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..140, byte: u8) {
            let _ = scan(&data);
            data.splice(0..0, *MAGIC);
            let _ = scan(&data);
            let mut bent = write(&[("a", b"12345"), ("b", b"1")]);
            if let Some(b) = bent.get_mut(at) { *b = byte; }
            let _ = scan(&bent);
        }
    }
}
