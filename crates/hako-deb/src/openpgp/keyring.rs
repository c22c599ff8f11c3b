//! The keys that may sign: files in binary or armour, keys inside a
//! sources file, or all that apt trusts on this machine.

use super::armour_blocks;
use crate::error::{Error, Result};
use crate::sources::SignedBy;
use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::types::KeyDetails;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// No keyring that archives are signed with comes near this.
const LARGEST: u64 = 16 << 20;

/// Most keys that are taken from one file.
const MOST_KEYS: usize = 10_000;

/// Where the machine's keyrings are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Files and directories (`*.gpg`, `*.asc` in them) that count where a
    /// source names nobody. What does not exist is passed over.
    pub trusted: Vec<PathBuf>,
}

impl Default for Directories {
    /// apt's `trusted.gpg` and `trusted.gpg.d`, and Debian's own keyring.
    fn default() -> Self {
        Self {
            trusted: [
                "/etc/apt/trusted.gpg",
                "/etc/apt/trusted.gpg.d",
                "/usr/share/keyrings/debian-archive-keyring.gpg",
                "/usr/share/keyrings/debian-archive-keyring.pgp",
            ]
            .map(PathBuf::from)
            .to_vec(),
        }
    }
}

/// Keys that may sign a certain source.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    pub(super) keys: Vec<SignedPublicKey>,
    /// Upper-case fingerprints, `!` at the end for exactly that key; empty
    /// admits every key.
    pub(super) only: Vec<String>,
    /// Where the keys come from, for messages.
    names: Vec<String>,
}

impl Keyring {
    /// The keys that a source admits.
    ///
    /// # Errors
    /// A keyring that the source names cannot be read or has no key.
    pub fn load(signed_by: &SignedBy, directories: &Directories) -> Result<Self> {
        let mut ring = Self {
            only: signed_by.fingerprints.clone(),
            ..Self::default()
        };
        for path in &signed_by.files {
            ring.add_file(path)?;
        }
        for block in &signed_by.embedded {
            ring.add("Signed-By", block.as_bytes())?;
        }
        if signed_by.files.is_empty() && signed_by.embedded.is_empty() {
            ring.add_trusted(directories);
        }
        Ok(ring)
    }

    /// Where the keys come from, for messages.
    pub fn describe(&self) -> String {
        match self.names.as_slice() {
            [] => "no keyring".to_owned(),
            names => names.join(", "),
        }
    }

    /// How many keys (certificates) there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Reads a file that was named.
    ///
    /// # Errors
    /// The file cannot be read, or no key is in it.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let bytes = read(path)?;
        self.add(&path.display().to_string(), &bytes)
    }

    /// What apt trusts. A file that cannot be used there is passed over, as
    /// apt does: a missing key shows when a signature is checked.
    fn add_trusted(&mut self, directories: &Directories) {
        for path in &directories.trusted {
            if path.is_dir() {
                let files = crate::sources::parts(path, &["gpg", "asc", "pgp"]).unwrap_or_default();
                for file in files {
                    let _unusable = self.add_file(&file);
                }
            } else if path.exists() {
                let _unusable = self.add_file(path);
            }
        }
    }

    /// Takes keys from bytes: binary packets, or armoured blocks.
    ///
    /// # Errors
    /// No key is in them, or they are a GnuPG keybox.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let fail = |reason: String| Error::Keyring {
            path: name.to_owned(),
            reason,
        };
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err(fail(
                "it is a GnuPG keybox; write its keys with gpg --export into a keyring file"
                    .to_owned(),
            ));
        }
        let mut found = Vec::new();
        let mut trouble = None;
        if bytes.first().is_some_and(|b| b & 0x80 != 0) {
            collect(
                SignedPublicKey::from_bytes_many(bytes),
                &mut found,
                &mut trouble,
            );
        } else {
            let text = String::from_utf8_lossy(bytes);
            for block in armour_blocks(&text, "PUBLIC KEY BLOCK") {
                let keys = SignedPublicKey::from_armor_many(block.as_bytes()).map(|(keys, _)| keys);
                collect(keys, &mut found, &mut trouble);
            }
        }
        if found.is_empty() {
            return Err(fail(trouble.unwrap_or_else(|| {
                "there is no OpenPGP public key in it".to_owned()
            })));
        }
        for key in found {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Whether the fingerprints admit a signature by this (sub)key.
    pub(super) fn admits(&self, primary: &str, signer: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|wanted| match wanted.strip_suffix('!') {
                    Some(exact) => exact == signer,
                    None => wanted == primary || wanted == signer,
                })
    }
}

/// The keyrings of one request, each read once: most sources have the same.
#[derive(Debug, Default)]
pub(crate) struct Rings(Mutex<Vec<(SignedBy, Arc<Keyring>)>>);

impl Rings {
    /// The keys that a source admits.
    ///
    /// # Errors
    /// As [`Keyring::load`].
    pub(crate) fn get(
        &self,
        signed_by: &SignedBy,
        directories: &Directories,
    ) -> Result<Arc<Keyring>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ring)) = known.iter().find(|(by, _)| by == signed_by) {
            return Ok(ring.clone());
        }
        let ring = Arc::new(Keyring::load(signed_by, directories)?);
        known.push((signed_by.clone(), ring.clone()));
        Ok(ring)
    }
}

/// A key's fingerprint in upper-case hex.
pub(super) fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn collect<'a, K>(
    keys: pgp::errors::Result<K>,
    found: &mut Vec<SignedPublicKey>,
    trouble: &mut Option<String>,
) where
    K: Iterator<Item = pgp::errors::Result<SignedPublicKey>> + 'a,
{
    match keys {
        Err(error) => *trouble = Some(error.to_string()),
        Ok(keys) => {
            for key in keys.take(MOST_KEYS) {
                match key {
                    Ok(key) => found.push(key),
                    Err(error) => *trouble = Some(error.to_string()),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |reason: String| Error::Keyring {
        path: path.display().to_string(),
        reason,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail(format!("it is larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_machines_keyrings() {
        let all = Keyring::load(&SignedBy::default(), &Directories::default()).unwrap();
        assert!(all.len() >= 6, "{}: {} keys", all.describe(), all.len());
        let named = SignedBy {
            files: vec!["/usr/share/keyrings/debian-archive-keyring.gpg".into()],
            ..SignedBy::default()
        };
        let ring = Keyring::load(&named, &Directories::default()).unwrap();
        let listed = std::process::Command::new("gpg")
            .args([
                "--show-keys",
                "--with-colons",
                "/usr/share/keyrings/debian-archive-keyring.gpg",
            ])
            .output()
            .expect("gpg runs");
        let theirs = String::from_utf8(listed.stdout)
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("pub:"))
            .count();
        assert_eq!(ring.len(), theirs);
    }

    #[test]
    fn says_what_is_wrong() {
        let mut ring = Keyring::default();
        let mut keybox = vec![0, 0, 0, 32, 1, 1, 0, 2];
        keybox.extend(b"KBXf rest");
        for (bytes, part) in [
            (keybox.as_slice(), "keybox"),
            (b"nothing".as_slice(), "no OpenPGP public key"),
            (b"".as_slice(), "no OpenPGP public key"),
            (
                b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----"
                    .as_slice(),
                "keyring x",
            ),
            (b"\x99\x01\x0d\x04".as_slice(), "keyring x"),
        ] {
            let error = ring.add("x", bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let missing = ring
            .add_file(Path::new("/nonexistent.gpg"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("/nonexistent.gpg"), "{missing}");
    }
}
