//! Archives made on the spot, mount namespaces, and this test binary as a child
//! process.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hako_snapshot::{Backend, LayerKey, MountOptions, Snapshot, Snapshotter, Stack};
use hako_spec::digest::{Algorithm, Digest};
use hako_store::{Hasher, Store};
use hako_tar::{Entry, Writer};

pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) snapshots: Snapshotter,
}

impl Home {
    /// The tree of a layer, to be looked at.
    pub(crate) fn tree(&self, key: &LayerKey) -> PathBuf {
        tree(&self.snapshots, key)
    }
}

impl Drop for Home {
    /// Layers are mounted in the store, which is to be removed.
    fn drop(&mut self) {
        for key in self.snapshots.layers().unwrap_or_default() {
            let _ = self.snapshots.withdraw(&key);
        }
    }
}

pub(crate) fn tree(snapshots: &Snapshotter, key: &LayerKey) -> PathBuf {
    snapshots.provide(std::slice::from_ref(key)).unwrap();
    snapshots.layer_path(key)
}

/// These tests are compiled twice, once for each form of layers.
pub(crate) const BACKEND: Backend = match env!("CARGO_CRATE_NAME").as_bytes() {
    b"it_overlay" => Backend::Overlay,
    _ => Backend::Erofs,
};

pub(crate) fn open(store: &Store) -> Snapshotter {
    let snapshots = Snapshotter::open(store, false).unwrap();
    snapshots.with_backend(BACKEND)
}

pub(crate) fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let snapshots = open(&store);
    Home {
        dir,
        store,
        snapshots,
    }
}

/// What stands in an archive.
pub(crate) type Item = (Entry, Vec<u8>);

pub(crate) fn file(path: &str, text: &str) -> Item {
    (
        Entry::file(path, text.len() as u64),
        text.as_bytes().to_vec(),
    )
}

pub(crate) fn dir(path: &str) -> Item {
    (Entry::dir(path), Vec::new())
}

pub(crate) fn mode(mut item: Item, mode: u32) -> Item {
    item.0.mode = mode;
    item
}

pub(crate) fn link(path: &str, target: &str) -> Item {
    (Entry::hard_link(path, target), Vec::new())
}

pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in items {
        writer.append(entry, data.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

pub(crate) fn stack(tars: &[Vec<u8>]) -> Stack {
    Stack::new(tars.iter().map(|tar| digest(tar)).collect())
}

/// Unpacks an image, one layer after the other.
pub(crate) fn unpack(snapshots: &Snapshotter, tars: &[Vec<u8>]) -> Vec<LayerKey> {
    let stack = stack(tars);
    for (index, tar) in tars.iter().enumerate() {
        match snapshots.unpack(&stack, index, tar.as_slice()) {
            Err(hako_snapshot::Error::NeedsLower { .. }) => {
                snapshots.unpack(&stack, index, tar.as_slice()).unwrap();
            }
            other => drop(other.unwrap()),
        }
    }
    stack.keys().unwrap()
}

/// Runs `work` in a thread with a mount namespace of its own.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                use rustix::mount::{MountPropagationFlags, mount_change};
                hako_sys::ns::unshare(hako_sys::ns::FS | hako_sys::clone::flags::NEWNS)
                    .expect("this test needs root");
                let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
                mount_change("/", private).unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

/// Mounts at a new directory, shows it to `work`, and unmounts.
pub(crate) fn mounted<T: Send>(
    snapshots: &Snapshotter,
    snapshot: &Snapshot,
    options: &MountOptions<'_>,
    work: impl FnOnce(&Path) -> T + Send,
) -> T {
    apart(|| {
        let target = tempfile::tempdir().unwrap();
        snapshots
            .mount_at(snapshot, options, target.path())
            .unwrap();
        let out = work(target.path());
        rustix::mount::unmount(target.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        out
    })
}

/// A tree as text: path, kind, mode, owner and content of each file.
pub(crate) fn listing(top: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(path) = queue.pop() {
        let full = top.join(&path);
        let meta = full.symlink_metadata().unwrap();
        let head = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        let tail = if meta.is_dir() {
            for entry in std::fs::read_dir(&full).unwrap() {
                queue.push(path.join(entry.unwrap().file_name()));
            }
            String::new()
        } else if meta.is_symlink() {
            format!("-> {}", std::fs::read_link(&full).unwrap().display())
        } else if meta.is_file() {
            std::fs::read_to_string(&full).unwrap()
        } else {
            format!("device {}", meta.rdev())
        };
        all.insert(format!("/{}", path.display()), format!("{head} {tail}"));
    }
    all
}

pub(crate) fn child(name: &str, root: &Path, argument: &str) -> Child {
    command(name, root, argument).spawn().unwrap()
}

/// Runs the test `name` of this binary in a process of its own.
pub(crate) fn command(name: &str, root: &Path, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    arguments(&mut command, name, root, argument);
    command
}

pub(crate) fn arguments(command: &mut Command, name: &str, root: &Path, argument: &str) {
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("HAKO_TEST_STORE", root)
        .env("HAKO_TEST_ARGUMENT", argument)
        .stdout(Stdio::null());
}

/// In a child: the store's root and the argument. `None` when the test was
/// started by the harness for its own sake.
pub(crate) fn errand() -> Option<(PathBuf, String)> {
    let root = std::env::var_os("HAKO_TEST_STORE")?;
    Some((root.into(), std::env::var("HAKO_TEST_ARGUMENT").unwrap()))
}

/// Files under `snapshots/tmp`.
pub(crate) fn leftovers(store: &Store) -> usize {
    std::fs::read_dir(store.path("snapshots/tmp"))
        .unwrap()
        .count()
}

/// A user namespace that maps 0..1000 to 100000.., and who holds it.
pub(crate) struct UserNamespace {
    holder: Child,
    pub(crate) file: std::fs::File,
}

impl UserNamespace {
    pub(crate) fn new() -> UserNamespace {
        let holder = Command::new("unshare")
            .args(["--user", "sleep", "60"])
            .spawn()
            .expect("this test needs unshare of util-linux");
        let own = std::fs::read_link("/proc/self/ns/user").unwrap();
        let path = format!("/proc/{}", holder.id());
        let start = std::time::Instant::now();
        while std::fs::read_link(format!("{path}/ns/user")).unwrap() == own {
            assert!(start.elapsed().as_secs() < 20);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("{path}/{map}"), "0 100000 1000").unwrap();
        }
        let file = std::fs::File::open(format!("{path}/ns/user")).unwrap();
        UserNamespace { holder, file }
    }

    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
