//! The D-Bus wire format (D-Bus Specification, "Marshaling"): as much of it as
//! talking to systemd takes.
//!
//! Both sides are on one machine, so numbers are in its own byte order.

use super::error::BusError;

/// Longest message that is taken. The protocol allows 128 MiB; what systemd
/// sends here are names.
pub(super) const MAX: usize = 4 << 20;

/// Writes values, each at the multiple of its alignment.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    /// Zeros up to a multiple of `to`.
    pub(super) fn align(&mut self, to: usize) {
        let len = self.bytes.len().next_multiple_of(to);
        self.bytes.resize(len, 0);
    }

    /// A number of any size, which is its alignment.
    pub(super) fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.bytes.extend_from_slice(&bytes);
    }

    /// A length or any other `u`.
    pub(super) fn u32(&mut self, value: u32) {
        self.number(value.to_ne_bytes());
    }

    /// A string or an object path, `s` and `o`.
    pub(super) fn string(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// A signature, `g`, of less than 256 bytes.
    pub(super) fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array, whose elements `fill` writes.
    pub(super) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.bytes.len();
        self.align(alignment);
        let from = self.bytes.len();
        fill(self);
        let size = length(self.bytes.len() - from).to_ne_bytes();
        if let Some(place) = self.bytes.get_mut(at - size.len()..at) {
            place.copy_from_slice(&size);
        }
    }
}

/// What is sent is far below 4 GiB; a length that is not would be refused.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Reads values; every error is [`BusError::Malformed`].
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// `bytes` starts at a multiple of eight.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) -> Result<(), BusError> {
        let next = self.at.next_multiple_of(to);
        self.take(next - self.at).map(drop)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], BusError> {
        let short = BusError::Malformed("it is cut short");
        let end = self.at.checked_add(len);
        let Some(part) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(short);
        };
        self.at += len;
        Ok(part)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], BusError> {
        self.align(N)?;
        let bytes = self.take(N)?;
        bytes
            .try_into()
            .map_err(|_| BusError::Malformed("it is cut short"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, BusError> {
        self.number::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BusError> {
        self.number().map(u32::from_ne_bytes)
    }

    /// A string or an object path.
    pub(super) fn string(&mut self) -> Result<&'a str, BusError> {
        let len = self.u32()? as usize;
        self.text(len)
    }

    pub(super) fn signature(&mut self) -> Result<&'a str, BusError> {
        let len = usize::from(self.byte()?);
        self.text(len)
    }

    fn text(&mut self, len: usize) -> Result<&'a str, BusError> {
        let bytes = self.take(len)?;
        if self.byte()? != 0 || bytes.contains(&0) {
            return Err(BusError::Malformed("a string is not ended by a NUL"));
        }
        std::str::from_utf8(bytes).map_err(|_| BusError::Malformed("a string is not UTF-8"))
    }

    /// Passes over one value of a basic type, or an array.
    pub(super) fn skip(&mut self, signature: &str) -> Result<(), BusError> {
        let mut types = signature.bytes();
        match types.next() {
            Some(b'y') => self.byte().map(drop),
            Some(b'n' | b'q') => self.number::<2>().map(drop),
            Some(b'b' | b'i' | b'u' | b'h') => self.u32().map(drop),
            Some(b'x' | b't' | b'd') => self.number::<8>().map(drop),
            Some(b's' | b'o') => self.string().map(drop),
            Some(b'g') => self.signature().map(drop),
            Some(b'a') => {
                let len = self.u32()? as usize;
                self.align(match types.next() {
                    Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
                    Some(b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a') => 4,
                    Some(b'n' | b'q') => 2,
                    _ => 1,
                })?;
                self.take(len).map(drop)
            }
            _ => Err(BusError::Malformed("a field has an unknown type")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn alignment_and_lengths() {
        let mut w = Writer::default();
        w.number([7u8]);
        w.u32(1);
        w.string("ab");
        w.array(8, |w| w.number(2u64.to_ne_bytes()));
        let one = 1u32.to_ne_bytes();
        let eight = 8u32.to_ne_bytes();
        let two = 2u32.to_ne_bytes();
        let expected = [
            &[7, 0, 0, 0][..],
            &one,
            &two,
            b"ab\0\0",
            &eight,
            &[0; 4],
            &2u64.to_ne_bytes(),
        ];
        assert_eq!(w.bytes, expected.concat());
        // The padding before the elements does not count, even of no element.
        let mut empty = Writer::default();
        empty.array(8, |_| {});
        assert_eq!(empty.bytes, [0; 8]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            texts in proptest::collection::vec("[a-z\u{e9}/]{0,9}", 0..5),
            number in any::<u32>(), byte in any::<u8>(),
        ) {
            let mut w = Writer::default();
            w.number([byte]);
            for text in &texts {
                w.string(text);
                w.signature("a(sv)");
            }
            w.u32(number);
            let mut r = Reader::new(&w.bytes);
            prop_assert_eq!(r.byte().unwrap(), byte);
            for text in &texts {
                prop_assert_eq!(r.string().unwrap(), text);
                prop_assert_eq!(r.signature().unwrap(), "a(sv)");
            }
            prop_assert_eq!(r.u32().unwrap(), number);
            prop_assert!(r.is_empty());
        }

        #[test]
        fn any_bytes_are_skipped_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), types in "[ybnqiuxtdsogha(v]{0,6}",
        ) {
            let mut r = Reader::new(&bytes);
            while !r.is_empty() && r.skip(&types).is_ok() {
                if r.at == 0 { break; }
            }
        }
    }
}
