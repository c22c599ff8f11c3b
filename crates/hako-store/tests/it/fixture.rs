//! Images made of nothing, and this test binary as a child process.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use hako_spec::digest::Digest;
use hako_spec::image::{Descriptor, Image, Index, Manifest, RootFs, media_type};
use hako_spec::platform::Platform;
use hako_store::{Owner, Store};

pub(crate) const ME: Owner = Owner::Cli(0);

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = hako_store::Hasher::new(hako_spec::digest::Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

fn put(store: &Store, kind: &str, bytes: &[u8]) -> Descriptor {
    let digest = store.blobs().put(bytes).unwrap();
    Descriptor::new(kind, digest, bytes.len() as u64)
}

/// An image's manifest, config and layers in the store; gives the manifest and
/// the config's digest. `seed` makes it differ from others.
pub(crate) fn image(store: &Store, seed: &str, platform: &str) -> (Descriptor, Digest) {
    let platform: Platform = platform.parse().unwrap();
    let layer = format!("layer of {seed}").into_bytes();
    let layer_blob = put(store, media_type::LAYER, &layer);
    let config = Image {
        created: Some("2026-01-02T03:04:05Z".to_owned()),
        author: Some(seed.to_owned()),
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        rootfs: RootFs::new(vec![digest(&layer)]),
        ..Image::default()
    };
    let config = put(
        store,
        media_type::CONFIG,
        &serde_json::to_vec(&config).unwrap(),
    );
    let id = config.digest.clone();
    let manifest = Manifest::new(config, vec![layer_blob]);
    let mut manifest = put(
        store,
        media_type::MANIFEST,
        &serde_json::to_vec(&manifest).unwrap(),
    );
    manifest.platform = Some(platform);
    store.images().record(&manifest, 1000).unwrap();
    (manifest, id)
}

pub(crate) fn index(store: &Store, manifests: Vec<Descriptor>) -> Descriptor {
    put(
        store,
        media_type::INDEX,
        &serde_json::to_vec(&Index::new(manifests)).unwrap(),
    )
}

/// Runs the test `name` of this binary in a process of its own, with the store
/// and `argument` in its environment.
pub(crate) fn child(name: &str, root: &Path, argument: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("HAKO_TEST_STORE", root)
        .env("HAKO_TEST_ARGUMENT", argument)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A child process that ends with the test, however that ends.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In a child: the store and the argument. `None` when the test was started by
/// the harness for its own sake.
pub(crate) fn errand() -> Option<(Store, String)> {
    let root = std::env::var_os("HAKO_TEST_STORE")?;
    let store = Store::open(Path::new(&root)).unwrap();
    Some((store, std::env::var("HAKO_TEST_ARGUMENT").unwrap()))
}

/// Runs `work` in a thread with a mount namespace of its own and a tmpfs of
/// `size` bytes at a path that it is told. Needs root.
pub(crate) fn on_small_disk(size: u64, work: impl FnOnce(&Path) + Send + 'static) {
    std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        let dir = tempfile::tempdir().unwrap();
        hako_sys::ns::unshare(hako_sys::ns::FS | hako_sys::clone::flags::NEWNS)
            .expect("this test needs root");
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        mount_change("/", private).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        work(dir.path());
        rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    })
    .join()
    .unwrap();
}

pub(crate) fn now_gc() -> hako_store::gc::Options {
    let zero = std::time::Duration::ZERO;
    hako_store::gc::Options {
        grace: zero,
        resumable: zero,
        dry_run: false,
    }
}
