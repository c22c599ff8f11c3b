use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use hako_store::{Error, Ingest, Store};

use crate::fixture::{child, digest, errand, on_small_disk, store};

fn path(store: &Store, bytes: &[u8]) -> std::path::PathBuf {
    store.path("blobs/sha256").join(digest(bytes).hex())
}

fn writer(store: &Store, bytes: &[u8]) -> Box<hako_store::BlobWriter> {
    match store
        .blobs()
        .writer(&digest(bytes), bytes.len() as u64)
        .unwrap()
    {
        Ingest::Writer(writer) => writer,
        Ingest::Present => panic!("it is there"),
    }
}

#[test]
fn put_and_read_back() {
    let (_dir, store) = store();
    let digest = store.blobs().put(b"hello").unwrap();
    assert_eq!(store.blobs().put(b"hello").unwrap(), digest);
    assert_eq!(store.blobs().read(&digest, 5).unwrap(), b"hello");
    assert!(matches!(
        store.blobs().read(&digest, 4),
        Err(Error::TooLarge { limit: 4, .. })
    ));
    let mut reader = store.blobs().open(&digest).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(reader.verified() && text == "hello");
    let mode = path(&store, b"hello")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o444);
    let root = store.root().metadata().unwrap().permissions().mode();
    assert_eq!(root & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(store.path("ingest")).unwrap().count(), 0);
    assert!(store.blobs().remove(&digest).unwrap());
    assert!(matches!(
        store.blobs().open(&digest),
        Err(Error::BlobUnknown(_))
    ));
    let empty = store.blobs().put(b"").unwrap();
    assert_eq!(store.blobs().read(&empty, 0).unwrap(), b"");
}

#[test]
fn sha512_has_its_own_directory() {
    let (_dir, store) = store();
    let mut hasher = hako_store::Hasher::new(hako_spec::digest::Algorithm::Sha512);
    hasher.update(b"x");
    let digest = hasher.finish();
    let Ingest::Writer(mut writer) = store.blobs().writer(&digest, 1).unwrap() else {
        panic!()
    };
    writer.write_bytes(b"x").unwrap();
    writer.commit().unwrap();
    assert_eq!(store.blobs().read(&digest, 1).unwrap(), b"x");
    assert!(store.path("blobs/sha512").is_dir());
}

#[test]
fn rot_is_seen_by_every_reader() {
    let (_dir, store) = store();
    for (wrong, kind) in [
        (&b"hellp"[..], "content"),
        (b"hell", "instead"),
        (b"hello!", "content"),
    ] {
        let digest = store.blobs().put(b"hello").unwrap();
        let file = path(&store, b"hello");
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, wrong).unwrap();
        let mut reader = store.blobs().open(&digest).unwrap();
        let error = reader.drain().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{kind}");
        assert!(reader.read(&mut [0; 8]).is_err(), "it fails again");
        assert!(!reader.verified());
        assert!(matches!(
            store.blobs().read(&digest, 99),
            Err(Error::DigestMismatch { .. })
        ));
        let sized = store.blobs().open_sized(&digest, 5);
        assert_eq!(sized.is_ok(), wrong.len() == 5);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_symlink_in_the_place_of_a_blob_is_not_followed() {
    let (dir, store) = store();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, b"hello").unwrap();
    std::os::unix::fs::symlink(&secret, path(&store, b"hello")).unwrap();
    assert!(!store.blobs().contains(&digest(b"hello")).unwrap());
    assert!(store.blobs().open(&digest(b"hello")).is_err());
}

#[test]
fn a_writer_goes_on_where_another_stopped() {
    let (_dir, store) = store();
    let bytes = vec![7u8; 1_000_000];
    let mut first = writer(&store, &bytes);
    first.write_bytes(&bytes[..600_000]).unwrap();
    let error = first.commit().unwrap_err();
    assert!(
        matches!(
            error,
            Error::SizeMismatch {
                actual: 600_000,
                ..
            }
        ),
        "{error}"
    );
    let mut second = writer(&store, &bytes);
    assert_eq!(second.offset(), 600_000);
    second.write_all(&bytes[600_000..]).unwrap();
    second.commit().unwrap();
    assert_eq!(store.blobs().read(&digest(&bytes), 1 << 20).unwrap(), bytes);
    assert!(matches!(
        store
            .blobs()
            .writer(&digest(&bytes), bytes.len() as u64)
            .unwrap(),
        Ingest::Present
    ));
}

