//! Whether a signature counts.
//!
//! It must be made by a key of the ring that was allowed to sign, neither
//! expired nor revoked, at the time of signing; with a digest that is not
//! broken; over exactly the bytes given. A key that was revoked because it
//! was lost never counts. One good signature is enough: archives sign with
//! the keys of several releases.

use super::armour_blocks;
use super::keyring::{Keyring, fingerprint};
use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{RevocationCode, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag};

/// How the signature and its text belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The text stands in the same file: only text signatures count.
    Cleartext,
    /// The signature is a file of its own.
    Detached,
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    /// Fingerprint of the key's primary, upper-case hex.
    pub fingerprint: String,
    /// When it was made, in seconds since 1970.
    pub created: u32,
}

/// Most signatures that are looked at.
const MOST_SIGNATURES: usize = 64;

/// How far this machine's clock may be behind the signer's, in seconds.
const SKEW: u64 = 24 * 3600;

/// Checks the signatures in `signature` (armoured or binary) over `data`.
/// `now` is in seconds since 1970; `None` where the machine's clock is not
/// to be relied upon.
///
/// # Errors
/// No signature counts; the text says why, with the id of each key.
pub fn verify(
    data: &[u8],
    signature: &[u8],
    kind: Kind,
    ring: &Keyring,
    now: Option<u64>,
) -> Result<Good, String> {
    let mut signatures = parse(signature)?;
    // Signatures of elliptic curves are far cheaper to check than RSA's.
    signatures.sort_by_key(|s| {
        s.config()
            .is_some_and(|c| c.pub_alg == PublicKeyAlgorithm::RSA)
    });
    let mut bad = None;
    let mut reasons = Vec::new();
    for signature in &signatures {
        match check(data, signature, kind, ring, now) {
            Ok(good) => return Ok(good),
            Err(Refusal::Useless(reason)) => reasons.push(reason),
            Err(Refusal::Bad(reason)) => bad = bad.or(Some(reason)),
        }
    }
    reasons.dedup();
    Err(bad.unwrap_or_else(|| {
        format!(
            "no signature that counts: {} (keys from {})",
            reasons.join("; "),
            ring.describe()
        )
    }))
}

fn parse(signature: &[u8]) -> Result<Vec<Signature>, String> {
    let mut all = Vec::new();
    let mut take = |parsed: pgp::errors::Result<
        Box<dyn Iterator<Item = pgp::errors::Result<DetachedSignature>> + '_>,
    >| {
        for one in parsed.map_err(|e| format!("the signature cannot be read: {e}"))? {
            let one = one.map_err(|e| format!("the signature cannot be read: {e}"))?;
            all.push(one.signature);
            if all.len() > MOST_SIGNATURES {
                return Err(format!("there are more than {MOST_SIGNATURES} signatures"));
            }
        }
        Ok(())
    };
    if signature.first().is_some_and(|b| b & 0x80 != 0) {
        take(DetachedSignature::from_bytes_many(signature))?;
    } else {
        let text =
            std::str::from_utf8(signature).map_err(|_| "the signature is not text".to_owned())?;
        for block in armour_blocks(text, "SIGNATURE") {
            take(DetachedSignature::from_armor_many(block.as_bytes()).map(|(all, _)| all))?;
        }
    }
    if all.is_empty() {
        return Err("there is no signature".to_owned());
    }
    Ok(all)
}

enum Refusal {
    /// It does not count, but another may.
    Useless(String),
    /// It says that the text was changed.
    Bad(String),
}

