//! Standard base64 (RFC 4648 section 4) for the `data` field of descriptors.

use std::fmt;
use std::str::FromStr;

use crate::Error;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes that JSON writes as padded base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base64(pub Vec<u8>);

impl fmt::Display for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.chunks(3) {
            let bits = chunk
                .iter()
                .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                if place > chunk.len() {
                    f.write_char('=')?;
                } else {
                    let index = (bits >> (18 - 6 * place)) & 63;
                    f.write_char(char::from(ALPHABET[index as usize]))?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Base64 {
    type Err = Error;

    /// Reads padded base64 without line breaks; bits that must be zero are
    /// checked, so that every value has one spelling.
    fn from_str(text: &str) -> Result<Self, Error> {
        decode(text.as_bytes())
            .map(Base64)
            .ok_or_else(|| Error::Base64 {
                text: crate::error::shorten(text),
            })
    }
}

fn digit(c: u8) -> Option<u32> {
    let value = match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|c| **c == b'=').count();
    if padding > 2 {
        return None;
    }
    let digits = text.get(..text.len().checked_sub(padding)?)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.chunks(4) {
        let mut bits = 0u32;
        for c in chunk {
            bits = bits << 6 | digit(*c)?;
        }
        bits <<= 6 * (4 - chunk.len());
        let keep = chunk.len() - 1;
        let [_, all @ ..] = bits.to_be_bytes();
        if all.iter().skip(keep).any(|rest| *rest != 0) {
            return None;
        }
        bytes.extend_from_slice(all.get(..keep)?);
    }
    Some(bytes)
}

text_field!(Base64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4648_vectors() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Base64(plain.into()).to_string(), text);
            assert_eq!(text.parse::<Base64>().unwrap().0, plain.as_bytes());
        }
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in [
            "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm 9", "Zg==Zg==", "Zm9v\n",
        ] {
            assert!(text.parse::<Base64>().is_err(), "{text}");
        }
    }
}
