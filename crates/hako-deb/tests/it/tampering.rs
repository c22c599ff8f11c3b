//! Whatever is changed on the way is refused, and leaves no name.

use crate::archive::{Archive, Root, chain, small};
use hako_deb::{Error, Options};
use std::path::Path;

/// Fails, with a text, and leaves neither name nor blob.
fn refused(archive: &Archive, change: impl Fn(&mut Options)) -> String {
    let root = Root::new();
    let mut options = archive.options(root.path());
    change(&mut options);
    let error = root.make("shell", &options).map(|b| b.name).unwrap_err();
    assert!(
        root.store
            .names()
            .list(&hako_store::names::Filter::default())
            .unwrap()
            .is_empty()
    );
    assert_eq!(root.store.blobs().list().unwrap().len(), 0);
    chain(&error)
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_changed_release() {
    let archive = small();
    let file = archive.www("dists/stable/InRelease");
    let original = std::fs::read(&file).unwrap();
    for (from, to, text) in [
        ("Version: 12.1", "Version: 12.2", "is bad"),
        (
            "-----BEGIN PGP SIGNED MESSAGE-----",
            "Evil: 1\n-----BEGIN PGP SIGNED MESSAGE-----",
            "not a message",
        ),
        (
            "Origin:",
            "-----BEGIN PGP SIGNATURE-----\nOrigin:",
            "dash inside",
        ),
        (
            "-----END PGP SIGNATURE-----",
            "-----END PGP SIGNATURE-----\nEvil: 1",
            "behind the signature",
        ),
    ] {
        edit(&file, from, to);
        let found = refused(&archive, |_| {});
        assert!(
            found.contains(text) && found.contains("InRelease"),
            "{found}"
        );
        std::fs::write(&file, &original).unwrap();
    }
    assert!(
        Root::new()
            .make("shell", &archive.options(Root::new().path()))
            .is_ok()
    );
}

#[test]
fn a_changed_index() {
    let archive = small();
    let packed = archive.index().with_extension("xz");
    let mut bytes = std::fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&packed, &bytes).unwrap();
    let found = refused(&archive, |_| {});
    assert!(
        found.contains("Packages.xz") && found.contains("was promised"),
        "{found}"
    );
    bytes.push(0);
    std::fs::write(&packed, &bytes).unwrap();
    let found = refused(&archive, |_| {});
    assert!(found.contains("Packages.xz"), "{found}");
    std::fs::write(&packed, &bytes[..middle]).unwrap();
    let found = refused(&archive, |_| {});
    assert!(found.contains("Packages.xz"), "{found}");
}

#[test]
fn a_changed_package() {
    let archive = small();
    let file = archive.www("pool/lib_2.0.deb");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let found = refused(&archive, |_| {});
    assert!(
        found.contains("lib_2.0.deb") && found.contains("was promised"),
        "{found}"
    );
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&archive, |_| {}).contains("404"));
}

#[test]
fn a_package_that_is_another() {
    let archive = small();
    // Signed index, but the file is another package's: the archive's own
    // fault, and still not taken.
    let (one, two) = (
        archive.www("pool/lib_2.0.deb"),
        archive.www("pool/mawk_1.deb"),
    );
    let index = std::fs::read_to_string(archive.index()).unwrap();
    let hash = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        (
            bytes.len(),
            crate::archive::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes)),
        )
    };
    let ((size, sum), (other_size, other_sum)) = (hash(&one), hash(&two));
    let changed = index.replace(&sum, &other_sum).replace(
        &format!("pool/lib_2.0.deb\nSize: {size}"),
        &format!("pool/mawk_1.deb\nSize: {other_size}"),
    );
    assert_ne!(changed, index);
    std::fs::write(archive.index(), changed).unwrap();
    std::process::Command::new("xz")
        .args(["-k", "-f"])
        .arg(archive.index())
        .status()
        .unwrap();
    archive.release("archive");
    let found = refused(&archive, |_| {});
    assert!(found.contains("says of itself Package: mawk"), "{found}");
}

