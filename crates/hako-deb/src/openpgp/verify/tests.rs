//! Signatures that gpg makes, good and bad ones.

use super::super::cleartext;
use super::*;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A GnuPG home of its own; its agent ends with it.
struct Gpg(tempfile::TempDir);

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

impl Gpg {
    fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("hk")
                .tempdir_in("/tmp")
                .unwrap(),
        )
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args([
                "--batch",
                "--yes",
                "--quiet",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ])
            .arg("--homedir")
            .arg(self.0.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg runs");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(
            out.status.success(),
            "gpg {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    }

    fn generate(
        &self,
        name: &str,
        algorithm: &str,
        usage: &str,
        expire: &str,
        extra: &[&str],
    ) -> String {
        let mut args = extra.to_vec();
        args.extend(["--quick-generate-key", name, algorithm, usage, expire]);
        self.run(&args, b"");
        let list =
            String::from_utf8(self.run(&["--list-keys", "--with-colons", name], b"")).unwrap();
        list.lines()
            .find_map(|l| l.strip_prefix("fpr:::::::::"))
            .unwrap()
            .trim_end_matches(':')
            .to_owned()
    }

    fn ring(&self, only: &[&str]) -> Keyring {
        let mut ring = Keyring::default();
        ring.add("test ring", &self.run(&["--export"], b""))
            .unwrap();
        ring.only = only.iter().map(|s| (*s).to_owned()).collect();
        ring
    }
}

