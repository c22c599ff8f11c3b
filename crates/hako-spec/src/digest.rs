//! Digests: the names of blobs.
//!
//! A digest becomes a path in the store and in image layouts, so nothing but
//! a registered algorithm and exactly its number of lower-case hexadecimal
//! digits is ever accepted (image-spec descriptor.md "Digests"; CVE-2024-3727
//! came from a looser reading).

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::error::shorten;

/// A hash function that digests may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: every implementation has it.
    Sha256,
    /// SHA-512: implementations may have it.
    Sha512,
}

impl Algorithm {
    /// All algorithms that are accepted.
    pub const ALL: &'static [Algorithm] = &[Algorithm::Sha256, Algorithm::Sha512];

    /// The name as it stands before the colon.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Number of hexadecimal digits.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|known| known.as_str() == text);
        found.copied().ok_or_else(|| Error::UnknownName {
            what: "digest algorithm",
            text: shorten(text),
        })
    }
}

/// `algorithm:hex`, checked.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Box<str>,
    algorithm: Algorithm,
}

impl Digest {
    /// The digest with the given SHA-256 value.
    #[must_use]
    pub fn from_sha256(value: [u8; 32]) -> Self {
        Self::from_bytes(Algorithm::Sha256, &value)
    }

    /// The digest with the given SHA-512 value.
    #[must_use]
    pub fn from_sha512(value: [u8; 64]) -> Self {
        Self::from_bytes(Algorithm::Sha512, &value)
    }

    /// The lengths fit by the types of the two callers.
    fn from_bytes(algorithm: Algorithm, value: &[u8]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(algorithm.as_str().len() + 1 + value.len() * 2);
        text.push_str(algorithm.as_str());
        text.push(':');
        for byte in value {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Digest {
            text: text.into(),
            algorithm,
        }
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal part, lower case.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.text
            .get(self.algorithm.as_str().len() + 1..)
            .unwrap_or_default()
    }

    /// The first twelve hexadecimal digits, as lists show it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }

    /// The whole text, `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::Digest {
            text: shorten(text),
            reason,
        };
        let Some((name, hex)) = text.split_once(':') else {
            return Err(refuse("it has no colon between algorithm and value"));
        };
        let algorithm = name
            .parse::<Algorithm>()
            .map_err(|_| refuse("the algorithm is neither sha256 nor sha512"))?;
        if hex.len() != algorithm.hex_len() {
            return Err(refuse(match algorithm {
                Algorithm::Sha256 => "sha256 has 64 hexadecimal digits",
                Algorithm::Sha512 => "sha512 has 128 hexadecimal digits",
            }));
        }
        if !hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse("the value has characters other than 0-9 and a-f"));
        }
        Ok(Digest {
            text: text.into(),
            algorithm,
        })
    }
}

text_field!(Digest);

/// The digest of nothing: a value that no honest blob has, so that a
/// descriptor that was never filled in matches nothing.
impl Default for Digest {
    fn default() -> Self {
        Self::from_sha256([0; 32])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parts() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(digest.hex(), &EMPTY[7..]);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(
            serde_json::to_string(&digest).unwrap(),
            format!("\"{EMPTY}\"")
        );
    }

    #[test]
    fn abuse_is_refused() {
        let hex = &EMPTY[7..];
        for text in [
            String::new(),
            ":".into(),
            "sha256:".into(),
            hex.into(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha256:{hex}0"),
            format!("sha256:{}", &hex[1..]),
            format!("sha512:{hex}"),
            format!("sha384:{hex}"),
            format!("md5:{}", &hex[..32]),
            format!("sha256:../../{}", &hex[6..]),
            format!("sha256:{}/..", &hex[3..]),
            format!("sha256: {}", &hex[1..]),
            format!("sha256:{}\n", &hex[1..]),
            format!("sha256:{}\0", &hex[1..]),
            format!("sha256:{}é", &hex[2..]),
            format!(" {EMPTY}"),
            format!("{EMPTY}:x"),
        ] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains("is not a digest"), "{error}");
        }
    }

    #[test]
    fn a_long_text_gives_a_short_error() {
        let error = "x"
            .repeat(1 << 20)
            .parse::<Digest>()
            .unwrap_err()
            .to_string();
        assert!(error.len() < 200);
    }

    proptest! {
        #[test]
        fn any_value_round_trips(value: [u8; 32]) {
            let digest = Digest::from_sha256(value);
            prop_assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn sha512_round_trips(half: [u8; 32]) {
            let mut value = [0; 64];
            value[..32].copy_from_slice(&half);
            let digest = Digest::from_sha512(value);
            prop_assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn never_panics_and_accepts_only_itself(text in "(sha256|sha512|[a-z0-9+._-]{0,9})?:?[0-9a-fA-F/.:]{0,140}|.*") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.as_str(), text);
                prop_assert!(!digest.hex().contains(['/', '.']));
            }
        }
    }
}
