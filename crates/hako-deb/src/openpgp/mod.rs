//! Signatures of archives: who signed, and whether that counts.
//!
//! The cryptography and the packet formats are the `pgp` crate's; the
//! cleartext framework and the rules of validity are here, because that is
//! where attacks are: what is parsed as a release is the very text that was
//! hashed, and nothing around it.

pub mod cleartext;
mod keyring;
mod verify;

pub(crate) use keyring::Rings;
pub use keyring::{Directories, Keyring};
pub use verify::{Good, Kind, verify};

/// The armoured blocks of one type in a text, each with its frame.
fn armour_blocks<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let (begin, end) = (
        format!("-----BEGIN PGP {kind}-----"),
        format!("-----END PGP {kind}-----"),
    );
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((start, stop)) = rest
        .find(&begin)
        .and_then(|start| Some((start, start + rest.get(start..)?.find(&end)? + end.len())))
    {
        blocks.extend(rest.get(start..stop));
        rest = rest.get(stop..).unwrap_or_default();
    }
    blocks
}