#[test]
fn too_much_and_wrong_bytes_are_refused() {
    let (_dir, store) = store();
    let mut over = writer(&store, b"hello");
    over.write_bytes(b"hel").unwrap();
    let error = over.write_bytes(b"lo!").unwrap_err();
    assert!(
        matches!(
            error,
            Error::SizeMismatch {
                expected: 5,
                actual: 6,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(over.offset(), 3);
    drop(over);
    let mut wrong = writer(&store, b"hello");
    wrong.restart().unwrap();
    wrong.write_bytes(b"world").unwrap();
    assert!(matches!(wrong.commit(), Err(Error::DigestMismatch { .. })));
    assert_eq!(std::fs::read_dir(store.path("ingest")).unwrap().count(), 0);
    assert!(!store.blobs().contains(&digest(b"hello")).unwrap());
    // What a longer blob under the same digest left is not built upon.
    let left = store
        .path("ingest")
        .join(format!("sha256-{}", digest(b"hello").hex()));
    std::fs::write(left, b"hello world").unwrap();
    assert_eq!(writer(&store, b"hello").offset(), 0);
}

#[test]
fn streams_of_unknown_digest() {
    let (_dir, store) = store();
    let (found, size) = store.blobs().put_stream(&mut &b"hello"[..], 5).unwrap();
    assert_eq!((found, size), (digest(b"hello"), 5));
    let error = store
        .blobs()
        .put_stream(&mut std::io::repeat(1), 1 << 20)
        .unwrap_err();
    assert!(matches!(error, Error::StreamTooLarge { .. }), "{error}");
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("cut"))
        }
    }
    assert!(matches!(
        store.blobs().put_stream(&mut Broken, 9),
        Err(Error::Source(_))
    ));
    assert_eq!(std::fs::read_dir(store.path("ingest")).unwrap().count(), 0);
}

#[test]
fn one_writer_at_a_time() {
    let (_dir, store) = store();
    let held = writer(&store, b"hello");
    assert!(matches!(
        store.blobs().try_writer(&digest(b"hello"), 5),
        Err(Error::Busy(_))
    ));
    drop(held);
    assert!(store.blobs().try_writer(&digest(b"hello"), 5).is_ok());
}

#[test]
fn eight_processes_store_one_blob_once() {
    let (dir, store) = store();
    let tally = dir.path().join("tally");
    std::fs::create_dir(&tally).unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| child("blobs::errand_store", store.root(), tally.to_str().unwrap()))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        std::fs::read_dir(&tally).unwrap().count(),
        1,
        "one wrote, seven waited"
    );
    assert!(store.check(deep()).unwrap().is_clean());
}

fn deep() -> hako_store::check::Options {
    hako_store::check::Options {
        deep: true,
        repair: false,
    }
}

#[test]
fn errand_store() {
    let Some((store, tally)) = errand() else {
        return;
    };
    let bytes = vec![3u8; 400_000];
    match store
        .blobs()
        .writer(&digest(&bytes), bytes.len() as u64)
        .unwrap()
    {
        Ingest::Present => {}
        Ingest::Writer(mut writer) => {
            for part in bytes.chunks(40_000) {
                writer.write_bytes(part).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            writer.commit().unwrap();
            std::fs::write(format!("{tally}/{}", std::process::id()), "").unwrap();
        }
    }
    assert_eq!(store.blobs().read(&digest(&bytes), 1 << 20).unwrap(), bytes);
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    on_small_disk(2 << 20, |dir| {
        let store = Store::open(&dir.join("store")).unwrap();
        store.settings().get("x").unwrap();
        let bytes = vec![1u8; 4 << 20];
        let error = store.blobs().put(&bytes).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot write ") && text.contains("/ingest/sha256-"),
            "{text}"
        );
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("No space left"), "{source}");
        assert!(store.blobs().put_stream(&mut &bytes[..], u64::MAX).is_err());
        assert_eq!(std::fs::read_dir(store.path("ingest")).unwrap().count(), 0);
        store.blobs().put(b"small").unwrap();
        assert!(store.check(deep()).unwrap().is_clean());
    });
}
