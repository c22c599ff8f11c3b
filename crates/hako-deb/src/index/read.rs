//! From the text of an index to its compact form, in one pass.

use super::compact::Builder;
use super::package::FIELDS;
use crate::control;
use crate::relation;
use crate::release::{Promise, hex};
use sha2::{Digest as _, Sha256};
use std::io::Read;

/// Most bytes that an index may have when it is unpacked. Debian's largest
/// has 60 MB.
pub const LARGEST: u64 = 1 << 30;

/// Most bytes of one paragraph.
const LONGEST_PARAGRAPH: usize = 4 << 20;

/// Reads the (decompressed) text and gives the compact form. Where the
/// release promises the text's size and hash, they are checked.
///
/// # Errors
/// The text cannot be read, is not what was promised, or not an index.
pub fn read(mut text: impl Read, promise: Option<Promise>) -> Result<Vec<u8>, String> {
    let mut builder = Builder::default();
    let mut hasher = Sha256::new();
    let mut total = 0u64;
    let mut buffer = Vec::with_capacity(2 << 20);
    let mut chunk = vec![0; 512 << 10];
    loop {
        let n = match text.read(&mut chunk) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(format!("cannot be unpacked: {e}")),
        };
        let piece = chunk.get(..n).unwrap_or_default();
        hasher.update(piece);
        total += n as u64;
        buffer.extend_from_slice(piece);
        let end = if n == 0 {
            buffer.len()
        } else {
            last_paragraph(&buffer)
        };
        take(&mut builder, buffer.get(..end).unwrap_or_default())?;
        buffer.drain(..end);
        if buffer.len() > LONGEST_PARAGRAPH {
            return Err(format!(
                "a paragraph has more than {LONGEST_PARAGRAPH} bytes"
            ));
        }
        if n == 0 {
            break;
        }
    }
    if let Some(promise) = promise {
        let found: [u8; 32] = hasher.finalize().into();
        if total != promise.size || found != promise.sha256 {
            return Err(format!(
                "unpacks to {total} bytes with SHA-256 {}, where {} bytes with {} were promised",
                hex(&found),
                promise.size,
                hex(&promise.sha256)
            ));
        }
    }
    builder.finish()
}

/// Where the last whole paragraph ends.
fn last_paragraph(buffer: &[u8]) -> usize {
    let mut end = buffer.len();
    while let Some(at) = buffer
        .get(..end)
        .and_then(|b| b.iter().rposition(|c| *c == b'\n'))
    {
        if at > 0 && buffer.get(at - 1) == Some(&b'\n') {
            return at + 1;
        }
        end = at;
    }
    0
}

fn take(builder: &mut Builder, bytes: &[u8]) -> Result<(), String> {
    // Maintainers' names are sometimes in other encodings; what is kept is
    // ASCII and is checked when a package is looked up.
    let text = String::from_utf8_lossy(bytes);
    for paragraph in control::paragraphs(&text) {
        let paragraph = paragraph.map_err(|e| format!("is not an index: {e}"))?;
        let Some(name) = paragraph
            .get("Package")
            .filter(|name| relation::is_name(name))
        else {
            continue;
        };
        let mut record = String::with_capacity(512);
        let mut provides = "";
        for (field, value) in paragraph.fields() {
            if !FIELDS.contains(&field) {
                continue;
            }
            if field == "Provides" {
                provides = value;
            }
            record.push_str(field);
            record.push_str(": ");
            for (i, word) in control::lines(value).enumerate() {
                if i > 0 {
                    record.push(' ');
                }
                record.push_str(word);
            }
            record.push('\n');
        }
        let names = provides
            .split(',')
            .filter_map(|p| p.trim().split([' ', '(', ':', '\n', '\t']).next())
            .filter(|p| relation::is_name(p));
        builder.add(name, names, &record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::package::tests::record;
    use super::super::{Index, compact};
    use super::*;
    use std::io::Write;

    fn open(bytes: &[u8]) -> Index {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Index::open(file).unwrap()
    }

    #[test]
    fn finds_packages_and_providers() {
        let mut text = String::new();
        for i in 0..5000 {
            text.push_str(&record(
                &format!("p{i}"),
                "1",
                "Description: x\n y\nProvides: every (= 1),\n even\n",
            ));
            text.push('\n');
        }
        text.push_str(&record("p7", "2", "Maintainer: J\u{fc}rgen\n"));
        let compact = read(text.as_bytes(), None).unwrap();
        assert!(compact.len() < text.len() * 3 / 2);
        let index = open(&compact);
        assert_eq!(index.len(), 5001);
        let found = index.packages("p7").unwrap();
        let versions: Vec<_> = found.iter().map(|p| p.version.as_str()).collect();
        assert_eq!(versions, ["1", "2"]);
        assert!(index.packages("p5000").unwrap().is_empty());
        assert!(index.packages("").unwrap().is_empty());
        assert_eq!(index.providers("every").unwrap().len(), 5000);
        assert_eq!(index.providers("even").unwrap()[0].name, "p0");
        assert!(index.providers("p7").unwrap().is_empty());
        let empty = open(&read(b"".as_slice(), None).unwrap());
        assert!(empty.is_empty() && empty.packages("a").unwrap().is_empty());
    }

    #[test]
    fn checks_the_promise() {
        let text = record("a", "1", "");
        let good = Promise {
            size: text.len() as u64,
            sha256: Sha256::digest(text.as_bytes()).into(),
        };
        assert!(read(text.as_bytes(), Some(good)).is_ok());
        for bad in [
            Promise { size: 1, ..good },
            Promise {
                sha256: [0; 32],
                ..good
            },
        ] {
            assert!(
                read(text.as_bytes(), Some(bad))
                    .unwrap_err()
                    .contains("promised")
            );
        }
    }

    #[test]
    fn a_damaged_file_is_noticed() {
        let text = format!(
            "{}\n{}",
            record("a", "1", ""),
            record("b", "1", "Provides: v\n")
        );
        let whole = read(text.as_bytes(), None).unwrap();
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bent).unwrap();
            let noticed = Index::open(file).map_or(true, |index| {
                index.packages("a").is_err() || index.packages("b").is_err()
            });
            assert!(noticed, "byte {at}");
        }
        for end in 0..whole.len() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..end]).unwrap();
            assert!(Index::open(file).is_err(), "cut at {end}");
        }
        let _ = compact::MAGIC;
    }
}