fn check(
    data: &[u8],
    signature: &Signature,
    kind: Kind,
    ring: &Keyring,
    now: Option<u64>,
) -> Result<Good, Refusal> {
    let useless = |reason: String| Err(Refusal::Useless(reason));
    let issuer = issuer(signature);
    let Some(config) = signature.config() else {
        return useless(format!(
            "the signature by {issuer} is of an unknown version"
        ));
    };
    let fits = match config.typ {
        SignatureType::Text => true,
        SignatureType::Binary => kind == Kind::Detached,
        _ => false,
    };
    if !fits {
        return useless(format!("the signature by {issuer} is not one of a text"));
    }
    if !strong(config.hash_alg) {
        return useless(format!(
            "the signature by {issuer} uses the weak digest {}",
            config.hash_alg
        ));
    }
    let strange = |data: &SubpacketData| {
        matches!(
            data,
            SubpacketData::Notation(_) | SubpacketData::Experimental(..) | SubpacketData::Other(..)
        )
    };
    if config
        .hashed_subpackets()
        .any(|s| s.is_critical && strange(&s.data))
    {
        return useless(format!(
            "the signature by {issuer} has a critical part that is not known"
        ));
    }
    let Some(created) = hashed_time(signature) else {
        return useless(format!("the signature by {issuer} has no time"));
    };
    if let Some(now) = now {
        if u64::from(created) > now.saturating_add(SKEW) {
            return useless(format!("the signature by {issuer} was made in the future"));
        }
        let life = signature
            .signature_expiration_time()
            .map_or(0, |d| d.as_secs());
        if life > 0 && u64::from(created) + u64::from(life) < now {
            return useless(format!("the signature by {issuer} has expired"));
        }
    }
    for key in &ring.keys {
        let primary = fingerprint(key);
        let component = if matches(signature, &key.primary_key) {
            Component::Primary
        } else if let Some(sub) = key
            .public_subkeys
            .iter()
            .find(|sub| matches(signature, &sub.key))
        {
            Component::Sub(sub)
        } else {
            continue;
        };
        let signer = match component {
            Component::Primary => primary.clone(),
            Component::Sub(sub) => fingerprint(&sub.key),
        };
        if !ring.admits(&primary, &signer) {
            return useless(format!("the key {signer} is not one of those in Signed-By"));
        }
        let sound = match component {
            Component::Primary => signature.verify(&key.primary_key, data),
            Component::Sub(sub) => signature.verify(&sub.key, data),
        };
        if sound.is_err() {
            return Err(Refusal::Bad(format!(
                "the signature by {signer} is bad: the text is not what was signed"
            )));
        }
        component
            .valid(key, created)
            .map_err(|why| Refusal::Useless(format!("the key {signer} {why}")))?;
        return Ok(Good {
            fingerprint: primary,
            created,
        });
    }
    useless(format!("the key {issuer} is not in the keyring"))
}

/// The part of a certificate that made a signature.
#[derive(Clone, Copy)]
enum Component<'a> {
    Primary,
    Sub(&'a SignedPublicSubKey),
}

impl Component<'_> {
    /// Whether it was allowed to sign at a time.
    fn valid(self, key: &SignedPublicKey, at: u32) -> Result<(), String> {
        let primary = &key.primary_key;
        acceptable(primary.public_params())?;
        for revocation in &key.details.revocation_signatures {
            if revocation.verify_key(primary).is_ok() && revokes(revocation, at) {
                return Err("was revoked".to_owned());
            }
        }
        let own =
            primary_binding(key).ok_or_else(|| "has no self-signature that counts".to_owned())?;
        alive(primary.created_at().as_secs(), own, at)?;
        let Self::Sub(sub) = self else {
            return if flags(own).unwrap_or(true) {
                Ok(())
            } else {
                Err("may not sign".to_owned())
            };
        };
        acceptable(sub.key.public_params())?;
        let bound = |s: &&Signature| s.verify_subkey_binding(primary, &sub.key).is_ok();
        for signature in sub
            .signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::SubkeyRevocation))
        {
            if bound(&signature) && revokes(signature, at) {
                return Err("was revoked".to_owned());
            }
        }
        let mut bindings: Vec<&Signature> = sub
            .signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::SubkeyBinding) && sound_digest(s))
            .collect();
        bindings.sort_by_key(|s| std::cmp::Reverse(hashed_time(s)));
        let binding = bindings
            .into_iter()
            .find(bound)
            .ok_or_else(|| "has no binding that counts".to_owned())?;
        alive(sub.key.created_at().as_secs(), binding, at)?;
        // A subkey must itself say that it belongs to the primary, or any
        // key could be claimed as a subkey (RFC 9580, 5.2.1.9).
        let back = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&sub.key, primary).is_ok());
        if flags(binding) == Some(true) && back {
            Ok(())
        } else {
            Err("may not sign".to_owned())
        }
    }
}

