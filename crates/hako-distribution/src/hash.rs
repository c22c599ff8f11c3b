//! Hashing for the algorithms that a digest can have (image-spec,
//! descriptor.md, "Registered algorithms").

use hako_spec::digest::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

/// A running hash of one algorithm.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256, which every implementation knows.
    Sha256(Box<Sha256>),
    /// SHA-512.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher of the algorithm that `digest` names.
    pub fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            Algorithm::Sha256 => Self::sha256(),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    /// A SHA-256 hasher.
    pub fn sha256() -> Self {
        Self::Sha256(Box::default())
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Digest::from_sha512(hasher.finalize().into()),
        }
    }
}

/// The SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// Whether `bytes` have the digest `want`.
///
/// # Errors
/// The digest that they have.
pub fn check(bytes: &[u8], want: &Digest) -> Result<(), Digest> {
    let mut hasher = Hasher::like(want);
    hasher.update(bytes);
    let got = hasher.finish();
    if got == *want { Ok(()) } else { Err(got) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_OBJECT: &str =
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn known_digests() {
        assert_eq!(sha256(b"{}").as_str(), EMPTY_OBJECT);
        let want: Digest = EMPTY_OBJECT.parse().unwrap();
        assert_eq!(check(b"{}", &want), Ok(()));
        assert_eq!(check(b"{ }", &want), Err(sha256(b"{ }")));
        let want: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        let got = check(b"", &want).unwrap_err();
        assert!(got.as_str().starts_with("sha512:cf83e1357eefb8bd"), "{got}");
    }
}