fn now() -> Option<u64> {
    Some(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
}

const TEXT: &[u8] = b"Origin: Test\n- dash \nSuite: stable\n\n";

fn clear(gpg: &Gpg, ring: &Keyring, user: &str, extra: &[&str]) -> Result<Good, String> {
    let mut args = extra.to_vec();
    args.extend(["-u", user, "--clearsign"]);
    let signed = String::from_utf8(gpg.run(&args, TEXT)).unwrap();
    let message = cleartext::parse(&signed).unwrap();
    assert_eq!(message.text, "Origin: Test\n- dash\nSuite: stable\n");
    verify(
        message.text.as_bytes(),
        message.signature.as_bytes(),
        Kind::Cleartext,
        ring,
        now(),
    )
}

#[test]
fn good_signatures_of_primary_and_subkey() {
    let gpg = Gpg::new();
    let one = gpg.generate("one", "ed25519", "sign", "never", &[]);
    let two = gpg.generate("two", "rsa2048", "cert", "never", &[]);
    gpg.run(&["--quick-add-key", &two, "rsa2048", "sign", "never"], b"");
    let ring = gpg.ring(&[]);
    assert_eq!(clear(&gpg, &ring, "one", &[]).unwrap().fingerprint, one);
    assert_eq!(
        clear(&gpg, &ring, "two", &["--digest-algo", "SHA512"])
            .unwrap()
            .fingerprint,
        two
    );
    // Two signatures, of which the ring knows one.
    let other = Gpg::new();
    other.generate("other", "ed25519", "sign", "never", &[]);
    let mut small = Keyring::default();
    small
        .add("small", &gpg.run(&["--export", "one"], b""))
        .unwrap();
    assert_eq!(
        clear(&gpg, &small, "one", &["-u", "two"])
            .unwrap()
            .fingerprint,
        one
    );
    let error = clear(&gpg, &other.ring(&[]), "one", &[]).unwrap_err();
    assert!(
        error.contains(&one) && error.contains("not in the keyring"),
        "{error}"
    );
    // Detached, binary and armoured.
    for armour in [&["--armor"][..], &[]] {
        let mut args = armour.to_vec();
        args.extend(["-u", "two", "--detach-sign"]);
        let signature = gpg.run(&args, TEXT);
        assert!(verify(TEXT, &signature, Kind::Detached, &ring, now()).is_ok());
        assert!(
            verify(b"Evil: 1\n", &signature, Kind::Detached, &ring, now())
                .unwrap_err()
                .contains("bad")
        );
        assert!(
            verify(TEXT, &signature, Kind::Cleartext, &ring, now())
                .unwrap_err()
                .contains("not one of a text")
        );
    }
    // Fingerprints limit the ring.
    assert!(clear(&gpg, &gpg.ring(&[&one]), "one", &[]).is_ok());
    assert!(clear(&gpg, &gpg.ring(&[&two]), "two", &[]).is_ok());
    assert!(
        clear(&gpg, &gpg.ring(&[&one]), "two", &[])
            .unwrap_err()
            .contains("Signed-By")
    );
    assert!(
        clear(&gpg, &gpg.ring(&[&format!("{two}!")]), "two", &[])
            .unwrap_err()
            .contains("Signed-By")
    );
    assert!(clear(&gpg, &gpg.ring(&[&format!("{one}!")]), "one", &[]).is_ok());
}

#[test]
fn a_changed_text_is_refused() {
    let gpg = Gpg::new();
    gpg.generate("one", "ed25519", "sign", "never", &[]);
    gpg.generate("two", "ed25519", "sign", "never", &[]);
    let ring = gpg.ring(&[]);
    let signed = String::from_utf8(gpg.run(&["-u", "one", "--clearsign"], TEXT)).unwrap();
    let check = |text: &str| {
        let message = cleartext::parse(text).map_err(|e| e.to_string())?;
        verify(
            message.text.as_bytes(),
            message.signature.as_bytes(),
            Kind::Cleartext,
            &ring,
            now(),
        )
    };
    assert!(check(&signed).is_ok());
    assert!(check(&signed.replace('\n', "\r\n")).is_ok());
    for (from, to) in [
        ("stable", "staple"),
        ("Origin: Test\n", ""),
        ("Suite", "\nSuite"),
        ("Test", "Test\nEvil: 1"),
    ] {
        let error = check(&signed.replace(from, to)).unwrap_err();
        assert!(error.contains("bad"), "{error}");
    }
    // One of two signatures must be over this very text.
    let both = String::from_utf8(gpg.run(&["-u", "two", "--clearsign"], b"Evil: 1\n")).unwrap();
    let good = cleartext::parse(&signed).unwrap();
    let bad = cleartext::parse(&both).unwrap();
    let joined = format!("{}{}", good.signature, bad.signature);
    let check_joined = |text: &str| {
        verify(
            text.as_bytes(),
            joined.as_bytes(),
            Kind::Cleartext,
            &ring,
            now(),
        )
    };
    assert!(check_joined(&good.text).is_ok() && check_joined(&bad.text).is_ok());
    assert!(check_joined("Evil: 2").unwrap_err().contains("bad"));
    for junk in [
        "",
        "x",
        "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n",
    ] {
        assert!(
            verify(TEXT, junk.as_bytes(), Kind::Cleartext, &ring, now()).is_err(),
            "{junk:?}"
        );
    }
}

#[test]
fn weak_digests_and_keys_are_refused() {
    let gpg = Gpg::new();
    gpg.generate("old", "rsa2048", "sign", "never", &[]);
    gpg.generate("short", "rsa1024", "sign", "never", &[]);
    gpg.generate("talk", "rsa2048", "cert", "never", &[]);
    let ring = gpg.ring(&[]);
    for digest in ["SHA1", "RIPEMD160"] {
        let error = clear(&gpg, &ring, "old", &["--digest-algo", digest]).unwrap_err();
        assert!(error.contains("weak digest"), "{error}");
    }
    let error = clear(&gpg, &ring, "short", &[]).unwrap_err();
    assert!(error.contains("2048"), "{error}");
}

#[test]
fn expiry_is_that_of_the_time_of_signing() {
    let gpg = Gpg::new();
    let past = ["--faked-system-time", "20200101T000000"];
    gpg.generate("brief", "ed25519", "sign", "1y", &past);
    let ring = gpg.ring(&[]);
    // Signed while it was valid: an old snapshot stays usable.
    assert!(
        clear(
            &gpg,
            &ring,
            "brief",
            &["--faked-system-time", "20200601T000000"]
        )
        .is_ok()
    );
    // The signature's own expiry counts today.
    let error = clear(
        &gpg,
        &ring,
        "brief",
        &[
            "--faked-system-time",
            "20200601T000000",
            "--default-sig-expire",
            "30d",
        ],
    )
    .unwrap_err();
    assert!(error.contains("has expired"), "{error}");
    // gpg does not sign with an expired key, so its life is cut afterwards.
    gpg.generate("cut", "ed25519", "sign", "never", &past);
    let print = gpg
        .ring(&[])
        .keys
        .iter()
        .map(fingerprint)
        .next_back()
        .unwrap();
    let signed = String::from_utf8(gpg.run(
        &[
            "--faked-system-time",
            "20220601T000000",
            "-u",
            "cut",
            "--clearsign",
        ],
        TEXT,
    ))
    .unwrap();
    gpg.run(
        &[
            "--faked-system-time",
            "20220602T000000",
            "--quick-set-expire",
            &print,
            "20210101T000000",
        ],
        b"",
    );
    let message = cleartext::parse(&signed).unwrap();
    let error = verify(
        message.text.as_bytes(),
        message.signature.as_bytes(),
        Kind::Cleartext,
        &gpg.ring(&[]),
        now(),
    )
    .unwrap_err();
    assert!(error.contains("had expired"), "{error}");
    // From the future, unless the clock is not to be relied upon.
    gpg.generate(
        "late",
        "ed25519",
        "sign",
        "never",
        &["--faked-system-time", "20990101T000000"],
    );
    let ring = gpg.ring(&[]);
    let later = ["--faked-system-time", "20990601T000000"];
    assert!(
        clear(&gpg, &ring, "late", &later)
            .unwrap_err()
            .contains("future")
    );
}

#[test]
fn revoked_keys_are_refused() {
    let gpg = Gpg::new();
    let print = gpg.generate("lost", "ed25519", "sign", "never", &[]);
    let signed = String::from_utf8(gpg.run(&["-u", "lost", "--clearsign"], TEXT)).unwrap();
    let path = gpg
        .0
        .path()
        .join("openpgp-revocs.d")
        .join(format!("{print}.rev"));
    let certificate = std::fs::read_to_string(Path::new(&path))
        .unwrap()
        .replace(":-----BEGIN", "-----BEGIN");
    gpg.run(&["--import"], certificate.as_bytes());
    let message = cleartext::parse(&signed).unwrap();
    let error = verify(
        message.text.as_bytes(),
        message.signature.as_bytes(),
        Kind::Cleartext,
        &gpg.ring(&[]),
        now(),
    )
    .unwrap_err();
    assert!(
        error.contains("revoked") && error.contains(&print),
        "{error}"
    );
}

#[test]
fn a_subkey_that_may_not_sign_is_refused() {
    let other = Gpg::new();
    other.generate(
        "other",
        "ed25519",
        "cert",
        "never",
        &["--faked-system-time", "20200101T000000"],
    );
    let gpg = Gpg::new();
    let two = gpg.generate("two", "ed25519", "cert", "never", &[]);
    gpg.run(&["--quick-add-key", &two, "ed25519", "sign", "never"], b"");
    let signed = String::from_utf8(gpg.run(&["-u", "two", "--clearsign"], TEXT)).unwrap();
    let message = cleartext::parse(&signed).unwrap();
    let check = |ring: &Keyring| {
        verify(
            message.text.as_bytes(),
            message.signature.as_bytes(),
            Kind::Cleartext,
            ring,
            now(),
        )
    };
    let mut ring = gpg.ring(&[]);
    assert!(check(&ring).is_ok());
    // A subkey that is hung under another primary is not that one's.
    let mut stolen = other.ring(&[]);
    let subkeys = std::mem::take(&mut ring.keys[0].public_subkeys);
    stolen.keys[0].public_subkeys = subkeys;
    assert!(check(&stolen).unwrap_err().contains("no binding"));
}