#[test]
fn missing_and_wrong_keys() {
    let archive = small();
    archive.key("other");
    let with = |options: &mut Options, words: &str| {
        options.sources = hako_deb::sources::From::Files(vec![archive.sources(words)]);
    };
    let dir = archive.dir.path().display();
    let found = refused(&archive, |o| with(o, &format!("signed-by={dir}/other.gpg")));
    assert!(found.contains("is not in the keyring"), "{found}");
    let found = refused(&archive, |o| with(o, &format!("signed-by={dir}/none.gpg")));
    assert!(found.contains("none.gpg"), "{found}");
    let found = refused(&archive, |o| with(o, "arch=amd64"));
    assert!(found.contains("no keyring"), "{found}");
    let found = refused(&archive, |o| with(o, "trusted=no"));
    assert!(found.contains("not trusted"), "{found}");
    // Through the machine's trusted keyrings, and without any by decision.
    let root = Root::new();
    let mut options = archive.options(root.path());
    with(&mut options, "arch=amd64");
    options.keyrings.trusted = vec![archive.dir.path().join("archive.gpg")];
    root.make("shell", &options).unwrap();
    let root = Root::new();
    let mut options = archive.options(root.path());
    with(&mut options, "trusted=yes");
    root.make("shell", &options).unwrap();
    assert!(
        root.warnings()[0].contains("trusted=yes"),
        "{:?}",
        root.warnings()
    );
}

#[test]
fn a_detached_signature() {
    let archive = small();
    std::fs::remove_file(archive.www("dists/stable/InRelease")).unwrap();
    let root = Root::new();
    root.make("shell", &archive.options(root.path())).unwrap();
    edit(&archive.www("dists/stable/Release"), "Origin", "Onigin");
    assert!(refused(&archive, |_| {}).contains("is bad"));
    std::fs::remove_file(archive.www("dists/stable/Release.gpg")).unwrap();
    assert!(refused(&archive, |_| {}).contains("no signature"));
    std::fs::remove_file(archive.www("dists/stable/Release")).unwrap();
    assert!(refused(&archive, |_| {}).contains("neither InRelease nor Release"));
}

#[test]
fn another_suite_and_an_expired_one() {
    let mut archive = small();
    archive.fields = "Valid-Until: Sat, 11 Jul 2020 10:16:37 UTC\n".to_owned();
    archive.release("archive");
    assert!(refused(&archive, |_| {}).contains("expired"));
    let root = Root::new();
    let mut options = archive.options(root.path());
    options.settings.check_valid_until = false;
    root.make("shell", &options).unwrap();
    // A validly signed release of another suite.
    std::fs::rename(archive.www("dists/stable"), archive.www("dists/unstable")).unwrap();
    let found = refused(&archive, |o| {
        o.settings.check_valid_until = false;
        let list = archive.dir.path().join("test.list");
        edit(&list, " stable ", " unstable ");
    });
    assert!(found.contains("not of unstable"), "{found}");
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let archive = small();
    let root = Root::new();
    let options = archive.options(root.path());
    let first = root.make("shell", &options).unwrap();
    for sub in ["deb/index", "deb/pool", "deb/release", "deb/image"] {
        for entry in std::fs::read_dir(root.path().join(sub)).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let again = root.make("shell", &options).unwrap();
    assert_eq!((again.manifest, again.reused), (first.manifest, false));
}

#[test]
fn a_release_goes_back_in_time() {
    let mut archive = small();
    archive.fields = "Date: Sat, 11 Jul 2020 10:16:37 UTC\n".to_owned();
    archive.release("archive");
    let root = Root::new();
    let options = Options {
        refresh: true,
        ..archive.options(root.path())
    };
    root.make("shell", &options).unwrap();
    archive.fields = "Date: Fri, 10 Jul 2020 10:16:37 UTC\n".to_owned();
    archive.release("archive");
    root.make("shell", &options).unwrap();
    assert!(
        root.warnings().iter().any(|w| w.contains("older release")),
        "{:?}",
        root.warnings()
    );
    // The archive cannot be reached: what was fetched before serves.
    std::fs::rename(archive.www("dists"), archive.www("gone")).unwrap();
    let error = root.make("shell", &options).unwrap_err();
    assert!(matches!(error, Error::Release { .. }), "{error}");
    let url = archive.server.url();
    drop(archive);
    let list = root.path().join("x.list");
    std::fs::write(&list, format!("deb [trusted=yes] {url} stable main\n")).unwrap();
    let options = Options {
        sources: hako_deb::sources::From::Files(vec![list]),
        ..options
    };
    assert!(root.make("shell", &options).unwrap().reused);
}