/// The newest self-signature over the primary or one of its names.
fn primary_binding(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().map(|s| (s, None));
    let names = key
        .details
        .users
        .iter()
        .flat_map(|user| user.signatures.iter().map(move |s| (s, Some(&user.id))));
    let mut all: Vec<_> = direct
        .chain(names)
        .filter(|(s, _)| sound_digest(s) && matches(s, primary))
        .collect();
    all.sort_by_key(|(s, _)| std::cmp::Reverse(hashed_time(s)));
    let sound = |(s, name): &(&Signature, Option<_>)| match name {
        None => s.typ() == Some(SignatureType::Key) && s.verify_key(primary).is_ok(),
        Some(name) => {
            s.typ() != Some(SignatureType::CertRevocation)
                && s.verify_certification(primary, Tag::UserId, *name).is_ok()
        }
    };
    all.into_iter().find(sound).map(|(s, _)| s)
}

/// Whether the key existed and had not expired, by its newest binding.
fn alive(created: u32, binding: &Signature, at: u32) -> Result<(), String> {
    if at < created {
        return Err("is younger than the signature".to_owned());
    }
    let life = binding.key_expiration_time().map_or(0, |d| d.as_secs());
    if life > 0 && u64::from(at) > u64::from(created) + u64::from(life) {
        return Err("had expired when it signed".to_owned());
    }
    Ok(())
}

/// Whether a (verified) revocation counts at a time: always, unless it says
/// that the key was merely replaced or retired and came later.
fn revokes(revocation: &Signature, at: u32) -> bool {
    let soft = matches!(
        revocation.revocation_reason_code(),
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired)
    );
    !soft || hashed_time(revocation).is_none_or(|created| created <= at)
}

/// Whether the key flags allow signing; `None` where there are no flags.
fn flags(binding: &Signature) -> Option<bool> {
    binding
        .config()?
        .hashed_subpackets()
        .find_map(|s| match &s.data {
            SubpacketData::KeyFlags(flags) => Some(flags.sign()),
            _ => None,
        })
}

/// The time of creation, from the part of the packet that is signed.
fn hashed_time(signature: &Signature) -> Option<u32> {
    signature
        .config()?
        .hashed_subpackets()
        .find_map(|s| match &s.data {
            SubpacketData::SignatureCreationTime(time) => Some(time.as_secs()),
            _ => None,
        })
}

/// Digests that may stand under a release.
fn strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

/// Digests that may bind the parts of a key. SHA-1 is let through here:
/// keyrings are trusted files of the machine, and old archive keys were
/// bound with it.
fn sound_digest(signature: &Signature) -> bool {
    signature.config().is_some_and(|c| {
        strong(c.hash_alg) || matches!(c.hash_alg, HashAlgorithm::Sha1 | HashAlgorithm::Sha224)
    })
}

/// Algorithms and sizes: RSA from 2048 bits, and the elliptic curves.
fn acceptable(params: &PublicParams) -> Result<(), String> {
    match params {
        // Two MPIs with two bytes of length each; the exponent is short.
        PublicParams::RSA(rsa) if rsa.write_len() > 2 + 256 + 2 => Ok(()),
        PublicParams::RSA(_) => Err("is RSA with less than 2048 bits".to_owned()),
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        _ => Err("is of an algorithm that is not accepted".to_owned()),
    }
}

/// Whether a signature names a key as its issuer.
fn matches(signature: &Signature, key: &impl KeyDetails) -> bool {
    let prints = signature.issuer_fingerprint();
    if prints.is_empty() {
        let id = key.legacy_key_id();
        signature.issuer_key_id().iter().any(|i| **i == id)
    } else {
        let print = key.fingerprint();
        prints.iter().any(|p| **p == print)
    }
}

/// The issuer's name for messages: fingerprint, or else key id.
fn issuer(signature: &Signature) -> String {
    let print = signature
        .issuer_fingerprint()
        .first()
        .map(|p| format!("{p:X}"));
    let id = signature
        .issuer_key_id()
        .first()
        .map(|id| id.to_string().to_ascii_uppercase());
    print.or(id).unwrap_or_else(|| "nobody".to_owned())
}

#[cfg(test)]
mod tests;
